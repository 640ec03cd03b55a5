"""What a template function is, and what it is given and may answer.

Arity, conversion of arguments, nulls, unknown values and marks are the business of the dispatcher
(`call_function` in `dispatch`), so that a function only says what it takes and computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from goldsmith.errors import GoldsmithError, SourceRange
from goldsmith.values.types import ANY, Type
from goldsmith.values.value import Value
from goldsmith.values.world import World


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; its defaults describe a function that looks at plain, complete values.

    `allow_null`: null is passed on. `allow_unknown`: unknown values are passed on, at any depth;
    `allow_unknown_inside`: only inside a known list, tuple, map or object. Otherwise the call's
    result is unknown. `allow_marked`: elements keep their marks and the function moves them along;
    otherwise every mark of the argument goes to the result.
    """

    name: str
    type: Type = ANY
    allow_null: bool = False
    allow_unknown: bool = False
    allow_unknown_inside: bool = False
    allow_marked: bool = False


@dataclass(frozen=True, slots=True)
class CallContext:
    """Where a call stands and what it may see of the world; relative paths start at
    `base_directory`, the template's directory."""

    world: World
    base_directory: str
    range: SourceRange


FunctionBody = Callable[[CallContext, Sequence[Value]], Value]


@dataclass(frozen=True, slots=True)
class Function:
    """A function by name: its parameters, those that may repeat at the end, and its body.

    `returns` is the type of an unknown result. The body gets arguments of the parameters' types
    and raises FunctionError.
    """

    name: str
    params: tuple[Param, ...]
    variadic: Param | None
    call: FunctionBody
    returns: Type = ANY


class FunctionError(GoldsmithError):
    """A call failed; `argument_index` is the argument at fault, if one is.

    `summary` is the headline of the diagnostic, the message its detail.
    """

    def __init__(
        self,
        message: str,
        argument_index: int | None = None,
        *,
        summary: str = "Error in function call",
    ) -> None:
        super().__init__(message)
        self.argument_index = argument_index
        self.summary = summary


def whole_number(args: Sequence[Value], index: int) -> int:
    """The argument as an int. Raises FunctionError for fractions and beyond 64 bits."""
    number = args[index].number
    if not number.is_integer:
        raise FunctionError("a whole number is required", index)
    whole = number.to_int()
    if not -(1 << 63) <= whole < 1 << 63:
        raise FunctionError("the number is too large", index)
    return whole
