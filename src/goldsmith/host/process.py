"""The one door to other programs: argv lists only, streamed and bounded output, groups that end.

Every program gets a session of its own, so that it ends together with all its children: first by
SIGINT, then SIGTERM, then SIGKILL. A program has ended when its direct child has exited, not when
its pipes are closed: a daemon that it left behind may hold them open for ever.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from goldsmith.errors import CommandFailed, CommandTimedOut, GoldsmithError, MissingToolError
from goldsmith.events import CutLine
from goldsmith.host import cancellation

INTERRUPT_GRACE_S: Final = 1.0
TERMINATE_GRACE_S: Final = 2.0
TAIL_LINES: Final = 40
LINE_LIMIT_BYTES: Final = 64 << 10
_LOOK_AGAIN_S: Final = 0.005
_LAST_READS: Final = 17
"""Those of 64 KiB that empty a pipe: it holds 1 MiB at most, and may be filled for ever."""
_TOO_LONG: Final = "(a line that is too long to be shown)"
CAPTURE_LIMIT_BYTES: Final = 64 << 20
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_INHERITED = (
    "HOME", "TMPDIR", "TERM", "SOURCE_DATE_EPOCH",
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip

TOOL_PACKAGES: Final[Mapping[str, str]] = {
    "apt-cache": "apt", "apt-config": "apt", "apt-get": "apt", "blkid": "util-linux",
    "btrfs": "btrfs-progs", "chroot": "coreutils",
    "cp": "coreutils", "debootstrap": "debootstrap", "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg", "dumpe2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "gpgv": "gpgv",
    "dmsetup": "dmsetup", "losetup": "util-linux", "lvcreate": "lvm2", "lz4": "lz4",
    "mcopy": "mtools", "mdir": "mtools",
    "mdadm": "mdadm", "mkfs.btrfs": "btrfs-progs",
    "mkfs.erofs": "erofs-utils", "mkfs.ext2": "e2fsprogs", "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mkfs.xfs": "xfsprogs", "mksquashfs": "squashfs-tools", "mkswap": "util-linux",
    "mmd": "mtools", "mmdebstrap": "mmdebstrap", "mount": "mount", "newgidmap": "uidmap",
    "newuidmap": "uidmap", "nsenter": "util-linux",
    "partx": "util-linux", "pvcreate": "lvm2", "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86", "vgcreate": "lvm2",
    "fstrim": "util-linux", "xfs_db": "xfsprogs", "xfs_repair": "xfsprogs",
    "resize2fs": "e2fsprogs", "sfdisk": "fdisk", "tar": "tar", "tune2fs": "e2fsprogs",
    "umount": "mount", "unshare": "util-linux", "virtiofsd": "qemu-system-common",
    "zstd": "zstd",
}  # fmt: skip
"""The Debian package of every program that goldsmith runs."""

_starting = threading.Lock()
"""Held while a program starts: between fork and exec it has all our descriptors."""

LineSink = Callable[[str, str], None]
"""Called with the stream ("stdout" or "stderr") and a line without its newline."""


class GroupObserver(Protocol):
    """Told of process groups that this process has started (the watcher is one)."""

    def started(self, pgid: int) -> None:
        """A group with this id lives now."""

    def ended(self, pgid: int) -> None:
        """The group was ended."""


_observers: list[GroupObserver] = []
_leashes: list[int] = []
"""Descriptors that every program inherits, so that whoever watches can find it by them."""


def observe_groups(observer: GroupObserver) -> Callable[[], None]:
    """Tell `observer` of every group from now on; returns the function that stops it."""
    _observers.append(observer)
    return lambda: _observers.remove(observer)


def hold_by(leash: int) -> Callable[[], None]:
    """Let every program from now on inherit a descriptor; returns the function that stops it."""
    _leashes.append(leash)
    return lambda: _leashes.remove(leash)


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended: its status (negative: killed by that signal) and its output."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    tail: tuple[str, ...]
    duration_s: float

    @property
    def text(self) -> str:
        """The captured standard output as text."""
        return self.stdout.decode(errors="replace")


def tool_environment(**extra: str) -> dict[str, str]:
    """The environment of a host tool: built up, not inherited; proxies and TMPDIR go along."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"LC_ALL": "C.UTF-8", **kept, "PATH": search_path(), **extra}


