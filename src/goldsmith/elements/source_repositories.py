"""The state of the repositories that `source-repository-NAME` files name, without fetching them.

Source: `specs/diskimage-builder.md`, A8; upstream's element `source-repositories`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements.setup import Setup
from goldsmith.errors import GoldsmithError
from goldsmith.host import process

LINE: Final = re.compile(r"([^ ]+) (git|tar|file|package) ?(/[^ ]+)? ?([^ ]+)? ?([^ ]*)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_HOST_OF_URL: Final = re.compile(r"[^:]+://[^/]+/(?:~[^/]+)?")
_LOOK_S: Final = 60.0
_DEFAULT_REF: Final = "master"
# The lines may use variables, and upstream lets a shell expand them.
_EXPAND: Final = 'set -f; while IFS= read -r line; do eval "echo $line"; done'


@dataclass(frozen=True, slots=True)
class Repository:
    """What a line asks for, after overrides by the environment."""

    name: str
    type: str
    destination: str
    location: str
    ref: str


def repositories(setup: Setup, environment: Mapping[str, str]) -> list[Repository]:
    """Every repository that is fetched; `environment` is that of the hooks.

    Lines that upstream refuses are left to its element, which says so.
    """
    if environment.get("NO_SOURCE_REPOSITORIES"):
        return []
    files = [file.source for place, file in sorted(setup.hooks.files.items())
             if place.startswith("source-repository-") and not place.endswith("~")]  # fmt: skip
    return [found for file in files for found in _in_file(file, environment)]


def states(
    setup: Setup, environment: Mapping[str, str], *, offline: bool = False
) -> dict[str, str]:
    """What is known of each repository, by the name of an input: the commits that refs stand for.

    Asks the network unless `offline`; of what cannot be asked nothing is known but its name, so
    there the age of a result decides.
    """
    return {
        f"file:source repository {one.name}": _state(one, offline=offline)
        for one in repositories(setup, environment)
    }


def _in_file(file: Path, environment: Mapping[str, str]) -> Iterator[Repository]:
    lines = [line for line in file.read_text(errors="replace").splitlines()
             if line.strip() and not line.lstrip().startswith("#")]  # fmt: skip
    if any("$" in line or "`" in line for line in lines):
        done = process.run(
            ["/bin/bash", "-c", _EXPAND], env=environment, capture=True, check=False,
            input=("\n".join(lines) + "\n").encode(), timeout_s=_LOOK_S,
        )  # fmt: skip
        lines = done.text.splitlines()
    for line in lines:
        match = LINE.fullmatch(" ".join(line.split()))
        if match is not None:
            yield _overridden(*(part or "" for part in match.groups()), environment=environment)


def _overridden(
    name: str, type: str, destination: str, location: str, ref: str,
    *, environment: Mapping[str, str],
) -> Repository:  # fmt: skip
    variable = re.sub(r"[^A-Za-z0-9]", "_", name)
    type = environment.get(f"DIB_REPOTYPE_{variable}") or type
    given = environment.get(f"DIB_REPOLOCATION_{variable}")
    base = environment.get("DIB_GITREPOBASE")
    if type == "git" and base and not given:
        location = _HOST_OF_URL.sub(lambda match: base, location, count=1)
    ref = environment.get(f"DIB_REPOREF_{variable}") or ref
    if not ref:
        ref = _DEFAULT_REF if type == "git" else "*"
    return Repository(name, type, destination, given or location, ref)


def _state(one: Repository, *, offline: bool) -> str:
    asked = f"{one.type} {one.destination} {one.location} {one.ref}"
    local = Path(one.location.removeprefix("file://"))
    if one.type in ("tar", "file") and local.is_absolute() and local.is_file():
        with local.open("rb") as file:
            return f"{asked} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    if one.type != "git" or _COMMIT.fullmatch(one.ref) or offline:
        return asked
    argv = ["git", "ls-remote", "--quiet", "--", one.location]
    if one.ref != "*":
        argv.append(one.ref)
    try:
        told = process.run(
            argv, env=process.tool_environment(GIT_TERMINAL_PROMPT="0"), capture=True,
            timeout_s=_LOOK_S,
        ).stdout  # fmt: skip
    except GoldsmithError:
        return asked
    return f"{asked} {hashlib.sha256(told).hexdigest()}"
