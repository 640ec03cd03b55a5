"""JSON in and out."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.values import json_form
from goldsmith.values.numbers import Number
from goldsmith.values.value import from_python, number, to_python, unknown

PATIENT = settings(deadline=None)

DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@PATIENT
@given(DATA)
def test_a_value_survives_json(data: object) -> None:
    value = from_python(data)
    assert json_form.decode(json_form.encode(value)) == value


@PATIENT
@given(DATA)
def test_other_readers_understand_it(data: object) -> None:
    value = from_python(data)
    assert json.loads(json_form.encode(value)) == to_python(value)


def test_go_spelling() -> None:
    text = json_form.encode(from_python({"b": "<&>\u2028\x01\n\b\x7f", "a": [1.5, None]}))
    assert text == '{"a":[1.5,null],"b":"\\u003c\\u0026\\u003e\\u2028\\u0001\\n\\b\x7f"}'


def test_numbers_are_exact() -> None:
    assert json_form.decode("1e21").number == Number.parse("1e21")
    assert json_form.encode(json_form.decode("12345678901234567890.5")) == "12345678901234567890.5"


def test_the_last_duplicate_key_wins() -> None:
    assert to_python(json_form.decode('{"a": 1, "a": 2}')) == {"a": 2}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert json_form.decode('"a\\ud800"').text == "a\ufffd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected end"),
        ("{a: 1}", "'a' at line 1, column 2"),
        ("1 2", "'2'"),
        ("NaN", "NaN"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_what_is_no_json(text: str, message: str) -> None:
    with pytest.raises(json_form.JsonError, match=message):
        json_form.decode(text)


def test_what_cannot_be_written() -> None:
    for value in (unknown(), number(Number.infinity())):
        with pytest.raises(json_form.JsonError):
            json_form.encode(value)
