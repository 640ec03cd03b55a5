"""The types that values of a template can have, as cty (the value library under HCL2) has them.

A type is an immutable object that compares by content, so it serves as a dictionary key and in
messages. Lists, sets and maps hold elements of one type; tuples and objects name the type of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goldsmith.values.value import Value


class Type:
    """The root of all types."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PrimitiveType(Type):
    """`string`, `number` or `bool`; use the constants below."""

    name: str


@dataclass(frozen=True, slots=True)
class AnyType(Type):
    """`any`: as the type of a value, a type that is not known yet; as a wish, whatever comes."""


STRING = PrimitiveType("string")
NUMBER = PrimitiveType("number")
BOOL = PrimitiveType("bool")
ANY = AnyType()


@dataclass(frozen=True, slots=True)
class ListType(Type):
    """`list(element)`: ordered elements of one type."""

    element: Type


@dataclass(frozen=True, slots=True)
class SetType(Type):
    """`set(element)`: different elements of one type, without an order of their own."""

    element: Type


@dataclass(frozen=True, slots=True)
class MapType(Type):
    """`map(element)`: elements of one type by text keys."""

    element: Type


@dataclass(frozen=True, slots=True)
class ObjectType(Type):
    """`object({...})`: attributes by name, each with a type; kept sorted by name.

    `optional` and `defaults` matter only to conversion: no value's own type has them.
    """

    attributes: Mapping[str, Type]
    optional: frozenset[str] = frozenset()
    defaults: Mapping[str, Value] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_name = dict(sorted(self.attributes.items()))
        object.__setattr__(self, "attributes", MappingProxyType(by_name))

    def __hash__(self) -> int:
        return hash((tuple(self.attributes.items()), self.optional))


@dataclass(frozen=True, slots=True)
class TupleType(Type):
    """`tuple([...])`: a fixed number of elements, each with a type."""

    elements: tuple[Type, ...]


def friendly_name(wanted: Type) -> str:
    """The type as messages name it: "list of string", "object", "tuple"."""
    match wanted:
        case PrimitiveType(name):
            return name
        case ListType(element):
            return f"list of {_element_name(element)}"
        case SetType(element):
            return f"set of {_element_name(element)}"
        case MapType(element):
            return f"map of {_element_name(element)}"
        case ObjectType():
            return "object"
        case TupleType():
            return "tuple"
        case _:
            return "dynamic"


def _element_name(element: Type) -> str:
    return "any single type" if element == ANY else friendly_name(element)


def type_text(wanted: Type) -> str:
    """The type as a template spells it: `list(object({a = string}))`."""
    match wanted:
        case PrimitiveType(name):
            return name
        case ListType(element):
            return f"list({type_text(element)})"
        case SetType(element):
            return f"set({type_text(element)})"
        case MapType(element):
            return f"map({type_text(element)})"
        case ObjectType(attributes, optional):
            parts = [
                f"{name} = {f'optional({type_text(of)})' if name in optional else type_text(of)}"
                for name, of in attributes.items()
            ]
            return "object({" + ", ".join(parts) + "})"
        case TupleType(elements):
            return "tuple([" + ", ".join(type_text(of) for of in elements) + "])"
        case _:
            return "any"


def contains_any(wanted: Type) -> bool:
    """Whether `any` stands somewhere in the type, so that a value has to settle it."""
    match wanted:
        case AnyType():
            return True
        case ListType(element) | SetType(element) | MapType(element):
            return contains_any(element)
        case ObjectType(attributes):
            return any(contains_any(of) for of in attributes.values())
        case TupleType(elements):
            return any(contains_any(of) for of in elements)
        case _:
            return False


def without_optional(wanted: Type) -> Type:
    """The same type with every attribute required and no defaults, as values have it."""
    match wanted:
        case ListType(element):
            return ListType(without_optional(element))
        case SetType(element):
            return SetType(without_optional(element))
        case MapType(element):
            return MapType(without_optional(element))
        case ObjectType(attributes):
            return ObjectType({name: without_optional(of) for name, of in attributes.items()})
        case TupleType(elements):
            return TupleType(tuple(without_optional(of) for of in elements))
        case _:
            return wanted
