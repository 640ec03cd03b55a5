"""What hooks see of the environment: the caller's, and what `environment.d` makes of it.

Upstream sources the snippets anew before every phase, so this does too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from goldsmith.elements import run_parts
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.hooks import Hooks
from goldsmith.elements.secret_variables import secret_values
from goldsmith.errors import CommandFailed
from goldsmith.host import process

SecretSink = Callable[[Iterable[str]], None]
"""Is told of texts that are not to be shown: a redactor's `add`."""
_OF_THE_SHELL: Final = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "BASH_ENV"})
"""Set by every bash anew: not what a snippet says."""
_ASSIGNMENT: Final = re.compile(r"\++ ([A-Za-z_][A-Za-z0-9_]*)=(.+)")

# The snippets' own output is for the log, so the variables leave by a descriptor of their own.
# They leave it also where one fails: what is traced of a secret is not to be shown even then.
_SOURCE_AND_TELL: Final = (
    "fd=$1; shift; trap '{ set +x; } 2>/dev/null; env -0 >&\"$fd\"' EXIT; "
    'set -ue -o pipefail; for snippet in "$@"; do '
    'printf "%s\\n" "dib-run-parts Sourcing environment file $snippet" >&2; '
    'set -x; source "$snippet"; { set +x; } 2>/dev/null; done; trap - EXIT; exec env -0 >&"$fd"'
)


def sourced(
    hooks: Path,
    environment: Mapping[str, str],
    *,
    on_line: process.LineSink | None = None,
    words: Callable[[Sequence[str]], list[str]] = list,
    seen_at: str = "",
    on_secrets: SecretSink | None = None,
    owners: Hooks | None = None,
) -> dict[str, str]:
    """The environment of a phase's hooks: every snippet is sourced, in order, by one bash.

    `words` turns the words of that bash into those that run it elsewhere (in the tree), where the
    hooks lie at `seen_at`. Exported functions are in the result, as bash hands them on. The secrets
    that snippets have made go to `on_secrets` before any line, which may show them. Raises
    ElementError that names the snippet which failed and, by `owners`, its element; an unset
    variable in one counts as failing.
    """
    directory = hooks / "environment.d"
    seen = f"{seen_at or hooks}/environment.d"
    files = [f"{seen}/{name}" for name in run_parts.snippets_of(directory)]
    if not files:
        return dict(environment)
    said: list[tuple[str, str]] = []
    # No close-on-exec: on its way into a tree the descriptor passes through other programs.
    with open(os.memfd_create("environment", 0), "rb") as variables:
        try:
            process.run(
                words(sourcing_argv(variables.fileno(), files)), env=environment,
                on_line=lambda stream, line: said.append((stream, line)),
                pass_fds=(variables.fileno(),),
            )  # fmt: skip
        except CommandFailed as e:
            raise _failure([line for _, line in said], files, e.status, owners) from e
        finally:
            variables.seek(0)
            found = parse(variables.read())
            if on_secrets is not None:
                on_secrets(secret_values(found) | _traced([line for _, line in said]))
            if on_line is not None:
                for stream, line in said:
                    on_line(stream, line)
        return found


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


def _traced(lines: Sequence[str]) -> frozenset[str]:
    """The secrets that snippets have assigned, as bash's trace shows it, exported or not."""
    assigned = filter(None, map(_ASSIGNMENT.match, lines))
    return secret_values({match.group(1): _unquoted(match.group(2)) for match in assigned})


def _unquoted(text: str) -> str:
    try:
        return "".join(shlex.split(text))
    except ValueError:
        return text  # the first of several lines


def _failure(
    said: Sequence[str], files: Sequence[str], status: int, owners: Hooks | None
) -> ElementError:
    last = next((file for file in reversed(files) if any(line.endswith(file) for line in said)), "")
    own = [line for line in said if not line.startswith(("+", "dib-run-parts "))]
    return snippet_failed(last, status, own[-10:], owners)


def snippet_failed(
    path: str, status: int, tail: Sequence[str], owners: Hooks | None
) -> ElementError:
    """The error of a snippet that ended with this status, with its element and its last lines."""
    name = path.rpartition("/")[2]
    element = owners.element_of(f"environment.d/{name}") if owners else ""
    whose = f" of element {element}" if element else ""
    told = "".join(f"\n{line}" for line in tail)
    return ElementError(f"environment file {path}{whose} failed with status {status}{told}")
