"""Sizes and durations as templates write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    UnitError,
    format_duration,
    format_size,
    parse_duration_s,
    parse_file_size_bytes,
    parse_size_bytes,
    parse_wait_s,
)

UNITS_BYTES = {"": 1, "B": 1, "K": KIB, "KiB": KIB, "kB": 1000, "M": MIB, "MiB": MIB,
               "MB": 10**6, "G": GIB, "GiB": GIB, "GB": 10**9, "T": TIB, "TiB": TIB,
               "TB": 10**12}  # fmt: skip


@given(st.integers(0, 10**9), st.sampled_from(sorted(UNITS_BYTES)), st.sampled_from(["", " "]))
def test_a_whole_number_of_any_unit_is_read(number, unit, blank):
    assert parse_size_bytes(f"{number}{blank}{unit}") == number * UNITS_BYTES[unit]
    assert parse_size_bytes(f" {number}{unit.lower()} ") == number * UNITS_BYTES[unit]


@given(st.integers(1, 9999), st.integers(0, 3))
def test_what_is_shown_without_rounding_reads_back(quarters, unit):
    size_bytes = quarters * 256 * 1024**unit
    shown = format_size(size_bytes)
    number = Decimal(shown.split(" ")[0])
    unit_bytes = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}[shown.split(" ")[1]]
    if number * unit_bytes == size_bytes:
        assert parse_size_bytes(shown) == size_bytes
    assert abs(number * unit_bytes - size_bytes) <= size_bytes * Decimal("0.005")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1.5GiB", 3 * GIB // 2), ("0.5k", 512), ("512m", 512 * MIB), ("2gb", 2 * 10**9), ("0", 0)],
)
def test_sizes(text, size_bytes):
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "G", "-1G", "+1", "1.", ".5G", "1,5G", "1 0", "1e3", "5PiB", "4 Gi", "٣", "1G\n2"]
)
def test_what_is_no_size(text):
    with pytest.raises(UnitError, match="is not a size"):
        parse_size_bytes(text)


@pytest.mark.parametrize("text", ["0.5", "1.1k", "1.00001GB5"])
def test_bytes_are_whole(text):
    with pytest.raises(UnitError):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (KIB, "1 KiB"), (1536, "1.5 KiB"),
        (5000, "4.88 KiB"), (100 * MIB, "100 MiB"), (GIB - 1, "1024 MiB"), (GIB, "1 GiB"),
        (3 * TIB // 2, "1.5 TiB"), (5000 * TIB, "5000 TiB"),
    ],
)  # fmt: skip
def test_sizes_for_people(size_bytes, text):
    assert format_size(size_bytes) == text


@given(
    st.sampled_from(["", "-", "+"]), st.integers(0, 999), st.integers(0, 999), st.integers(0, 999),
    st.integers(0, 999),
)  # fmt: skip
def test_any_sum_of_terms_is_read(sign, hours, minutes, seconds, milliseconds):
    text = f"{sign}{hours}h{minutes}m{seconds}s{milliseconds}ms"
    expected = hours * 3600 + minutes * 60 + seconds + Decimal(milliseconds) / 1000
    assert parse_duration_s(text) == float(-expected if sign == "-" else expected)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("0", 0.0), ("-0", 0.0), ("300ms", 0.3), ("1.5h", 5400.0), ("2h45m", 9900.0),
        ("1m1m", 120.0), (".5s", 0.5), ("1.s", 1.0), ("100us", 1e-4), ("100µs", 1e-4),
        ("100μs", 1e-4), ("1ns", 1e-9), (" 5s ", 5.0), ("-1s", -1.0),
    ],
)  # fmt: skip
def test_durations(text, duration_s):
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize(
    "text",
    ["", "-", "5", "1.5", "s", ".s", "5 s", "1h 2m", "5x", "5sm", "--5s", "+-5s", "1d", "٣s", "5S"],
)
def test_what_is_no_duration(text):
    with pytest.raises(UnitError, match="is not a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0 milliseconds"), (0.001, "1 millisecond"), (0.0004, "0 milliseconds"),
        (1, "1 second"), (1.5, "1 second 500 milliseconds"), (59.9996, "1 minute"),
        (65, "1 minute 5 seconds"), (3600, "1 hour"), (3661.5, "1 hour 1 minute"),
        (90000, "1 day 1 hour"), (8 * 86400, "1 week 1 day"), (-5, "0 milliseconds"),
    ],
)  # fmt: skip
def test_durations_for_people(duration_s, text):
    assert format_duration(duration_s) == text


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 30 + "TiB"])
def test_no_size_is_astronomical(text):
    with pytest.raises(UnitError, match="more than any disk"):
        parse_size_bytes(text)


def test_files_have_a_largest_size():
    assert parse_file_size_bytes(str((1 << 63) - 1)) == (1 << 63) - 1
    with pytest.raises(UnitError, match="smaller than 8 EiB"):
        parse_file_size_bytes(str(1 << 63))


@pytest.mark.parametrize("text", ["9" * 5000 + "h", "99999999999999999h", "-2562048h"])
def test_durations_end_where_those_of_go_end(text):
    assert parse_duration_s("2562047h") == 2562047 * 3600
    with pytest.raises(UnitError, match="less than 292 years"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["-5s", "-1ns", "700h", "99999999999999999h"])
def test_nothing_waits_for_less_than_nothing_or_for_ever(text):
    assert parse_wait_s("0s") == 0.0
    assert parse_wait_s("596h") == 596 * 3600
    with pytest.raises(UnitError):
        parse_wait_s(text)
