"""What hooks see of the environment: the caller's, and what `environment.d` makes of it.

Upstream sources the snippets anew before every phase, so this does too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from goldsmith.elements import run_parts
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.hooks import Hooks
from goldsmith.errors import CommandFailed
from goldsmith.host import process

_OF_THE_SHELL: Final = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "BASH_ENV"})
"""Set by every bash anew: not what a snippet says."""

# The snippets' own output is for the log, so the variables leave by a descriptor of their own.
_SOURCE_AND_TELL: Final = (
    'fd=$1; shift; set -ue -o pipefail; for snippet in "$@"; do '
    'printf "%s\\n" "dib-run-parts Sourcing environment file $snippet" >&2; '
    'set -x; source "$snippet"; { set +x; } 2>/dev/null; done; exec env -0 >&"$fd"'
)


def sourced(
    hooks: Path,
    environment: Mapping[str, str],
    *,
    on_line: process.LineSink | None = None,
    words: Callable[[Sequence[str]], list[str]] = list,
    seen_at: str = "",
) -> dict[str, str]:
    """The environment of a phase's hooks: every snippet is sourced, in order, by one bash.

    `words` turns the words of that bash into those that run it elsewhere (in the tree), where the
    hooks lie at `seen_at`. Exported functions are in the result, as bash hands them on. Raises
    ElementError that names the snippet which failed; an unset variable in one counts as failing.
    """
    directory = hooks / "environment.d"
    seen = f"{seen_at or hooks}/environment.d"
    files = [f"{seen}/{name}" for name in run_parts.snippets_of(directory)]
    if not files:
        return dict(environment)
    said: list[str] = []

    def tell(stream: str, line: str) -> None:
        said.append(line)
        if on_line is not None:
            on_line(stream, line)

    # No close-on-exec: on its way into a tree the descriptor passes through other programs.
    with open(os.memfd_create("environment", 0), "rb") as variables:
        try:
            process.run(
                words(sourcing_argv(variables.fileno(), files)),
                env=environment, on_line=tell, pass_fds=(variables.fileno(),),
            )  # fmt: skip
        except CommandFailed as e:
            raise ElementError(_explain(said, files, e.status)) from e
        variables.seek(0)
        return parse(variables.read())


def sourced_from_elements(hooks: Hooks, environment: Mapping[str, str]) -> dict[str, str]:
    """What the snippets make of the environment, sourced where the elements have them.

    To look ahead: a snippet that fails changes nothing here, and is told of by the phase itself.
    """
    start = "environment.d/"
    places = {place.removeprefix(start): file.source
              for place, file in hooks.files.items() if place.startswith(start)}  # fmt: skip
    files = [str(places[name]) for name in run_parts.snippets_in_order(places)]
    with open(os.memfd_create("environment"), "rb") as variables:
        done = process.run(
            sourcing_argv(variables.fileno(), files), env=environment, check=False,
            pass_fds=(variables.fileno(),),
        )  # fmt: skip
        variables.seek(0)
        return parse(variables.read()) if done.status == 0 else dict(environment)


def sourcing_argv(fd: int, snippets: Sequence[str]) -> list[str]:
    """The words that source these files and write the environment to a descriptor, as `env -0`."""
    return ["/bin/bash", "-c", _SOURCE_AND_TELL, "bash", str(fd), *snippets]


def parse(content: bytes) -> dict[str, str]:
    """Read what `env -0` wrote; what bash sets for itself is left out."""
    pairs = (os.fsdecode(item).partition("=") for item in content.split(b"\0") if item)
    return {name: value for name, _, value in pairs if name not in _OF_THE_SHELL}


def _explain(said: Sequence[str], files: Sequence[str], status: int) -> str:
    last = next((file for file in reversed(files) if any(line.endswith(file) for line in said)), "")
    own = [line for line in said if not line.startswith(("+", "dib-run-parts "))]
    told = "\n".join(own[-10:])
    return f"environment file {last} failed with status {status}" + (f"\n{told}" if told else "")
