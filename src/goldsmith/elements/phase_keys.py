"""What the result of a phase depends on, as named inputs of its key.

A phase's own hooks count with their content, those of other phases do not. Files beside them (bin,
static, package lists) count where some hook of the phase can find them: hooks reach them by a few
words only. Of hooks of earlier phases it counts which variables they name: they may have left a
program in the tree that this phase runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from goldsmith.elements import environment as snippets
from goldsmith.elements import host_files, source_repositories
from goldsmith.elements.description import Description
from goldsmith.elements.hook_files import any_has, words_of
from goldsmith.elements.hooks import HookFile
from goldsmith.elements.passing_variables import (
    COUNTED_IF_NAMED,
    PATHS,
    counted,
    is_known,
    named_by,
)
from goldsmith.elements.phases import PHASES, Phase, Place, Tree, phase_named
from goldsmith.elements.setup import Setup
from goldsmith.layers.keys import canonical

_PHASES: Final = {
    phase.name: re.compile(rb"(?<![\w-])" + re.escape(phase.name.encode())) for phase in PHASES
}
"""With how a hook names the directory of another phase."""
_VERSIONS: Final = {"root.d": 2}
"""Of what goldsmith itself does in a phase, where that has changed its result."""
_SNIPPETS: Final = "environment.d"
_PROGRAMS: Final = "bin/"
_LOOKING_UP: Final = frozenset({"get_image_element_array", "IMAGE_ELEMENT_YAML", "ELEMENTS_PATH"})
"""Words by which a hook can find the elements themselves."""
_REACHING: Final = _LOOKING_UP | {
    "TMP_HOOKS_PATH", "TMP_BUILD_DIR", "in_target", "dirname", "BASH_SOURCE", "__file__", "argv",
    "realpath", "readlink", "BASH_ARGV0", "FindBin", "__dir__", "__dirname", "__filename",
}  # fmt: skip
"""Words by which a hook can find files other than itself."""
_ITSELF: Final = re.compile(rb"\$\{?0(?!\d)")
"""How a shell names the hook itself: `${0%/*}` is its directory."""
_READING: Final = re.compile(rb"(?:^|[;&|]|\b(?:then|do|else)\b)[ \t]*(?:source|\.)[ \t]|\$\(|`|<",
                             re.MULTILINE)  # fmt: skip
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
    own = _own(phase, setup)
    words = words_of(tuple(file.source for file in own))
    reaches = _reaches(own, setup)
    files = tuple(_files(phase, setup, own, reaches=reaches))
    lists = _lists(setup, words)
    read = (*_read(phase, setup), *lists.values(), *_left_by(_before(phase), setup))
    return {
        "type": f"elements {phase.name}/{_VERSIONS.get(phase.name, 1)}",
        **({"config:elements": canonical(list(setup.expansion.names))} if reaches else {}),
        "config:diskimage-builder": importlib.metadata.version("diskimage-builder"),
        **({} if phase.tree is Tree.EMPTY else {"config:install type": description.install_type}),
        **_digests(files),
        **_environment(environment, counted(read, setup, environment)),
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
    install = phase_named("install.d")
    files = tuple(_files(install, setup, [], reaches=_reaches([], setup)))
    programs = tuple(file.source for file in (*files, *_programs(setup)) if not _is_sourced(file))
    # They come after install.d.
    left = _left_by((*_before(install), install), setup)
    return {
        "type": "elements packages/1", "packages": canonical(list(description.packages)),
        "config:install type": description.install_type,
        **_digests(files),
        **_environment(environment, counted((*programs, *left), setup, environment)),
    }  # fmt: skip


def _sourced(setup: Setup) -> list[HookFile]:
    return [file for file in setup.hooks.files.values() if _is_sourced(file)]


def _is_sourced(file: HookFile) -> bool:
    return file.place.startswith(f"{_SNIPPETS}/")


def _programs(setup: Setup) -> list[HookFile]:
    return [file for file in setup.hooks.files.values() if file.place.startswith(_PROGRAMS)]


def _own(phase: Phase, setup: Setup) -> list[HookFile]:
    return [file for file in setup.hooks.files.values() if file.place.startswith(f"{phase.name}/")]


def _before(phase: Phase) -> tuple[Phase, ...]:
    return PHASES[: PHASES.index(phase)]


def _reaches(own: list[HookFile], setup: Setup) -> bool:
    """Whether a hook, or a snippet that is sourced before it, may read files other than itself.

    A snippet that only makes a variable of a place reads nothing there.
    """
    reading = (file for file in _sourced(setup) if any_has((file.source,), _READING))
    sources = tuple(file.source for file in (*own, *reading))
    return bool(named_by(words_of(sources), _REACHING, setup)) or any_has(sources, _ITSELF)


def _read(phase: Phase, setup: Setup) -> tuple[Path, ...]:
    """What hooks of a phase can read or run, themselves among it."""
    own = _own(phase, setup)
    found = (*_files(phase, setup, own, reaches=_reaches(own, setup)), *_programs(setup))
    return tuple(file.source for file in found if not _is_sourced(file))


def _left_by(phases: tuple[Phase, ...], setup: Setup) -> tuple[Path, ...]:
    """What may be in the tree of these phases, or may have been written by them.

    What upstream's hooks and ours leave there names no variable of those that count if named.
    """
    sources = dict.fromkeys(source for phase in phases for source in _read(phase, setup))
    return tuple(source for source in sources if not is_known(source, setup))


def _files(phase: Phase, setup: Setup, own: list[HookFile], *, reaches: bool) -> Iterator[HookFile]:
    """The hooks of a phase, what is sourced before them, and what they can find beside them."""
    yield from own
    for file in setup.hooks.files.values():
        top = file.place.partition("/")[0]
        if top == phase.name or top in _DOCUMENTS:
            continue
        if top == _SNIPPETS or (reaches and (top not in _PHASES or _is_found(file, own, setup))):
            yield file


def _is_found(file: HookFile, own: list[HookFile], setup: Setup) -> bool:
    """Whether hooks may look for a file of another phase, which is a hook there or beside them.

    What lies deeper than hooks is chosen from by hooks of earlier phases (install types).
    """
    top, _, below = file.place.partition("/")
    if "/" in below or not os.access(file.source, os.X_OK):
        return True
    others = tuple(one.source for one in own if not is_known(one.source, setup))
    return any_has(others, _PHASES[top])


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
    hooks = [file.source for file in (*own, *_sourced(setup))]
    return host_files.file_inputs(
        environment, hooks, directory=directory, leave_out=PATHS | COUNTED_IF_NAMED,
        by_path=[hook for hook in hooks if not is_known(hook, setup)],
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
