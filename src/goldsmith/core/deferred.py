"""Configuration that becomes final only while building: `build.ID`, `{{build}}`, `when`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from goldsmith.errors import SourceRange
from goldsmith.values.value import Value


@dataclass(frozen=True, slots=True)
class RawBody:
    """The evaluated content of a block, before any schema: attributes, nested blocks, places.

    `names` has the place of each attribute's name, `range` that of the block's header. A `loose`
    body comes from a language without blocks and strict types: objects stand for blocks, names are
    taken in any case, `"5"` for 5 and `1` for true, and one item for a list of it.
    """

    attributes: Mapping[str, Value] = field(default_factory=dict)
    names: Mapping[str, SourceRange] = field(default_factory=dict)
    blocks: tuple[RawBlock, ...] = ()
    range: SourceRange | None = None
    loose: bool = False
    common: frozenset[str] = frozenset()
    """Arguments of the block that are not among these, because every component has them."""
    objects_as_blocks: bool = False
    """Whether objects may stand for blocks, with a level of keys for each label of theirs."""


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A nested block as it was written, evaluated."""

    type: str
    labels: tuple[str, ...]
    body: RawBody
    range: SourceRange | None = None


class DeferredConfig(Protocol):
    """A component's configuration, resolved by the language in which it was written."""

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The content with the values of a running build.

        None means that nothing runs yet: what only a running build knows comes out as unknown.
        `announced` are names of such values that the template's language does not know of.
        Raises TemplateError with every finding.
        """
        ...
