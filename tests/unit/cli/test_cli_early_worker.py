"""What happens before a build is known: an early worker that fails, and interrupts."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from goldsmith.cli import app, early_imports, worker
from goldsmith.cli.early_worker import dismiss_worker, take_worker, worker_started_early
from goldsmith.cli.start_document import StartDocument
from goldsmith.errors import HostError
from goldsmith.events import Failed, decode
from goldsmith.host.worker import Link


@pytest.fixture
def ends() -> tuple[socket.socket, list[str]]:
    """Our end of a control socket, and the last words of a worker that has the other one."""
    own, others = socket.socketpair()
    return own, [str(others.detach()), str(os.open(os.devnull, os.O_WRONLY)), str(os.getpid())]


def no_namespaces(*_: object) -> int:
    raise HostError("namespaces are not allowed")


@pytest.mark.parametrize("wanted", [False, True])
def test_what_is_not_allowed_is_told_to_who_wants_it(
    ends: tuple[socket.socket, list[str]],
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(worker, "become_worker", no_namespaces)
    own, words = ends
    with own:
        if wanted:
            socket.send_fds(own, [b"\n"], [own.fileno()])
        else:
            own.shutdown(socket.SHUT_WR)
        assert worker.run_worker(["early", *words]) == HostError.exit_code
    assert ("namespaces are not allowed" in capsys.readouterr().err) is wanted


def test_what_cannot_be_imported_is_left_to_the_build(
    ends: tuple[socket.socket, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("no such library")

    def become(control: int, events: int, parent_pid: int, body: Callable[[Link], int]) -> int:
        link = Link(control, events)
        try:
            return body(link)
        finally:
            link._control.close()

    monkeypatch.setattr(early_imports, "import_early", fail)
    monkeypatch.setattr(worker, "become_worker", become)
    own, words = ends
    own.close()
    assert worker.run_worker(["early", *words]) == 0


@pytest.mark.parametrize("words", [[], ["-help"], ["{directory}"], ["{directory}/no.pkr.hcl"]])
def test_most_command_lines_call_for_none(words: list[str], tmp_path: Path) -> None:
    with worker_started_early([word.format(directory=tmp_path) for word in words]):
        assert take_worker() is None
        dismiss_worker()


def test_an_interrupt_while_a_class_is_made_is_no_defect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Slow:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def verb(words: list[str], machine_readable: bool) -> int:
        return len(vars(type("Made", (), {"field": Slow()})))

    assert app._guarded(verb, [], False) == 130
    assert capsys.readouterr().err == ""


def test_an_interrupt_waits_for_the_end_of_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = []

    def import_module(name: str) -> None:
        signal.raise_signal(signal.SIGINT)
        imported.append(name)

    monkeypatch.setattr(app, "import_module", import_module)
    with pytest.raises(KeyboardInterrupt):
        app._verb("build")
    assert imported == ["goldsmith.cli.build"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_a_cancel_that_came_before_the_build_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An early worker may read both only when it has imported all."""
    control, parent = os.pipe()
    reading, events = os.pipe()
    os.write(parent, b'{"secrets": []}\n{"cancel": "SIGINT"}\n')
    os.close(parent)
    monkeypatch.setattr(
        StartDocument, "from_wire", lambda given: SimpleNamespace(build="b", **given)
    )
    monkeypatch.setattr(worker, "_build", lambda *_: threading.Event().wait(60))
    link = Link(control, events)
    assert worker._work(link) == 1
    os.close(events)
    with os.fdopen(reading) as lines:
        (failed,) = [decode(line) for line in lines]
    assert isinstance(failed, Failed) and failed.error == "Interrupted"
    for thread in threading.enumerate():
        if thread.name == "control":
            thread.join(60)
    link._control.close()
