"""Kills a piece of work at each of its calls that change a file system, one after another."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count

CHANGING = frozenset({
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.setxattr", "os.symlink", "os.truncate", "os.utime",
})  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _is_change(event: str, args: tuple[object, ...]) -> bool:
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & WRITING)
    return event in CHANGING


def killed_before(number: int, work: Callable[[], object]) -> bool:
    """Run the work in a process that is killed before its change of that number, from 0.

    False where it makes fewer changes, and ends by itself. Raises AssertionError when it fails.
    """
    pid = os.fork()
    if pid == 0:
        changes = count()

        def hook(event: str, args: tuple[object, ...]) -> None:
            if _is_change(event, args) and next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(ended) == 0
    return False


def each_kill(prepare: Callable[[int], Callable[[], object]], *, every: int) -> Iterator[int]:
    """Kill freshly prepared work at every so many changes; gives the number after each kill.

    `prepare` makes what the work of that number needs, and returns the work.
    """
    for number in count(0, every):
        if not killed_before(number, prepare(number)):
            assert number > 0, "nothing was changed"
            return
        yield number
