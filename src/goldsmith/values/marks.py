"""Marks: what a value remembers about its origin, carried through every operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ImpureKind = Literal["clock", "chance", "environment", "file", "data-source"]


@dataclass(frozen=True, slots=True)
class Sensitive:
    """The value is, or was made from, a secret."""


@dataclass(frozen=True, slots=True)
class Impure:
    """The value depends on something outside the template, so another run may see another one."""

    kind: ImpureKind
    what: str
    """Readable: `timestamp()`, `file("motd")`."""


Mark = Sensitive | Impure
NO_MARKS: frozenset[Mark] = frozenset()
SENSITIVE = Sensitive()
