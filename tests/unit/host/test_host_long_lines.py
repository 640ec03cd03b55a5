"""Lines of programs: however they are read, and however long they are."""

from __future__ import annotations

import itertools
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.events import CutLine
from goldsmith.host.process import LINE_LIMIT_BYTES, LineCutter

LONG = LINE_LIMIT_BYTES + 1


def cut(*pieces: bytes) -> tuple[list[str], deque[str]]:
    told: list[str] = []
    tail: deque[str] = deque(maxlen=5)
    cutter = LineCutter("stdout", tail, lambda _, line: told.append(line))
    for piece in pieces:
        cutter.feed(piece)
    cutter.feed(b"", final=True)
    return told, tail


@settings(deadline=None)
@given(st.text("aé\n", max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_where_reads_end_does_not_matter(text, cuts):
    data = text.encode()
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    told, _ = cut(*(data[a:b] for a, b in itertools.pairwise(places)))
    assert told == text.removesuffix("\n").split("\n") * bool(text)


def test_a_long_line_comes_in_pieces_of_which_the_last_says_that_it_ends():
    told, tail = cut(b"x" * LONG, b"y" * LONG, b"z\nnext\n")
    assert [type(line) for line in told] == [CutLine, CutLine, str, str]
    assert "".join(told[:3]) == "x" * LONG + "y" * LONG + "z"
    assert told[3] == "next"
    assert list(tail) == ["(a line that is too long to be shown)", "next"]


def test_a_long_line_that_ends_with_the_output_ends_too():
    told, _ = cut(b"x" * LONG)
    assert told == ["x" * LONG, ""]
    assert [type(line) for line in told] == [CutLine, str]
