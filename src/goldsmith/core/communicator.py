"""How a provisioner reaches the machine: run a command, move files up and down."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

from goldsmith.errors import GoldsmithError
from goldsmith.host.process import LineSink

DISCONNECTED: Final = 2300218
"""The status of a command that took its connection along, as Packer has it."""


class ConnectionFailed(GoldsmithError):
    """A machine cannot be reached, or has gone away."""

    lasting: ClassVar[bool] = False
    """Whether another try would end the same way."""


class Communicator(Protocol):
    """The channel to a machine or a tree; every path "there" is confined to it.

    All methods raise GoldsmithError when the machine cannot do what is asked.
    """

    def start(
        self,
        command: str,
        *,
        on_line: LineSink,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a shell line *there* and return its exit status; 128 + N when signal N killed it."""
        ...

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        ...

    def upload(self, content: bytes | Path, destination: str, *, mode: int | None = None) -> None:
        """Write a file there; without `mode` it gets the source's, or 0644.

        The directory above it must exist.
        """
        ...

    def upload_directory(self, source: Path, destination: str) -> None:
        """Copy the content of a directory into a directory there, which is made if need be."""
        ...

    def download(self, source: str, destination: Path) -> None:
        """Read a file from there."""
        ...

    def download_directory(self, source: str, destination: Path) -> None:
        """Copy the content of a directory from there."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file there; one that is gone already does not matter."""
        ...


@runtime_checkable
class StreamingCommunicator(Protocol):
    """A communicator that carries the bytes of a command's streams as they are."""

    def exchange(self, command: str, *, stdin: int, stdout: int, stderr: int) -> int:
        """Run a shell line *there* with these file descriptors as its streams.

        Returns its exit status; 128 + N when signal N killed it. Raises GoldsmithError.
        """
        ...


@runtime_checkable
class Reconnects(Protocol):
    """A communicator whose connection may break, and is then made anew by the next use."""

    def waiting(self, limit_s: float) -> AbstractContextManager[None]:
        """Within the block, a machine that has gone away is waited for so long."""
        ...


def is_tree(communicator: Communicator) -> bool:
    """Whether commands run in a tree of files; otherwise there is a machine of its own."""
    return bool(getattr(communicator, "in_tree", False))