def search_path() -> str:
    """PATH, with the system directories at its end: root's may lack sbin under `su`."""
    given = [part for part in os.environ.get("PATH", "").split(":") if part]
    return ":".join([*given, *(p for p in SYSTEM_PATH.split(":") if p not in given)])


def write_program(path: Path, content: bytes, mode: int = 0o700) -> None:
    """Write a new file that can be executed at once; raises FileExistsError.

    The kernel executes no file that is open for writing (ETXTBSY), and a program that another
    thread starts just now would have it open.
    """
    with _starting:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)


def find_tool(tool: str) -> str | None:
    """Where a program lies, or None."""
    return shutil.which(tool, path=search_path())


def get_tool(tool: str) -> str:
    """Where a program lies; raises MissingToolError, which names its Debian package."""
    path = find_tool(tool)
    if path is None:
        raise MissingToolError(tool, TOOL_PACKAGES.get(os.path.basename(tool)))
    return path


class LineCutter:
    """Cuts a stream of bytes into lines, whatever the boundaries of the reads."""

    def __init__(self, stream: str, tail: deque[str], on_line: LineSink | None) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stream, self._tail, self._on_line = stream, tail, on_line
        self._rest = ""
        self._is_cut = False

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take what was read; `final` says that nothing follows."""
        self._rest += self._decoder.decode(data, final=final)
        *lines, self._rest = self._rest.split("\n")
        if final and (self._rest or self._is_cut):
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            # A terminal would show what follows the last carriage return only.
            shown = line.rstrip().rsplit("\r", 1)[-1]
            # Apart from its beginning the end of a line could be that of a secret.
            self._tail.append(_TOO_LONG if self._is_cut else shown)
            self._is_cut = False
            self._give(shown)
        if len(self._rest) > LINE_LIMIT_BYTES:
            self._is_cut = True
            self._give(CutLine(self._rest.rsplit("\r", 1)[-1]))
            self._rest = ""

    def _give(self, line: str) -> None:
        if self._on_line is not None:
            self._on_line(self._stream, line)


class Child(Protocol):
    """What is asked of a direct child: that of `subprocess.Popen`."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def poll(self) -> int | None:
        """Its status if it has ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired or TimeoutError."""
        ...


class Running:
    """What was started by `start` or `copy`: its pid, its pipes, its end."""

    def __init__(self, popen: Child, argv: tuple[str, ...]) -> None:
        self.popen = popen
        self.argv = argv
        self.pid = popen.pid
        self.pidfd = os.pidfd_open(popen.pid)
        self.started_s = time.monotonic()

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self.popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the direct child; returns its status, or None when the time is up."""
        try:
            return self.popen.wait(timeout_s)
        except (subprocess.TimeoutExpired, TimeoutError):
            return None

    def signal_group(self, signum: int) -> None:
        """Send a signal to the program and all its children that stayed in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)

    def end(self, *, hurry: bool = False) -> int:
        """End the whole group: interrupt, terminate, kill; returns the direct child's status."""
        if not hurry and self.popen.poll() is None:
            ladder = ((signal.SIGINT, INTERRUPT_GRACE_S), (signal.SIGTERM, TERMINATE_GRACE_S))
            for signum, grace_s in ladder:
                self.signal_group(signum)
                if self.wait(grace_s) is not None:
                    break
        self.signal_group(signal.SIGKILL)
        return self.popen.wait()

    def wait_for_group(self, timeout_s: float) -> bool:
        """Wait, after `end`, until nothing of its group lives; False when the time is up first."""
        deadline_s = time.monotonic() + timeout_s
        while _lives(self.pid):
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def close(self) -> None:
        """Close our ends of its pipes."""
        _close_pipes(self.popen)
        os.close(self.pidfd)


