"""Namespaces, the worker and their ends, on the real kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from goldsmith.errors import GoldsmithError
from goldsmith.events import Said
from goldsmith.host import kernel, loop, mounts, process
from goldsmith.host.journal import open_run
from goldsmith.host.worker import spawn_worker

pytestmark = pytest.mark.root

PROLOGUE = """
import os, sys
from goldsmith.events import Asked, Said
from goldsmith.host import mounts, process
from goldsmith.host.namespaces import step_namespace
from goldsmith.host.worker import become_worker

def setup():
    mounts.mount("proc", "/proc", "proc")
    return {"value": 7}

def say(link, text):
    link.emit(Said(build="b", text=str(text)))

def body(link):
    document = link.read_start_document()
    link.listen()
"""
EPILOGUE = """
    return 0

sys.exit(become_worker(*(int(word) for word in sys.argv[1:]), body))
"""


def run_worker(tmp_path: Path, body: str, answers: dict[str, str] | None = None) -> list[str]:
    """Run a worker with this body; returns what it said."""
    script = tmp_path / "worker.py"
    script.write_text(PROLOGUE + textwrap.indent(textwrap.dedent(body), "    ") + EPILOGUE)
    said = []
    with (
        open_run(tmp_path / "state", "test") as run,
        spawn_worker([sys.executable, str(script)], {"word": "start"}, lock_fd=run.lock_fd) as it,
    ):
        for event in it.events():
            if isinstance(event, Said):
                said.append(event.text)
            else:
                question = event.question  # type: ignore[attr-defined]
                it.answer(event.id, (answers or {}).get(question))  # type: ignore[attr-defined]
        assert it.running.wait(10) == 0
    return said


def test_start_document_and_answers_cross_the_control_pipe(tmp_path: Path) -> None:
    said = run_worker(
        tmp_path,
        """
        say(link, document["word"])
        say(link, link.ask(lambda n: Asked(build="b", id=n, question="who?")))
        say(link, link.ask(lambda n: Asked(build="b", id=n, question="nobody?")))
        """,
        {"who?": "me"},
    )
    assert said == ["start", "me", "None"]


def test_a_step_sees_its_own_processes_only_and_they_end_with_it(tmp_path: Path) -> None:
    mark = f"4{os.getpid()}"
    said = run_worker(
        tmp_path,
        f"""
        with step_namespace(setup) as namespace:
            say(link, namespace.report["value"])
            script = "setsid sleep {mark} & setsid sh -c 'trap \\"\\" TERM; sleep {mark}' & ls -d /proc/[0-9]* | wc -l"
            done = process.run(namespace.entering(["sh", "-c", script]), capture=True)
            inside = int(done.text)
            say(link, inside < 8)
        alive = process.run(["pgrep", "-f", "sleep {mark}"], check=False, capture=True).text
        say(link, repr(alive))
        """,  # noqa: E501
    )
    assert said == ["7", "True", "''"]


def test_a_step_that_is_stopped_and_goes_on_lives(tmp_path):
    said = run_worker(
        tmp_path,
        """
        import signal
        with step_namespace(setup) as namespace:
            for number in (signal.SIGSTOP, signal.SIGCONT) * 20:
                os.kill(namespace.init_pid, number)
                # It may be stopped before it has its name.
                while number == signal.SIGSTOP:
                    with open(f"/proc/{namespace.init_pid}/stat") as status:
                        if status.read().rpartition(")")[2].split()[0] == "T":
                            break
            say(link, namespace.run(["sleep", "0.2"]).status)
        """,
    )
    assert said == ["0"]


def test_without_network_there_is_only_loopback_and_it_is_up(tmp_path: Path) -> None:
    said = run_worker(
        tmp_path,
        """
        with step_namespace(setup, network=False) as namespace:
            done = process.run(namespace.entering(["cat", "/proc/net/dev"]), capture=True)
            say(link, sorted(l.split(":")[0].strip() for l in done.text.splitlines()[2:]))
            shown = process.run(namespace.entering(["ip", "-br", "address"]), capture=True).text
            say(link, "127.0.0.1/8" in shown)
        """,
    )
    assert said == ["['lo']", "True"]


def test_an_error_of_the_setup_reaches_the_caller(tmp_path: Path) -> None:
    said = run_worker(
        tmp_path,
        """
        from goldsmith.errors import GoldsmithError
        def broken():
            raise GoldsmithError("no such thing")
        try:
            with step_namespace(broken):
                say(link, "entered")
        except GoldsmithError as e:
            say(link, e)
        """,
    )
    assert said == ["no such thing"]


def test_many_steps_leave_no_zombie_and_no_mount(tmp_path: Path) -> None:
    said = run_worker(
        tmp_path,
        """
        before = open("/proc/self/mountinfo").read()
        for _ in range(20):
            with step_namespace(setup) as namespace:
                process.run(namespace.entering(["sh", "-c", "sleep 0 & sleep 0 &"]))
        say(link, open("/proc/self/mountinfo").read() == before)
        import time
        states = process.run(["ps", "-eo", "stat="], capture=True).text.split()
        say(link, [s for s in states if s.startswith("Z")])
        """,
    )
    assert said == ["True", "[]"]


def test_a_worker_must_be_started_from_the_main_thread(tmp_path: Path) -> None:
    import threading

    caught: list[BaseException] = []

    def start() -> None:
        try:
            with spawn_worker(["true"], {}, lock_fd=0):
                pass
        except RuntimeError as e:
            caught.append(e)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_loop_device_goes_when_its_holder_is_killed(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom goldsmith.host.loop import attached\n"
        f"with attached(Path({str(image)!r})) as d:\n print(d.path, flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        device = it.stdout.readline().strip()
        backing = Path("/sys/block", Path(device).name, "loop/backing_file")
        assert backing.read_text().strip() == str(image)
        it.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 2
    while backing.exists() and backing.read_text().strip() == str(image):
        assert time.monotonic() < deadline_s, "the loop device is still attached"
        time.sleep(0.02)


def test_a_loop_device_shows_partitions_and_they_go_with_it(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    process.run(["sfdisk", "--quiet", image], input=b"label: gpt\nsize=2MiB\nsize=2MiB\n")
    with loop.attached(image) as device:
        assert device.backs_our_file()
        device.add_partitions()
        nodes = [device.partition(1), device.partition(2)]
        assert all(node.exists() for node in nodes)
        assert not device.partition(3).exists()
        device.partition(2).write_bytes(b"hello")
    deadline_s = time.monotonic() + 2
    while any(node.exists() for node in nodes):
        assert time.monotonic() < deadline_s, "partitions are left"
        time.sleep(0.02)
    assert image.read_bytes()[3 << 20 :][:5] == b"hello"


def test_a_read_only_loop_device_refuses_to_write(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with loop.attached(image, read_only=True, offset_bytes=4096) as device:
        try:
            fd = os.open(device.path, os.O_WRONLY)
        except OSError as e:
            assert e.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            return
        try:
            with pytest.raises(OSError, match="not permitted"):
                os.write(fd, b"x" * 512)
        finally:
            os.close(fd)


def test_umount_of_what_is_not_mounted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GoldsmithError, match="cannot unmount"):
        mounts.umount(tmp_path)


def test_namespaces_are_allowed_here() -> None:
    kernel.require_namespaces()


def test_what_makes_a_tree_does_not_see_the_name_of_the_host(tmp_path: Path) -> None:
    """Scripts of packages write it into the tree, and no key would tell."""
    body = """
        from pathlib import Path
        from goldsmith.communicators.chroot import ChrootEntrance
        def made():
            return ChrootEntrance().set_up(Path("/nowhere"), network=True, enters=False)
        with step_namespace(made) as namespace:
            namespace.run(["uname", "--nodename"], on_line=lambda _, line: say(link, line))
        say(link, os.uname().nodename)
        """
    assert run_worker(tmp_path, body) == ["localhost", os.uname().nodename]
