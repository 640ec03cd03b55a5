"""The values that a template computes with, and what Go says about them.

Python's str, bool, int, float, complex, list and Mapping stand for Go's string, bool, int,
float64, complex128, slice and struct or map; None is a nil interface.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final

from goldsmith.gotemplate.quoting import to_bytes


class LenientMap(Mapping[str, object]):
    """A Go map: what it lacks is no value, while a plain mapping is a struct with fixed fields."""

    def __init__(self, items: Mapping[str, object]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> object:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def sorted_items(self) -> list[tuple[str, object]]:
        """The items in the order in which Go ranges over and prints a map: by bytes of the key."""
        return sorted(self._items.items(), key=lambda item: to_bytes(item[0]))


class Absence(enum.Enum):
    """Kinds of nothing that are not a nil of the data."""

    NO_VALUE = "no value"
    """What a lookup of a missing key gives; prints as `<no value>`."""
    NO_ARGUMENT = "no argument"
    """The command is the first of its pipeline: nothing is piped into it."""


NO_VALUE: Final = Absence.NO_VALUE
NO_ARGUMENT: Final = Absence.NO_ARGUMENT


def is_nothing(value: object) -> bool:
    """Whether the value is nil or missing."""
    return value is None or value is NO_VALUE


def is_true(value: object) -> bool:
    """Go's truth: not the zero value, not empty; a struct is always true."""
    if is_nothing(value):
        return False
    if isinstance(value, Mapping) and not isinstance(value, LenientMap):
        return True
    return bool(value)


def type_name(value: object) -> str:
    """The name of the Go type that the value stands for.

    Raises TypeError for a Python object that no template can hold, a defect of the caller.
    """
    if is_nothing(value):
        return "interface {}"
    for kind, name in (
        (str, "string"),
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (complex, "complex128"),
        ((list, tuple), "[]interface {}"),
        (LenientMap, "map[string]interface {}"),
        (Mapping, "struct"),
    ):
        if isinstance(value, kind):
            return name
    raise TypeError(f"a template cannot hold a Python {type(value).__name__}")
