"""Values: construction, marks, unknowns, sets, equality."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Position, SourceRange
from goldsmith.values.marks import SENSITIVE, Impure
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
    contains_any,
    friendly_name,
    type_text,
    without_optional,
)
from goldsmith.values.unify import equal, unify
from goldsmith.values.value import (
    ValueKindError,
    all_marks,
    from_python,
    list_of,
    map_of,
    null,
    number,
    object_of,
    set_of,
    string,
    to_python,
    tuple_of,
    unknown,
    unmarked,
)

PATIENT = settings(deadline=None)

CLOCK = Impure("clock", "timestamp()")
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abcé ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("xyz", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@PATIENT
@given(DATA)
def test_python_data_survives(data: object) -> None:
    value = from_python(data)
    assert to_python(value) == data
    assert value == from_python(data)
    assert hash(value) == hash(from_python(data))


def test_text_is_kept_in_nfc() -> None:
    assert string("e\u0301") == string("é")


def test_a_value_forgets_neither_marks_nor_place() -> None:
    here = SourceRange("a.hcl", Position(1, 1, 0), Position(1, 2, 1))
    value = string("x").with_marks({SENSITIVE}).at(here)
    assert value.with_marks({CLOCK}).marks == {SENSITIVE, CLOCK}
    assert value.with_marks({CLOCK}).range == here
    assert value != string("x")
    assert value.without_marks() == string("x")


def test_deep_marks() -> None:
    value = object_of({"a": tuple_of([string("x").with_marks({SENSITIVE})])}).with_marks({CLOCK})
    assert all_marks(value) == {SENSITIVE, CLOCK}
    assert all_marks(unmarked(value)) == frozenset()


def test_known_and_unknown() -> None:
    value = tuple_of([string("x"), unknown(STRING)])
    assert value.is_known
    assert not value.is_wholly_known
    assert not unknown(STRING).is_known
    assert null(STRING).is_null
    with pytest.raises(ValueKindError, match="before it runs"):
        to_python(value)


def test_a_set_has_each_element_once_in_order_and_takes_its_marks() -> None:
    made = set_of(STRING, [string("b"), string("a").with_marks({SENSITIVE}), string("b")])
    assert [item.raw for item in made.elements] == ["a", "b"]
    assert made.marks == {SENSITIVE}
    assert all_marks(made.elements[0]) == frozenset()
    numbers = set_of(NUMBER, [number(10), number(9), null(NUMBER), number(9.0)])
    assert to_python(numbers) == [9, 10, None]


def test_sets_of_structures_compare_without_order() -> None:
    rows = [tuple_of([number(2)]), tuple_of([number(1)])]
    row_type = TupleType((NUMBER,))
    assert set_of(row_type, rows) == set_of(row_type, rows[::-1])


def test_content_of_the_wrong_kind() -> None:
    for read in ("text", "number", "truth", "elements", "attributes"):
        with pytest.raises(ValueKindError, match="required"):
            getattr(null(), read)


def test_type_names() -> None:
    wanted = ObjectType({"b": ListType(STRING), "a": NUMBER}, frozenset({"b"}))
    assert type_text(wanted) == "object({a = number, b = optional(list(string))})"
    assert friendly_name(MapType(SetType(BOOL))) == "map of set of bool"
    assert friendly_name(ListType(ANY)) == "list of any single type"
    assert type_text(without_optional(wanted)) == "object({a = number, b = list(string)})"
    assert contains_any(TupleType((STRING, MapType(ANY))))
    assert not contains_any(wanted)
    assert hash(wanted) == hash(ObjectType({"a": NUMBER, "b": ListType(STRING)}, frozenset({"b"})))


@pytest.mark.parametrize(
    ("types", "common"),
    [
        ([NUMBER, STRING, BOOL], STRING),
        ([NUMBER, BOOL], None),
        ([NUMBER, ANY], NUMBER),
        ([ANY], ANY),
        ([TupleType((NUMBER,)), TupleType((STRING,))], TupleType((STRING,))),
        ([TupleType((NUMBER,)), TupleType(())], ListType(NUMBER)),
        ([TupleType((NUMBER,)), ListType(STRING)], ListType(STRING)),
        ([TupleType((NUMBER,)), TupleType((BOOL,))], None),
        ([ObjectType({"a": NUMBER}), ObjectType({"b": STRING})], MapType(STRING)),
        ([ObjectType({"a": NUMBER}), ObjectType({"a": STRING})], ObjectType({"a": STRING})),
        ([ObjectType({"a": NUMBER}), MapType(STRING)], MapType(STRING)),
        ([SetType(NUMBER), SetType(STRING)], SetType(STRING)),
        ([ObjectType({}), TupleType(())], None),
        ([STRING, ListType(STRING)], None),
    ],
)
def test_the_type_that_values_share(types: list, common: object) -> None:
    assert unify(types) == common
    assert unify(types[::-1]) == common


def test_equality() -> None:
    assert equal(number(1), number(1.0)).raw is True
    assert equal(number(1), string("1")).raw is False
    assert equal(null(), null(STRING)).raw is True
    assert equal(string(""), null()).raw is False
    assert equal(list_of(STRING, [string("a")]), tuple_of([string("a")])).raw is False
    assert equal(map_of(NUMBER, {"a": number(1)}), object_of({"a": number(1)})).raw is False
    assert equal(from_python({"a": [1]}), from_python({"a": [1]})).raw is True


def test_equality_of_what_is_not_known_yet() -> None:
    assert not equal(unknown(STRING), string("a")).is_known
    assert equal(unknown(STRING), number(1)).raw is False
    assert equal(tuple_of([unknown(STRING), number(1)]), from_python(["a", 2])).raw is False
    assert not equal(tuple_of([unknown(STRING), number(1)]), from_python(["a", 1])).is_known
    assert not equal(unknown(), null()).is_known


def test_equality_carries_marks_from_inside() -> None:
    answer = equal(tuple_of([string("a").with_marks({SENSITIVE})]), from_python(["a"]))
    assert answer.raw is True
    assert answer.marks == {SENSITIVE}
