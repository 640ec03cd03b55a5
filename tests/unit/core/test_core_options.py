"""From an evaluated block to typed options: every finding at once, each at its place."""

from typing import ClassVar, Literal

import pytest
from pydantic import Field, model_validator

from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.core.options import (
    DurationSeconds,
    Finding,
    Options,
    SizeBytes,
    build_options,
    did_you_mean,
    locate,
    range_at,
    read_options,
)
from goldsmith.errors import Position, SourceRange
from goldsmith.values.types import NUMBER, STRING
from goldsmith.values.value import (
    TRUE,
    list_of,
    null,
    number,
    object_of,
    string,
    tuple_of,
    unknown,
)


def line(number_of_line, column=1):
    """A place that the assertions can recognize by its line."""
    position = Position(number_of_line, column, 0)
    return SourceRange("t.hcl", position, position)


class Part(Options):
    labels: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    size: SizeBytes = 0
    tags: dict[str, str] = Field(default_factory=dict)


class Net(Options):
    bridge: str
    mtu: int = Field(1500, ge=68)


class Machine(Options):
    hostname: str
    cpus: int = Field(1, ge=1)
    fast: bool = False
    kind: Literal["small", "large"] = "small"
    wait: DurationSeconds = 0.0
    words: tuple[str, ...] = ()
    part: tuple[Part, ...] = ()
    net: Net | None = None

    @model_validator(mode="after")
    def _large_is_fast(self):
        if self.kind == "large" and not self.fast:
            raise ValueError("a large one must be fast")
        return self


def body(attributes=None, blocks=(), at=1):
    """A body whose attributes stand on lines of their own: (value, line) by name."""
    given = {name: pair[0].at(line(pair[1], 9)) for name, pair in (attributes or {}).items()}
    names = {name: line(pair[1], 3) for name, pair in (attributes or {}).items()}
    return RawBody(given, names, tuple(blocks), line(at))


def block(kind, labels=(), attributes=None, blocks=(), at=50):
    return RawBlock(kind, tuple(labels), body(attributes, blocks, at), line(at))


def found_in(raw, model=Machine):
    options, found = build_options(model, raw, "the subject")
    assert (options is None) == bool(found)
    assert all(d.subject == "the subject" for d in found)
    return [(d.summary, d.detail, d.range.start.line if d.range else None) for d in found]


HOST = {"hostname": (string("web"), 2)}


def test_a_good_block_becomes_options_of_their_types():
    raw = body(
        {
            **HOST, "cpus": (string("4"), 3), "fast": (string("true"), 4),
            "wait": (string("1m30s"), 5), "words": (tuple_of([string("a"), number(2)]), 6),
            "kind": (string("large"), 7),
        },
        [block("part", ["root"], {"size": (string("2GiB"), 9)}),
         block("part", ["data"], {"tags": (object_of({"a": TRUE}), 10)}),
         block("net", attributes={"bridge": (string("br0"), 12)})],
    )  # fmt: skip
    options, found = build_options(Machine, raw)
    assert found == []
    assert options == Machine(
        hostname="web", cpus=4, fast=True, kind="large", wait=90.0, words=("a", "2"),
        part=(Part(name="root", size=2 << 30), Part(name="data", tags={"a": "true"})),
        net=Net(bridge="br0"),
    )  # fmt: skip


def test_null_is_not_given():
    options, found = build_options(Machine, body({**HOST, "cpus": (null(NUMBER), 3)}))
    assert (options.cpus, found) == (1, [])
    assert found_in(body({"hostname": (null(STRING), 2)})) == [
        ("Missing required argument",
         'The argument "hostname" is required, but no definition was found.', 1)
    ]  # fmt: skip


def test_unknown_arguments_name_the_nearest():
    assert found_in(body({**HOST, "cpu": (number(1), 7), "zzz": (number(1), 8)})) == [
        ("Unsupported argument", 'An argument named "cpu" is not expected here. '
                                 'Did you mean "cpus"?', 7),
        ("Unsupported argument", 'An argument named "zzz" is not expected here.', 8),
    ]  # fmt: skip


def test_unknown_blocks_name_the_nearest():
    raw = body(HOST, [block("parts", at=20), block("hostname", at=21)])
    assert found_in(raw) == [
        ("Unsupported block type",
         'Blocks of type "parts" are not expected here. Did you mean "part"?', 20),
        ("Unsupported block type",
         'Blocks of type "hostname" are not expected here. '
         'Did you mean to set the argument "hostname = …"?', 21),
    ]  # fmt: skip


