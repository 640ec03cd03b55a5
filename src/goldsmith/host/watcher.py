"""A watcher: the small process that ends what a killed goldsmith would leave behind.

A program that goldsmith started (a hook of `shell-local`, QEMU, a plugin) outlives a SIGKILL of
goldsmith: the parent-death signal reaches no grandchildren and hangs on the thread that forked.
So the command forks the watcher first, before any thread; it holds the read end of a pipe whose
write end only the command holds. The end of the pipe is the end of the command, whatever ended
it, and then every process group that is still registered is killed. What has left its group
(`setsid`) is out of reach.

A group's number may be reused, so killing goes by three rules: a group is unregistered as soon as
it was ended; it is registered with the start time of its leader, read while the leader cannot be
reaped yet, and a leader with another start time is somebody else's; and while the leader is gone
but children of it live, the kernel gives its number to nobody.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from goldsmith.host import process

PROCESS_NAME: Final = "goldsmith-watch"
"""Its name in `ps -o comm`; 15 bytes are what the kernel keeps."""

_STOP: Final = b".\n"
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK_AGAIN_S: Final = 0.01
_START_TIME_FIELD = 22
"""Field of /proc/PID/stat, counted from 1 (proc(5))."""


class Watcher:
    """The command's end of the pipe: a `process.GroupObserver` that any thread may call.

    A watcher that has died, or was stopped, is told nothing and disturbs nobody.
    """

    def __init__(self, pid: int, pipe: int, leash: int) -> None:
        self.pid = pid
        self._pipe: int | None = pipe
        self._leash = leash
        self._lock = threading.Lock()

    def started(self, pgid: int) -> None:
        """Register a process group, whose leader must not be reaped yet."""
        self._tell(b"+%d %d\n" % (pgid, _start_time(pgid)))

    def ended(self, pgid: int) -> None:
        """Unregister a process group."""
        self._tell(b"-%d\n" % pgid)

    def stop(self) -> None:
        """End the watcher, which kills the groups that are still registered, and reap it."""
        self._tell(_STOP)
        self.close_pipe()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def close_pipe(self) -> None:
        """Close this process's write end; the watcher acts when the last one is closed."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    def _tell(self, line: bytes) -> None:
        # One short write to a pipe is atomic; the lock keeps `stop` from closing, and somebody
        # from reusing, the descriptor in between.
        with self._lock:
            if self._pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._pipe, line)


_watchers: list[Watcher] = []


def _let_go_after_fork() -> None:
    """A child made by fork alone would keep the pipe open, and register its own namespace's ids."""
    for watcher in _watchers:
        watcher._lock = threading.Lock()  # a thread of the parent may have held it
        watcher.close_pipe()
        os.close(watcher._leash)


os.register_at_fork(after_in_child=_let_go_after_fork)


@contextmanager
def start_watcher() -> Iterator[Watcher]:
    """Watch every program that `host.process` starts within the block.

    Call it in the main thread before any other thread exists: it forks without exec. What is
    still registered when the block is left is killed. Raises OSError when the host has no room
    for a process or a pipe.
    """
    read_end, write_end = os.pipe()
    leash_end, leash = os.pipe()
    # An interrupt between fork and the child's own settings would run the parent's handlers in
    # the child, up the parent's stack.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid == 0:
            _become_watcher(read_end, blocked, os.fstat(leash).st_ino)
    except OSError:
        os.close(write_end)
        os.close(leash)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(read_end)
        os.close(leash_end)
    watcher = Watcher(pid, write_end, leash)
    _watchers.append(watcher)
    unobserve = process.observe_groups(watcher)
    let_go = process.hold_by(leash)
    try:
        yield watcher
    finally:
        let_go()
        unobserve()
        watcher.stop()
        os.close(leash)
        _watchers.remove(watcher)


def _become_watcher(read_end: int, mask: Iterable[int], leash_inode: int) -> NoReturn:
    """Turn the forked child into the watcher; it never returns into the parent's code."""
    try:
        for signum in _IGNORED:
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        gc.disable()  # a collection would write to, and so copy, the pages shared with the parent
        os.setsid()
        os.chdir("/")
        os.dup2(read_end, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        # The same as prctl(PR_SET_NAME), without loading ctypes.
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(PROCESS_NAME)
        watch(0, leash_inode)
    finally:
        os._exit(0)


def watch(pipe: int, leash_inode: int = 0) -> None:
    """Keep the register until the pipe ends or says stop, then kill the groups left in it.

    When the pipe just ends, the parent was killed: maybe between the start of a program and its
    registration. So every process that still holds the leash, a pipe with this inode, is killed.
    """
    groups: dict[int, int] = {}
    rest = b""
    stopped = False
    while not stopped and (data := os.read(pipe, 1 << 12)):
        *lines, rest = (rest + data).split(b"\n")
        stopped = not update_register(groups, lines)
    for pgid, start_time in groups.items():
        if _start_time(pgid) in (0, start_time):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pgid, signal.SIGKILL)
    if not stopped and leash_inode:
        # What is killed may have forked meanwhile.
        while held := _holders(leash_inode):
            for pid in held:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_AGAIN_S)


def _holders(inode: int) -> list[int]:
    """The processes that have a pipe open, of those that this user may look at (proc(5))."""
    name, held = f"pipe:[{inode}]", []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            fds = f"/proc/{entry}/fd"
            if name in (os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)):
                held.append(int(entry))
    return held


def update_register(groups: dict[int, int], lines: Sequence[bytes]) -> bool:
    """Follow lines "+PGID START_TIME", "-PGID" and "."; returns False once told to stop."""
    for line in lines:
        if line == _STOP.rstrip():
            return False
        words = [int(word) for word in line[1:].split()]
        if line.startswith(b"+"):
            groups[words[0]] = words[1]
        else:
            groups.pop(words[0], None)
    return True


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The second field is the name in parentheses, which may hold anything, also ")" and blanks.
    after_name = stat[stat.rindex(b")") + 2 :].split()
    return int(after_name[_START_TIME_FIELD - 3])
