"""The `null` data source: gives back what it is given, for trying templates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from goldsmith.core.options import Finding, Options
from goldsmith.values.types import STRING, Type
from goldsmith.values.value import Value, string
from goldsmith.values.world import World


class NullDataOptions(Options):
    """Options of `data "null"`."""

    input: str = Field(description="What `output` will be.", min_length=1)


class NullDataSource:
    """Its output is its input."""

    type_name: ClassVar[str] = "null"
    options_model: ClassVar[type[Options]] = NullDataOptions
    outputs: ClassVar[Mapping[str, Type]] = {"output": STRING}

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, NullDataOptions)
        self.options = options
        self.name = name

    def check(self) -> Sequence[Finding]:
        """Any text will do."""
        return ()

    def read(self, world: World) -> Mapping[str, Value]:
        """The input."""
        return {"output": string(self.options.input)}
