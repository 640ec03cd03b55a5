"""Floating-point numbers as Go's strconv writes them."""

from __future__ import annotations

import math
from decimal import Decimal

_MANTISSA_BITS = 52
SHORTEST = -1
"""The precision that means: as many digits as identify the value."""


def format_float(value: float, verb: str, precision: int) -> str:
    """The number for one of the verbs b e E f g G x X; precision SHORTEST only for b g G x X."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if verb == "b":
        return _binary(value)
    if verb in "xX":
        text = _hexadecimal(value, precision)
    elif verb in "gG" and precision == SHORTEST:
        text = _shortest(value)
    else:
        text = f"{value:.{precision}{verb.lower()}}"
    return text.upper() if verb.isupper() else text


def _sign(value: float) -> str:
    return "-" if math.copysign(1.0, value) < 0 else ""


def _shortest(value: float) -> str:
    """`%g`: the shortest digits that identify the value, with an exponent from 1e+06 or 1e-05."""
    digits_of = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, digits_of.digits)).rstrip("0")
    if not digits:
        return _sign(value) + "0"
    point = len(digits_of.digits) + int(digits_of.exponent)
    exponent = point - 1
    if exponent < -4 or exponent >= 6:
        fraction = f".{digits[1:]}" if digits[1:] else ""
        return f"{_sign(value)}{digits[0]}{fraction}e{exponent:+03d}"
    if point <= 0:
        return f"{_sign(value)}0.{'0' * -point}{digits}"
    whole, fraction = digits[:point].ljust(point, "0"), digits[point:]
    return _sign(value) + whole + (f".{fraction}" if fraction else "")


def _binary(value: float) -> str:
    """`%b`: the integer mantissa and the power of two, `4503599627370496p-52`."""
    if value == 0:
        return f"{_sign(value)}0p-1074"
    fraction, exponent = math.frexp(abs(value))
    # Subnormal numbers keep the smallest exponent and have a shorter mantissa.
    power = max(exponent - 1 - _MANTISSA_BITS, -1074)
    return f"{_sign(value)}{int(math.ldexp(fraction, exponent - power))}p{power:+d}"


def _hexadecimal(value: float, precision: int) -> str:
    """`%x`: a normalised hexadecimal mantissa, rounded half to even, and the power of two."""
    if value == 0:
        zeros = f".{'0' * precision}" if precision > 0 else ""
        return f"{_sign(value)}0x0{zeros}p+00"
    fraction, exponent = math.frexp(abs(value))
    mantissa, exponent = int(math.ldexp(fraction, _MANTISSA_BITS + 1)), exponent - 1
    digits = 13 if precision == SHORTEST else precision
    if digits < 13:
        dropped = 4 * (13 - digits)
        rest, half = mantissa & ((1 << dropped) - 1), 1 << (dropped - 1)
        mantissa >>= dropped
        if rest > half or (rest == half and mantissa & 1):
            mantissa += 1
        if mantissa >> (4 * digits + 1):
            mantissa, exponent = mantissa >> 1, exponent + 1
    text = f"{mantissa:x}"
    tail = text[1:].rstrip("0") if precision == SHORTEST else text[1:].ljust(digits, "0")
    point = f".{tail}" if tail else ""
    return f"{_sign(value)}0x{text[0]}{point}p{exponent:+03d}"
