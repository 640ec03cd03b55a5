"""The console's text and verdict depend on its bytes, not on how they were read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.machine.console import FAILURE_TEXTS, LINE_LIMIT, ConsoleWatch, TerminalText

PIECES = st.sampled_from(
    [
        "login:", "log", "in:", "Kernel panic - not syncing", "Kernel panic", " - not syncing: x",
        "\r\n", "\n", "\r", "\x1b", "[0m", "\x1b[1;31m", "\x1b[", "\x1b]0;title\x07", "\x1b]",
        "\x1b\\", "\x1bP", "\x1b(B", "\x1bc", "\x07", "\x00", "é", "€", "\nShell> ",
    ]
)  # fmt: skip


@st.composite
def _console_and_cuts(draw):
    data = "".join(draw(st.lists(PIECES, max_size=12))).encode()
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    edges = sorted({0, len(data), *cuts})
    return data, [data[a:b] for a, b in pairwise(edges)]


def _read(chunks):
    lines = []
    watch = ConsoleWatch("login:", lines.append)
    for chunk in chunks:
        watch.feed(chunk)
    watch.close()
    return watch.finding, lines, watch.tail


@given(_console_and_cuts())
def test_cutting_the_stream_changes_nothing(console):
    data, chunks = console
    assert _read(chunks) == _read([data])


@given(_console_and_cuts())
def test_text_holds_no_escape_and_no_control_character(console):
    _, chunks = console
    terminal = TerminalText()
    text = "".join(map(terminal.feed, chunks)) + terminal.feed(b"", final=True)
    assert not {c for c in text if ord(c) < 0x20} - set("\r\n\t")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[0;32m  OK  \x1b[0m] x", "  OK  ] x"),
        (b"\x1b]0;title\x07a\x1b]3008;id=1\x1b\\b", "ab"),
        (b"\x1bc\x1b[?7l\x1b[2JSeaBIOS", "SeaBIOS"),
        (b"\x1b(B\x1b)0x\x1b7\x1b8", "x"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        (b"a\x08\x07\x00b\tc", "ab\tc"),
    ],
)
def test_escape_sequences_are_removed(raw, text):
    assert TerminalText().feed(raw) == text


def test_a_control_string_without_end_hides_its_own_line_at_most():
    watch = ConsoleWatch("login:")
    watch.feed(b"\x1b]R rubbish\r\ndebian login:")
    assert watch.finding is not None


def test_the_expected_text_is_found_across_reads_and_sequences():
    watch = ConsoleWatch("debian login:")
    for chunk in (b"Debian 12\r\ndeb", b"ian\x1b[", b"1m log\x1b[0", b"min"):
        watch.feed(chunk)
        assert watch.finding is None
    watch.feed(b":")
    assert watch.finding.expected


@pytest.mark.parametrize("text", FAILURE_TEXTS)
def test_every_failure_is_recognised_and_explained(text):
    watch = ConsoleWatch("login:")
    watch.feed(f"[    1.5] before\n{text} details\r\n".encode())
    assert not watch.finding.expected
    explained = watch.explain(watch.finding)
    assert FAILURE_TEXTS[text] in explained
    assert text.strip() in explained
    assert "details" in explained


def test_what_is_said_first_decides():
    panic, login = b"Kernel panic - not syncing\n", b"login:\n"
    first, second = ConsoleWatch("login:"), ConsoleWatch("login:")
    first.feed(panic + login)
    second.feed(login + panic)
    assert (first.finding.expected, second.finding.expected) == (False, True)


def test_an_expected_failure_is_no_failure():
    watch = ConsoleWatch("Kernel panic - not syncing: wanted")
    watch.feed(b"Kernel panic - not syncing: ")
    assert watch.finding is None
    watch.feed(b"wanted")
    assert watch.finding.expected


def test_lines_are_those_a_terminal_shows():
    finding, lines, tail = _read([b"10%\r20%\r100%\r\n\r\nlast  "])
    assert finding is None
    assert lines == ["100%", "", "last"]
    assert tail == ["100%", "last"]


def test_a_line_without_end_is_cut():
    _, lines, _ = _read([b"x" * 1000] * 10)
    assert [len(line) for line in lines] == [LINE_LIMIT, LINE_LIMIT, 10_000 - 2 * LINE_LIMIT]
