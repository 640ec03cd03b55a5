"""Files, networks, times, numbers and collections beyond the recorded answers."""

import ipaddress
import itertools
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Position, SourceRange
from goldsmith.template.hcl2.functions import FUNCTIONS, CallContext, FunctionError, call_function
from goldsmith.template.hcl2.functions.moments import (
    Moment,
    date_of,
    days_of,
    from_datetime,
    parse_rfc3339,
)
from goldsmith.values.numbers import Number
from goldsmith.values.value import Value, from_python, to_python
from goldsmith.values.world import LiveWorld, RecordingWorld, ReplayedWorld, World

PATIENT = settings(deadline=None)

HERE = SourceRange("t.pkr.hcl", Position(1, 1, 0), Position(1, 9, 8))
MOMENTS = st.datetimes(
    datetime(1, 1, 3),
    datetime(9999, 12, 29),
    timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


def call(name: str, *args: object, world: World | None = None, base: str = ".") -> Value:
    ctx = CallContext(world or LiveWorld(), base, HERE)
    return call_function(FUNCTIONS[name], [from_python(arg) for arg in args], ctx)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.txt", "c.md", ".hidden.txt", "sub/b.txt", "sub/deep/d.txt", "sub/x[1].txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "gone.txt").symlink_to("nosuch")
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "pattern", "found"),
    [
        (".", "*.txt", [".hidden.txt", "a.txt", "link.txt"]),
        (".", "**/[bd].txt", ["sub/b.txt", "sub/deep/d.txt"]),
        (".", "**/d.txt", ["sub/deep/d.txt"]),
        ("sub", "**", ["b.txt", "deep/d.txt", "x[1].txt"]),
        (".", "sub/{b,deep/d}.txt", ["sub/b.txt", "sub/deep/d.txt"]),
        (".", "{a,{c,e}}.{txt,md}", ["a.txt", "c.md"]),
        (".", "sub/x\\[1].txt", ["sub/x[1].txt"]),
        (".", "[!a]?md", ["c.md"]),
        (".", "sub", []),
        ("./sub/../sub", "b.*", ["b.txt"]),
    ],
)
def test_file_sets(tree: Path, path: str, pattern: str, found: list[str]) -> None:
    assert to_python(call("fileset", path, pattern, base=str(tree))) == found


def test_a_file_set_gives_up_on_an_endless_tree() -> None:
    class Endless(LiveWorld):
        def list_directory(self, path: str) -> list[str]:
            return ["d"] if len(path) < 200 else []

        def path_kind(self, path: str) -> str:
            return "directory"

    assert to_python(call("fileset", ".", "**/x", world=Endless())) == []
    for pattern in ("{a", "[a"):
        with pytest.raises(FunctionError, match="syntax error in pattern"):
            call("fileset", ".", pattern)


def test_files_are_found_below_the_templates_directory(tree: Path) -> None:
    assert call("file", "sub/b.txt", base=str(tree)).text == "sub/b.txt"
    assert call("file", "../a.txt", base=str(tree / "sub")).text == "a.txt"
    assert call("file", str(tree / "a.txt"), base="/nosuch").text == "a.txt"
    assert call("filebase64", "raw", base=str(tree)).text == "//4="
    assert call("fileexists", "raw", base=str(tree)).raw is True
    with pytest.raises(FunctionError, match=r"not valid UTF-8; use the filebase64"):
        call("file", "raw", base=str(tree))
    with pytest.raises(FunctionError, match=r"failed to read .*: Invalid argument"):
        call("file", "a\0b", base=str(tree))


def test_files_below_home(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert call("file", "~/a.txt", base="/nosuch").text == "a.txt"
    assert call("pathexpand", "~").text == str(tree)
    with pytest.raises(FunctionError, match="another user"):
        call("file", "~root/x")


def test_impure_functions_replay(tree: Path) -> None:
    calls = [
        ("file", "a.txt"), ("fileset", ".", "**"), ("fileexists", "nosuch"), ("timestamp",),
        ("uuidv4",), ("uuidv4",), ("abspath", "x"), ("pathexpand", "~/x"),
    ]  # fmt: skip
    recording = RecordingWorld(LiveWorld())
    first = [call(*one, world=recording, base=str(tree)) for one in calls]
    (tree / "a.txt").write_text("changed")
    replayed = ReplayedWorld(recording.record())
    assert [call(*one, world=replayed, base=str(tree)) for one in calls] == first
    assert first[4] != first[5]


@PATIENT
@given(MOMENTS)
def test_moments_agree_with_datetime(when: datetime) -> None:
    moment = from_datetime(when)
    utc = when.astimezone(UTC)
    assert moment.date == (utc.year, utc.month, utc.day)
    assert moment.clock == (utc.hour, utc.minute, utc.second)
    assert moment.iso_week == utc.isocalendar()[:2]
    assert moment.weekday == utc.isoweekday() % 7
    assert moment.year_day == utc.timetuple().tm_yday
    text = when.isoformat(timespec="seconds")
    parsed = parse_rfc3339(text)
    assert parsed is not None
    assert parsed.unix_s == moment.unix_s
    assert parsed.rfc3339() == text.replace("+00:00", "Z")


@PATIENT
@given(st.integers(-(10**7), 10**7))
def test_days_and_dates_are_inverse(days: int) -> None:
    assert days_of(*date_of(days)) == days


def test_years_beyond_datetime() -> None:
    assert Moment(253402300800 * 10**9).rfc3339() == "10000-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-03T04:05:06", "2024-02-03T24:00:00Z", "2024-02-03T04:60:00Z",
        "2024-02-03T04:05:60Z", "2024-13-03T04:05:06Z", "2023-02-29T04:05:06Z",
        "2024-02-03T04:05:06+24:00", "2024-02-03T4:05:06Z", "2024-02-03T04:05:06,5Z",
    ],
)  # fmt: skip
def test_what_is_no_timestamp(text: str) -> None:
    assert parse_rfc3339(text) is None
    with pytest.raises(FunctionError, match="not a valid RFC 3339"):
        call("timeadd", text, "1h")


