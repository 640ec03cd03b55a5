"""Programs that leave others behind with their pipes, and what cannot be watched."""

import os

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.host.process import run

MANY = 20_000_000


def test_output_of_what_is_left_behind_is_not_read_for_ever(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    lines = 0

    def on_line(stream, line):
        nonlocal lines
        lines += 1
        if lines == 1:
            # Only now the shell ends, so what it leaves behind is writing by then.
            gate.write_text("\n")
        assert lines < MANY, "it is read for ever"

    done = run(["sh", "-c", 'yes & read x < "$0"', str(gate)], on_line=on_line)
    assert done.status == 0
    assert set(done.tail) <= {"y", ""}


def test_a_program_that_cannot_be_watched_is_ended(monkeypatch):
    started = []

    def no_more(pid):
        started.append(pid)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    with pytest.raises(GoldsmithError, match="sleep cannot be watched: Too many open files"):
        run(["sleep", "1000"])
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
