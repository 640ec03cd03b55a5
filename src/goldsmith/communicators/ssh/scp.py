"""Moving files by the program `scp` of the machine, as Packer does unless told otherwise.

The protocol has no standard: a line says what comes ("C0644 12 name", "D0755 0 name", "E"), the
bytes follow, and each side answers with a byte, 0 for good. Files go in pieces: memory stays flat.
"""

from __future__ import annotations

import asyncio
import io
import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import asyncssh

from goldsmith.communicators.ssh.local_files import (
    checked_name,
    made_directory,
    open_to_write,
    walk,
)
from goldsmith.communicators.ssh.remote_paths import PATTERN_LETTERS, quoted
from goldsmith.core.communicator import ConnectionFailed
from goldsmith.errors import GoldsmithError

PIECE_BYTES: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 14
_LARGEST_FILE: Final = 1 << 62


class _Conversation:
    """A running `scp` on the machine, and the side of the protocol that is ours."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], what: str) -> None:
        self.process, self._what = process, what

    async def send(self, data: bytes) -> None:
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def line(self) -> bytes | None:
        """The next line without its end; None at the end of the conversation."""
        data = bytearray()
        while (byte := await self.process.stdout.read(1)) != b"\n":
            if not byte:
                if data:
                    raise self.broken()
                return None
            data += byte
            if len(data) > _LONGEST_LINE:
                raise GoldsmithError(f"{self._what}: the machine's scp sent a line without an end")
        return bytes(data)

    async def accepted(self) -> None:
        """Wait for the other side's answer; raises GoldsmithError with its words."""
        answer = await self.process.stdout.read(1)
        if answer == b"\0":
            return
        if answer in (b"\1", b"\2"):
            raise self.refusal(await self.line() or b"")
        raise self.broken() if not answer else GoldsmithError(
            f"{self._what}: the machine does not speak as scp does (it sent {answer!r})",
            hint="a login script that prints something is a usual cause; ssh_file_transfer_method "
            '= "sftp" does not mind',
        )  # fmt: skip

    async def piece(self, length: int) -> bytes:
        data = await self.process.stdout.read(length)
        if not data:
            raise self.broken()
        return data

    def refusal(self, line: bytes, *, source: str = "") -> GoldsmithError:
        text = line.decode("utf-8", "replace").removeprefix("scp: ").strip()
        is_pattern = any(letter in source for letter in PATTERN_LETTERS)
        return GoldsmithError(
            f"{self._what}: {text}",
            hint="* ? and [ stand for themselves there: name each file, or its directory"
            if is_pattern
            else None,
        )

    def missing(self) -> GoldsmithError:
        return GoldsmithError(
            f"{self._what}: the machine has no program scp",
            hint='write ssh_file_transfer_method = "sftp", or install it there',
        )

    def broken(self) -> GoldsmithError:
        return ConnectionFailed(f"{self._what}: the machine's scp has gone away")

    async def ended(self) -> None:
        """Say that nothing more comes, and wait for the end of the program."""
        with suppress(OSError):  # it has ended already
            self.process.stdin.write_eof()
        await self.process.wait_closed()

    async def end(self) -> None:
        """Wait for the end of the program; raises GoldsmithError for a status other than 0."""
        await self.ended()
        if self.process.exit_status == 127:
            raise self.missing()
        if self.process.exit_status:
            raise GoldsmithError(f"{self._what}: its scp ended with {self.process.exit_status}")
        if self.process.exit_status is None:
            raise self.broken()


@asynccontextmanager
async def _running(
    connection: asyncssh.SSHClientConnection, arguments: str, path: str, what: str
) -> AsyncIterator[_Conversation]:
    command = f"scp {arguments} {quoted(path)}".encode("utf-8", "surrogateescape")
    process = await connection.create_process(
        command,
        encoding=None,
        stderr=asyncssh.DEVNULL,
    )
    conversation = _Conversation(process, what)
    try:
        yield conversation
        await conversation.end()
    except ConnectionFailed:
        # What a program that is not there says shows in its status only.
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await conversation.ended()
        if process.exit_status == 127:
            raise conversation.missing() from None
        raise
    finally:
        process.close()


async def upload(
    connection: asyncssh.SSHClientConnection, content: bytes | Path, destination: str, mode: int
) -> None:
    """Write a file there."""
    directory, name = posixpath.split(destination)
    what = f"cannot upload to {destination}"
    async with _running(connection, "-t", directory or ".", what) as conversation:
        await conversation.accepted()
        with _opened(content) as (file, size):
            await _send_file(conversation, file, size, name, mode)


