"""Components whose options only they themselves understand: those that run in plugins.

Their content reaches them as the template wrote it, evaluated, with what Packer tells besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goldsmith.core.build import Component, GoNames
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import Options, ReadOptions
from goldsmith.errors import SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is around a component of one build, besides its own options."""

    build: str
    """The build's name, as people see it."""
    source_name: str
    source_type: str
    kind: str
    type: str
    range: SourceRange
    """Where the template has it: what tells it from others of its kind in this build."""
    announced: tuple[str, ...] = ()
    """The names of `build.*` that the builder fills besides the fixed ones."""
    template_path: str = ""
    go_names: GoNames | None = None
    """None in a language with expressions of its own."""


class ForeignOptions(Options):
    """A body that is handed on as it is."""

    content: Any
    """A RawBody: pydantic is to keep its hands off it."""
    around: Any
    """The Surroundings."""

    @property
    def body(self) -> RawBody:
        """What the template wrote."""
        assert isinstance(self.content, RawBody)
        return self.content

    @property
    def surroundings(self) -> Surroundings:
        """What is around it."""
        assert isinstance(self.around, Surroundings)
        return self.around


def foreign_options(
    body: RawBody, component: Component, around: Mapping[str, Any]
) -> ReadOptions[Options]:
    """The options of a component in a plugin; to be examined only while values are unknown."""
    surroundings = Surroundings(
        kind=component.kind, type=component.type, range=component.range, **around
    )
    options = ForeignOptions(content=body, around=surroundings)
    return ReadOptions(options if _is_known(body) else None, [], options)


def _is_known(body: RawBody) -> bool:
    values = body.attributes.values()
    return all(value.is_wholly_known for value in values) and all(
        _is_known(block.body) for block in body.blocks
    )
