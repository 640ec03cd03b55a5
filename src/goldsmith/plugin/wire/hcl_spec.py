"""What an HCL2 body of a plugin's component may hold: attributes and blocks, as `ConfigSpec` says.

The tree is that of HCL's own decoder specifications; `hcl_spec_gob` and `hcl_spec_protobuf` are its
two forms on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from goldsmith.values.types import ListType, ObjectType, Type


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """One attribute: `name = value`."""

    name: str
    type: Type
    required: bool = False


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """At most one block `name { ... }`."""

    name: str
    nested: ObjectSpec
    required: bool = False


@dataclass(frozen=True, slots=True)
class BlockListSpec:
    """Any number of blocks `name { ... }`; `most` 0 is no limit."""

    name: str
    nested: ObjectSpec
    least: int = 0
    most: int = 0


Spec = AttributeSpec | BlockSpec | BlockListSpec


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """The content of a body by the name under which its value has it."""

    entries: Mapping[str, Spec] = field(default_factory=dict)

    @property
    def type(self) -> ObjectType:
        """The type of the value that such a body has."""
        return ObjectType({name: _type(entry) for name, entry in self.entries.items()})


def _type(entry: Spec) -> Type:
    match entry:
        case AttributeSpec():
            return entry.type
        case BlockSpec():
            return entry.nested.type
        case BlockListSpec():
            return ListType(entry.nested.type)
