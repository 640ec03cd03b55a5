"""What the result of a phase depends on, as named inputs of its key.

A phase's own hooks count with their content, those of other phases do not. Files beside them (bin,
static, package lists) count where some hook of the phase can find them: hooks reach them by a few
words only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from goldsmith.elements import environment as snippets
from goldsmith.elements import host_files, source_repositories
from goldsmith.elements.description import Description
from goldsmith.elements.hook_files import words_of
from goldsmith.elements.hooks import HookFile
from goldsmith.elements.passing_variables import COUNTED_IF_NAMED, PATHS, counted, named_by
from goldsmith.elements.phases import PHASES, Phase, Place, Tree
from goldsmith.elements.setup import Setup
from goldsmith.layers.keys import canonical

_PHASES: Final = frozenset(phase.name for phase in PHASES)
_VERSIONS: Final = {"root.d": 2}
"""Of what goldsmith itself does in a phase, where that has changed its result."""
_SNIPPETS: Final = "environment.d"
_PROGRAMS: Final = "bin/"
_LOOKING_UP: Final = frozenset({"get_image_element_array", "IMAGE_ELEMENT_YAML", "ELEMENTS_PATH"})
"""Words by which a hook can find the elements themselves."""
_REACHING: Final = _LOOKING_UP | {
    "TMP_HOOKS_PATH", "TMP_BUILD_DIR", "in_target", "dirname", "BASH_SOURCE", "__file__", "argv",
    "realpath", "readlink",
}  # fmt: skip
"""Words by which a hook can find files other than itself."""
_DOCUMENTS: Final = frozenset({"README.rst", "README.md", "element-deps", "element-provides"})


def phase_inputs(
    phase: Phase,
    description: Description,
    setup: Setup,
    environment: Mapping[str, str],
    directory: Path,
) -> dict[str, str]:
    """The inputs of a phase; `environment` is what its hooks are given, `directory` where they run.

    For the phase that fetches repositories their state is looked up now. Raises OSError for an
    element that cannot be read.
    """
    own = [file for file in setup.hooks.files.values() if file.place.startswith(f"{phase.name}/")]
    words = words_of(tuple(file.source for file in own))
    reaches = bool(named_by(words, _REACHING, setup))
    files = tuple(_files(phase, setup, own, reaches=reaches))
    lists = _lists(setup, words)
    read = (*(file.source for file in (*files, *_programs(setup)) if not _is_sourced(file)),
            *lists.values())  # fmt: skip
    return {
        "type": f"elements {phase.name}/{_VERSIONS.get(phase.name, 1)}",
        **({"config:elements": canonical(list(setup.expansion.names))} if reaches else {}),
        "config:diskimage-builder": importlib.metadata.version("diskimage-builder"),
        **({} if phase.tree is Tree.EMPTY else {"config:install type": description.install_type}),
        **_digests(files),
        **_environment(environment, counted(read, setup)),
        **(
            _of_the_host(own, setup, environment, directory) if phase.place is Place.OUTSIDE else {}
        ),
        **{name: _digest(place) for name, place in lists.items()},
        **_repositories(setup, own, environment, offline=description.offline),
    }


def packages_inputs(
    description: Description, setup: Setup, environment: Mapping[str, str]
) -> dict[str, str]:
    """The inputs of the packages that are installed after install.d."""
    programs = tuple(file.source for file in _programs(setup))
    return {
        "type": "elements packages/1", "packages": canonical(list(description.packages)),
        "config:install type": description.install_type,
        **_digests(_sourced(setup)),
        **_environment(environment, counted(programs, setup)),
    }  # fmt: skip


def _sourced(setup: Setup) -> list[HookFile]:
    return [file for file in setup.hooks.files.values() if _is_sourced(file)]


def _is_sourced(file: HookFile) -> bool:
    return file.place.startswith(f"{_SNIPPETS}/")


def _programs(setup: Setup) -> list[HookFile]:
    return [file for file in setup.hooks.files.values() if file.place.startswith(_PROGRAMS)]


def _files(phase: Phase, setup: Setup, own: list[HookFile], *, reaches: bool) -> Iterator[HookFile]:
    """The hooks of a phase, what is sourced before them, and what they can find beside them."""
    yield from own
    for file in setup.hooks.files.values():
        top, _, below = file.place.partition("/")
        if top == phase.name or top in _DOCUMENTS:
            continue
        # What lies deeper than hooks is chosen from by hooks of earlier phases (install types).
        if top == _SNIPPETS or (reaches and (top not in _PHASES or "/" in below)):
            yield file


def _digests(files: Iterable[HookFile]) -> dict[str, str]:
    return {f"file:{file.place} of {file.element}": _digest(file.source) for file in files}


def _digest(path: Path) -> str:
    """Content and mode of a file, or where a link leads; what a link leads to counts as well."""
    status = path.lstat()
    link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
    digest = ""
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{stat.S_IMODE(status.st_mode):o} {digest} {link}"


def _environment(environment: Mapping[str, str], named: frozenset[str]) -> dict[str, str]:
    return {
        f"env:{name}": value
        for name, value in environment.items()
        if name not in PATHS and (name not in COUNTED_IF_NAMED or name in named)
    }


def _of_the_host(
    own: list[HookFile], setup: Setup, environment: Mapping[str, str], directory: Path
) -> dict[str, str]:
    return host_files.file_inputs(
        environment, [file.source for file in (*own, *_sourced(setup))], directory=directory,
        leave_out=PATHS | COUNTED_IF_NAMED,
    )  # fmt: skip


def _lists(setup: Setup, words: frozenset[str]) -> dict[str, Path]:
    """What lies beside the hooks in the elements themselves: package lists, maps of names.

    In the hooks directory one element's file takes the place of another's. Upstream reads package
    lists also of elements that others of the same name hide.
    """
    if not named_by(words, _LOOKING_UP, setup):
        return {}
    found: dict[str, Path] = {}
    for element in setup.expansion.elements:
        for place in sorted(element.path.iterdir()):
            if place.is_file() and place.name not in _DOCUMENTS:
                found[f"file:{place.name} of {element.name}"] = place
        for number, directory in enumerate(setup.directories):
            for name in ("package-installs.json", "package-installs.yaml"):
                place = directory / element.name / name
                if place.is_file() and place.parent.resolve() != element.path:
                    found[f"file:{name} of {element.name} #{number + 1}"] = place
    return found


def _repositories(
    setup: Setup, own: list[HookFile], environment: Mapping[str, str], *, offline: bool
) -> dict[str, str]:
    if not any(file.place.endswith("-source-repositories") for file in own):
        return {}
    sourced = snippets.sourced_from_elements(setup.hooks, environment)
    return source_repositories.states(setup, sourced, offline=offline)
