"""How a run is told: the renderer that the command line asks for, and the logs beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from goldsmith.cli.flags import Flag, FlagError, Flags
from goldsmith.core.engine import BuildResult
from goldsmith.events import Event
from goldsmith.ui.dib_lines import DibLines
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.jsonl import JsonLinesRenderer
from goldsmith.ui.log_files import LogFiles, RunLog, log_path
from goldsmith.ui.machine import MachineRenderer
from goldsmith.ui.owners import build_of

Renderer = HumanRenderer | MachineRenderer | JsonLinesRenderer | DibLines

OUTPUT_FLAGS: Final = {
    "color": Flag("bool", "colour on a terminal; on by default"),
    "timestamp-ui": Flag("bool", "begin each line with the time"),
    "log-format": Flag("text", "text (default), or jsonl: every event as a line of JSON"),
    "log-directory": Flag("text", "keep a file with every line of each build in this directory"),
}
FORMATS: Final = ("text", "jsonl")
FORMAT_VARIABLE: Final = "GOLDSMITH_LOG_FORMAT"
DIRECTORY_VARIABLE: Final = "GOLDSMITH_LOG_DIR"


def choose_renderer(flags: Flags, *, machine_readable: bool) -> Renderer:
    """The renderer that flags and environment ask for; raises FlagError."""
    given = flags.text("log-format")
    if given and given not in FORMATS:
        raise FlagError(_wrong_format(given, "flag -log-format"))
    if given == "jsonl" and machine_readable:
        raise FlagError("-machine-readable and -log-format=jsonl are two formats of one output")
    if machine_readable:
        return MachineRenderer()
    wanted = given or os.environ.get(FORMAT_VARIABLE) or "text"
    if wanted not in FORMATS:
        raise FlagError(_wrong_format(wanted, FORMAT_VARIABLE))
    if wanted == "jsonl":
        return JsonLinesRenderer()
    return HumanRenderer(color=flags.maybe_bool("color"), timestamps=flags.on("timestamp-ui"))


def _wrong_format(text: str, where: str) -> str:
    return f'invalid value "{text}" for {where}: it is {" or ".join(FORMATS)}'


class RunOutput:
    """Hands every event to the renderer and into the logs."""

    def __init__(
        self, renderer: Renderer, builds: Sequence[str], files: LogFiles, whole: RunLog | None
    ) -> None:
        self._renderer = renderer
        self._builds = frozenset(builds)
        self._files = files
        self._whole = whole

    def sink(self, event: Event) -> None:
        """Take an event of a build."""
        build = build_of(event.build, self._builds)
        # First, so that a line that somebody sees is in the file.
        self._files.write(build, event)
        if self._whole is not None:
            self._whole.write(build, event)
        self._renderer.render(event)

    def idle(self) -> None:
        """Let the renderer show that time goes by."""
        if isinstance(self._renderer, HumanRenderer):
            self._renderer.idle()

    def result(self, result: BuildResult) -> None:
        """Tell how a build ended, and where its log lies."""
        self._renderer.result(result, self._files.finish(result))


@contextmanager
def told(
    renderer: Renderer, builds: Sequence[str], flags: Flags, state: Path
) -> Iterator[RunOutput]:
    """Announce these builds and open their logs; raises GoldsmithError where that cannot be.

    Without a directory from the user the logs lie in the state directory.
    """
    named = flags.text("log-directory") or os.environ.get(DIRECTORY_VARIABLE, "")
    directory = Path(named) if named else state / "logs"
    with ExitStack() as stack:

        def warn(text: str) -> None:
            renderer.line(f"Warning: {text}")

        files = stack.enter_context(closing(LogFiles(directory, keep=bool(named), warn=warn)))
        path = log_path()
        whole = None if path is None else stack.enter_context(closing(RunLog(path)))
        renderer.announce(builds)
        yield RunOutput(renderer, builds, files, whole)
