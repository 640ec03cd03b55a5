"""Functions on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import NotANumber, Number
from goldsmith.values.types import ANY, NUMBER, STRING, friendly_name
from goldsmith.values.value import Value, ValueKindError, number

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _ceil(value: Number) -> Number:
    return value if value.is_infinite else Number(math.ceil(value.to_fraction()))


def _floor(value: Number) -> Number:
    return value if value.is_infinite else Number(math.floor(value.to_fraction()))


def _natural_log(value: float) -> float:
    if value == 0:
        return -math.inf
    return math.log(value) if value > 0 else math.nan


def _log(_: CallContext, args: Sequence[Value]) -> Value:
    dividend = _natural_log(args[0].number.to_float())
    divisor = _natural_log(args[1].number.to_float())
    if divisor == 0 and dividend != 0:
        return number(math.copysign(math.inf, dividend))
    return number(math.nan if divisor == 0 else dividend / divisor)


def _pow(_: CallContext, args: Sequence[Value]) -> Value:
    base, power = args[0].number.to_float(), args[1].number.to_float()
    odd = power.is_integer() and power % 2 == 1
    try:
        return number(math.pow(base, power))
    except OverflowError:
        return number(-math.inf if base < 0 and odd else math.inf)
    except ValueError:
        if base == 0:
            return number(math.inf)
        raise NotANumber("the result is not a number") from None


def _signum(_: CallContext, args: Sequence[Value]) -> Value:
    whole = whole_number(args, 0)
    return number((whole > 0) - (whole < 0))


def _parse_int(_: CallContext, args: Sequence[Value]) -> Value:
    if args[0].type != STRING:
        name = friendly_name(args[0].type)
        raise FunctionError(f"first argument must be a string, not {name}", 0)
    text, base = args[0].text, whole_number(args, 1)
    if not 2 <= base <= 62:
        raise FunctionError("base must be a whole number between 2 and 62 inclusive", 1)
    digits = text[1:] if text[:1] in ("+", "-") else text
    if base <= 36:
        digits = "".join(one.lower() if one.isascii() else one for one in digits)
    places = [_DIGITS.find(one) for one in digits]
    if not places or any(not 0 <= place < base for place in places):
        raise FunctionError(f'cannot parse "{text}" as a base {base} integer', 0)
    magnitude = 0
    for place in places:
        magnitude = magnitude * base + place
    return number(-magnitude if text.startswith("-") else magnitude)


def _extreme(name: str, pick: Callable[[list[Number]], Number]) -> Function:
    def call(_: CallContext, args: Sequence[Value]) -> Value:
        if not args:
            raise FunctionError("must pass at least one number")
        return number(pick([arg.number for arg in args]))

    return Function(name, (), Param("numbers", NUMBER), call, NUMBER)


def _sum(_: CallContext, args: Sequence[Value]) -> Value:
    if not isinstance(args[0].raw, tuple):
        name = friendly_name(args[0].type)
        raise FunctionError(f"argument must be list, set, or tuple. Received {name}", 0)
    if not args[0].raw:
        raise FunctionError("cannot sum an empty list", 0)
    numbers: list[Number] = []
    for item in args[0].raw:
        try:
            numbers.append(convert(item, NUMBER).number)
        except (ConversionError, ValueKindError):
            reason = "argument must be list, set, or tuple of number values"
            raise FunctionError(reason, 0) from None
    total = numbers[0]
    for each in numbers[1:]:
        total = total + each
    return number(total)


def _on_number(name: str, change: Callable[[Number], Number]) -> Function:
    def call(_: CallContext, args: Sequence[Value]) -> Value:
        return number(change(args[0].number))

    return Function(name, (Param("num", NUMBER),), None, call, NUMBER)


FUNCTIONS = (
    _on_number("abs", abs),
    _on_number("ceil", _ceil),
    _on_number("floor", _floor),
    _extreme("max", max),
    _extreme("min", min),
    Function("log", (Param("num", NUMBER), Param("base", NUMBER)), None, _log, NUMBER),
    Function("pow", (Param("num", NUMBER), Param("power", NUMBER)), None, _pow, NUMBER),
    Function("signum", (Param("num", NUMBER),), None, _signum, NUMBER),
    Function("parseint", (Param("number", ANY), Param("base", NUMBER)), None, _parse_int, NUMBER),
    Function("sum", (Param("list", ANY),), None, _sum, NUMBER),
)
