"""`goldsmith fa-build-image`: fuel-agent's input, outputs and exit codes for image sets."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from goldsmith.cli.flags import Flags
from goldsmith.cli.fuel_arguments import FuelArguments, fuel_parser, fuel_verb, read_arguments
from goldsmith.cli.native_flags import NativeParser
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.template.fuel.build import staging_directory
from goldsmith.template.fuel.build_input import read_build_input
from goldsmith.template.fuel.command_line import PROGRAM, BuildCommand

DRIVER: Final = "nailgun_build_image"


def command_parser() -> NativeParser:
    """The verb's command line."""
    parser = fuel_parser(
        "fa-build-image",
        "Build one image per mount point from packages, with metadata, as fuel-agent does.",
    )
    parser.add_argument(
        "--image_build_dir", "--image-build-dir", metavar="DIRECTORY",
        help="where images lie that are published elsewhere (/tmp)",
    )  # fmt: skip
    return parser


def run(words: list[str], machine_readable: bool) -> int:
    """Build; 0, or 255 for everything that goes wrong."""
    parser = command_parser()
    return fuel_verb(lambda: read_arguments(parser, words, DRIVER, (DRIVER,)), _build)


def _build(arguments: FuelArguments) -> None:
    given = read_build_input(arguments.data, arguments.origin)
    parent = arguments.given.image_build_dir or arguments.config.image_build_dir
    staging = staging_directory(given, parent)
    if staging is not None:
        _own_directory(Path(staging))
    build_input(arguments, PROGRAM, arguments.given.image_build_dir or "")


def _own_directory(place: Path) -> None:
    """Make a directory that nobody else can write to, as in /tmp; raises GoldsmithError."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.lstat()
    except OSError as e:
        raise explain_os_error(e) from e
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise GoldsmithError(f"{place} is not a directory of ours alone: what is published from it "
                             "could be somebody else's",
                             hint="remove it, or name another --image_build_dir")  # fmt: skip


def build_input(arguments: FuelArguments, program: str, build_directory: str) -> None:
    """Build what the input of a program asks for; raises the build's error, KeyboardInterrupt."""
    # Late: help and wrong input need no engine.
    from goldsmith.cli.build import build_with
    from goldsmith.ui.fuel_lines import FuelLines

    with _as_file(arguments) as path, _log(arguments.log_file) as log:
        command = BuildCommand(
            path, build_directory, tuple(arguments.given.config_file or ()), program
        )
        lines = FuelLines(debug=arguments.debug, log=log)
        flags = Flags(words=[command.as_path()])
        # fuel-agent replaces what has the name of an output.
        flags.given["force"] = ["true"]
        status = build_with(flags, lines)
    if lines.is_cancelled:
        raise KeyboardInterrupt
    if lines.errors:
        raise lines.errors[0]
    if status:
        raise GoldsmithError("the images were not built", hint="its log says why")


@contextlib.contextmanager
def _as_file(arguments: FuelArguments) -> Iterator[str]:
    """A path of the input: that of the file, or of one in memory with what the words had."""
    if arguments.origin != "--input_data":
        yield arguments.origin
        return
    with os.fdopen(os.memfd_create("input_data"), "w") as file:
        file.write(arguments.text)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[TextIO | None]:
    """The log that was named, to be added to."""
    if path is None:
        yield None
        return
    try:
        file = open(path, "a", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115
    except OSError as e:
        raise explain_os_error(e) from e
    with file:
        yield file
