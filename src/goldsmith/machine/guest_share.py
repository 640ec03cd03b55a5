"""The files of this host in a guest: virtiofsd serves what a mount namespace has below its root.

The guest mounts them by `mount -t virtiofs host DIRECTORY`, and may change them as root here may.
Source: virtiofsd(1) of QEMU 7.2.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.host import process
from goldsmith.machine.guest_protocol import GuestError

TAG: Final = "host"
"""What the guest mounts."""
SERVER: Final = "/usr/lib/qemu/virtiofsd"
# In a namespace whose root is shared nothing can be pivoted away from it, so it takes a chroot.
_OPTIONS: Final = "source=/,sandbox=chroot,xattr,announce_submounts,cache=always,log_level=err"
_SOCKET: Final = "virtiofsd"
_LOG: Final = "virtiofsd.log"

Words = Callable[[Sequence[str]], list[str]]
"""The words that run a program in the mount namespace whose files are shared."""


@dataclass(frozen=True, slots=True)
class Share:
    """A running server of files."""

    fd: int
    """For QEMU's chardev: connected to the server."""
    ended_fd: int
    """Can be read from (poll(2)) when the server has ended: the guest then waits for ever."""


@contextmanager
def shared_root(words: Words, scratch: Path) -> Iterator[Share]:
    """Serve a namespace's files while the block runs.

    `scratch` must be root's alone: whoever reaches the socket reaches the files. A GuestError of
    the block gets what the server complained of as a note. Raises MissingToolError.
    """
    server = process.get_tool(SERVER)
    # The path of a socket is short (unix(7)); that of the run need not be.
    directory = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    place = f"/proc/self/fd/{directory}/{_SOCKET}"
    try:
        with (
            socket.socket(socket.AF_UNIX) as listener,
            socket.socket(socket.AF_UNIX) as ours,
            open(scratch / _LOG, "w+b") as log,
        ):
            listener.bind(place)
            listener.listen(1)
            ours.connect(place)
            argv = words([server, "-f", f"--fd={listener.fileno()}", "-o", _OPTIONS])
            with process.start(
                argv, pass_fds=[listener.fileno()], stdout=log.fileno(), stderr=log.fileno()
            ) as serving:
                # Else QEMU would wait for ever for a server that has ended before its answer.
                listener.close()
                ended_fd = os.pidfd_open(serving.popen.pid)
                try:
                    yield Share(ours.fileno(), ended_fd)
                except GuestError as e:
                    if said := (scratch / _LOG).read_text(errors="replace").strip():
                        e.add_note(f"virtiofsd: {said}")
                    raise
                finally:
                    os.close(ended_fd)
    finally:
        os.close(directory)


def share_arguments(fd: int, memory: str) -> list[str]:
    """QEMU's words for the device; `memory` as `-m` has it: the server reads requests from it."""
    return [
        "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
        "-chardev", f"socket,id=share,fd={fd}",
        "-device", f"vhost-user-fs-pci,chardev=share,tag={TAG}",
    ]  # fmt: skip
