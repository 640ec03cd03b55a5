"""Calling functions: arity, conversion, nulls, unknowns, marks, and the list of names."""

import pytest

from goldsmith.errors import Position, SourceRange
from goldsmith.template.hcl2.functions import (
    FUNCTIONS,
    CallContext,
    FunctionError,
    call_function,
)
from goldsmith.values.marks import SENSITIVE, Impure
from goldsmith.values.types import ANY, NUMBER, STRING, ListType
from goldsmith.values.value import (
    Value,
    all_marks,
    from_python,
    null,
    number,
    object_of,
    string,
    to_python,
    tuple_of,
    unknown,
)
from goldsmith.values.world import LiveWorld

HERE = SourceRange("t.pkr.hcl", Position(1, 1, 0), Position(1, 9, 8))
SECRET = string("s").with_marks({SENSITIVE})


def call(name: str, *args: object) -> Value:
    ctx = CallContext(LiveWorld(), ".", HERE)
    return call_function(FUNCTIONS[name], [from_python(arg) for arg in args], ctx)


def test_every_name_of_packer_is_accounted_for() -> None:
    special = {"try", "can", "convert", "templatefile"}
    assert len(set(FUNCTIONS) | special) == 103
    assert all(name == function.name for name, function in FUNCTIONS.items())


@pytest.mark.parametrize(
    ("name", "args", "summary", "words"),
    [
        ("upper", [], "Not enough function arguments", '"upper" expects 1 argument. .*"str"'),
        ("join", [], "Not enough function arguments", "at least 1 argument"),
        ("upper", ["a", "b"], "Too many function arguments", '"upper" expects only 1 argument'),
        ("upper", [[]], "Invalid function argument", '"str" .*"upper": string required'),
        ("abs", ["x"], "Invalid function argument", '"num" .*"abs": a number is required'),
        ("upper", [None], "Invalid function argument", "must not be null"),
        ("length", [1], "Error in function call", 'function "length" failed: argument must be'),
        ("slice", [["a"], 0, 2], "Invalid function argument", '"end_index" .*"slice": end index'),
    ],
)
def test_wrong_calls(name: str, args: list, summary: str, words: str) -> None:
    with pytest.raises(FunctionError, match=words) as caught:
        call(name, *args)
    assert caught.value.summary == summary


def test_the_argument_at_fault_is_named() -> None:
    with pytest.raises(FunctionError) as caught:
        call("substr", "abc", 0, 1.5)
    assert caught.value.argument_index == 2


def test_an_answer_stands_where_the_call_stands() -> None:
    assert call("upper", "a").range == HERE


def test_unknown_arguments_make_an_unknown_answer_of_the_right_type() -> None:
    assert call("upper", unknown(STRING)) == unknown(STRING)
    assert call("upper", unknown()) == unknown(STRING)
    assert call("split", ",", unknown(STRING)) == unknown(ListType(STRING))
    assert call("join", ",", tuple_of([unknown(STRING)])) == unknown(STRING)
    assert call("jsondecode", unknown(STRING)) == unknown(ANY)
    with pytest.raises(FunctionError):
        call("upper", unknown(ListType(STRING)))


def test_functions_that_only_move_elements_work_around_unknown_ones() -> None:
    pair = tuple_of([unknown(STRING), string("b")])
    assert call("length", pair).number.to_int() == 2
    assert call("element", pair, 1) == string("b")
    assert call("element", pair, 0) == unknown(STRING)
    assert call("concat", pair, ["c"]).elements[2] == string("c")
    assert call("merge", {"a": unknown(STRING)}, {"b": 1}).attributes["b"] == number(1)
    assert to_python(call("keys", {"a": unknown(STRING)})) == ["a"]
    assert call("contains", pair, "b").raw is True
    assert not call("contains", pair, "c").is_known
    assert call("coalesce", null(), unknown(STRING)) == unknown(STRING)
    assert call("coalesce", "a", unknown(STRING)) == string("a")
    assert call("flatten", tuple_of([unknown(NUMBER)])).elements == (unknown(NUMBER),)
    assert not call("flatten", tuple_of([unknown()])).is_known
    texts = call("formatlist", "%s!", pair).elements
    assert texts == (unknown(STRING), string("b!"))


def test_marks_go_along() -> None:
    assert call("upper", SECRET).marks == {SENSITIVE}
    assert call("upper", unknown(STRING).with_marks({SENSITIVE})).marks == {SENSITIVE}
    assert call("join", ",", tuple_of([SECRET, string("b")])).marks == {SENSITIVE}
    assert call("jsonencode", object_of({"a": SECRET})).marks == {SENSITIVE}
    assert call("length", SECRET).marks == {SENSITIVE}


def test_only_the_marked_element_stays_marked_where_elements_are_moved() -> None:
    merged = call("merge", {"a": SECRET}, {"b": "x"})
    assert merged.marks == frozenset()
    assert merged.attributes["a"].marks == {SENSITIVE}
    assert merged.attributes["b"].marks == frozenset()
    assert call("lookup", {"a": SECRET}, "a", "").marks == {SENSITIVE}
    assert call("lookup", {"a": SECRET}, "b", "").marks == frozenset()
    assert all_marks(call("keys", {"a": SECRET})) == frozenset()
    assert call("concat", tuple_of([SECRET]), ["b"]).elements[1].marks == frozenset()
    hidden = call("lookup", object_of({"a": string("x")}).with_marks({SENSITIVE}), "a", "")
    assert hidden.marks == {SENSITIVE}
    flat = call("flatten", tuple_of([tuple_of([string("x")]).with_marks({SENSITIVE})]))
    assert flat.marks == {SENSITIVE}


@pytest.mark.parametrize(
    ("name", "args", "mark"),
    [
        ("timestamp", [], Impure("clock", "timestamp()")),
        ("legacy_isotime", ["2006"], Impure("clock", "legacy_isotime()")),
        ("uuidv4", [], Impure("chance", "uuidv4()")),
        ("fileexists", ["nosuch"], Impure("file", 'fileexists("nosuch")')),
        ("fileset", ["nosuch", "*"], Impure("file", 'fileset("nosuch", "*")')),
        ("abspath", ["x"], Impure("environment", 'abspath("x")')),
        ("pathexpand", ["~"], Impure("environment", 'pathexpand("~")')),
    ],
)
def test_answers_from_outside_say_so(name: str, args: list, mark: Impure) -> None:
    assert call(name, *args).marks == {mark}


def test_answers_from_inside_are_pure() -> None:
    for name, args in (("abspath", ["/a"]), ("pathexpand", ["a"]), ("uuidv5", ["dns", "a"])):
        assert call(name, *args).marks == frozenset()
