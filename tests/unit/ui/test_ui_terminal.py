"""What of a program's output reaches a terminal, a pipe or a file; and when there is colour."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.ui import terminal
from goldsmith.ui.owners import build_of
from goldsmith.ui.terminal import plain, tame, wants_color


@pytest.mark.parametrize(
    ("text", "without", "with_colours"),
    [
        ("plain ü 漢", "plain ü 漢", "plain ü 漢"),
        ("a\tb\nc", "a\tb\nc", "a\tb\nc"),
        ("\x1b[1;31mred\x1b[0m!", "red!", "\x1b[1;31mred\x1b[0m!"),
        ("\x1b[2J\x1b[10;5Hx", "x", "x"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b]8;;http://e.invalid\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
        ("\x1bPq#0\x1b\\x", "x", "x"),
        ("\x1b(B\x1b7\x1bMx", "x", "x"),
        ("bell\x07 back\x08 nul\x00", "bell back nul", "bell back nul"),
        ("10%\r20%", "10%20%", "10%20%"),
        ("\x9b2Jx", "2Jx", "2Jx"),
        ("\x1b[?25lx\x1b[", "x[", "x["),
    ],
)
def test_what_steers_a_terminal_is_left_out(text, without, with_colours):
    assert plain(text) == without
    assert tame(text) == with_colours


@given(st.text(st.sampled_from("\x1b[]m;0123Jab\x07\\P\x9b\r\n\t")))
def test_nothing_that_steers_is_left(text):
    assert plain(text).replace("\n", "").replace("\t", "").isprintable()
    assert plain(tame(text)) == plain(text) or "\x1b" in text


@pytest.mark.parametrize(
    ("environment", "flag", "is_terminal", "wanted"),
    [
        ({}, None, True, True),
        ({}, None, False, False),
        ({}, False, True, False),
        ({"CI": "1"}, None, True, False),
        ({"CI": "1"}, True, True, True),
        ({"TERM": "dumb"}, None, True, False),
        ({"NO_COLOR": "1"}, True, True, False),
        ({"PACKER_NO_COLOR": ""}, True, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, False, True),
    ],
)
def test_when_there_is_colour(monkeypatch, environment, flag, is_terminal, wanted):
    for name in ("CI", "NO_COLOR", "PACKER_NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    assert wants_color(stream, flag) is wanted


def test_a_stream_without_a_size_has_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setenv("LINES", "11")
    assert terminal.size(io.StringIO()) == (33, 11)


@pytest.mark.parametrize(
    ("speaker", "owner"),
    [
        ("a", "a"), ("a (compress)", "a"), ("odd (name)", "odd (name)"),
        ("odd (name) (compress)", "odd (name)"), ("nobody (x)", "nobody (x)"), ("", ""),
    ],
)  # fmt: skip
def test_whom_a_speaker_belongs_to(speaker, owner):
    assert build_of(speaker, {"a", "odd (name)"}) == owner