def test_a_block_written_as_argument_is_told_how():
    assert found_in(body({**HOST, "net": (object_of({}), 5)})) == [
        ("Unsupported argument", '"net" is a block: write net { … } without the equals sign.', 5)
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cpus", string("many"), "a number is required"),
        ("fast", number(3), "a bool is required"),
        ("hostname", list_of(STRING, []), "string required"),
        ("words", string("x"), "list of string required"),
    ],
)
def test_wrong_types_are_at_their_values(name, value, said):
    ((summary, detail, where),) = found_in(body({**HOST, name: (value, 8)}))
    assert (summary, where) == ("Incorrect attribute value type", 8)
    assert detail == f'Inappropriate value for attribute "{name}": {said}.'


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cpus", number(0), "greater than or equal to 1"),
        ("cpus", number(1.5), "valid integer"),
        ("kind", string("huge"), "it is small or large"),
        ("wait", string("soon"), "'soon' is not a duration (write for example"),
        ("wait", string("-5s"), "'-5s' is negative"),
        ("wait", string("99999999999999999h"), "less than 292 years"),
        ("wait", string("2000h"), "nothing waits longer than 24 days"),
    ],
)
def test_values_out_of_range_are_at_their_values(name, value, said):
    ((summary, detail, where),) = found_in(body({**HOST, name: (value, 8)}))
    assert (summary, where) == (f'Invalid value for "{name}"', 8)
    assert said in detail


def test_what_is_too_short_is_told_without_the_words_of_python():
    class Lists(Options):
        words: tuple[str, ...] = Field(min_length=1)
        two: tuple[str, ...] = Field(min_length=2)
        text: str = Field(min_length=1)

    given = {"words": (list_of(STRING, []), 1), "two": (list_of(STRING, [string("a")]), 2),
             "text": (string(""), 3)}  # fmt: skip
    found = read_options(Lists, body(given)).found
    assert [one.detail for one in found] == [
        "it is empty",
        "it needs at least 2 entries",
        "it is empty",
    ]


def test_everything_wrong_is_said_at_once():
    raw = body(
        {"cpus": (string("x"), 2), "fats": (TRUE, 3), "wait": (string("-"), 4)},
        [block("part", [], at=10), block("net", attributes={"mtu": (number(1), 13)}, at=12),
         block("nett", at=14)],
    )  # fmt: skip
    found = found_in(raw)
    assert sorted((where, summary) for summary, _, where in found) == [
        (1, "Missing required argument"),
        (2, "Incorrect attribute value type"),
        (3, "Unsupported argument"),
        (4, 'Invalid value for "wait"'),
        (10, "Wrong block labels"),
        (12, "Missing required argument"),
        (13, 'Invalid value for "mtu"'),
        (14, "Unsupported block type"),
    ]


def test_a_missing_argument_of_a_block_names_it():
    assert found_in(body(HOST, [block("net", at=30)])) == [
        ("Missing required argument",
         'The argument "bridge" of block "net" is required, but no definition was found.', 30)
    ]  # fmt: skip


def test_errors_in_repeated_blocks_are_in_the_right_one():
    raw = body(HOST, [
        block("part", ["a"], at=10),
        block("net", attributes={"bridge": (string("b"), 12)}),
        block("part", ["b"], {"size": (string("big"), 21), "tags": (string("x"), 22)}, at=20),
    ])  # fmt: skip
    assert [(summary, where) for summary, _, where in found_in(raw)] == [
        ("Incorrect attribute value type", 22), ('Invalid value for "size"', 21)
    ]  # fmt: skip


@pytest.mark.parametrize(("labels", "attributes"), [((), None), (("a", "b"), None)])
def test_labels_must_be_as_many_as_the_block_has(labels, attributes):
    assert found_in(body(HOST, [block("part", labels, attributes, at=10)])) == [
        ("Wrong block labels", 'Write part "NAME" { … }.', 10)
    ]
    assert found_in(body(HOST, [block("net", ["x"], {"bridge": (string("b"), 11)}, at=10)])) == [
        ("Wrong block labels", "Write net { … }.", 10)
    ]


def test_a_label_cannot_be_given_as_argument_too():
    raw = body(HOST, [block("part", ["root"], {"name": (string("other"), 11)}, at=10)])
    assert found_in(raw) == [
        ("Unsupported argument", '"name" is the label of the block, not an argument in it.', 11)
    ]


def test_a_single_block_may_have_a_label():
    class Owner(Options):
        part: Part

    options, found = build_options(Owner, body(blocks=[block("part", ["root"])]))
    assert (found, options.part.name) == ([], "root")


def test_a_block_that_may_stand_once_stands_once():
    twice = [block("net", attributes={"bridge": (string("b"), at + 1)}, at=at) for at in (10, 20)]
    assert found_in(body(HOST, twice)) == [
        ("Duplicate block", 'Only one "net" block is allowed.', 20)
    ]


def test_arguments_that_do_not_fit_together_are_at_the_block():
    assert found_in(body({**HOST, "kind": (string("large"), 3)}, at=1)) == [
        ("Arguments that do not fit together", "a large one must be fast", 1)
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        {"hostname": (unknown(STRING), 2)},
        {**HOST, "words": (tuple_of([string("a"), unknown(STRING)]), 3)},
        {**HOST, "kind": (string("large"), 3), "fast": (unknown(), 4)},
        {**HOST, "cpus": (unknown(), 3)},
    ],
)
def test_what_only_a_running_build_knows_is_passed_over(attributes):
    """No finding, and no options either: they would have a default for what will be given."""
    assert build_options(Machine, body(attributes)) == (None, [])


