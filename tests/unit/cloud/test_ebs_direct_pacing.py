"""Turns are given out no faster than the quota, and a burst of refusals is one refusal."""

from __future__ import annotations

import threading

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.cloud.calls import Service
from goldsmith.cloud.ebs_direct import connections
from goldsmith.cloud.ebs_direct.pacing import Pacer


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.floats(0, 0.01), min_size=30, max_size=120), st.floats(10, 2000))
def test_never_more_than_the_quota_in_a_second(gaps: list[float], per_second: float) -> None:
    clock = Clock()
    pacer = Pacer(per_second, clock)
    turns = []
    for gap in gaps:
        clock.now_s += gap
        turns.append(clock.now_s + pacer.turn_s())
    assert turns == sorted(turns)
    for start in turns:
        within = sum(1 for turn in turns if start <= turn < start + 1)
        # A tenth of a second's turns may have been saved up.
        assert within <= per_second * 1.1 + 2


def test_who_comes_seldom_never_waits() -> None:
    clock = Clock()
    pacer = Pacer(100, clock)
    for _ in range(50):
        clock.now_s += 0.5
        assert pacer.turn_s() == 0


def test_many_refusals_of_one_second_count_as_one() -> None:
    clock = Clock()
    pacer = Pacer(1000, clock)
    for _ in range(100):
        pacer.throttled()
    assert pacer.rate == 700
    clock.now_s += 1.5
    for _ in range(100):
        pacer.throttled()
    assert 500 < pacer.rate < 600


def test_it_never_stands_still_and_gets_well_again() -> None:
    clock = Clock()
    pacer = Pacer(1000, clock)
    for _ in range(200):
        clock.now_s += 1.01
        pacer.throttled()
    assert pacer.rate >= 8
    clock.now_s += 30
    assert pacer.rate == 1000


def test_when_nothing_goes_through_the_user_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SILENT_S", 0.0)
    told = threading.Event()
    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        told.set()

    class Busy:
        """Refuses until somebody has said so."""

        def put_snapshot_block(self) -> None:
            if not told.wait(0.01):
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "X")

    monkeypatch.setattr(connections, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(connections, "_TRIES", 100_000)
    many = connections.Connections(Service(Busy(), "r", name="ebs", tell=tell), count=2)
    many.for_each(range(3), lambda job: many.call("put_snapshot_block"), lambda done: None)
    assert len(said) == 1 and "PutSnapshotBlock: no (ThrottlingException)" in said[0]
