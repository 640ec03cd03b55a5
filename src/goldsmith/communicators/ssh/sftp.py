"""Moving files by SFTP, in pieces: memory stays flat."""

from __future__ import annotations

import os
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncssh

from goldsmith.communicators.ssh.local_files import (
    checked_name,
    made_directory,
    open_to_write,
    walk,
)
from goldsmith.errors import GoldsmithError

PIECE_BYTES: Final = 1 << 18
_DEEPEST: Final = 200


@asynccontextmanager
async def _client(
    connection: asyncssh.SSHClientConnection, what: str
) -> AsyncIterator[asyncssh.SFTPClient]:
    try:
        async with connection.start_sftp_client(path_errors="surrogateescape") as client:
            yield client
    except asyncssh.SFTPError as e:
        raise GoldsmithError(f"{what}: {e.reason}") from e
    except asyncssh.ChannelOpenError as e:
        if connection.is_closed():
            raise
        raise GoldsmithError(
            f"{what}: the machine has no SFTP ({e.reason})",
            hint='write ssh_file_transfer_method = "scp", or set Subsystem sftp in its sshd_config',
        ) from e


async def is_directory(connection: asyncssh.SSHClientConnection, path: str) -> bool:
    """Whether a directory is there."""
    async with _client(connection, f"cannot look at {path}") as client:
        return await client.isdir(path)


async def upload(
    connection: asyncssh.SSHClientConnection, content: bytes | Path, destination: str, mode: int
) -> None:
    """Write a file there."""
    async with _client(connection, f"cannot upload to {destination}") as client:
        await _send(client, content, destination, mode)


async def _send(
    client: asyncssh.SFTPClient, content: bytes | Path, destination: str, mode: int
) -> None:
    async with client.open(destination, "wb", asyncssh.SFTPAttrs(permissions=mode)) as remote:
        if isinstance(content, bytes):
            await remote.write(content)
        else:
            with content.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    await remote.write(piece)
        # The mode at opening counts for new files only, less the machine's umask.
        await remote.setstat(asyncssh.SFTPAttrs(permissions=mode))


async def upload_directory(
    connection: asyncssh.SSHClientConnection, source: Path, destination: str
) -> None:
    """Write what is in a directory into one there, which is made if need be."""
    async with _client(connection, f"cannot upload {source} to {destination}") as client:
        if not await client.isdir(destination):
            await client.mkdir(destination, asyncssh.SFTPAttrs(permissions=0o755))
        for entry in walk(source):
            path = posixpath.join(destination, entry.relative)
            if entry.leaves:
                continue
            if not entry.is_directory:
                await _send(client, entry.path, path, entry.mode)
                continue
            if not await client.isdir(path):
                await client.mkdir(path)
            await client.setstat(path, asyncssh.SFTPAttrs(permissions=entry.mode))


async def download(
    connection: asyncssh.SSHClientConnection, source: str, destination: Path
) -> None:
    """Read one file from there."""
    async with _client(connection, f"cannot download {source}") as client:
        await _receive(client, source, destination)


async def _receive(client: asyncssh.SFTPClient, source: str, destination: Path) -> None:
    async with client.open(source, "rb", encoding=None) as remote:
        mode = (await remote.stat()).permissions
        with os.fdopen(open_to_write(destination), "wb") as file:
            while piece := await remote.read(PIECE_BYTES):
                assert isinstance(piece, bytes), "it was opened as binary"
                file.write(piece)
            if mode is not None:
                os.fchmod(file.fileno(), mode & 0o777)


async def download_directory(
    connection: asyncssh.SSHClientConnection, source: str, destination: Path
) -> None:
    """Read what is in a directory there."""
    destination.mkdir(parents=True, exist_ok=True)
    async with _client(connection, f"cannot download {source}") as client:
        await _receive_directory(client, source, destination, 0)


async def _receive_directory(
    client: asyncssh.SFTPClient, source: str, destination: Path, depth: int
) -> None:
    if depth > _DEEPEST:
        raise GoldsmithError(f"{source}: more than {_DEEPEST} directories in one another")
    async for entry in client.scandir(source):
        name = str(entry.filename)
        if name in (".", ".."):
            continue
        path = posixpath.join(source, name)
        target = destination / checked_name(name, source)
        if await client.isdir(path):
            await _receive_directory(client, path, made_directory(target), depth + 1)
        else:
            await _receive(client, path, target)
