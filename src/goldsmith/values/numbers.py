"""Numbers of templates: binary floating point with a mantissa of up to 512 bits.

HCL2's numbers are Go's `big.Float`: literals and numeric text have 512 bits, counts 64, results of
float functions 53, and arithmetic rounds to nearest even at the larger precision of its operands.
Neither Python's float nor its Decimal rounds like that, and the digits show in the user's strings.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import total_ordering
from typing import Self

from goldsmith.errors import GoldsmithError

PRECISION = 512
INTEGER_PRECISION = 64
FLOAT_PRECISION = 53

_NUMBER = re.compile(r"([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?", re.ASCII)
_INFINITY = re.compile(r"([+-]?)(?:Inf|inf)")
_LARGEST_EXPONENT = 2**31 - 1
"""Beyond this binary exponent `big.Float` is infinite or zero."""
_LARGEST_WRITTEN_EXPONENT = 1 << 18
"""Beyond this binary exponent there are more digits than anybody could want: over 78,000."""
_LARGEST_EXACT_POWER = 5000
"""Powers of ten up to here are computed exactly; larger ones as rounded squares."""


class NotANumber(GoldsmithError):
    """A text is not a number, or an operation has no numeric result (`0/0`, `Inf - Inf`)."""


def _round_to_even(mantissa: int, precision: int) -> tuple[int, int]:
    """Cut a positive mantissa to `precision` bits: (mantissa, shift)."""
    excess = mantissa.bit_length() - precision
    if excess <= 0:
        return mantissa, 0
    kept, rest = mantissa >> excess, mantissa & ((1 << excess) - 1)
    half = 1 << (excess - 1)
    if rest > half or (rest == half and kept & 1):
        kept += 1
    return kept, excess


@total_ordering
class Number:
    """An immutable number; equality, order and hash go by value, not by precision."""

    __slots__ = ("_exponent", "_infinite", "_mantissa", "precision")

    precision: int
    _mantissa: int
    _exponent: int
    _infinite: int

    def __init__(self, mantissa: int = 0, exponent: int = 0, *, precision: int = PRECISION) -> None:
        """`mantissa * 2**exponent`, rounded to `precision` bits."""
        magnitude, shift = _round_to_even(abs(mantissa), precision)
        exponent += shift
        if magnitude:
            zeros = (magnitude & -magnitude).bit_length() - 1
            magnitude >>= zeros
            exponent += zeros
        size = magnitude.bit_length() + exponent
        infinite = 0
        if magnitude == 0 or size < -_LARGEST_EXPONENT:
            magnitude = exponent = 0
        elif size > _LARGEST_EXPONENT:
            infinite = -1 if mantissa < 0 else 1
            magnitude = exponent = 0
        self._mantissa = -magnitude if mantissa < 0 else magnitude
        self._exponent = exponent
        self._infinite = infinite
        self.precision = precision

    @classmethod
    def infinity(cls, sign: int = 1) -> Self:
        """Plus or minus infinity."""
        number = cls()
        number._infinite = 1 if sign > 0 else -1
        return number

    @classmethod
    def of(cls, value: int | float) -> Self:
        """An int (64 bits, more when it needs them) or a float (53 bits).

        Raises NotANumber for a float's NaN.
        """
        if isinstance(value, int):
            return cls(value, precision=max(INTEGER_PRECISION, value.bit_length()))
        if math.isnan(value):
            raise NotANumber("the result is not a number")
        if math.isinf(value):
            return cls.infinity(1 if value > 0 else -1)
        numerator, denominator = value.as_integer_ratio()
        return cls(numerator, 1 - denominator.bit_length(), precision=FLOAT_PRECISION)

    @classmethod
    def from_fraction(cls, value: Fraction, *, precision: int = PRECISION) -> Self:
        """The number of this precision that is nearest to an exact fraction."""
        numerator, denominator = value.numerator, value.denominator
        shift = max(0, precision + 2 - (abs(numerator).bit_length() - denominator.bit_length()))
        quotient, rest = divmod(abs(numerator) << shift, denominator)
        # One sticky bit below the quotient stands for whatever the division left over.
        mantissa = quotient << 1 | (rest != 0)
        return cls(-mantissa if numerator < 0 else mantissa, -shift - 1, precision=precision)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read decimal text: "1", "-2.5", ".5", "1e-3", "Inf"; no spaces, hexadecimal or "1_000".

        Raises NotANumber.
        """
        infinite = _INFINITY.fullmatch(text)
        if infinite:
            return cls.infinity(-1 if infinite.group(1) == "-" else 1)
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise NotANumber("a number is required")
        whole, fraction = match.group(2) or "", match.group(3) or match.group(4) or ""
        digits = _int_from_digits((whole + fraction) or "0")
        power = int(match.group(5) or 0) - len(fraction)
        return cls._scaled(-digits if match.group(1) == "-" else digits, power)

    @classmethod
    def _scaled(cls, digits: int, power: int) -> Self:
        """`digits * 10**power`."""
        if digits == 0 or abs(power) <= _LARGEST_EXACT_POWER:
            if power >= 0:
                return cls(digits * 10 ** (power if digits else 0))
            return cls.from_fraction(Fraction(digits, 10 ** (-power if digits else 0)))
        if abs(power) > _LARGEST_EXPONENT:
            return cls.infinity(digits) if power > 0 else cls()
        # Go squares 5 with 64 spare bits and rounds once more at the end; so an exponent of a
        # thousand million costs nothing here either.
        spare = PRECISION + 64
        fives, square = Number(1, precision=spare), Number(5, precision=spare)
        rest = abs(power)
        while rest:
            if rest & 1:
                fives = fives * square
            square = square * square
            rest >>= 1
        exact = Number(digits, precision=max(spare, abs(digits).bit_length()))
        scaled = exact * fives if power > 0 else exact / fives
        if scaled._infinite:
            return cls.infinity(scaled._infinite)
        return cls(scaled._mantissa, scaled._exponent + power)

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        if self._infinite:
            return self._infinite
        return (self._mantissa > 0) - (self._mantissa < 0)

    @property
    def is_infinite(self) -> bool:
        """Whether this is plus or minus infinity."""
        return self._infinite != 0

    @property
    def is_integer(self) -> bool:
        """Whether this is a whole number; infinity is none."""
        return not self._infinite and self._exponent >= 0

    @property
    def is_short(self) -> bool:
        """Whether it is written with a few hundred digits at most."""
        return abs(self._exponent) <= PRECISION

    def _check_digits(self) -> None:
        if abs(self._exponent) > _LARGEST_WRITTEN_EXPONENT:
            raise NotANumber("the number has too many digits to be written out")

    def to_fraction(self) -> Fraction:
        """The exact value. Raises NotANumber for infinity, and for too many digits."""
        if self._infinite:
            raise NotANumber("infinity is not a finite number")
        self._check_digits()
        if self._exponent >= 0:
            return Fraction(self._mantissa << self._exponent)
        return Fraction(self._mantissa, 1 << -self._exponent)

    def to_int(self) -> int:
        """The whole number. Raises NotANumber for infinity, fractions and too many digits."""
        if not self.is_integer:
            raise NotANumber(f"a whole number is required, not {self.to_text()}")
        self._check_digits()
        return self._mantissa << self._exponent

    def truncated(self) -> int:
        """The whole part, cut towards zero. Raises NotANumber for infinity."""
        return math.trunc(self.to_fraction())

    def to_float(self) -> float:
        """The nearest 64-bit float, infinite when it is too large."""
        size = abs(self._mantissa).bit_length() + self._exponent
        if self._infinite or size > 1025:
            return math.copysign(math.inf, self.sign)
        if size < -1100:
            return 0.0
        try:
            return float(self.to_fraction())
        except OverflowError:
            return math.copysign(math.inf, self.sign)

    def to_python(self) -> int | float:
        """An int when whole, else the nearest float."""
        return self.to_int() if self.is_integer else self.to_float()

    def to_text(self) -> str:
        """The shortest decimal, without exponent, that reads back as this number.

        Raises NotANumber for too many digits.
        """
        if self._infinite:
            return "+Inf" if self._infinite > 0 else "-Inf"
        sign = "-" if self._mantissa < 0 else ""
        if self.is_integer and abs(self._mantissa).bit_length() + self._exponent <= self.precision:
            return sign + _digits_of(abs(self._mantissa) << self._exponent)
        digits, point = self._shortest_digits()
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        if point >= len(digits):
            return sign + digits + "0" * (point - len(digits))
        return f"{sign}{digits[:point]}.{digits[point:]}"

    def _shortest_digits(self) -> tuple[str, int]:
        """The fewest decimal digits d such that 0.d * 10**point rounds to this number.

        Like Go, it takes the gap below a power of two for as wide as the one above; so the text
        of such a number (2**-24 of 53 bits, say) may be that of its lower neighbour.
        """
        value = abs(self.to_fraction())
        spare = self.precision - abs(self._mantissa).bit_length()
        half_step = Fraction(2) ** (self._exponent - spare - 1)
        low, high, tie_is_ours = value - half_step, value + half_step, spare > 0
        point = _decimal_point(value)

        def candidates(count: int) -> list[int]:
            unit = Fraction(10) ** (point - count)
            below = value // unit
            found = []
            for digits in (below, below + 1):
                text = digits * unit
                if low < text < high or (tie_is_ours and text in (low, high)):
                    found.append(digits)
            return sorted(found, key=lambda digits: (abs(digits * unit - value), digits & 1))

        fewest, enough = 1, self.precision * 30103 // 100000 + 3
        while fewest < enough:
            middle = (fewest + enough) // 2
            if candidates(middle):
                enough = middle
            else:
                fewest = middle + 1
        text = str(candidates(fewest)[0])  # at most a few hundred digits
        return text.rstrip("0"), point + len(text) - fewest

    def __add__(self, other: Number) -> Number:
        if self._infinite or other._infinite:
            if self._infinite and other._infinite and self._infinite != other._infinite:
                raise NotANumber("infinity minus infinity is not a number")
            return self if self._infinite else other
        precision = max(self.precision, other.precision)
        large, small = (self, other) if self._exponent >= other._exponent else (other, self)
        gap = large._exponent - small._exponent
        reach = 2 * precision + abs(small._mantissa).bit_length() + 2
        if small._mantissa and large._mantissa and gap > reach:
            # The small one lies far below the last bit: a sticky bit says all about it.
            widened = (large._mantissa << (precision + 2)) + (1 if small._mantissa > 0 else -1)
            return Number(widened, large._exponent - precision - 2, precision=precision)
        if not small._mantissa or not large._mantissa:
            only = large if large._mantissa else small
            return Number(only._mantissa, only._exponent, precision=precision)
        mantissa = (large._mantissa << gap) + small._mantissa
        return Number(mantissa, small._exponent, precision=precision)

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __mul__(self, other: Number) -> Number:
        if self._infinite or other._infinite:
            if not self.sign or not other.sign:
                raise NotANumber("zero times infinity is not a number")
            return Number.infinity(self.sign * other.sign)
        precision = max(self.precision, other.precision)
        mantissa = self._mantissa * other._mantissa
        # A product keeps the bits that it needs, up to 512, even when both factors are counts.
        precision = max(precision, min(PRECISION, abs(mantissa).bit_length()))
        return Number(mantissa, self._exponent + other._exponent, precision=precision)

    def __truediv__(self, other: Number) -> Number:
        if self._infinite and other._infinite:
            raise NotANumber("the quotient of two infinities is not a number")
        if other._infinite:
            return Number()
        if self._infinite or not other._mantissa:
            if not self.sign:
                raise NotANumber("zero divided by zero is not a number")
            return Number.infinity(self.sign * (other.sign or 1))
        precision = max(self.precision, other.precision)
        quotient = Fraction(self._mantissa, other._mantissa)
        rounded = Number.from_fraction(quotient, precision=precision)
        exponent = rounded._exponent + self._exponent - other._exponent
        return Number(rounded._mantissa, exponent, precision=precision)

    def __mod__(self, other: Number) -> Number:
        """The rest with the sign of the left side; `x % 0` is x."""
        if self._infinite or other._infinite:
            return self * other
        if not other.sign:
            return self
        # As in cty since 1.7.1, all of it is rounded to the precision of the left side.
        whole = Number((self / other).truncated(), precision=self.precision)
        product = Number(
            whole._mantissa * other._mantissa,
            whole._exponent + other._exponent,
            precision=self.precision,
        )
        rest = self - product
        return Number(rest._mantissa, rest._exponent, precision=self.precision)

    def __neg__(self) -> Number:
        if self._infinite:
            return Number.infinity(-self._infinite)
        return Number(-self._mantissa, self._exponent, precision=self.precision)

    def __abs__(self) -> Number:
        return -self if self.sign < 0 else self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number):
            return NotImplemented
        return self._key() == other._key()

    def __lt__(self, other: Number) -> bool:
        if self._infinite or other._infinite:
            return self._infinite < other._infinite
        if self.sign != other.sign:
            return self.sign < other.sign
        size = abs(self._mantissa).bit_length() + self._exponent
        other_size = abs(other._mantissa).bit_length() + other._exponent
        if size != other_size:
            return (size < other_size) == (self.sign > 0)
        low = min(self._exponent, other._exponent)
        return self._mantissa << (self._exponent - low) < other._mantissa << (other._exponent - low)

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[int, int, int]:
        return (self._infinite, self._mantissa, self._exponent)

    def __repr__(self) -> str:
        return f"Number({self.to_text()})"


# Python refuses to convert more than 4300 digits in one go, because it takes quadratic time.
_DIGITS_AT_ONCE = 4000


def _int_from_digits(digits: str) -> int:
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    low = len(digits) // 2
    scale: int = 10**low
    return _int_from_digits(digits[:-low]) * scale + _int_from_digits(digits[-low:])


def _digits_of(whole: int) -> str:
    size = whole.bit_length() * 30103 // 100000
    if size < _DIGITS_AT_ONCE:
        return str(whole)
    low = size // 2
    above, below = divmod(whole, 10**low)
    return _digits_of(above) + _digits_of(below).rjust(low, "0")


def _decimal_point(value: Fraction) -> int:
    """The power p with 10**(p-1) <= value < 10**p."""
    bits = value.numerator.bit_length() - value.denominator.bit_length()
    point = bits * 30103 // 100000
    while Fraction(10) ** point <= value:
        point += 1
    while Fraction(10) ** (point - 1) > value:
        point -= 1
    return point
