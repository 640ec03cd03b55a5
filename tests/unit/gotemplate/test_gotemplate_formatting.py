import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.gotemplate.data import LenientMap
from goldsmith.gotemplate.floats import SHORTEST, format_float
from goldsmith.gotemplate.formatting import sprint, sprintf, sprintln
from goldsmith.gotemplate.quoting import from_bytes, quote, to_bytes, unquote

VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(),
        st.complex_numbers(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(LenientMap),
    ),
    max_leaves=5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("format", "values", "text"),
    [
        ("%5.1f|%-6s|%+d|%06.2f", [2.25, "é", 3, -1.5], "  2.2|é     |+3|-01.50"),
        ("%x %X %#x % x", ["hé", 255, 255, "hi"], "68c3a9 FF 0xff 68 69"),
        ("%q %#q %+q %c %U", ["a\n", "b", "é", 0x65E5, 0x65E5], '"a\\n" `b` "\\u00e9" 日 U+65E5'),
        ("%v %+v %#v", [{"A": 1}, {"A": 1}, ["a", None]],
         '{1} {A:1} []interface {}{"a", interface {}(nil)}'),
        ("%d %s", [["a", 1], LenientMap({"b": 2, "a": "x"})],
         "[%!d(string=a) 1] map[a:x b:%!s(int=2)]"),
        ("%[2]d %[1]d", [1, 2], "2 1"),
        ("%*d|%.*f", [4, 7, 1, 2.55], "   7|2.5"),
        ("%d", [], "%!d(MISSING)"),
        ("%[5]d", [1], "%!d(BADINDEX)"),
        ("%", [], "%!(NOVERB)"),
        ("x", [1, None], "x%!(EXTRA int=1, <nil>)"),
        ("%g %g %v", [math.inf, -math.inf, math.nan], "+Inf -Inf NaN"),
        ("%T %T %T %T", [1, None, 1j, True], "int <nil> complex128 bool"),
    ],
)  # fmt: skip
def test_sprintf(format, values, text):
    assert sprintf(format, values) == text


def test_sprint_puts_spaces_between_what_is_no_string():
    assert sprint(["a", 1, 2, "b", None, 3.0]) == "a1 2b<nil> 3"
    assert sprint([]) == ""
    assert sprintln(["a", 1]) == "a 1\n"


@pytest.mark.parametrize(
    ("value", "verb", "precision", "text"),
    [
        (1e20, "g", SHORTEST, "1e+20"),
        (123456.0, "g", SHORTEST, "123456"),
        (1e6, "g", SHORTEST, "1e+06"),
        (0.0001, "g", SHORTEST, "0.0001"),
        (-0.0, "g", SHORTEST, "-0"),
        (1.0, "b", SHORTEST, "4503599627370496p-52"),
        (1.1, "x", 3, "0x1.19ap+00"),
        (1.99, "x", 0, "0x1p+01"),
        (1e-10, "G", SHORTEST, "1E-10"),
    ],
)
def test_format_float(value, verb, precision, text):
    assert format_float(value, verb, precision) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("gGx"))
def test_the_shortest_form_identifies_the_number(value, verb):
    text = format_float(value, verb, SHORTEST)
    again = float.fromhex(text) if verb == "x" else float(text)
    assert again == value


@given(st.text(), st.lists(VALUES, max_size=3))
def test_every_format_gives_text(format, values):
    assert isinstance(sprintf(format, values), str)


@given(
    st.lists(st.sampled_from(["[1]", "[9]", *"%*.5-#0+ vdsqxgTtcU"]), max_size=12).map("".join),
    st.lists(VALUES, max_size=3),
)
def test_every_directive_gives_text(format, values):
    assert isinstance(sprintf(format, values), str)


@given(st.binary())
def test_bytes_survive_as_text_and_as_literals(data):
    text = from_bytes(data)
    assert to_bytes(text) == data
    assert unquote(quote(text)) == text
    assert quote(text, ascii_only=True).isascii()
