"""Options from a language without strict types: what mapstructure and Packer make of values."""

from typing import ClassVar

import pytest

from goldsmith.core.deferred import RawBody
from goldsmith.core.loose import tightened
from goldsmith.core.options import Options, build_options
from goldsmith.values.value import from_python


class Inner(Options):
    labels: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    size: int = 0


class Outer(Options):
    text: str = ""
    count: int = 0
    on: bool = False
    words: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    table: dict[str, str] = {}
    part: tuple[Inner, ...] = ()


def options(**given):
    body = RawBody({key: from_python(value) for key, value in given.items()}, loose=True)
    made, found = build_options(Outer, tightened(body, Outer))
    return made, [one.summary for one in found]


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("text", 5, "5"), ("text", True, "1"), ("text", False, "0"), ("text", 1.5, "1.5"),
        ("count", "7", 7), ("count", "", 0), ("count", True, 1),
        ("on", "true", True), ("on", "T", True), ("on", "", False), ("on", 0, False),
        ("on", 2, True),
        ("words", "a, b", ("a", " b")), ("words", "", ()), ("words", [1, True], ("1", "1")),
        ("words", {}, ()), ("codes", "127", (127,)), ("codes", 3, (3,)),
        ("table", {"a": 1}, {"a": "1"}), ("table", [{"a": "x"}, {"b": "y"}], {"a": "x", "b": "y"}),
        ("COUNT", 3, 3),
    ],
)  # fmt: skip
def test_a_value_becomes_what_is_wanted(name, given, value):
    made, found = options(**{name: given})
    assert not found
    assert getattr(made, name.lower()) == value


@pytest.mark.parametrize(("name", "given"), [("on", "maybe"), ("count", "x"), ("table", "a")])
def test_what_no_reading_allows_is_a_finding(name, given):
    assert options(**{name: given})[1] == ["Incorrect attribute value type"]


def test_objects_are_blocks():
    one = {"name": "a", "SIZE": "5"}
    for given in (one, [one]):
        made, found = options(part=given)
        assert not found
        assert made.part == (Inner(name="a", size=5),)
    assert options(part=[{"name": "a", "sze": 1}])[1] == ["Unsupported argument"]


def test_a_label_may_stand_above_its_block_as_in_the_json_of_hcl():
    both = (Inner(name="a", size=5), Inner(name="b"))
    for given in (
        {"a": {"size": "5"}, "b": {}}, [{"a": {"size": 5}}, {"b": {}}],
        [{"a": {"SIZE": 5}}, {"name": "b"}],
    ):  # fmt: skip
        made, found = options(part=given)
        assert not found
        assert made.part == both
    assert options(part={"a": {"sze": 1}})[1] == ["Unsupported argument"]
    assert options(part={"a": {}, "size": 1})[1] == ["Wrong block labels"]
    assert options(part={})[1] == ["Wrong block labels"]
