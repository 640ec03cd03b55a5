"""Calling a function: arity, conversion, nulls, unknown values and marks, in that order."""

from __future__ import annotations

from collections.abc import Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.bounds import TooLarge, check_size
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import NO_MARKS, Mark
from goldsmith.values.numbers import NotANumber
from goldsmith.values.value import Value, ValueKindError, all_marks, unknown, unmarked


def call_function(function: Function, args: Sequence[Value], ctx: CallContext) -> Value:
    """The function's answer, with the marks of its arguments.

    Raises FunctionError whose message names the function and, where one is at fault, the argument.
    """
    params = _params_for(function, len(args))
    given: list[Value] = []
    marks: frozenset[Mark] = NO_MARKS
    complete = True
    for index, (param, arg) in enumerate(zip(params, args, strict=True)):
        value = _fit(function, param, arg, index)
        marks |= value.marks if param.allow_marked else all_marks(value)
        given.append(value.without_marks() if param.allow_marked else unmarked(value))
        complete = complete and _is_known_enough(param, value)
    if not complete:
        return unknown(function.returns).with_marks(marks).at(ctx.range)
    try:
        answer = function.call(ctx, given)
        check_size(answer)
    except FunctionError as error:
        name = _param_name(params, error.argument_index)
        if name is None:
            text = f'Call to function "{function.name}" failed: {error.message}.'
            raise FunctionError(text, None, summary=error.summary) from error
        raise _invalid_argument(function, name, error.argument_index, error.message) from error
    except (NotANumber, ValueKindError, ConversionError, TooLarge) as error:
        text = f'Call to function "{function.name}" failed: {error.message}.'
        raise FunctionError(text) from error
    return answer.with_marks(marks).at(ctx.range)


def _params_for(function: Function, count: int) -> list[Param]:
    """One parameter for each argument. Raises FunctionError when the number does not fit."""
    params = function.params
    at_least = "at least " if function.variadic else ""
    plural = "" if len(params) == 1 else "s"
    if count < len(params):
        raise FunctionError(
            f'Function "{function.name}" expects {at_least}{len(params)} argument{plural}. '
            f'Missing value for "{params[count].name}".',
            summary="Not enough function arguments",
        )
    if function.variadic:
        return [*params, *[function.variadic] * (count - len(params))]
    if count > len(params):
        raise FunctionError(
            f'Function "{function.name}" expects only {len(params)} argument{plural}.',
            len(params),
            summary="Too many function arguments",
        )
    return list(params)


def _fit(function: Function, param: Param, arg: Value, index: int) -> Value:
    try:
        value = convert(arg, param.type)
    except ConversionError as error:
        raise _invalid_argument(function, param.name, index, error.message) from None
    if value.is_null and not param.allow_null:
        raise _invalid_argument(function, param.name, index, "argument must not be null")
    return value


def _is_known_enough(param: Param, value: Value) -> bool:
    if param.allow_unknown:
        return True
    return value.is_known if param.allow_unknown_inside else value.is_wholly_known


def _param_name(params: Sequence[Param], index: int | None) -> str | None:
    return params[index].name if index is not None and index < len(params) else None


def _invalid_argument(
    function: Function, name: str, index: int | None, reason: str
) -> FunctionError:
    return FunctionError(
        f'Invalid value for "{name}" parameter of function "{function.name}": {reason}.',
        index,
        summary="Invalid function argument",
    )