def test_time_arithmetic_keeps_fractions() -> None:
    assert call("timeadd", "2024-02-28T00:00:00.9Z", "100ms").text == "2024-02-28T00:00:01Z"
    assert call("timeadd", "2024-02-28T00:00:00Z", "-876000h").text == "1924-03-24T00:00:00Z"


@PATIENT
@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.data())
def test_subnets_lie_where_ipaddress_says(start: int, length: int, data: st.DataObject) -> None:
    network = ipaddress.ip_network((start, length), strict=False)
    extension = data.draw(st.integers(0, min(6, 32 - length)))
    place = data.draw(st.integers(0, 2**extension - 1))
    subnet = call("cidrsubnet", str(network), extension, place).text
    assert subnet == str(list(network.subnets(prefixlen_diff=extension))[place])
    host = data.draw(st.integers(0, network.num_addresses - 1))
    assert call("cidrhost", str(network), host).text == str(network[host])
    assert call("cidrhost", str(network), host - network.num_addresses).text == str(network[host])


@PATIENT
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_consecutive_subnets_never_overlap(extensions: list[int]) -> None:
    if sum(Fraction(1, 2**extension) for extension in sorted(extensions)) > 1:
        with pytest.raises(FunctionError, match="not enough remaining address space"):
            call("cidrsubnets", "10.0.0.0/8", *extensions)
        return
    # In falling order of size no address is lost between two of them.
    texts = to_python(call("cidrsubnets", "10.0.0.0/8", *sorted(extensions)))
    extensions = sorted(extensions)
    networks = [ipaddress.ip_network(text) for text in texts]
    assert [network.prefixlen for network in networks] == [8 + one for one in extensions]
    for before, after in itertools.pairwise(networks):
        assert before.broadcast_address < after.network_address


@PATIENT
@given(st.integers(), st.integers(2, 36))
def test_parseint_agrees_with_int(whole: int, base: int) -> None:
    digits, rest = "", abs(whole)
    while rest or not digits:
        rest, digit = divmod(rest, base)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    text = ("-" if whole < 0 else "") + digits
    assert call("parseint", text, base).number.to_int() == int(text, base) == whole


@PATIENT
@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=8))
def test_numbers_in_lists(numbers: list[int]) -> None:
    assert call("sum", numbers).number.to_int() == sum(numbers)
    assert call("max", *numbers).number.to_int() == max(numbers)
    assert call("min", *numbers).number.to_int() == min(numbers)
    assert to_python(call("reverse", numbers)) == numbers[::-1]
    assert to_python(call("distinct", numbers)) == list(dict.fromkeys(numbers))


@PATIENT
@given(st.fractions(-1000, 1000, max_denominator=64))
def test_rounding(value) -> None:
    number = Number.from_fraction(value)
    exact = number.to_fraction()
    assert call("floor", number).number.to_int() <= exact <= call("ceil", number).number.to_int()
    assert call("ceil", number).number.to_int() - call("floor", number).number.to_int() <= 1
    assert call("abs", number).number.to_fraction() == abs(exact)


def test_powers_at_the_edges() -> None:
    assert call("pow", 0, -1).number == Number.infinity()
    assert call("pow", -10, 401).number == Number.infinity(-1)
    assert call("pow", -10, 400).number == Number.infinity()
    assert call("log", 0.5, 1).number == Number.infinity(-1)
    with pytest.raises(FunctionError):
        call("log", 1, 1)


@PATIENT
@given(st.lists(st.text("abc", max_size=2), max_size=6), st.lists(st.text("abc", max_size=2)))
def test_sets_agree_with_python(a: list[str], b: list[str]) -> None:
    assert to_python(call("setunion", a, b)) == sorted({*a, *b})
    assert to_python(call("setintersection", a, b)) == sorted({*a} & {*b})


@PATIENT
@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_chunks_put_together_are_the_list(items: list[int], size: int) -> None:
    chunks = call("chunklist", items, size)
    assert to_python(call("flatten", chunks)) == items
    assert all(len(chunk.elements) == size for chunk in chunks.elements[:-1])


@PATIENT
@given(st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=5))
def test_keys_and_values_make_the_map_again(items: dict[str, int]) -> None:
    again = call("zipmap", call("keys", items), call("values", items))
    assert to_python(again) == items
