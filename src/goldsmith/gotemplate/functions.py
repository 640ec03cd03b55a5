"""What a template may call, with the parameter types that Go would check."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType


class Kind(enum.Enum):
    """A parameter's type, by its Go name."""

    ANY = "interface {}"
    STRING = "string"
    INT = "int"
    FLOAT = "float64"
    BOOL = "bool"


_ANNOTATIONS: dict[object, Kind] = {
    str: Kind.STRING, "str": Kind.STRING,
    int: Kind.INT, "int": Kind.INT,
    float: Kind.FLOAT, "float": Kind.FLOAT,
    bool: Kind.BOOL, "bool": Kind.BOOL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """A callable with the types of its fixed and of its variadic parameters."""

    name: str
    call: Callable[..., object]
    fixed: tuple[Kind, ...]
    variadic: Kind | None = None

    def kind_of(self, index: int) -> Kind:
        """The type of the argument at this index; there must be such a parameter."""
        if index < len(self.fixed):
            return self.fixed[index]
        if self.variadic is None:
            raise IndexError(index)
        return self.variadic


@dataclass(frozen=True, slots=True)
class LogicalFunction:
    """`and` and `or`: the first argument of this truth is the result, those after it wait."""

    name: str
    stops_at: bool


AnyFunction = Function | LogicalFunction


def describe(name: str, call: Callable[..., object]) -> Function:
    """Read the parameter types off a callable's annotations; none means any value."""
    # Templates are many and their functions are closures, made anew for each from the same code.
    if isinstance(call, FunctionType) and not hasattr(call, "__wrapped__"):
        if call.__code__ not in _KNOWN:
            _KNOWN[call.__code__] = _parameters(call)
        return Function(name, call, *_KNOWN[call.__code__])
    return Function(name, call, *_parameters(call))


_Parameters = tuple[tuple[Kind, ...], Kind | None]
_KNOWN: dict[CodeType, _Parameters] = {}


def _parameters(call: Callable[..., object]) -> _Parameters:
    fixed: list[Kind] = []
    variadic: Kind | None = None
    for parameter in inspect.signature(call).parameters.values():
        kind = _ANNOTATIONS.get(parameter.annotation, Kind.ANY)
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = kind
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            fixed.append(kind)
    return tuple(fixed), variadic


def accepts(kind: Kind, value: object) -> bool:
    """Whether Go would assign the value to a parameter of this type."""
    match kind:
        case Kind.ANY:
            return True
        case Kind.STRING:
            return isinstance(value, str)
        case Kind.INT:
            return isinstance(value, int) and not isinstance(value, bool)
        case Kind.FLOAT:
            return isinstance(value, float)
        case Kind.BOOL:
            return isinstance(value, bool)