async def upload_directory(
    connection: asyncssh.SSHClientConnection, source: Path, destination: str
) -> None:
    """Write what is in a directory into one there, which is made unless it is the root."""
    directory, name = posixpath.split(destination.rstrip("/"))
    what = f"cannot upload {source} to {destination}"
    async with _running(connection, "-r -t", directory or ("." if name else "/"), what) as talk:
        await talk.accepted()
        if name:
            await _tell(talk, f"D{source.stat().st_mode & 0o7777:04o} 0 {name}\n")
        for entry in walk(source):
            base = posixpath.basename(entry.relative)
            if entry.leaves:
                await _tell(talk, "E\n")
            elif entry.is_directory:
                await _tell(talk, f"D{entry.mode:04o} 0 {base}\n")
            else:
                with _opened(entry.path) as (file, size):
                    await _send_file(talk, file, size, base, entry.mode)
        if name:
            await _tell(talk, "E\n")


async def _tell(conversation: _Conversation, line: str) -> None:
    await conversation.send(line.encode("utf-8", "surrogateescape"))
    await conversation.accepted()


async def _send_file(
    conversation: _Conversation, file: BinaryIO, size: int, name: str, mode: int
) -> None:
    if "\n" in name:
        raise GoldsmithError(f"scp cannot carry the name {name!r}",
                             hint='write ssh_file_transfer_method = "sftp"')  # fmt: skip
    await _tell(conversation, f"C{mode:04o} {size} {name}\n")
    left = size
    while left:
        piece = file.read(min(PIECE_BYTES, left))
        if not piece:
            raise GoldsmithError(f"{name} has become shorter while it was uploaded")
        await conversation.send(piece)
        left -= len(piece)
    await conversation.send(b"\0")
    await conversation.accepted()


class _opened:
    """A file and its size; bytes are one, too."""

    def __init__(self, content: bytes | Path) -> None:
        self._content = content

    def __enter__(self) -> tuple[BinaryIO, int]:
        if isinstance(self._content, bytes):
            self._file: BinaryIO = io.BytesIO(self._content)
            return self._file, len(self._content)
        self._file = open(self._content, "rb")
        return self._file, os.fstat(self._file.fileno()).st_size

    def __exit__(self, *exc: object) -> None:
        self._file.close()


async def download(
    connection: asyncssh.SSHClientConnection, source: str, destination: Path
) -> None:
    """Read one file from there."""
    async with _running(connection, "-f", source, f"cannot download {source}") as conversation:
        await conversation.send(b"\0")
        line = await conversation.line()
        if line is None:
            raise conversation.broken()
        mode, size, _ = _announced(line, source, conversation)
        if line[:1] == b"D":
            raise GoldsmithError(f"cannot download {source}: it is a directory")
        await _receive_file(conversation, destination, mode, size)


async def download_directory(
    connection: asyncssh.SSHClientConnection, source: str, destination: Path
) -> None:
    """Read what is in a directory there."""
    what = f"cannot download {source}"
    async with _running(connection, "-r -f", source.rstrip("/") or "/", what) as conversation:
        await conversation.send(b"\0")
        places: list[Path] = []
        has_begun = False
        while (line := await conversation.line()) is not None:
            if line == b"E" and places:
                places.pop()
                await conversation.send(b"\0")
                continue
            mode, size, name = _announced(line, source, conversation)
            if line[:1] == b"D" and (places or not has_begun):
                places.append(made_directory(places[-1] / name) if places else destination)
                places[-1].mkdir(parents=True, exist_ok=True)
                has_begun = True
                await conversation.send(b"\0")
            elif line[:1] == b"C" and places:
                await _receive_file(conversation, places[-1] / name, mode, size)
            else:
                raise GoldsmithError(f"{what}: {name} is no part of a directory there")
        if places or not has_begun:
            raise conversation.broken()


def _announced(line: bytes, source: str, conversation: _Conversation) -> tuple[int, int, str]:
    """Mode, size and name of what comes next; raises GoldsmithError, also with scp's own words."""
    if line[:1] in (b"\1", b"\2"):
        raise conversation.refusal(line[1:], source=source)
    try:
        mode, size, name = line[1:].split(b" ", 2)
        numbers = int(mode, 8) & 0o777, int(size)
        if line[:1] not in (b"C", b"D") or not 0 <= numbers[1] < _LARGEST_FILE:
            raise ValueError
    except ValueError:
        raise GoldsmithError(f"the machine's scp sent {line[:80]!r} for {source}") from None
    return *numbers, checked_name(name.decode("utf-8", "surrogateescape"), source)


async def _receive_file(
    conversation: _Conversation, destination: Path, mode: int, size: int
) -> None:
    with os.fdopen(open_to_write(destination), "wb") as file:
        await conversation.send(b"\0")
        left = size
        while left:
            piece = await conversation.piece(min(PIECE_BYTES, left))
            file.write(piece)
            left -= len(piece)
        os.fchmod(file.fileno(), mode & 0o777)
    await conversation.accepted()
    await conversation.send(b"\0")