def _close_pipes(child: Child) -> None:
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _lives(pgid: int) -> bool:
    """Whether a process of this group does more than to wait for its parent to notice its end."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{entry}/stat").read_bytes()
            # The name in parentheses may hold anything; state, parent and group follow it.
            state, _, group = stat[stat.rindex(b")") + 2 :].split()[:3]
            if int(group) == pgid and state not in (b"Z", b"X"):
                return True
    return False


@contextmanager
def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[Running]:
    """Start a program in a session of its own; leaving the block ends it and its children.

    Raises MissingToolError when there is no such program, GoldsmithError when it cannot start.
    """
    words = tuple(os.fspath(word) for word in argv)
    environment = tool_environment() if env is None else dict(env)
    try:
        with _starting:
            popen = subprocess.Popen(
                words,
                executable=get_tool(words[0]) if "/" not in words[0] else None,
                stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=cwd,
                pass_fds=(*pass_fds, *_leashes), start_new_session=True, bufsize=0,
            )  # fmt: skip
    except FileNotFoundError as e:
        if cwd is not None and not os.path.isdir(cwd):
            raise GoldsmithError(f"{words[0]} cannot start: there is no directory {cwd}") from e
        raise MissingToolError(words[0], TOOL_PACKAGES.get(os.path.basename(words[0]))) from e
    except OSError as e:
        hint = "the arguments are longer than the kernel allows" if e.errno == errno.E2BIG else None
        raise GoldsmithError(f"{words[0]} cannot start: {e.strerror}", hint=hint) from e
    with _observed(popen, words) as running:
        yield running


@contextmanager
def copy(
    body: Callable[[], int], *, env: Mapping[str, str], fds: Sequence[int],
    on_session: Callable[[int], None] = lambda session: None,
) -> Iterator[Running]:  # fmt: skip
    """Start a copy of this process that runs `body` and ends with its status, in a new session.

    It has the modules of this one, and of its descriptors `fds` and standard error alone (see
    `forked.shed`). `on_session` is called here, with its session, before it begins with anything.
    Leaving the block ends it. Raises GoldsmithError; RuntimeError where there are
    other threads, whose locks it would keep.
    """
    # Late: few commands need it.
    from goldsmith.host.forked import OF_TERMINALS, Forked

    if threading.current_thread() is not threading.main_thread() or threading.active_count() > 1:
        raise RuntimeError("a copy is made by the main thread, while there is no other")
    with contextlib.ExitStack() as stack:
        # An interrupt comes to the copy as well until it has a session of its own, and would make
        # us forget it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
        try:
            with _starting:
                child = Forked.start(body, env=env, fds=fds, first=_forget_others,
                                     on_session=on_session, signals=before)  # fmt: skip
            running = stack.enter_context(_observed(child, (sys.executable,)))
        except OSError as e:
            raise GoldsmithError(f"a copy of this process cannot start: {e.strerror}") from e
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield running


def _forget_others() -> None:
    """In a copy: what was its parent's is not its own."""
    _observers.clear()
    _leashes.clear()
    _starting.release()


@contextmanager
def _observed(child: Child, words: tuple[str, ...]) -> Iterator[Running]:
    """What runs, until the block is left: then its group is ended."""
    try:
        running = Running(child, words)
    except OSError as e:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        _close_pipes(child)
        raise GoldsmithError(f"{words[0]} cannot be watched: {e.strerror}") from e
    for observer in _observers:
        observer.started(running.pid)
    try:
        yield running
    finally:
        # Also after its own end: children that stayed in the group go with it.
        scope = cancellation.current()
        running.end(hurry=scope is not None and scope.hurried)
        for observer in _observers:
            observer.ended(running.pid)
        running.close()


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    check: bool = True,
    capture: bool = False,
    on_data: Callable[[bytes], object] | None = None,
    timeout_s: float | None = None,
    on_line: LineSink | None = None,
    stdout_to: int | None = None,
    stderr_to: int | None = None,
    stdin_from: int | None = None,
    pass_fds: Sequence[int] = (),
    hint: str | None = None,
    also: tuple[int, Callable[[], None]] | None = None,
) -> Completed:
    """Run a program to its end and return what became of it.

    `capture` keeps standard output (at most 64 MiB), `on_data` is handed it in pieces as it comes;
    lines of both streams (of stderr alone with one of these, or with `stdout_to`, a file descriptor
    that the output goes to; `stderr_to` is one for the other stream) reach `on_line` as they come
    and the last 40 are kept as `tail`. `also` is
    a further descriptor to watch, with what is called, on this thread, while it can be read from.
    Raises CommandFailed for a status other than 0 unless `check` is off, CommandTimedOut after
    `timeout_s`, MissingToolError.
    """
    stdin = subprocess.PIPE if input is not None else stdin_from
    with start(
        argv, env=env, cwd=cwd, pass_fds=pass_fds,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE if stdout_to is None else stdout_to,
        stderr=subprocess.PIPE if stderr_to is None else stderr_to,
    ) as running:  # fmt: skip
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        captured = bytearray()
        take = _bounded(captured, running.argv) if capture else on_data
        _pump(running, input, tail, take, on_line, timeout_s, also)
        status = running.popen.wait()
        duration_s = time.monotonic() - running.started_s
    done = Completed(running.argv, status, bytes(captured), tuple(tail), duration_s)
    if check and status != 0:
        raise CommandFailed(done.argv, status, tail=done.tail, duration_s=duration_s, hint=hint)
    return done


