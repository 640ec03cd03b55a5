"""What elements declare in files of data, checked before a build: upstream's hooks would stumble.

Package lists, maps of services and packages, and repositories. What upstream's programs take is
taken here, whatever it may mean. Source: `specs/diskimage-builder.md`, A8; upstream's elements.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.elements.hook_files import MOST_READ_BYTES
from goldsmith.elements.setup import Setup
from goldsmith.elements.source_repositories import LINE
from goldsmith.errors import Diagnostics, Position, SourceRange

_LISTS: Final = ("package-installs.json", "package-installs.yaml")
_WHEN: Final = re.compile(r"\w+\s*(=|!=)\s*.*")
_FILTERS: Final = frozenset({"installtype", "arch", "not-arch", "dib_python_version"})
"""What may leave an entry out before the rest of it is read."""
_INSTALLS: Final = re.compile(r"install\.d/.+-([^/-]+)-install/.+")
_INSTALL_TYPE: Final = re.compile(r"\binstalltype\W+(\w[\w-]*)")
_EXPANDED: Final = re.compile(r"[$`\\'\"]")


def check_declarations(setup: Setup) -> tuple[Diagnostics, dict[str, str]]:
    """The findings about all such files of an image, and the texts of the files by their names.

    A kind of file is read only where the element takes part that reads it in a build.
    """
    check = _Check(Diagnostics(), {})
    names = setup.expansion.names
    if "package-installs" in names:
        for name, path in _package_lists(setup):
            check.package_list(name, path)
    for element in setup.expansion.elements:
        if "svc-map" in names:
            check.services(element.name, element.path / "svc-map")
        if "pkg-map" in names:
            check.packages(element.name, element.path / "pkg-map")
    if "source-repositories" in names:
        for place, file in sorted(setup.hooks.files.items()):
            if place.startswith("source-repository-") and not place.endswith("~"):
                check.repositories(file.element, file.source)
    return check.findings, check.sources


def install_types(setup: Setup) -> frozenset[str]:
    """What can be chosen between: upstream's two, and others that elements have hooks for.

    And those that package lists name.
    """
    hooks = filter(None, map(_INSTALLS.fullmatch, setup.hooks.files))
    lists = (path.read_text(errors="replace") for _, path in _package_lists(setup)
             if path.is_file() and path.stat().st_size <= MOST_READ_BYTES)  # fmt: skip
    named = (match for text in lists for match in _INSTALL_TYPE.finditer(text))
    return frozenset({"source", "package", *(match.group(1) for match in (*hooks, *named))})


def _package_lists(setup: Setup) -> Iterator[tuple[str, Path]]:
    """Those of the elements, and of others of the same name, which upstream reads as well."""
    for element in setup.expansion.names:
        for directory in setup.directories:
            yield from ((element, directory / element / name) for name in _LISTS)


@dataclass(frozen=True, slots=True)
class _Document:
    """A file's value, and where its parts stand, by their paths in it."""

    element: str
    path: Path
    text: str
    value: Any

    @property
    def what(self) -> str:
        """The file and its element, in words."""
        return _named(self.element, self.path)

    @property
    def whole(self) -> SourceRange:
        """Where the file starts."""
        return _at_start(self.path)

    def place(self, *path: str | int) -> SourceRange:
        """Where a part stands."""
        return _yaml_places(self.path, self.text).get(path, self.whole)


