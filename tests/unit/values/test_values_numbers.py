"""Numbers against exact fractions, and against what Go's big.Float prints."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.values.numbers import NotANumber, Number

PATIENT = settings(deadline=None)

DECIMALS = st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?", fullmatch=True)
NUMBERS = st.builds(Number, st.integers(-(2**600), 2**600), st.integers(-700, 700))
FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


def nearest(value: Fraction, precision: int) -> Fraction:
    """The binary fraction of that many bits nearest to the value, ties to even."""
    if not value:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length() - precision
    unit = Fraction(2) ** exponent
    while abs(value) / unit >= 2**precision:
        unit *= 2
    while abs(value) / unit < 2 ** (precision - 1):
        unit /= 2
    return round(value / unit) * unit


@PATIENT
@given(DECIMALS)
def test_a_parsed_text_is_the_nearest_number(text: str) -> None:
    assert Number.parse(text).to_fraction() == nearest(Fraction(text), 512)


def is_power_of_two(number: Number) -> bool:
    """Go's shortest text of such a number may be that of its neighbour, and so is ours."""
    value = abs(number.to_fraction())
    return (value.numerator * value.denominator).bit_count() == 1


@PATIENT
@given(NUMBERS.filter(lambda number: not is_power_of_two(number)))
def test_text_reads_back_as_the_same_number(number: Number) -> None:
    assert Number.parse(number.to_text()) == number


@pytest.mark.parametrize(
    ("exponent", "text"),
    [
        (-24, "0.00000005960464477539062"),
        (-10, "0.0009765625"),
        (60, "1152921504606847000"),
        (100, "1267650600228229400000000000000"),
    ],
)
def test_powers_of_two_are_written_as_go_writes_them(exponent: int, text: str) -> None:
    assert Number.of(2.0**exponent).to_text() == text


@PATIENT
@given(FLOATS.filter(lambda value: not is_power_of_two(Number.of(value))))
def test_a_float_shows_its_own_shortest_digits(value: float) -> None:
    assert float(Number.of(value).to_text()) == value
    digits = Number.of(value).to_text().strip("-").replace(".", "").strip("0")
    shortest = repr(value).partition("e")[0].strip("-").replace(".", "").strip("0")
    assert len(digits) == len(shortest)


@PATIENT
@given(NUMBERS, NUMBERS)
def test_arithmetic_is_exact_arithmetic_rounded_once(a: Number, b: Number) -> None:
    x, y = a.to_fraction(), b.to_fraction()
    assert (a + b).to_fraction() == nearest(x + y, 512)
    assert (a - b).to_fraction() == nearest(x - y, 512)
    assert (a * b).to_fraction() == nearest(x * y, 512)
    if y:
        assert (a / b).to_fraction() == nearest(x / y, 512)


@PATIENT
@given(NUMBERS, NUMBERS)
def test_order_equality_and_hash_go_by_value(a: Number, b: Number) -> None:
    x, y = a.to_fraction(), b.to_fraction()
    assert (a < b, a == b, a > b) == (x < y, x == y, x > y)
    same = Number.from_fraction(x)
    assert same == a
    assert hash(same) == hash(a)


@PATIENT
@given(st.integers(-(10**40), 10**40), st.integers(-(10**20), 10**20).filter(bool))
def test_the_rest_of_whole_numbers_has_the_sign_of_the_left_side(a: int, b: int) -> None:
    rest = abs(a) % abs(b)
    exact = Number(a) % Number(b)
    assert exact.to_int() == (-rest if a < 0 else rest)


@PATIENT
@given(st.integers())
def test_ints_keep_their_value(whole: int) -> None:
    assert Number.of(whole).to_int() == whole
    assert Number.of(whole).to_text() == str(whole)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1e21", "1000000000000000000000"),
        ("1e-9", "0.000000001"),
        ("0.1", "0.1"),
        ("-0", "0"),
        (".5", "0.5"),
        ("5.", "5"),
        ("Inf", "+Inf"),
        ("-inf", "-Inf"),
    ],
)
def test_text(text: str, shown: str) -> None:
    assert Number.parse(text).to_text() == shown


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "0x10", "1_000", "1e", "abc", ".", "\u0661", "nan"]
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(NotANumber, match="a number is required"):
        Number.parse(text)


def test_a_third_has_154_digits_after_the_leading_zero() -> None:
    third = Number.parse("1") / Number.parse("3")
    assert third.to_text() == "0." + "3" * 154 + "5"
    assert third * Number.parse("3") == Number.parse("1")


def test_precision_follows_the_operands() -> None:
    assert (Number.of(3) / Number.of(7)).to_text() == "0.42857142857142857144"
    assert Number.of(2**0.5).to_text() == "1.4142135623730951"
    assert Number.of(2.0**100).to_text() == "1267650600228229400000000000000"
    assert len((Number.of(3) / Number.parse("7")).to_text()) > 150


def test_infinity() -> None:
    one, zero, infinite = Number.of(1), Number.of(0), Number.infinity()
    assert one / zero == infinite
    assert -one / zero == -infinite
    assert infinite + one == infinite
    assert one / infinite == zero
    assert -infinite < one < infinite
    assert infinite.to_float() == float("inf")
    assert Number.of(5) % zero == Number.of(5)
    for impossible in (
        lambda: zero / zero,
        lambda: infinite - infinite,
        lambda: zero * infinite,
        lambda: infinite / infinite,
    ):
        with pytest.raises(NotANumber):
            impossible()


def test_huge_exponents_cost_nothing_and_overflow_like_go() -> None:
    assert Number.parse("1e999999999999").is_infinite
    assert Number.parse("1e-999999999999").sign == 0
    assert Number.parse("1e-999999999999") == Number.of(0)
    assert not Number.parse("1e600000000").is_infinite
    assert Number.parse("1e6000") == Number.parse("1" + "0" * 6000)


def test_long_texts() -> None:
    digits = "7" * 9000
    number = Number.parse(digits)
    assert number.to_text()[:150] == digits[:150]
    assert len(number.to_text()) == 9000
    assert Number.of(10**9000 - 1).to_text() == "9" * 9000


def test_what_is_whole() -> None:
    assert Number.parse("2.0").is_integer
    assert not Number.parse("2.5").is_integer
    assert not Number.infinity().is_integer
    assert Number.parse("-2.5").truncated() == -2
    assert [Number.parse(text).to_python() for text in ("2.0", "2.5")] == [2, 2.5]
    with pytest.raises(NotANumber, match=r"not 2\.5"):
        Number.parse("2.5").to_int()
