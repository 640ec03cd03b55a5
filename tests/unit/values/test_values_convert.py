"""Conversion between types."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.numbers import Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
)
from goldsmith.values.value import (
    all_marks,
    from_python,
    null,
    number,
    set_of,
    string,
    to_python,
    tuple_of,
    unknown,
)

PATIENT = settings(deadline=None)

SCALARS = st.booleans() | st.integers() | st.text("ab1.", max_size=4)


@PATIENT
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_as_text(value: float) -> None:
    there = convert(number(Number.parse(repr(value))), STRING)
    assert convert(there, NUMBER).number == Number.parse(repr(value))


@PATIENT
@given(st.booleans())
def test_bools_survive_as_text(value: bool) -> None:
    assert convert(convert(from_python(value), STRING), BOOL) == from_python(value)


@PATIENT
@given(st.lists(SCALARS, max_size=5))
def test_every_scalar_fits_a_list_of_strings(items: list) -> None:
    wanted = ListType(STRING)
    converted = convert(from_python(items), wanted)
    assert converted.type == wanted
    assert len(converted.elements) == len(items)
    assert convert(converted, wanted) == converted


@PATIENT
@given(st.lists(SCALARS, max_size=5))
def test_a_list_of_any_settles_on_one_type_or_says_no(items: list) -> None:
    kinds = {type(item) for item in items}
    if kinds == {bool, int}:
        with pytest.raises(ConversionError, match="same type"):
            convert(from_python(items), ListType(ANY))
        return
    converted = convert(from_python(items), ListType(ANY))
    assert len({item.type for item in converted.elements}) <= 1
    if str in kinds:
        assert converted.type == ListType(STRING)


@PATIENT
@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), SCALARS, max_size=4))
def test_an_object_goes_to_a_map_and_back(items: dict) -> None:
    as_map = convert(from_python(items), MapType(STRING))
    wanted = ObjectType(dict.fromkeys(items, STRING))
    assert convert(as_map, wanted).attributes == as_map.attributes


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("false", False), ("1", True), ("0", False)]
)
def test_text_to_bool(text: str, expected: bool) -> None:
    assert convert(string(text), BOOL).raw is expected


@pytest.mark.parametrize(
    ("value", "wanted", "message"),
    [
        ("yes", BOOL, "a bool is required"),
        ("TRUE", BOOL, 'use lowercase "true"'),
        (1, BOOL, "a bool is required"),
        (True, NUMBER, "a number is required"),
        ("x", NUMBER, "a number is required"),
        ([1], STRING, "string required"),
        ("a", ListType(STRING), "list of string required"),
        ({"a": 1}, ListType(STRING), "list of string required"),
        ([1], MapType(STRING), "map of string required"),
        ([1, "x"], ListType(NUMBER), r"element \[1\]: a number is required"),
        ({"a": {"b": "x"}}, MapType(MapType(NUMBER)), r"attribute a\.b: a number is required"),
        ({}, ObjectType({"a": STRING}), 'attribute "a" is required'),
        ({}, ObjectType({"a": STRING, "b": STRING}), 'attributes "a" and "b" are required'),
        ([1], TupleType((STRING, STRING)), "tuple of 2 elements required"),
        ([1, [2]], ListType(ANY), "same type"),
    ],
)
def test_what_does_not_fit(value: object, wanted: object, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(from_python(value), wanted)


def test_an_object_loses_what_was_not_asked_for() -> None:
    wanted = ObjectType({"a": STRING})
    assert to_python(convert(from_python({"a": 1, "b": 2}), wanted)) == {"a": "1"}


def test_optional_attributes_and_defaults() -> None:
    wanted = ObjectType(
        {"a": STRING, "b": STRING, "c": NUMBER}, frozenset({"b", "c"}), {"c": number(5)}
    )
    converted = convert(from_python({"a": "x"}), wanted)
    assert to_python(converted) == {"a": "x", "b": None, "c": 5}
    assert converted.type == ObjectType({"a": STRING, "b": STRING, "c": NUMBER})
    assert to_python(convert(from_python({"a": "x", "c": None}), wanted))["c"] == 5


def test_sets_and_lists() -> None:
    converted = convert(from_python(["b", "a", "b"]), SetType(STRING))
    assert to_python(converted) == ["a", "b"]
    assert convert(converted, ListType(STRING)).type == ListType(STRING)
    assert convert(set_of(STRING, []), ListType(ANY)).type == ListType(STRING)


def test_nulls_and_unknowns_take_the_type() -> None:
    assert convert(null(), STRING) == null(STRING)
    assert convert(unknown(), ListType(STRING)) == unknown(ListType(STRING))
    assert convert(unknown(NUMBER), STRING) == unknown(STRING)
    inside = convert(tuple_of([unknown(NUMBER), number(1)]), ListType(STRING))
    assert inside.elements[0] == unknown(STRING)
    with pytest.raises(ConversionError):
        convert(unknown(BOOL), NUMBER)
    with pytest.raises(ConversionError):
        convert(unknown(ListType(STRING)), MapType(STRING))


def test_marks_stay_where_they_were() -> None:
    secret = number(1).with_marks({SENSITIVE})
    assert convert(secret, STRING).marks == {SENSITIVE}
    converted = convert(tuple_of([secret, number(2)]), ListType(STRING))
    assert converted.marks == frozenset()
    assert [item.marks for item in converted.elements] == [{SENSITIVE}, frozenset()]
    assert all_marks(convert(tuple_of([secret]), SetType(STRING))) == {SENSITIVE}
