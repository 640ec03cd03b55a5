"""Values of templates as they come over the wire, told by content and type; for every encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from goldsmith.plugin.wire.errors import WireError
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import NotANumber
from goldsmith.values.types import ListType, MapType, ObjectType, SetType, TupleType, Type
from goldsmith.values.value import Value, null, object_of, tuple_of

_NOT_OF_ITS_TYPE = "a value from the other side is not of its own type"


class ValueReader(ABC):
    """Makes a value of content that an encoding has decoded, by the value's own type."""

    error: ClassVar[type[WireError]]
    """What is raised for content that does not fit."""

    @abstractmethod
    def leaf(self, content: Any, of: Type) -> Value | None:
        """What only this encoding has, or what has no parts; None for lists and mappings."""
        ...

    def read(self, content: Any, of: Type) -> Value:
        """The value; raises `error`."""
        try:
            return convert(self._loose(content, of), of)
        except (ConversionError, NotANumber) as e:
            raise self.error(f"{_NOT_OF_ITS_TYPE}: {e}") from e

    def _loose(self, content: Any, of: Type) -> Value:
        """The value as its content says, to be converted to its type."""
        if content is None:
            return null(of)
        if (leaf := self.leaf(content, of)) is not None:
            return leaf
        match content:
            case list():
                elements = zip(content, self._element_types(of, len(content)), strict=True)
                return tuple_of(self.read(item, one) for item, one in elements)
            case dict() if isinstance(of, MapType):
                return object_of({
                    str(key): self.read(item, of.element) for key, item in content.items()
                })  # fmt: skip
            case dict() if isinstance(of, ObjectType) and of.attributes.keys() == content.keys():
                types = of.attributes
                return object_of({
                    name: self.read(item, types[name]) for name, item in content.items()
                })  # fmt: skip
            case _:
                raise self.error(_NOT_OF_ITS_TYPE)

    def _element_types(self, of: Type, count: int) -> list[Type]:
        if isinstance(of, ListType | SetType):
            return [of.element] * count
        if isinstance(of, TupleType) and len(of.elements) == count:
            return list(of.elements)
        raise self.error(_NOT_OF_ITS_TYPE)
