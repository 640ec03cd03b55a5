"""What stops work on a thread: interrupts and time limits, each raised once."""

import gc
import os
import threading
import time

import pytest

from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host import cancellation
from goldsmith.host.cancellation import Cancellation, check_cancelled, pause
from goldsmith.host.signals import time_limit


@pytest.fixture
def scope():
    made = Cancellation()
    yield made
    made.close()


def on_a_thread(work):
    """What a piece of work raises on a thread of its own, or None."""
    raised = []

    def body():
        try:
            work()
        except BaseException as e:
            raised.append(e)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, raised


def test_nothing_stops_who_is_not_cancelled(scope):
    with scope.installed():
        check_cancelled()
        pause(0.001)
    assert cancellation.current() is None


def test_an_interrupt_is_raised_once(scope):
    scope.cancel("SIGTERM")
    with scope.installed():
        with pytest.raises(Interrupted, match="SIGTERM"):
            check_cancelled()
        check_cancelled()
        pause(0.001)
    assert not scope.armed


def test_a_second_one_makes_it_hurry(scope):
    scope.cancel("SIGINT")
    assert not scope.hurried
    scope.cancel("SIGINT")
    assert scope.hurried


def test_an_interrupt_ends_a_pause_on_another_thread(scope):
    waits = threading.Event()

    def work():
        with scope.installed():
            waits.set()
            pause(3600)

    thread, raised = on_a_thread(work)
    waits.wait()
    scope.cancel("SIGINT")
    thread.join(60)
    assert not thread.is_alive()
    assert [type(e) for e in raised] == [Interrupted]


def test_it_stops_only_the_thread_that_it_was_installed_on(scope):
    scope.cancel("SIGINT")
    with scope.installed():
        thread, raised = on_a_thread(check_cancelled)
        thread.join()
    assert raised == []


def test_the_one_before_comes_back(scope):
    inner = Cancellation()
    with scope.installed():
        with inner.installed():
            assert cancellation.current() is inner
        assert cancellation.current() is scope
    inner.close()


def test_a_time_limit_works_on_any_thread_that_can_be_cancelled(scope):
    late = GoldsmithError("late")

    def work():
        with scope.installed():
            with time_limit(0.01, late):
                pause(3600)

    thread, raised = on_a_thread(work)
    thread.join(60)
    assert raised == [late]


def test_a_limit_that_is_not_reached_leaves_nothing(scope):
    with scope.installed():
        with time_limit(3600, GoldsmithError("late")):
            assert scope.deadline_s > time.monotonic()
            pause(0.001)
        assert scope.deadline_s is None


def test_the_nearest_of_two_limits_counts(scope):
    inner = GoldsmithError("inner")
    with scope.limit(3600, GoldsmithError("outer")):
        with pytest.raises(GoldsmithError, match="inner"):
            with scope.limit(0, inner):
                scope.check()
        scope.check()


def test_a_thread_that_nothing_can_stop_has_no_limits():
    def work():
        with time_limit(1, GoldsmithError("late")):
            pass

    thread, raised = on_a_thread(work)
    thread.join()
    assert [type(e) for e in raised] == [RuntimeError]


def test_cancelling_after_the_end_is_harmless(scope):
    scope.close()
    scope.cancel("SIGINT")


def test_a_descriptor_is_given_back_with_what_held_it(monkeypatch):
    closed, close = [], os.close
    monkeypatch.setattr(os, "close", lambda fd: (closed.append(fd), close(fd)))
    cancellation = Cancellation()
    fd = cancellation.fileno()
    del cancellation
    gc.collect()
    assert fd in closed
