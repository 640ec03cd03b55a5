"""A signal is heard, also where Python drops what its handler raises."""

from __future__ import annotations

import signal
import sys

import pytest

from goldsmith.errors import Interrupted
from goldsmith.host.signals import check_interrupted, interruptible


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
