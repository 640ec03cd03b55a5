"""JSON with places: what is read, where everything stands, and what every mistake says."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Diagnostics, TemplateError
from goldsmith.template.legacy_json.document import DEEPEST, read_document
from goldsmith.template.legacy_json.plain import plain, written


def read(text, **given):
    found = Diagnostics()
    return read_document(text, "t.json", found=found, **given), found


def problem(text):
    with pytest.raises(TemplateError) as caught:
        read(text)
    (one,) = caught.value.diagnostics
    return one.range.start.line, one.range.start.column, one.detail


def test_every_key_and_value_has_its_place():
    node, _ = read('{\n  "é": [1, "x"],\n  "b": null\n}')
    member = node.content["é"]
    assert (member.key_range.start.line, member.key_range.start.column) == (2, 3)
    assert str(member.node.elements()[1].range) == "t.json:2:12"
    # The byte offset counts é as two.
    assert member.node.range.start.byte == 10
    assert (node.range.start.line, node.range.end.line) == (1, 4)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "is an object"),
        ("[1,\n 2,]", 2, 3, "No comma"),
        ('{"a" 1}', 1, 6, "after the key"),
        ("{\n// x\n}", 2, 1, "no comments"),
        ('{"a": [1, {', 1, 11, "never closed"),
        ('{"a": "x\n"}', 1, 7, "not closed"),
        ('{"a": "\\x"}', 1, 8, "no escape"),
        ('{"a": "\t"}', 1, 8, "\\u0009"),
        ('{"a": 1} x', 1, 10, "Nothing may follow"),
        ("{a: 1}", 1, 2, "a key in double quotes"),
        ('{"a": tru}', 1, 7, "a value"),
        ('{"a": 01}', 1, 8, "',' or '}'"),
        ("\ufeff{}", 1, 1, "a value"),
        ('{"a": 1e999999999}', 1, 7, "too large"),
    ],
)
def test_what_is_no_json_is_refused_at_its_place(text, line, column, said):
    found = problem(text)
    assert found[:2] == (line, column)
    assert said in found[2]


def test_a_bracket_that_is_never_closed_is_told_where_it_was_opened():
    assert problem('{\n "a": {\n  "b": 1\n')[0] == 2


def test_deep_nesting_is_bounded():
    assert "nested deeper" in problem("[" * 100_000)[2]
    assert read("[" * DEEPEST + "]" * DEEPEST)[0].content


def test_repeated_keys_are_all_found_at_any_depth():
    _, found = read('{"a": {"x": 1, "x": 2}, "a": 3, "a": 4}')
    assert [one.range.start.column for one in found.errors] == [16, 25, 33]
    node, found = read('{"a": 1, "a": 2}', repeated="last")
    assert not found.errors
    assert plain(node) == {"a": 2.0}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_it_reads_what_python_writes_and_python_what_it_writes(value):
    surrogates_apart = json.loads(json.dumps(value, ensure_ascii=True))
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    node, found = read(json.dumps(value))
    assert not found.found
    assert plain(node) == surrogates_apart
    assert json.loads(written(plain(node)), parse_int=float) == surrogates_apart


@given(st.text(alphabet='{}[]",:\\ \n1e-+.tfnu/*x\ud800é', max_size=60) | st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_value_or_a_finding(text):
    try:
        read(text)
    except TemplateError as error:
        assert error.diagnostics[0].range is not None
    else:
        json.loads(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"), (-0.0, "-0"), (2.5, "2.5"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
        (1e-6, "0.000001"), (1e-7, "1e-7"), (123456.789e3, "123456789"),
        (12345678901234567890.0, "12345678901234567000"), (1.5e300, "1.5e+300"), (0.1, "0.1"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_go_writes_them(number, text):
    assert written(number) == text
