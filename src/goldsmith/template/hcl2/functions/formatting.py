"""`format` and `formatlist`: Go's printf verbs on template values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from goldsmith.template.hcl2.functions.graphemes import graphemes
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values import json_form
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import Number
from goldsmith.values.types import ANY, BOOL, NUMBER, STRING, ListType, Type
from goldsmith.values.value import Value, list_of, string, unknown

_VERB = re.compile(
    r"%(?P<flags>[0#\-+ ]*)(?P<width>[1-9][0-9]*)?(?:\.(?P<precision>[0-9]*))?"
    r"(?:\[(?P<index>[1-9][0-9]*)\])?(?P<mode>[A-Za-z])",
    re.ASCII,
)
_BASES = {"b": 2, "o": 8, "d": 10, "x": 16, "X": 16}
_PREFIXES = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}
_LARGEST_FIELD = 1_000_000
"""Go gives up on wider fields too; it keeps a typing error from eating the memory."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One `%…` of a format; `width` and `precision` are None when they are not written."""

    raw: str
    flags: str
    width: int | None
    precision: int | None
    mode: str

    def error(self, reason: str) -> FunctionError:
        """A complaint about the value that was given for this verb."""
        return FunctionError(f'unsupported value for "{self.raw}": {reason}')


def format_text(template: str, args: Sequence[Value]) -> str:
    """The template with its verbs replaced. Raises FunctionError."""
    out: list[str] = []
    position, following, used = 0, 1, 0
    while position < len(template):
        mark = template.find("%", position)
        if mark < 0:
            out.append(template[position:])
            break
        out.append(template[position:mark])
        if template.startswith("%%", mark):
            out.append("%")
            position = mark + 2
            continue
        match = _VERB.match(template, mark)
        if match is None:
            raise _bad_verb(template, mark)
        chosen = int(match["index"]) if match["index"] else following
        used, following, position = max(used, chosen), chosen + 1, match.end()
        if chosen > len(args):
            raise FunctionError(
                f'not enough arguments for "{match.group()}": '
                f"need argument {chosen} but have {len(args)}"
            )
        out.append(_formatted(_verb(match), args[chosen - 1]))
    if used < len(args):
        what = f"only {used} used by the format" if used else "there are no verbs in the format"
        raise FunctionError(f"too many arguments; {what}", used + 1)
    return "".join(out)


def _bad_verb(template: str, mark: int) -> FunctionError:
    rest = re.match(r"%[0#\-+ ]*[0-9]*(?:\.[0-9]*)?(?:\[[0-9]*\]?)?", template[mark:])
    found = template[mark + (rest.end() if rest else 1) :][:1]
    if not found:
        return FunctionError(f'the format ends inside a verb: "{template[mark:]}"', 0)
    return FunctionError(f'unrecognized format character "{found}" at offset {mark}', 0)


def _verb(match: re.Match[str]) -> Verb:
    width = int(match["width"]) if match["width"] else None
    precision = None if match["precision"] is None else int(match["precision"] or "0")
    verb = Verb(match.group(), match["flags"], width, precision, match["mode"])
    if (width or 0) > _LARGEST_FIELD or (precision or 0) > _LARGEST_FIELD:
        raise FunctionError(f'"{verb.raw}" asks for too wide a field', 0)
    return verb


def _formatted(verb: Verb, value: Value) -> str:
    mode = verb.mode
    if mode not in "vtbdoxXeEfgGsq":
        raise FunctionError(f'unsupported format verb "{mode}" in "{verb.raw}"', 0)
    if mode == "v":
        return _as_is(verb, value)
    if value.is_null:
        raise verb.error("null cannot be formatted")
    if mode == "t":
        return "true" if _converted(verb, value, BOOL).truth else "false"
    if mode in "sq":
        text = _converted(verb, value, STRING).text
        if verb.precision:
            text = "".join(graphemes(text)[: verb.precision])
        return _padded(verb, text if mode == "s" else json_form.quote(text))
    number = _converted(verb, value, NUMBER).number
    if mode in _BASES:
        return _integer(verb, number)
    return _float(verb, number)


def _converted(verb: Verb, value: Value, wanted: Type) -> Value:
    try:
        return convert(value, wanted)
    except ConversionError as error:
        raise verb.error(error.message) from None


def _as_is(verb: Verb, value: Value) -> str:
    if "#" not in verb.flags and isinstance(value.raw, str):
        return _padded(verb, value.raw)
    if "#" not in verb.flags and isinstance(value.raw, Number):
        return _padded(verb, _general(value.raw, None))
    try:
        return _padded(verb, json_form.encode(value))
    except json_form.JsonError as error:
        raise verb.error(error.message) from None


def _padded(verb: Verb, text: str) -> str:
    """To the width, counted in visible characters; `0` pads text with zeros, as in cty."""
    missing = (verb.width or 0) - len(graphemes(text))
    if missing <= 0:
        return text
    padding = ("0" if "0" in verb.flags else " ") * missing
    return text + padding if "-" in verb.flags else padding + text


def _sign(verb: Verb, negative: bool) -> str:
    if negative:
        return "-"
    return "+" if "+" in verb.flags else " " if " " in verb.flags else ""


