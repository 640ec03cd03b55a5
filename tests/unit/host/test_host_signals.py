"""A signal is heard, also where Python drops what its handler raises."""

from __future__ import annotations

import contextlib
import signal
import sys

import pytest

from goldsmith.errors import Interrupted
from goldsmith.host.signals import check_interrupted, interruptible, noting_interrupts


def test_a_signal_whose_interrupt_was_lost_is_heard_where_work_begins():
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    lost = []
    with interruptible() as interrupts:
        hook, sys.unraisablehook = sys.unraisablehook, lambda report: lost.append(report.exc_type)
        try:
            Finalized()
        finally:
            sys.unraisablehook = hook
        assert lost == [Interrupted]
        with pytest.raises(Interrupted, match="SIGTERM"):
            check_interrupted()
        interrupts.settle()
        check_interrupted()
    check_interrupted()


def test_an_interrupt_that_is_lost_before_is_found() -> None:
    """As Python drops it where a finalizer runs, of which imports have some."""
    before = signal.getsignal(signal.SIGINT)
    with noting_interrupts():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGINT"), interruptible():
            pytest.fail("it goes on")
        with interruptible() as interrupts:
            assert interrupts.first is None
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), noting_interrupts():
        signal.raise_signal(signal.SIGINT)
    with interruptible() as interrupts:
        assert interrupts.first is None


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_interrupts():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
