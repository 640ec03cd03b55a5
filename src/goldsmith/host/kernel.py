"""The few system calls that Python 3.11 does not offer, each with a real errno.

Linux on x86-64 and arm64 only; the constants are those of <sched.h>, <sys/mount.h>, <sys/prctl.h>.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Sequence
from typing import Final

from goldsmith.errors import HostError

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWNET: Final = 0x4000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWUTS: Final = 0x0400_0000

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15

_MANY_DESCRIPTORS: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Put this process (for PID namespaces: its children) into new namespaces; unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """mount(2); raises OSError."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None,
        ctypes.c_ulong(flags), options.encode() or None,
    )  # fmt: skip
    _check(result, f"mount {target}")


def umount(target: str, flags: int = 0) -> None:
    """umount2(2); raises OSError."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def syncfs(fd: int) -> None:
    """Write everything of the file system that `fd` lies on to its disk; syncfs(2), OSError."""
    _check(_libc.syncfs(fd), "syncfs")


def name_process(name: str) -> None:
    """Set what `ps` shows (at most 15 bytes); prctl(2)."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def clear_environment() -> None:
    """Empty the environment of the C library, whatever stands in it; clearenv(3)."""
    _check(_libc.clearenv(), "clearenv")


def show_command_line(words: Sequence[str]) -> None:
    """Let /proc show these words as this process's, cut to the room of the first ones, and no
    environment.

    Nobody else may need either any more: what was there is overwritten (proc(5), fields 48 to 51 of
    stat). Python and the environment of children have their own copies.
    """
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    # The name in parentheses may hold anything; the fields are counted from 1.
    fields = stat[stat.rindex(b")") + 2 :].split()
    words_at, words_end, environment_at, environment_end = (int(one) for one in fields[45:49])
    ctypes.memset(environment_at, 0, environment_end - environment_at)
    room = words_end - words_at
    shown = b"\0".join(os.fsencode(word) for word in words)[: max(0, room - 1)]
    ctypes.memset(words_at, 0, room)
    ctypes.memmove(words_at, shown, len(shown))


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the thread that created this process ends; prctl(2), PR_SET_PDEATHSIG.

    The kernel sends nothing when the parent has gone already, so that is looked at afterwards.
    A later change of uid clears the setting.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def bring_loopback_up() -> None:
    """Set the flag "up" of `lo`: a new network namespace starts with it down; netdevice(7)."""
    import fcntl
    import socket
    import struct

    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(endpoint, get_flags, request))[1]
        fcntl.ioctl(endpoint, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def allow_many_descriptors() -> None:
    """Let this process open many files: every layer in use is an open lock.

    Not as many as the hard limit may allow, which programs inherit: some close every number below.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MANY_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def enter_namespaces() -> None:
    """Put this process into a new mount namespace, and its children into a new one of PIDs.

    Raises HostError when this kernel or container does not let us.
    """
    try:
        unshare(CLONE_NEWNS | CLONE_NEWPID)
    except OSError as e:
        raise _no_namespaces(os.strerror(e.errno or 0)) from e


def require_namespaces() -> None:
    """Raise HostError when this kernel or container does not let us make namespaces."""
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CLONE_NEWNS | CLONE_NEWPID)
            os._exit(0)
        except OSError as e:
            os._exit(e.errno or 1)
    _, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise _no_namespaces(os.strerror(code) if code > 0 else f"signal {-code}")


def _no_namespaces(reason: str) -> HostError:
    return HostError(
        f"this host does not allow new mount and PID namespaces: {reason}",
        hint="in a container, start it with the capability SYS_ADMIN; see `goldsmith doctor`",
    )
