"""Operators on values: arithmetic, comparison, logic, and the types of conditionals."""

from __future__ import annotations

from collections.abc import Callable

from goldsmith.errors import SourceRange
from goldsmith.template.hcl2.scope import failure
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import NotANumber, Number
from goldsmith.values.types import BOOL, NUMBER, PrimitiveType, friendly_name
from goldsmith.values.unify import equal, unify
from goldsmith.values.value import FALSE, TRUE, Value, boolean, number, unknown

_ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": lambda left, right: left % right,
}
_ORDER: dict[str, Callable[[Number, Number], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def unary(operator: str, operand: Value, where: SourceRange) -> Value:
    """`-operand` or `!operand`. Raises TemplateError."""
    wanted = NUMBER if operator == "-" else BOOL
    value = _operand(operand, wanted, "unary")
    if not value.is_known:
        return unknown(wanted).with_marks(value.marks)
    try:
        answer = number(-value.number) if operator == "-" else boolean(not value.truth)
    except NotANumber as error:
        raise failure("Operation failed", f"{error.message}.", where) from error
    return answer.with_marks(value.marks)


def binary(operator: str, left: Value, right: Value, where: SourceRange) -> Value:
    """`left operator right` for all operators but `&&` and `||`. Raises TemplateError."""
    if operator in ("==", "!="):
        same = equal(left, right)
        if operator == "==" or not same.is_known:
            return same
        return boolean(not same.truth).with_marks(same.marks)
    a, b = _operand(left, NUMBER, "left"), _operand(right, NUMBER, "right")
    marks = a.marks | b.marks
    if not (a.is_known and b.is_known):
        return unknown(NUMBER if operator in _ARITHMETIC else BOOL).with_marks(marks)
    if operator in _ORDER:
        return boolean(_ORDER[operator](a.number, b.number)).with_marks(marks)
    try:
        return number(_ARITHMETIC[operator](a.number, b.number)).with_marks(marks)
    except NotANumber as error:
        raise failure("Operation failed", f"{error.message}.", where) from error


def logical(operator: str, left: Value, right: Callable[[], Value]) -> Value:
    """`left && right` or `left || right`; the right side is evaluated only where it matters.

    A null on the left of `&&` counts as false, as in Packer 1.16. Raises TemplateError.
    """
    decisive = TRUE if operator == "||" else FALSE
    if operator == "&&" and left.is_null:
        return FALSE.with_marks(left.marks)
    a = _operand(left, BOOL, "left")
    if a.is_known and a.truth is decisive.truth:
        return decisive.with_marks(a.marks)
    b = _operand(right(), BOOL, "right")
    marks = a.marks | b.marks
    if not b.is_known or (not a.is_known and b.truth is not decisive.truth):
        return unknown(BOOL).with_marks(marks)
    return boolean(b.truth).with_marks(marks)


def _operand(value: Value, wanted: PrimitiveType, side: str) -> Value:
    problem = "must not be null"
    try:
        converted = convert(value, wanted)
        if not converted.is_null:
            return converted
    except ConversionError as error:
        problem = error.message
    detail = f"Unsuitable value for {side} operand: {problem}."
    raise failure("Invalid operand", detail, value.range)


def condition(value: Value, summary: str, subject: str) -> Value:
    """A value that decides something, as a bool, perhaps unknown. Raises TemplateError."""
    if value.is_null:
        detail = f"The {subject} is null. Conditions must either be true or false."
        raise failure("Null condition", detail, value.range)
    try:
        return convert(value, BOOL)
    except ConversionError as error:
        detail = f"The {subject} must be of type bool: {error.message}."
        raise failure(summary, detail, value.range) from error


def to_common_type(chosen: Value, other: Value, where: SourceRange) -> Value:
    """The chosen branch of a conditional in the type that both branches share.

    Raises TemplateError when there is no such type.
    """
    common = unify([chosen.type, other.type])
    if common is not None:
        try:
            return convert(chosen, common)
        except ConversionError:
            pass  # the same finding: no common type
    detail = (
        "The true and false result expressions must have consistent types. The given expressions "
        f"are {friendly_name(chosen.type)} and {friendly_name(other.type)}, respectively."
    )
    raise failure("Inconsistent conditional result types", detail, where)