def test_what_is_known_is_checked_beside_what_is_not():
    raw = body({"hostname": (unknown(STRING), 2), "cpus": (number(0), 3), "no": (TRUE, 4)})
    assert [(summary, where) for summary, _, where in found_in(raw)] == [
        ("Unsupported argument", 4), ('Invalid value for "cpus"', 3)
    ]  # fmt: skip


def test_what_is_not_written_beside_a_misspelled_option_is_not_told_besides():
    raw = body({"hostnme": (string("a"), 2), "cpus": (number(1), 3)})
    ((summary, _, where),) = found_in(raw)
    assert (summary, where) == ("Unsupported argument", 2)
    read = read_options(Machine, body({**HOST, "wrds": (string("a"), 2), "cpus": (number(1), 3)}))
    assert read.options is None
    assert not read.is_sure(Finding("no words", ("words",)))
    assert not read.is_sure(Finding("no part", ("part",)))
    assert read.is_sure(Finding("too many", ("cpus",)))


def test_findings_about_meaning_are_at_their_options():
    raw = body({**HOST, "words": (tuple_of([string("a"), string("b").at(line(6))]), 5)},
               [block("part", ["a"], {"size": (string("1"), 11)}, at=10),
                block("part", ["b"], at=20)])  # fmt: skip
    paths = [("words", 1), ("words", 0), ("part", 0, "size"), ("part", 1, "size"), ("part", 1),
             ("cpus",), (), ("net", "mtu")]  # fmt: skip
    findings = [Finding("m", path, "h") for path in paths]
    located = locate(findings, raw, "s")
    assert [found.range.start.line for found in located] == [6, 5, 11, 20, 20, 1, 1, 1]
    assert {(found.summary, found.detail, found.subject) for found in located} == {("m", "h", "s")}


def test_a_place_inside_a_map_is_that_of_its_element():
    tags = object_of({"a": string("x").at(line(31)), "b": string("y")})
    raw = body({"tags": (tags, 30)})
    assert range_at(raw, ("tags", "a")) == line(31)
    assert range_at(raw, ("tags", "b")) == line(30, 9)
    assert range_at(raw, ("tags", "c")) == line(30, 9)


def test_only_near_words_are_meant():
    assert did_you_mean("formatts", ["formats", "firmware"]) == ' Did you mean "formats"?'
    assert did_you_mean("xyz", ["formats", "firmware"]) == ""
    assert did_you_mean("x", []) == ""


def test_a_size_is_one_that_a_file_can_have():
    raw = body(HOST, [block("part", ["a"], {"size": (string("9" * 25), 11)}, at=10)])
    ((summary, detail, where),) = found_in(raw)
    assert (summary, where) == ('Invalid value for "size"', 11)
    assert "more than any disk holds" in detail


def test_what_is_misspelled_is_not_missing_besides():
    assert [found[0] for found in found_in(body({"hostnam": (string("web"), 2)}))] == [
        "Unsupported argument"
    ]
    nested = [block("net", attributes={"brigde": (string("br0"), 12)})]
    assert [found[0] for found in found_in(body(HOST, nested))] == ["Unsupported argument"]
    together = body({**HOST, "kind": (string("large"), 3), "fats": (TRUE, 4)})
    assert [found[0] for found in found_in(together)] == ["Unsupported argument"]

    class Owner(Options):
        machine: Net

    raw = body(blocks=[block("machin", attributes={"bridge": (string("b"), 11)})])
    assert [found[0] for found in found_in(raw, Owner)] == ["Unsupported block type"]


def test_what_is_given_besides_its_misspelling_is_still_looked_at():
    raw = body({**HOST, "cpu": (number(1), 3), "cpus": (number(0), 4)})
    assert [(found[0], found[2]) for found in found_in(raw)] == [
        ("Unsupported argument", 3), ('Invalid value for "cpus"', 4)
    ]  # fmt: skip


def test_what_is_good_beside_a_bad_value_can_be_looked_at():
    read = read_options(Machine, body({**HOST, "cpus": (number(0), 4), "fast": (TRUE, 5)}))
    assert read.options is None and read.examined == Machine(hostname="web", fast=True)
    assert not read.is_sure(Finding("too few", ("cpus",)))
    assert read.is_sure(Finding("too fast", ("fast",)))
    # Without a value that is needed, or of values that do not fit together, there is nothing.
    assert read_options(Machine, body({"hostname": (tuple_of([]), 2)})).examined is None
    large = body({**HOST, "kind": (string("large"), 3), "cpus": (number(0), 4)})
    assert read_options(Machine, large).examined is None
