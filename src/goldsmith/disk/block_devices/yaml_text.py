"""YAML with the place of every value: findings about a configuration show its lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from goldsmith.errors import Diagnostics, Position, SourceRange

_DEEPEST: Final = 20
_MOST_NODES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Item:
    """A value and where it stands: a dict of items, a list of them, or a plain value."""

    value: Any
    place: SourceRange
    written: str = ""
    """A plain value as it stands in the text, without quotes."""

    @property
    def entries(self) -> dict[str, Item]:
        """The items of a map, {} for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def kind(self) -> str:
        """What it is, in words."""
        words = {dict: "a map", list: "a list", str: "a text", bool: "a boolean", int: "a number",
                 float: "a number"}  # fmt: skip
        return words.get(type(self.value), "nothing")


def read_yaml(text: str, filename: str, findings: Diagnostics) -> Item | None:
    """Read one document; None, with a finding, where it is none. Keys are texts.

    A map with a key twice, and a document of more than 20,000 values or 20 levels (aliases counted
    where they are used), are findings too.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as e:
        findings.error("it is no valid YAML", _told(e), _place_of(e, filename))
        return None
    except RecursionError:
        findings.error("it is nested too deeply", "", None)
        return None
    if root is None:
        return Item(None, SourceRange(filename, _START, _START))
    try:
        return _Reader(filename, findings).item(root, 0)
    except _TooLarge as e:
        findings.error("it is too large", str(e), _range(root, filename))
        return None
    except yaml.YAMLError as e:
        findings.error("it is no valid YAML", _told(e), _place_of(e, filename))
        return None


_START = Position(1, 1, 0)


class _TooLarge(Exception):
    """A document that would not end: an alias in itself, or aliases of aliases."""


@dataclass(slots=True)
class _Reader:
    filename: str
    findings: Diagnostics
    seen: int = 0
    constructor: yaml.constructor.SafeConstructor = field(
        default_factory=yaml.constructor.SafeConstructor
    )

    def item(self, node: yaml.Node, depth: int) -> Item:
        self.seen += 1
        if depth > _DEEPEST or self.seen > _MOST_NODES:
            raise _TooLarge(f"more than {_MOST_NODES:,} values, or {_DEEPEST} levels")
        place = _range(node, self.filename)
        if isinstance(node, yaml.MappingNode):
            return Item(dict(self._pairs(node, depth)), place)
        if isinstance(node, yaml.SequenceNode):
            return Item([self.item(one, depth + 1) for one in node.value], place)
        try:
            value = self.constructor.construct_object(node)
        except (ValueError, OverflowError):
            value = node.value
        if not isinstance(value, str | int | float | None):
            value = node.value  # a date, or bytes: nothing here is one
        return Item(value, place, node.value)

    def _pairs(self, node: yaml.MappingNode, depth: int) -> Iterator[tuple[str, Item]]:
        names: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not name:
                self.findings.error("a key is a plain word", "", _range(key, self.filename))
            elif name in names:
                self.findings.error(
                    f'"{name}" stands twice in one map', "", _range(key, self.filename)
                )
            else:
                names.add(name)
                yield name, self.item(value, depth + 1)


def _range(node: yaml.Node, filename: str) -> SourceRange:
    return SourceRange(filename, _position(node.start_mark), _position(node.end_mark))


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1, mark.index)


def _place_of(error: yaml.YAMLError, filename: str) -> SourceRange | None:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return None
    return SourceRange(filename, _position(mark), _position(mark))


def _told(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)
