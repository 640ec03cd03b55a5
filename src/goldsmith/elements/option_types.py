"""Options of templates that are about elements: their names, their directories, their variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator

from goldsmith.core.options import Finding, did_you_mean
from goldsmith.core.options import Path as OptionPath
from goldsmith.elements.catalog import Catalog, ElementError, search_directories
from goldsmith.elements.declarations import check_declarations, install_types
from goldsmith.elements.description import known_architecture
from goldsmith.elements.setup import OWN_ELEMENTS, Setup

_ELEMENT: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ELSEWHERE: Final = {
    "ELEMENTS_PATH": "the option elements_path names the directories",
    "break": "`goldsmith shell` opens the tree of a step that failed",
    "TMP_DIR": "a build lies in goldsmith's own state directory",
}
"""Variables of disk-image-create that are said in another way, and how."""


def _is_element(name: str) -> str:
    if not _ELEMENT.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an element")
    return name


def _is_directory(name: str) -> str:
    if not name or ":" in name:
        raise ValueError(f"{name!r} cannot be in elements_path: each entry is one directory")
    return name


def _are_variables(given: dict[str, str]) -> dict[str, str]:
    for name in given:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a variable")
        if name in _ELSEWHERE:
            raise ValueError(f"{name} is not set here: {_ELSEWHERE[name]}")
    known_architecture(given.get("ARCH", ""))
    return given


Architecture = Annotated[str, AfterValidator(known_architecture)]
_NO_DIRECTORY: Final = (
    "each entry is a directory that holds elements: relative to where goldsmith is run, unless it "
    "starts with ${path.root}/, the template's directory"
)
ElementName = Annotated[str, AfterValidator(_is_element)]
ElementDirectory = Annotated[str, AfterValidator(_is_directory)]
ElementVariables = Annotated[dict[str, str], AfterValidator(_are_variables)]


def elements_path(directory: Path, names: Sequence[str]) -> str:
    """ELEMENTS_PATH for directories that a template names, relative to `directory`."""
    return ":".join(str(directory / name) for name in names)


def absent(directory: Path, names: Sequence[str], elements: Sequence[str]) -> Iterator[Finding]:
    """Findings about directories and elements that are not there: `elements_path`, `elements`."""
    missing = [
        Finding(f"{name} is not a directory", ("elements_path", number), _NO_DIRECTORY)
        for number, name in enumerate(names) if not (directory / name).is_dir()
    ]  # fmt: skip
    yield from missing
    if missing:
        return
    try:
        places = search_directories(elements_path(directory, names), (OWN_ELEMENTS,))
        catalog = Catalog.read(places)
    except ElementError as e:
        yield Finding(str(e), ("elements",), e.hint or "")
        return
    for number, name in enumerate(elements):
        try:
            catalog.get(name)
        except ElementError as e:
            hint = (e.hint or "").replace("ELEMENTS_PATH", "elements_path")
            yield Finding(str(e), ("elements", number), hint, rests_on=(("elements_path",),))


def wrong_declarations(
    setup: Setup, path: OptionPath, rests_on: tuple[OptionPath, ...] = ()
) -> Iterator[Finding]:
    """Findings about what elements declare in files; `path` leads to the option that names them."""
    findings, sources = check_declarations(setup)
    for one in findings.found:
        assert one.range is not None, "each is about a file"
        yield Finding(one.summary, path, one.detail, one.severity, one.range,
                      sources.get(one.range.filename, ""), rests_on)  # fmt: skip


def wrong_install_type(setup: Setup, name: str, path: OptionPath) -> Iterator[Finding]:
    """A finding for an install type that no element knows: what it chooses would be nothing."""
    known = install_types(setup)
    if name not in known:
        meant = did_you_mean(name, known)
        hint = f"The elements know {', '.join(sorted(known))}.{meant}"
        yield Finding(f"there is no install type {name}", path, hint)
