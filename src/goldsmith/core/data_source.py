"""A data source: reads values from outside before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from goldsmith.core.options import Finding, Options
from goldsmith.values.types import Type
from goldsmith.values.value import Value
from goldsmith.values.world import World


class DataSource(Protocol):
    """One `data` block of a template."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]
    outputs: ClassVar[Mapping[str, Type]]
    """The attributes of `data.TYPE.NAME`; they are unknown until it is read."""

    def __init__(self, options: Options, name: str) -> None: ...

    def check(self) -> Sequence[Finding]:
        """Findings about the meaning of the options."""
        ...

    def read(self, world: World) -> Mapping[str, Value]:
        """The outputs; whatever is asked of the outside goes through `world`.

        Raises GoldsmithError.
        """
        ...
