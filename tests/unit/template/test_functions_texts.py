"""Text, formats, patterns and encodings beyond the recorded answers."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Position, SourceRange
from goldsmith.template.hcl2.functions import FUNCTIONS, CallContext, FunctionError, call_function
from goldsmith.template.hcl2.functions.graphemes import graphemes
from goldsmith.values.numbers import Number
from goldsmith.values.value import Value, from_python, string, to_python
from goldsmith.values.world import LiveWorld

PATIENT = settings(deadline=None)

HERE = SourceRange("t.pkr.hcl", Position(1, 1, 0), Position(1, 9, 8))
TEXT = st.text(max_size=20).map(lambda text: string(text).text)
YAML_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:#-\n 1'\"é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abé:", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def call(name: str, *args: object) -> Value:
    ctx = CallContext(LiveWorld(), ".", HERE)
    return call_function(FUNCTIONS[name], [from_python(arg) for arg in args], ctx)


@PATIENT
@given(TEXT)
def test_graphemes_lose_nothing(text: str) -> None:
    assert "".join(graphemes(text)) == text
    assert all(graphemes(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("abc", 3),
        ("a\r\nb", 3),
        ("e\u0323\u0302", 1),
        ("👩🏽\u200d💻x", 2),
        ("🇫🇷🇩🇪", 2),
        ("각ᄀ", 2),
        ("\u1112\u1161\u11ab", 1),
        ("कि", 1),
        ("a\u200db", 2),
    ],
)
def test_characters_as_people_see_them(text: str, count: int) -> None:
    assert len(graphemes(text)) == count


@PATIENT
@given(TEXT, st.text("abc,", min_size=1, max_size=2))
def test_split_and_join_are_inverse(text: str, separator: str) -> None:
    assert call("join", separator, call("split", separator, text)).text == text


@PATIENT
@given(TEXT)
def test_base64_and_json_are_reversible(text: str) -> None:
    assert call("base64decode", call("base64encode", text)).text == text
    assert call("jsondecode", call("jsonencode", text)).text == text
    encoded = call("textencodebase64", text, "UTF-16LE")
    assert call("textdecodebase64", encoded, "UTF-16LE").text == text


@PATIENT
@given(YAML_DATA)
def test_yaml_is_reversible_and_other_readers_understand_it(data: object) -> None:
    text = call("yamlencode", data).text
    assert yaml.safe_load(text) == data
    assert to_python(call("yamldecode", text)) == data


@PATIENT
@given(st.integers(), st.integers(1, 40))
def test_format_writes_whole_numbers_like_python(whole: int, width: int) -> None:
    for flags in ("", "+", "-", "0", " ", "+0"):
        verb = f"%{flags}{width}d"
        assert call("format", verb, whole).text == verb % whole
    assert call("format", "%x %o", whole, whole).text == f"{whole:x} {whole:o}"


@PATIENT
@given(st.floats(-1e18, 1e18), st.integers(0, 12))
def test_format_rounds_floats_like_python(value: float, places: int) -> None:
    for mode in "feg":
        verb = f"%.{places}{mode}"
        expected = verb % value
        if value == 0:
            expected = expected.replace("-", "")
        assert call("format", verb, value).text == expected


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("%v", 12345678, "1.2345678e+07"),
        ("%v", 0.00001, "1e-05"),
        ("%g", 100000, "100000"),
        ("%g", 1000000, "1e+06"),
        ("%05s|", "ab", "000ab|"),
        ("%#b", 5, "0b101"),
        ("%.5d", 42, "00042"),
        ("%.0d|", 0, "|"),
        ("%5v|", True, " true|"),
        ("%v", None, "null"),
        ("%e", Number.infinity(), "+Inf"),
        ("%.f", 2.5, "2"),
    ],
)
def test_format(template: str, value: object, text: str) -> None:
    assert call("format", template, value).text == text


@pytest.mark.parametrize("template", ["%", "%5", "%[", "%[1", "%.2", "%[0]s", "%99999999s"])
def test_a_broken_format_is_an_error(template: str) -> None:
    with pytest.raises(FunctionError):
        call("format", template, "x")


def test_format_of_null_is_an_error() -> None:
    with pytest.raises(FunctionError, match="null cannot be formatted"):
        call("format", "%s", None)


def test_replacements_of_patterns() -> None:
    assert call("regex_replace", "aab", "a*", "-").text == "-b-"
    assert call("regex_replace", "ab", "(?P<x>a)(b)", "${2}-$x-$9").text == "b-a-"
    assert call("regex_replace", "éa", "a", "$").text == "é$"


def test_a_bad_pattern_is_named_and_nothing_is_printed(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(FunctionError, match=r"\(\?=a\)"):
        call("regex", "(?=a)", "a")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", 1000),
        ("0b11", 3),
        ("0x1f", "0x1f"),
        ("1:30", "1:30"),
        ("!!int 0x1f", 31),
        ("!!float 1", 1),
        ("y", True),
        ("'y'", "y"),
        ("2024-1-2 3:4:5", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05+01:30", "2024-01-02T03:04:05+01:30"),
        ("2024-02-30", "2024-02-30"),
        ("[&a 1, *a]", [1, 1]),
        ("{a: {<<: [{x: 1}, {z: 2}], x: 3}}", {"a": {"x": 3, "z": 2}}),
        ("null", None),
        ("- <<", ["<<"]),
    ],
)
def test_yaml_scalars(text: str, value: object) -> None:
    assert to_python(call("yamldecode", text)) == value


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]", "? [1]\n: 2", "~: 1", "!!int x", "!!bool x", "!!binary x", "!!set {a}",
        "<<: 1", ".nan", "[" * 3000, "!!seq {}", "!!map []",
    ],
)  # fmt: skip
def test_yaml_errors(text: str) -> None:
    with pytest.raises(FunctionError, match="yamldecode"):
        call("yamldecode", text)


def test_csv_with_line_ends_inside_quotes() -> None:
    rows = call("csvdecode", 'a,b\r\n"x\r\ny",""\r\n\r\n,2')
    assert to_python(rows) == [{"a": "x\ny", "b": ""}, {"a": "", "b": "2"}]


def test_names_that_are_no_character_sets() -> None:
    for name in ("rot13", "base64", "idna", "unicode_escape", "a\0b"):
        with pytest.raises(FunctionError, match="not a supported IANA encoding"):
            call("textencodebase64", "a", name)
    assert call("textdecodebase64", "AGE=", "UTF-16").text == "a"


def test_case_goes_character_by_character() -> None:
    assert call("upper", "ßŉᾳ").text == "ßŉᾼ"
    assert call("lower", "ΑΣ").text == "\u03b1\u03c3"
    assert call("title", "a1b ß ǆ-x_y").text == "A1b ß ǅ-X_y"
    assert call("trimspace", "\x1fa\u3000").text == "\x1fa"
