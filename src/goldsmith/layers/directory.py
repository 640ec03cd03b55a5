"""The directory of a store: its places, its owner and modes, its format, its secret.

The trees hold setuid programs and device nodes, so nobody else may reach them; and what another
user could have written is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import HostError
from goldsmith.host.sparse import full_file_system_named

FORMAT: Final = "1"
DOOMED: Final = ".removing-"
TEMPORARY: Final = ".writing-"

_SECRET_BYTES: Final = 32
_OVERFLOW_UID: Final = 65534
_OTHER_PLACE: Final = "set GOLDSMITH_CACHE_DIR to a directory of your own"


@dataclass(frozen=True, slots=True)
class StoreDirectory:
    """The places of a store, all of which exist."""

    path: Path

    @property
    def layers(self) -> Path:
        """A directory for each layer: `tree`, `listing` and `lock`."""
        return self.path / "layers"

    @property
    def keys(self) -> Path:
        """Records of results, by key."""
        return self.path / "keys"

    @property
    def flat(self) -> Path:
        """Records of flat layers, by the id that they stand for."""
        return self.path / "flat"

    @property
    def failed(self) -> Path:
        """Records of failed steps' trees, by key."""
        return self.path / "failed"

    @property
    def locks(self) -> Path:
        """Locks on keys whose result is being made, and the registry's."""
        return self.path / "locks"

    @property
    def records(self) -> tuple[Path, ...]:
        """Every place where records lie; what none of them names is garbage."""
        return self.keys, self.flat, self.failed

    @contextmanager
    def registry(self) -> Iterator[None]:
        """Hold the lock under which layers come, are recorded, and go: for moments only."""
        with full_file_system_named(self.path):
            fd = os.open(self.locks / "registry", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def secret(self) -> bytes:
        """The key of this store's keyed hashes, made when it is first asked for."""
        path = self.path / "secret"
        with contextlib.suppress(FileNotFoundError):
            return _checked_secret(path)
        _write_new(path, secrets.token_bytes(_SECRET_BYTES))
        return _checked_secret(path)


def open_directory(path: Path) -> StoreDirectory:
    """Make the directory of a store, or check the one that is there.

    Raises HostError for one that others can write to, that is no store, or that another version
    of goldsmith has made; NoSpaceError.
    """
    directory = StoreDirectory(path.absolute())
    try:
        _make(directory)
    except OSError as e:
        raise HostError(f"cannot use {e.filename or path}: {e.strerror}", hint=_OTHER_PLACE) from e
    return directory


def _make(directory: StoreDirectory) -> None:
    path = directory.path
    with contextlib.suppress(FileExistsError):
        with full_file_system_named(path):
            # Others may pass through the state directory: APT reaches the first tree there.
            path.parent.mkdir(parents=True, exist_ok=True)
            _check_above(path.parent)
            path.mkdir(mode=0o700)
    _check_above(path.parent)
    _check_ours(path)
    _check_format(path)
    for place in (directory.layers, *directory.records, directory.locks):
        with full_file_system_named(path), contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        _check_ours(place)


def _check_above(directory: Path) -> None:
    """Refuse a place where others can put another store in the place of this one."""
    status = directory.stat()
    # In a user namespace the host's root is nobody, by the number that the kernel shows for it.
    owners = {os.geteuid(), 0, _OVERFLOW_UID}
    sticky = bool(status.st_mode & stat.S_ISVTX)
    if status.st_uid not in owners or (status.st_mode & 0o022 and not sticky):
        raise HostError(
            f"{directory} belongs to another user, or others can write to it: what is kept there "
            "cannot be trusted",
            hint=f"{_OTHER_PLACE}, which nobody else can write to",
        )


def _check_ours(path: Path) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise HostError(f"{path} is no directory, so it cannot hold layers", hint=_OTHER_PLACE)
    if status.st_uid != os.geteuid():
        raise HostError(
            f"{path} belongs to the user {status.st_uid}: a store of layers has one owner, "
            "because what it holds becomes part of images",
            hint=_OTHER_PLACE,
        )
    if status.st_mode & 0o022:
        raise HostError(
            f"{path} can be written by other users, so what it holds cannot be trusted",
            hint=f"if nobody else has written there, chmod 700 {path}; else remove it",
        )
    if status.st_mode & 0o055:
        path.chmod(0o700)


def _check_format(path: Path) -> None:
    version = path / "version"
    try:
        found = version.read_text(errors="replace").strip()
    except FileNotFoundError:
        if any(not name.startswith(TEMPORARY) for name in os.listdir(path)):
            # Another process may have begun, and ended, making the store between the two looks.
            if version.exists():
                return _check_format(path)
            raise HostError(f"{path} is not empty and is no store of layers",
                            hint=_OTHER_PLACE) from None  # fmt: skip
        _write_new(version, f"{FORMAT}\n".encode())
        return _check_format(path)
    if found != FORMAT:
        raise HostError(
            f"the layers in {path} have format {found[:20]!r}, this goldsmith reads {FORMAT!r}",
            hint=f"{_OTHER_PLACE}, or remove {path}: layers are made again when they are needed",
        )
    return None


def _checked_secret(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status, data = os.fstat(fd), os.read(fd, 2 * _SECRET_BYTES)
    finally:
        os.close(fd)
    if len(data) != _SECRET_BYTES or status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise HostError(
            f"{path} is not as goldsmith made it (32 bytes, mode 0600, your own)",
            hint=f"remove {path}: steps with secrets are then made again",
        )
    return data


def _write_new(path: Path, data: bytes) -> None:
    """Write a file whole unless it is there: the first of several writers wins."""
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}")
    try:
        write_synced(temporary, data)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place, whole or not at all, so that it outlasts a power cut.

    Raises NoSpaceError; what was there before is then still there.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}")
    try:
        write_synced(temporary, data)
        with full_file_system_named(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600 to the disk; raises NoSpaceError."""
    with full_file_system_named(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)


def sync_directory(path: Path) -> None:
    """Write the names in a directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