def _integer(verb: Verb, number: Number) -> str:
    if not number.is_integer:
        raise verb.error("an integer is required")
    whole = number.to_int()
    digits = _in_base(abs(whole), _BASES[verb.mode])
    if verb.mode == "X":
        digits = digits.upper()
    if verb.precision == 0 and not whole:
        return ""
    digits = digits.rjust(verb.precision or 0, "0")
    sign = _sign(verb, whole < 0)
    prefix = _PREFIXES.get(verb.mode, "") if "#" in verb.flags else ""
    missing = (verb.width or 0) - len(sign + prefix + digits)
    if missing > 0 and "-" in verb.flags:
        return sign + prefix + digits + " " * missing
    if missing > 0 and "0" in verb.flags and verb.precision is None:
        return sign + prefix + "0" * missing + digits
    return " " * missing + sign + prefix + digits


def _in_base(whole: int, base: int) -> str:
    if base == 10:
        return Number.of(whole).to_text()
    return format(whole, {2: "b", 8: "o", 16: "x"}[base])


def _float(verb: Verb, number: Number) -> str:
    if number.is_infinite:
        body = "Inf"
        sign = "-" if number.sign < 0 else " " if " " in verb.flags else "+"
    else:
        sign = _sign(verb, number.sign < 0)
        magnitude = abs(number)
        match verb.mode:
            case "f":
                body = _fixed(magnitude.to_fraction(), _or_six(verb.precision))
            case "e" | "E":
                digits, point = _significant(magnitude.to_fraction(), _or_six(verb.precision) + 1)
                body = _scientific(digits, point)
            case _:
                body = _general(magnitude, verb.precision)
        body = body.upper() if verb.mode in "EG" else body
    missing = (verb.width or 0) - len(sign) - len(body)
    if missing > 0 and "-" in verb.flags:
        return sign + body + " " * missing
    if missing > 0 and "0" in verb.flags and not number.is_infinite:
        return sign + "0" * missing + body
    return " " * missing + sign + body


def _or_six(precision: int | None) -> int:
    return 6 if precision is None else precision


def _fixed(value: Fraction, places: int) -> str:
    """Rounded to nearest even at an exact number of places."""
    scaled = Number.of(round(value * 10**places)).to_text()
    if not places:
        return scaled
    scaled = scaled.rjust(places + 1, "0")
    return f"{scaled[:-places]}.{scaled[-places:]}"


def _significant(value: Fraction, count: int) -> tuple[str, int]:
    """Exactly `count` decimal digits d such that the value is about 0.d * 10**point."""
    if not value:
        return "0" * count, 1
    point = len(_fixed(value, 0)) if value >= 1 else 1
    while value < Fraction(1, 10) * Fraction(10) ** point:
        point -= 1
    while value >= Fraction(10) ** point:
        point += 1
    digits = str(round(value * Fraction(10) ** (count - point)))
    return (digits[:count], point + 1) if len(digits) > count else (digits, point)


def _scientific(digits: str, point: int) -> str:
    exponent = point - 1
    fraction = "." + digits[1:] if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _general(number: Number, precision: int | None) -> str:
    """Go's `%g`: shortest digits when no precision is given; `e` outside 1e-4 to the precision."""
    if number.is_infinite:
        return number.to_text()
    sign = "-" if number.sign < 0 else ""
    magnitude = abs(number)
    if precision is None:
        digits, point = _shortest(magnitude)
        limit = 6
    else:
        digits, point = _significant(magnitude.to_fraction(), max(precision, 1))
        digits = digits.rstrip("0") or "0"
        limit = max(precision, 1)
        if limit > len(digits) >= point:
            limit = len(digits)
    exponent = point - 1
    if exponent < -4 or exponent >= limit:
        return sign + _scientific(digits, point)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    whole, fraction = digits[:point].ljust(point, "0"), digits[point:]
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def _shortest(magnitude: Number) -> tuple[str, int]:
    """The digits of the shortest decimal text, without zeros around them, and the point."""
    whole, _, fraction = magnitude.to_text().partition(".")
    if whole == "0":
        stripped = fraction.lstrip("0")
        return stripped or "0", 1 if not stripped else len(stripped) - len(fraction)
    return (whole + fraction).rstrip("0"), len(whole)


def _format(_: CallContext, args: Sequence[Value]) -> Value:
    return string(format_text(args[0].text, args[1:]))


def _format_list(_: CallContext, args: Sequence[Value]) -> Value:
    template, values = args[0].text, args[1:]
    lengths = {
        index: len(value.raw)
        for index, value in enumerate(values, start=1)
        if isinstance(value.raw, tuple)
    }
    if len(set(lengths.values())) > 1:
        first, *others = lengths
        other = next(index for index in others if lengths[index] != lengths[first])
        raise FunctionError(
            f"it has length {lengths[other]}, which is inconsistent with length "
            f"{lengths[first]} of argument {first + 1}",
            other,
        )
    rows = next(iter(lengths.values()), 1)
    texts: list[Value] = []
    for row in range(rows):
        chosen = [value.raw[row] if isinstance(value.raw, tuple) else value for value in values]
        known = all(value.is_wholly_known for value in chosen)
        texts.append(string(format_text(template, chosen)) if known else unknown(STRING))
    return list_of(STRING, texts)


FUNCTIONS = (
    Function(
        "format", (Param("format", STRING),), Param("args", ANY, allow_null=True), _format, STRING
    ),
    Function(
        "formatlist",
        (Param("format", STRING),),
        Param("args", ANY, allow_null=True, allow_unknown_inside=True),
        _format_list,
        ListType(STRING),
    ),
)