@dataclass(frozen=True, slots=True)
class _Check:
    findings: Diagnostics
    sources: dict[str, str]
    owners: dict[str, str] = field(default_factory=dict)
    """The element of every service so far."""

    def package_list(self, element: str, path: Path) -> None:
        """A map of packages, each with nothing, a map or several maps."""
        text = self._text(element, path)
        document = None if text is None else self._json_or_yaml(element, path, text)
        if document is None:
            return
        what, packages = document.what, document.value
        if not isinstance(packages, dict):
            self.findings.error(f"{what} is no map of packages", 'write "PACKAGE:" in each line',
                                document.whole)  # fmt: skip
            return
        for package, entries in packages.items():
            many = isinstance(entries, list)
            for number, entry in enumerate(entries if many else [entries] if entries else []):
                at = (str(package), number) if many else (str(package),)
                self._package(document, entry, at)

    def _package(self, document: _Document, entry: Any, at: tuple[str | int, ...]) -> None:
        what = f"{document.what}: package {at[0]}"
        if not isinstance(entry, dict):
            self.findings.error(
                f"{what} has no map",
                'write "PACKAGE:" alone, or keys below it: phase, uninstall, build-only, '
                "installtype, arch, not-arch, dib_python_version, when",
                document.place(*at),
            )
            return
        for key in ("arch", "not-arch"):
            if entry.get(key) and not isinstance(entry[key], str):
                self.findings.error(f"{what}: {key} is a text", "separate several by commas",
                                    document.place(*at, key))  # fmt: skip
        if entry.get("arch") and entry.get("not-arch") and "installtype" not in entry:
            self.findings.error(f"{what} has arch and not-arch", "leave out one of the two",
                                document.place(*at, "arch"))  # fmt: skip
        when = entry.get("when")
        if when is None or not _FILTERS.isdisjoint(entry):
            return
        for one in when if isinstance(when, list) else [when]:
            if not isinstance(one, str) or not _WHEN.match(one):
                self.findings.error(f"{what}: when: {one} is no condition",
                                    "write VARIABLE = VALUE or VARIABLE != VALUE",
                                    document.place(*at, "when"))  # fmt: skip

    def services(self, element: str, path: Path) -> None:
        """A map of services, each with a map of names by distribution."""
        text = self._text(element, path)
        document = None if text is None else self._yaml(element, path, text)
        if document is None:
            return
        if not isinstance(document.value, dict):
            self.findings.error(f"{document.what} is no map of services",
                                'write "SERVICE:", and below it "default: NAME"',
                                document.whole)  # fmt: skip
            return
        for service, names in document.value.items():
            other = self.owners.setdefault(str(service), element)
            if other != element:
                self.findings.error(
                    f"{document.what}: service {service} is in that of element {other} too",
                    "leave it out of one of the two", document.place(str(service)),
                )  # fmt: skip
            if not isinstance(names, dict | list | str):
                self.findings.error(
                    f"{document.what}: service {service} has no map of names",
                    "keys are a distribution (debian), a family (redhat) or default",
                    document.place(str(service)),
                )

    def packages(self, element: str, path: Path) -> None:
        """Maps of packages by family, distribution and release."""
        text = self._text(element, path)
        document = None if text is None else self._json(element, path, text)
        if document is None:
            return
        value = document.value
        if not isinstance(value, dict):
            self.findings.error(f"{document.what} is no map", _PACKAGE_MAP, document.whole)
            return
        for key in ("default", "family", "distro", "release"):
            if key in value and not isinstance(value[key], dict):
                self.findings.error(f'{document.what}: "{key}" is no map', _PACKAGE_MAP,
                                    document.place(key))  # fmt: skip

    def repositories(self, element: str, path: Path) -> None:
        """Lines of name, type, destination, location and ref."""
        text = self._text(element, path)
        for number, line in enumerate((text or "").splitlines(), 1):
            # What a shell still expands is not known.
            words = " ".join(re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split())
            if not words or _EXPANDED.search(words) or LINE.fullmatch(words):
                continue
            start = Position(number, len(line) - len(line.lstrip()) + 1, 0)
            end = Position(number, len(line.rstrip()) + 1, 0)
            self.findings.error(
                f"{_named(element, path)}: the line is no source repository",
                "write NAME TYPE DESTINATION LOCATION [REF]; types are git, tar, file and package, "
                "and a destination is an absolute path",
                SourceRange(str(path), start, end),
            )

    def _text(self, element: str, path: Path) -> str | None:
        """What a file says; None where there is none, or more than anybody writes."""
        if not path.is_file() or path.stat().st_size > MOST_READ_BYTES:
            return None
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as e:
            whole = SourceRange(str(path), _START, _START)
            self.findings.error(f"{_named(element, path)} is not a text in UTF-8", str(e), whole)
            return None
        self.sources[str(path)] = text
        return text

    def _json_or_yaml(self, element: str, path: Path, text: str) -> _Document | None:
        """As upstream reads package lists: YAML takes what is no JSON, whatever the ending."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self._yaml(element, path, text)
        return _Document(element, path, text, value)

    def _json(self, element: str, path: Path, text: str) -> _Document | None:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as e:
            place = Position(e.lineno, e.colno, e.pos)
            self.findings.error(f"{_named(element, path)} is no valid JSON: {e.msg}", "",
                                SourceRange(str(path), place, place))  # fmt: skip
            return None
        except RecursionError:
            self._too_deep(element, path)
            return None
        return _Document(element, path, text, value)

    def _yaml(self, element: str, path: Path, text: str) -> _Document | None:
        # Late: most elements have neither.
        import yaml

        try:
            # By the library in C where there is one: it takes a tenth of the time.
            value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            start = _START if mark is None else _position(mark)
            told = getattr(e, "problem", None) or str(e)
            around = getattr(e, "context", None)
            self.findings.error(f"{_named(element, path)} is no valid YAML: {told}", around or "",
                                SourceRange(str(path), start, start))  # fmt: skip
            return None
        except ValueError as e:  # a date that is none
            self.findings.error(f"{_named(element, path)} is no valid YAML: {e}", "",
                                _at_start(path))  # fmt: skip
            return None
        except RecursionError:
            self._too_deep(element, path)
            return None
        return _Document(element, path, text, value)

    def _too_deep(self, element: str, path: Path) -> None:
        self.findings.error(f"{_named(element, path)} is nested too deeply", "", _at_start(path))


_START: Final = Position(1, 1, 0)
_PACKAGE_MAP: Final = 'keys are "release", "distro", "family" and "default", each with a map'


def _named(element: str, path: Path) -> str:
    return f"{path.name} of element {element}"


def _at_start(path: Path) -> SourceRange:
    return SourceRange(str(path), _START, _START)


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1, mark.index)


def _yaml_places(path: Path, text: str) -> dict[tuple[str | int, ...], SourceRange]:
    """Where the first three levels of a document stand; {} for JSON that is no YAML."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return {}
    found: dict[tuple[str | int, ...], SourceRange] = {}
    queue: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    for at, node in queue:
        children: list[tuple[str | int, Any, Any]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(number, one, one) for number, one in enumerate(node.value)]
        for name, shown, value in children:
            start, end = _position(shown.start_mark), _position(shown.end_mark)
            found[(*at, name)] = SourceRange(str(path), start, end)
            if len(at) < 2:
                queue.append(((*at, name), value))
    return found