def _pump(
    running: Running,
    input: bytes | None,
    tail: deque[str],
    on_data: Callable[[bytes], object] | None,
    on_line: LineSink | None,
    timeout_s: float | None,
    also: tuple[int, Callable[[], None]] | None,
) -> None:
    """Move bytes until the direct child has exited, then take what its pipes still hold."""
    popen = running.popen
    deadline_s = None if timeout_s is None else running.started_s + timeout_s
    scope = cancellation.current()
    readers: dict[int, Callable[[bytes], object]] = {}
    lines: list[LineCutter] = []
    for name, pipe in (("stdout", popen.stdout), ("stderr", popen.stderr)):
        if pipe is None:
            continue
        os.set_blocking(pipe.fileno(), False)
        if name == "stdout" and on_data is not None:
            readers[pipe.fileno()] = on_data
        else:
            cutter = LineCutter(name, tail, on_line)
            lines.append(cutter)
            readers[pipe.fileno()] = cutter.feed
    with selectors.DefaultSelector() as selector:
        selector.register(running.pidfd, selectors.EVENT_READ)
        for fd in readers:
            selector.register(fd, selectors.EVENT_READ)
        if scope is not None and scope.armed:
            selector.register(scope, selectors.EVENT_READ)
        if also is not None:
            selector.register(also[0], selectors.EVENT_READ)
        pending = memoryview(input or b"")
        if popen.stdin is not None:
            os.set_blocking(popen.stdin.fileno(), False)
            selector.register(popen.stdin.fileno(), selectors.EVENT_WRITE)
        exited = False
        while not exited:
            if scope is not None:
                scope.check()
            for key, _ in selector.select(_time_left_s(deadline_s, scope)):
                if key.fd == running.pidfd:
                    exited = True
                elif key.fileobj is scope:
                    break  # the check above raises
                elif also is not None and key.fd == also[0]:
                    also[1]()
                elif key.fd in readers:
                    if not _take(key.fd, readers[key.fd]):
                        selector.unregister(key.fd)
                elif popen.stdin is not None:
                    pending = _give(popen.stdin.fileno(), pending)
                    if not pending:
                        selector.unregister(key.fd)
                        popen.stdin.close()
                        popen.stdin = None
            if deadline_s is not None and not exited and time.monotonic() >= deadline_s:
                raise CommandTimedOut(running.argv, timeout_s or 0.0)
        open_fds = set(selector.get_map() or ())
    for fd, reader in readers.items():
        for _ in range(_LAST_READS):
            if fd not in open_fds or not _take(fd, reader, until_empty=True):
                break
    for cutter in lines:
        cutter.feed(b"", final=True)


def _time_left_s(deadline_s: float | None, scope: cancellation.Cancellation | None) -> float | None:
    """How long to wait at most: until the deadline, or the time limit of the thread's work."""
    limits = (deadline_s, None if scope is None else scope.deadline_s)
    nearest_s = min((limit_s for limit_s in limits if limit_s is not None), default=None)
    return None if nearest_s is None else max(0.0, nearest_s - time.monotonic())


def _bounded(captured: bytearray, argv: tuple[str, ...]) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        captured.extend(data)
        if len(captured) > CAPTURE_LIMIT_BYTES:
            raise GoldsmithError(f"{argv[0]} printed more than {CAPTURE_LIMIT_BYTES >> 20} MiB")

    return take


def _take(fd: int, reader: Callable[[bytes], object], *, until_empty: bool = False) -> bool:
    """Read once; returns False at the end of the stream (or, `until_empty`, when it is dry)."""
    try:
        data = os.read(fd, 1 << 16)
    except BlockingIOError:
        return not until_empty
    if data:
        reader(data)
    return bool(data)


def _give(fd: int, pending: memoryview) -> memoryview:
    """Write what the pipe takes; a reader that has gone needs no more."""
    try:
        return pending[os.write(fd, pending[: 1 << 16]) :]
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        return memoryview(b"")
