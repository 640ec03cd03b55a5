"""Flags by Go's rules, as Packer's verbs read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.cli.flags import Flag, FlagError, describe, read_flags, read_number

KNOWN = {
    "force": Flag("bool", "replace files"),
    "color": Flag("bool", "colour"),
    "on-error": Flag("text", "what to do"),
    "parallel-builds": Flag("number", "how many"),
    "var": Flag("many", "a variable"),
    "only": Flag("commas", "builds"),
}
VALUES = st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_one_dash_is_two_dashes(dashes):
    flags = read_flags(KNOWN, [f"{dashes}force", f"{dashes}on-error=ask", f"{dashes}var", "a=b"])
    assert (flags.on("force"), flags.text("on-error"), flags.many("var")) == (True, "ask", ["a=b"])
    assert flags.words == []


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["-force", "t.hcl", "-color"], ["t.hcl", "-color"]),
        (["-", "-force"], ["-", "-force"]),
        (["", "-force"], ["", "-force"]),
        (["-force", "--", "-color"], ["-color"]),
        (["--", "--"], ["--"]),
        ([], []),
    ],
)
def test_flags_end_at_the_first_word_or_two_dashes(words, left):
    flags = read_flags(KNOWN, words)
    assert flags.words == left
    assert "color" not in flags.given


@pytest.mark.parametrize(
    ("words", "on"),
    [
        (["-force"], True),
        (["-force=false"], False),
        (["-force=T"], True),
        (["-force=0"], False),
        (["-force", "-force=false"], False),
        ([], False),
    ],
)
def test_a_bool_takes_its_value_only_behind_an_equals_sign(words, on):
    flags = read_flags(KNOWN, words)
    assert flags.on("force") is on
    assert flags.maybe_bool("force") is (on if words else None)


def test_the_word_after_a_bool_is_no_value():
    assert read_flags(KNOWN, ["-force", "false"]).words == ["false"]


def test_a_value_may_look_like_a_flag_or_be_empty():
    flags = read_flags(KNOWN, ["-var", "-force", "-var=", "-on-error", ""])
    assert flags.many("var") == ["-force", ""]
    assert flags.text("on-error", "cleanup") == ""
    assert not flags.on("force")


def test_commas_split_and_repetitions_add():
    flags = read_flags(KNOWN, ["-only=a,b", "-only", "c,,d", "-var=x=1,2"])
    assert flags.many("only") == ["a", "b", "c", "d"]
    assert flags.many("var") == ["x=1,2"]
    assert flags.many("except") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-nope"], "flag provided but not defined: -nope"),
        (["--nope=1"], "flag provided but not defined: -nope"),
        (["---force"], "bad flag syntax: ---force"),
        (["-=x"], "bad flag syntax: -=x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-var"], "flag needs an argument: -var"),
        (["-force=maybe"], 'invalid boolean value "maybe" for -force: parse error'),
        (["-force="], 'invalid boolean value "" for -force: parse error'),
        (["-parallel-builds=two"], 'invalid value "two" for flag -parallel-builds: parse error'),
        (["-parallel-builds", "1.5"], 'invalid value "1.5" for flag -parallel-builds: parse error'),
    ],
)
def test_errors_are_in_words_of_go(words, message):
    with pytest.raises(FlagError) as caught:
        read_flags(KNOWN, words)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("7", 7), ("-3", -3), ("+3", 3), ("0x1f", 31), ("0b11", 3), ("0o17", 15),
        ("017", 15), ("-017", -15), ("1_000", 1000), ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)), ("00", 0),
        ("9223372036854775808", None), ("", None), ("-", None), ("+-1", None), (" 1", None),
        ("1 ", None), ("1e3", None), ("_1", None), ("1_", None), ("1__0", None), ("09", None),
        ("٣", None), ("0x", None), ("x", None),
    ],
)  # fmt: skip
def test_numbers_are_those_of_parse_int(text, number):
    assert read_number(text) == number


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_number_is_read(number):
    flags = read_flags(KNOWN, [f"-parallel-builds={number}"])
    assert flags.number("parallel-builds") == number


def test_a_number_that_was_not_given_is_0():
    assert read_flags(KNOWN, []).number("parallel-builds") == 0


@given(
    st.lists(st.tuples(st.sampled_from(["on-error", "var"]), VALUES, st.booleans())),
    st.lists(VALUES.filter(lambda word: not word.startswith("-")), min_size=1),
)
def test_what_is_written_is_read(pairs, words):
    """Whatever the values hold, each reaches its own flag, in order, and the words stay words."""
    written = []
    for name, value, joined in pairs:
        written += [f"-{name}={value}"] if joined else [f"--{name}", value]
    flags = read_flags(KNOWN, [*written, *words])
    for name in ("on-error", "var"):
        assert flags.many(name) == [value for given_name, value, _ in pairs if given_name == name]
    assert flags.words == words


@given(st.lists(st.text(st.sampled_from("-=force,vaonly10")), max_size=6))
def test_any_command_line_is_read_or_refused(words):
    try:
        flags = read_flags(KNOWN, words)
    except FlagError:
        return
    consumed = len(words) - len(flags.words)
    assert flags.words == words[consumed:]
    assert set(flags.given) <= set(KNOWN)


def test_the_description_has_a_line_for_each_flag_in_order():
    assert describe(KNOWN).splitlines() == [
        "  -color                       colour",
        "  -force                       replace files",
        "  -on-error=TEXT               what to do",
        "  -only=A,B                    builds",
        "  -parallel-builds=N           how many",
        "  -var=TEXT                    a variable",
    ]


def test_flags_without_effect_are_described_last():
    known = {"a-first": Flag("bool", "accepted; of no use"), "z-last": Flag("bool", "does much")}
    assert [line.split()[0] for line in describe(known).splitlines()] == ["-z-last", "-a-first"]


def test_an_unknown_flag_has_the_nearest_one():
    with pytest.raises(FlagError) as caught:
        read_flags(KNOWN, ["-paralel-builds=2"])
    assert str(caught.value) == (
        "flag provided but not defined: -paralel-builds. Did you mean -parallel-builds?"
    )
