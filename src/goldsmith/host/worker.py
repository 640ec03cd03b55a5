"""The build worker: the same program, executed again or forked, in namespaces of its own.

Three processes: the *outer* one (holds the pipes' other ends, makes the namespaces, forwards
SIGTERM, which would otherwise end the build without its teardown), *init* (PID 1: reaps, forwards)
and the *build*. When the parent is killed the outer one gets SIGKILL from the kernel, init dies
with it, and with init every process and every mount. Two pipes connect parent and build: control
(down: the start document, then answers and cancel) and events (up), both of JSON lines.

For an ordinary user the outer process first enters a user namespace and says so by an empty line
on the event pipe; the parent maps its ids and answers with an empty line on the control pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from goldsmith.errors import WorkerError
from goldsmith.events import Event, decode, encode
from goldsmith.host import kernel, mounts, priority, process, user_namespace
from goldsmith.host.init import run_init
from goldsmith.host.journal import state_directory

MESSAGE_LIMIT_BYTES: Final = 256 << 20
_CANCELLING: Final = {one.name: one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
_IDS_WANTED: Final = b"\n"
_IDS_MAPPED: Final = b"\n"
_LOCK_COMES: Final = b"\n"


class Worker:
    """The parent's view of a worker: its events, and what can be said to it."""

    def __init__(self, running: process.Running, control: int, events: int) -> None:
        self.running = running
        self.control_fd = control
        self.event_fd = events
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message down; one to a worker that has ended goes nowhere."""
        data = memoryview((json.dumps(message) + "\n").encode())
        # The second is what a socket says whose other end had not read all.
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while data:
                data = data[os.write(self.control_fd, data) :]

    def answer(self, question_id: int, text: str | None) -> None:
        """Answer a question; None says that nobody can be asked."""
        self.send({"answer": question_id, "text": text})

    def cancel(self, signal_name: str) -> None:
        """Ask the build to stop and clean up; a second call makes it hurry."""
        self.send({"cancel": signal_name})

    def events(self) -> Iterator[Event]:
        """What the build tells, until it has ended.

        A line that is no event raises WorkerError: nothing but the build can write there.
        """
        with os.fdopen(os.dup(self.event_fd), "r", errors="replace") as lines:
            for line in lines:
                try:
                    yield decode(line)
                except ValueError as e:
                    raise WorkerError("ProtocolError", str(e)) from e


@contextmanager
def spawn_worker(
    argv: Sequence[str],
    start_document: Mapping[str, Any],
    *,
    lock_fd: int,
    pass_fds: Sequence[int] = (),
    early: EarlyWorker | None = None,
) -> Iterator[Worker]:
    """Start a worker and hand it its start document; leaving the block ends it.

    Must be called from the main thread: the parent-death signal fires when the *thread* that
    created the process ends. `argv` gets the descriptors and our pid as its last three words. The
    worker keeps `lock_fd` open, so that the run directory counts as alive until it has ended, and
    `pass_fds`, of which its start document speaks. `early` is one that runs already, and can be
    given the lock alone. An ordinary user's gets the ids of a user namespace; raises HostError,
    CommandFailed when it can't.
    """
    if early is not None:
        if pass_fds:
            raise RuntimeError("a worker that runs already can be given no descriptors")
        with early.taken() as worker:
            early.lend(lock_fd)
            worker.send(start_document)
            yield worker
        return
    with contextlib.ExitStack() as stack:
        worker = _start(stack, argv, (lock_fd, *pass_fds))
        if os.geteuid() != 0:
            _map_ids(worker.running, worker.control_fd, worker.event_fd)
        worker.send(start_document)
        yield worker


def _start(stack: contextlib.ExitStack, argv: Sequence[str], pass_fds: Sequence[int]) -> Worker:
    """Start the program of a worker; the end of the stack ends it."""
    reader, writer = os.pipe()
    stack.callback(os.close, writer)
    try:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a worker must be started from the main thread")
        events_reader, events_writer = os.pipe()
        stack.callback(os.close, events_reader)
        try:
            words = [*argv, str(reader), str(events_writer), str(os.getpid())]
            running = stack.enter_context(
                process.start(
                    words, env=_environment(), stdout=2, stderr=2,
                    pass_fds=(reader, events_writer, *pass_fds),
                )
            )  # fmt: skip
        finally:
            os.close(events_writer)
    finally:
        os.close(reader)
    return Worker(running, writer, events_reader)


class EarlyWorker:
    """A worker that runs before its build is known: it gets the lock of the run afterwards."""

    def __init__(self, stack: contextlib.ExitStack, worker: Worker) -> None:
        self.is_taken = False
        self._stack = stack
        self.worker = worker

    @contextmanager
    def taken(self) -> Iterator[Worker]:
        """The worker for a build, which ends it by leaving the block.

        It does not give way any more, and may still be importing.
        """
        self.is_taken = True
        priority.take_turns(self.worker.running.pid)
        with self._stack.pop_all():
            yield self.worker

    def lend(self, lock_fd: int) -> None:
        """Give it a descriptor to hold open; nothing, where it has ended: its events tell so."""
        import socket

        with (
            socket.socket(fileno=os.dup(self.worker.control_fd)) as control,
            contextlib.suppress(BrokenPipeError, ConnectionResetError),
        ):
            socket.send_fds(control, [_LOCK_COMES], [lock_fd])

    def kill(self) -> None:
        """End one that nobody has taken: it has nothing to clean up."""
        with self.taken() as worker:
            worker.running.end(hurry=True)


@contextmanager
def start_early(
    become: Callable[[int, int, int], int], *, gives_way: bool = False
) -> Iterator[EarlyWorker]:
    """Start a worker of root's without lock and start document; for `spawn_worker` to go on with.

    A copy of this process becomes it: `become` is given its two descriptors and our pid, and
    returns its status (see `become_worker`). Must be called from the main thread, while there is no
    other. One that was not taken is killed when the block is left. One that `gives_way` has the
    lowest priority until it is taken: maybe no build needs it.
    """
    import socket

    with contextlib.ExitStack() as stack:
        ours, theirs = (end.detach() for end in socket.socketpair())
        stack.callback(os.close, ours)
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        body = partial(become, theirs, writer, os.getpid())
        try:
            # At once: it must not fork before all of it gives way.
            given = {"on_session": priority.give_way} if gives_way else {}
            copied = process.copy(body, env=_environment(), fds=(theirs, writer), **given)
            running = stack.enter_context(copied)
        finally:
            os.close(theirs)
            os.close(writer)
        early = EarlyWorker(stack, Worker(running, ours, reader))
        try:
            yield early
        finally:
            if not early.is_taken:
                early.kill()


def _map_ids(running: process.Running, control: int, events: int) -> None:
    """Give a worker its ids as soon as it has entered its user namespace."""
    if os.read(events, 1) != _IDS_WANTED:
        raise WorkerError(
            "WorkerDied", "the build worker could not enter a user namespace",
            hint="`goldsmith doctor` says what this host forbids",
        )  # fmt: skip
    user_namespace.map_ids(running.pid, user_namespace.id_map())
    with contextlib.suppress(BrokenPipeError):
        os.write(control, _IDS_MAPPED)


def _environment() -> dict[str, str]:
    """What a worker needs of our environment: secrets cross the control pipe and nothing else."""
    families = ("GOLDSMITH_", "PYTHON", "LC_", "XDG_")
    kept = {k: v for k, v in os.environ.items() if k == "LANG" or k.startswith(families)}
    # Root of a user namespace, it would take another state directory for its own.
    kept["GOLDSMITH_CACHE_DIR"] = str(state_directory())
    return {**kept, **process.tool_environment()}


def receive_lock(control: int) -> bool:
    """What an early worker does with its end of the control socket before it reads from it."""
    import socket

    with socket.socket(fileno=os.dup(control)) as reading:
        data, fds, _, _ = socket.recv_fds(reading, len(_LOCK_COMES), 1, socket.MSG_CMSG_CLOEXEC)
    return data == _LOCK_COMES and len(fds) == 1


class Link:
    """The build's view of its parent: emits events up, asks questions, hears of cancel."""

    def __init__(self, control: int, events: int) -> None:
        self._control = os.fdopen(control, "rb")
        self._events = events
        self._lock = threading.Lock()
        self._questions = 0
        self._answers: SimpleQueue[tuple[int, str | None]] = SimpleQueue()

    def receive_lock(self) -> bool:
        """Wait for the lock of an early worker, and keep it open; False when nobody needs one."""
        if not receive_lock(self._control.fileno()):
            return False
        priority.rise_together()
        return True

    def read_start_document(self) -> dict[str, Any]:
        """Read the first message; raises WorkerError."""
        line = self._control.readline(MESSAGE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            raise WorkerError("ProtocolError", "the start document did not arrive whole")
        document: dict[str, Any] = json.loads(line)
        return document

    def listen(self) -> None:
        """Begin to hear of answers and of cancel, which may have been sent long ago.

        To be called where an interrupt is told of.
        """
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def emit(self, event: Event) -> None:
        """Send an event up; whole lines only, from any thread."""
        data = memoryview((encode(event) + "\n").encode())
        with self._lock:
            while data:
                data = data[os.write(self._events, data) :]

    def ask(self, make_event: Callable[[int], Event]) -> str | None:
        """Ask the user and wait; None when nobody can be asked."""
        self._questions += 1
        number = self._questions
        self.emit(make_event(number))
        while True:
            question_id, text = self._answers.get()
            if question_id == number:
                return text

    def _listen(self) -> None:
        for line in self._control:
            message = json.loads(line)
            if "cancel" in message:
                # The main thread's handler raises; it may be anywhere, a selector included.
                os.kill(os.getpid(), _CANCELLING.get(message["cancel"], signal.SIGINT))
            elif "answer" in message:
                self._answers.put((message["answer"], message["text"]))


def become_worker(control: int, events: int, parent_pid: int, body: Callable[[Link], int]) -> int:
    """Turn this process into a worker that runs `body`; returns its status.

    Must be called before threads are started: outer process and init keep what is in memory now.
    Raises HostError where namespaces are not allowed, OSError.
    """
    kernel.die_with_parent(parent_pid)
    kernel.name_process("goldsmith-outer")
    os.umask(0o022)
    kernel.allow_many_descriptors()
    if os.geteuid() != 0:
        user_namespace.enter(
            lambda: os.write(events, _IDS_WANTED), lambda: os.read(control, 1) == _IDS_MAPPED
        )
        kernel.die_with_parent(parent_pid)
    kernel.enter_namespaces()
    mounts.make_private()
    # Blocked before the fork: a signal between fork and forwarding must wait, not kill.
    forwarded = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded | {signal.SIGCHLD})
    init = os.fork()
    if init == 0:
        _be_worker_init(control, events, body)
    os.close(control)
    os.close(events)
    while True:
        signum = signal.sigwait(forwarded | {signal.SIGCHLD})
        if signum != signal.SIGCHLD:
            os.kill(init, signal.SIGTERM)
            continue
        pid, status = os.waitpid(init, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _be_worker_init(control: int, events: int, body: Callable[[Link], int]) -> None:
    try:
        kernel.die_with_parent(0)
        mounts.mount("proc", "/proc", "proc", flags=mounts.MS_NOSUID | mounts.MS_NODEV)

        def main() -> int:
            return body(Link(control, events))

        run_init(main, name="goldsmith-init")
    finally:
        os._exit(1)
