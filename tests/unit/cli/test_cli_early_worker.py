"""What happens before a build is known: an early worker that fails, and interrupts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from goldsmith.cli import app, early_imports, early_worker, worker
from goldsmith.cli.early_imports import EARLY_BUILDS
from goldsmith.cli.early_worker import dismiss_worker, take_worker, worker_started_early
from goldsmith.cli.start_document import StartDocument
from goldsmith.errors import HostError
from goldsmith.events import Failed, decode
from goldsmith.host.worker import Link


@pytest.fixture
def ends() -> tuple[socket.socket, tuple[int, int, int]]:
    """Our end of a control socket, and what a worker is given that has the other one."""
    own, others = socket.socketpair()
    return own, (others.detach(), os.open(os.devnull, os.O_WRONLY), os.getpid())


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HostError("namespaces are not allowed"), HostError.exit_code),
        (PermissionError(1, "namespaces are not allowed"), 1),
    ],
)
def test_what_is_not_allowed_is_told_to_who_wants_it(
    ends: tuple[socket.socket, tuple[int, int, int]],
    error: Exception,
    status: int,
    wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_namespaces(*_: object) -> int:
        raise error

    monkeypatch.setattr(worker, "become_worker", no_namespaces)
    own, words = ends
    with own:
        if wanted:
            socket.send_fds(own, [b"\n"], [own.fileno()])
        else:
            own.shutdown(socket.SHUT_WR)
        assert worker.become_early("image", *words) == status
    assert ("namespaces are not allowed" in capsys.readouterr().err) is wanted


def test_what_cannot_be_imported_is_left_to_the_build(
    ends: tuple[socket.socket, tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source_type: str) -> None:
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
    assert worker.become_early("image", *words) == 0


@pytest.mark.parametrize("words", [[], ["-help"], ["{directory}"], ["{directory}/no.pkr.hcl"]])
def test_most_command_lines_call_for_none(words: list[str], tmp_path: Path) -> None:
    with worker_started_early([word.format(directory=tmp_path) for word in words]):
        assert take_worker() is None
        dismiss_worker()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The source type of every early worker that root would start, and whether it gives way."""
    made: list[tuple[str, bool]] = []

    @contextmanager
    def start_early(become: partial[int], *, gives_way: bool) -> Iterator[object]:
        assert become.func is worker.become_early
        made.append((become.args[0], gives_way))
        yield made

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(early_worker, "start_early", start_early)
    return made


@pytest.mark.parametrize(
    ("name", "text", "source_type"),
    [
        ("t.pkr.hcl", 'source "image" "x" {', "image"),
        ("t.pkr.hcl", '# Words.\r\n\tsource\t"image"  "x" {\r\n', "image"),
        ("t.pkr.hcl", 'source"image""x"{', "image"),
        ("t.pkr.hcl", 'source "null" "n" {}\nsource "amazon-chroot" "x" {', "amazon-chroot"),
        ("t.pkr.hcl", 'source "image" "x" {}\nsource "amazon-chroot" "y" {', "amazon-chroot"),
        ("t.json", '{"builders": [{"name": "x", "type" :\n "image"}]}', "image"),
        ("t.json", '{"builders":[{"type":"amazon-chroot"}]}', "amazon-chroot"),
        ("t.pkr.json", '{"source": {"image": {"x": {}}}}', "image"),
        ("t.pkr.json", '{"source": [\n  {"amazon-chroot": {"x": {}}}]}', "amazon-chroot"),
    ],
)
def test_a_template_that_names_such_a_source_calls_for_one(
    started: list[tuple[str, bool]], tmp_path: Path, name: str, text: str, source_type: str
) -> None:
    (tmp_path / name).write_text(text, newline="")
    with worker_started_early(["-force", str(tmp_path / name)]):
        assert started == [(source_type, source_type == "image")]
        assert take_worker() is started and take_worker() is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.pkr.hcl", '# source "image" "x" {\n// source "amazon-chroot" "x" {\n'),
        ("t.pkr.hcl", 'source "image-x" "image" {}\nsource "googlecompute-image" "image" {}\n'),
        ("t.pkr.hcl", 'build {\n  sources = ["source.image.x"]\n  name = "image"\n}\n'),
        ("t.pkr.hcl", 'provisioner "file" {\n  source = "image"\n}\n'),
        ("t.pkrvars.hcl", 'source = "image"\ntype = "image"\nkinds = ["image", "amazon-chroot"]\n'),
        ("t.json", '{"builders": [{"type": "googlecompute-image", "name": "image"}]}'),
        ("t.json", '{"provisioners": [{"type": "file", "source": "image"}]}'),
        ("t.pkr.hcl", 'source "image" "x" {' + " " * (1 << 20)),
        ("t.pkr.hcl", "\n" * (1 << 20)),
        ("t.pkr.hcl", ""),
    ],
)  # fmt: skip
def test_others_call_for_none(
    started: list[tuple[str, bool]], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    with worker_started_early([str(tmp_path / name)]):
        assert started == [] and take_worker() is None


def test_nobody_but_root_starts_one(
    started: list[tuple[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "t.pkr.hcl").write_text('source "image" "x" {')
    with worker_started_early([str(tmp_path / "t.pkr.hcl")]):
        assert started == []


@pytest.mark.parametrize(("source_type", "starts"), [("image", False), ("amazon-chroot", True)])
def test_one_that_may_be_needless_is_not_started_on_one_processor(
    started: list[tuple[str, bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source_type: str,
    starts: bool,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    (tmp_path / "t.pkr.hcl").write_text(f'source "{source_type}" "x" {{')
    with worker_started_early([str(tmp_path / "t.pkr.hcl")]):
        assert bool(started) is starts


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({"LC_ALL": "C.UTF-8"}, True),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, False),
        ({"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}, True),
    ],
)
def test_none_starts_that_would_read_files_in_another_encoding(
    settings: dict[str, str], starts: bool
) -> None:
    body = "from goldsmith.cli import early_worker as e\nprint(e._speaks_as_workers_do())"
    done = subprocess.run([sys.executable, "-c", body], check=True, capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], **settings}, timeout=60)  # fmt: skip
    assert done.stdout == f"{starts}\n"


def test_a_host_without_room_for_one_is_told_by_the_build(
    started: list[tuple[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(early_worker, "start_early", fail)
    (tmp_path / "t.pkr.hcl").write_text('source "image" "x" {')
    with worker_started_early([str(tmp_path / "t.pkr.hcl")]):
        assert take_worker() is None


@pytest.mark.parametrize("source_type", EARLY_BUILDS)
def test_all_is_there_that_is_imported_early(source_type: str) -> None:
    """Where it is not, nobody hears of it: the build imports it once more."""
    making = EARLY_BUILDS[source_type].making
    body = (
        "import sys\nfrom goldsmith.cli.early_imports import import_early\n"
        f"import_early({source_type!r})\nassert {set(making)} <= sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", body], check=True, timeout=60)


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
