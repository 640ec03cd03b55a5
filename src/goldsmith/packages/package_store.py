"""Downloaded packages, kept by the SHA-256 of their content and never fetched twice.

A file of the store is nothing but data: it has the mode 0600 and its digest as its name, and it is
only used where a signed index of the build names that digest. Content is verified when it is taken
and again, in the copy, when it is given out. Every change is one rename or unlink, so any number of
builds may share a store; what SIGKILL leaves in `partial` goes with the next `prune`.

APT (2.6) looks only at the size of a file that lies in its archives directory. So files are never
offered by their name alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PRINT_URIS: Final = ("--print-uris", "-oAcquire::ForceHash=SHA256")
"""Options of apt-get; without the second it prints MD5, or no digest at all."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ARCHIVE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_%-]*\.deb")
_URI_LINE: Final = re.compile(r"'([^']*)' (\S+) (\d+) SHA256:([0-9a-f]{64})")
_PARTIAL: Final = "partial"
_PARTIAL_AGE_S: Final = 24 * 3600.0
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A package file as a signed index knows it: APT's name for it, its size and its SHA-256."""

    name: str
    size_bytes: int
    sha256: str
    uri: str = field(default="", compare=False)
    """Where it can be had now."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` took away."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackageStore:
    """A directory of package files; made, for its owner alone, when something is put into it."""

    directory: Path

    def path(self, sha256: str) -> Path:
        """Where the file with that digest is or would be; raises ValueError for other texts."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256 digest")
        return self.directory / sha256

    def has(self, archive: Archive) -> bool:
        """Whether a file of that digest and size is there; its content is not looked at."""
        try:
            return self.path(archive.sha256).stat().st_size == archive.size_bytes
        except OSError:
            return False

    def has_whole(self, archive: Archive) -> bool:
        """Whether it is there with its content; a file that was changed is removed."""
        if not self.has(archive):
            return False
        try:
            if digest_of(self.path(archive.sha256)) == archive.sha256:
                return True
        except OSError:
            pass  # as good as changed
        self.path(archive.sha256).unlink(missing_ok=True)
        return False

    def digests(self) -> frozenset[str]:
        """The digests of all files; a store that was never used has none."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return frozenset()
        return frozenset(name for name in names if _DIGEST.fullmatch(name))

    def missing_bytes(self, archives: Iterable[Archive]) -> int:
        """How much would have to be downloaded."""
        return sum(archive.size_bytes for archive in archives if not self.has(archive))

    def take(self, file: Path, archive: Archive) -> bool:
        """Put a copy of a file into the store; False when its content is another one.

        What is not a regular file is never opened.
        """
        target = self.path(archive.sha256)
        if self.has(archive):
            return True
        with self._partial() as partial:
            if not _copied(file, partial, archive):
                return False
            os.replace(partial, target)
        return True

    def give(self, archive: Archive, folder: Path) -> bool:
        """Put a copy into APT's archives directory; False when the store lacks it.

        A file whose content has changed is removed from the store.
        """
        if not _ARCHIVE_NAME.fullmatch(archive.name) or not self.has(archive):
            return False
        stored, target = self.path(archive.sha256), folder / archive.name
        if target.exists():
            return False
        partial = folder / f".{archive.name}.goldsmith"
        try:
            if not _copied(stored, partial, archive):
                stored.unlink(missing_ok=True)
                return False
            partial.chmod(0o644)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.utime(stored)
        return True

    def touch(self, archive: Archive) -> bool:
        """Note that a file is used, whatever is in it; False when it is not here."""
        if not self.has(archive):
            return False
        with contextlib.suppress(OSError):
            os.utime(self.path(archive.sha256))
        return True

    def lend(self, archive: Archive, folder: Path) -> bool:
        """Give a file one more name in APT's archives directory; False when the store lacks it.

        For who only reads it: it is still there when the store is pruned. A file whose content has
        changed is removed from the store.
        """
        if not _ARCHIVE_NAME.fullmatch(archive.name) or not self.has_whole(archive):
            return False
        try:
            os.link(self.path(archive.sha256), folder / archive.name)
        except OSError:
            return self.give(archive, folder)  # another file system, or one without links
        return self.touch(archive)

    def take_all(self, archives: Iterable[Archive], folder: Path) -> int:
        """Take those of the archives that lie in APT's directory; returns how many are new."""
        new = 0
        for archive in archives:
            if not _ARCHIVE_NAME.fullmatch(archive.name) or self.has(archive):
                continue
            new += self.take(folder / archive.name, archive)
        return new

    def give_all(self, archives: Iterable[Archive], folder: Path) -> int:
        """Give those of the archives that are here; returns how many were."""
        return sum(self.give(archive, folder) for archive in archives)

    def partial_directory(self) -> Path:
        """Where things are that are not whole yet; made, with the store itself, if missing."""
        folder = self.directory / _PARTIAL
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @contextlib.contextmanager
    def _partial(self) -> Iterator[Path]:
        """A name for a file that is not whole yet, on the file system of the store."""
        fd, name = tempfile.mkstemp(dir=self.partial_directory())
        os.close(fd)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def parse_uris(text: str) -> tuple[Archive, ...]:
    """The archives in the output of `apt-get --print-uris install`; others lines are passed over.

    Local packages (`file:`) and indexes without SHA-256 have no digest there, and are left out.
    """
    found = (_URI_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return tuple(
        Archive(match.group(2), int(match.group(3)), match.group(4), match.group(1))
        for match in found
        if match
    )


def prune(
    store: PackageStore,
    *,
    max_age_s: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove files that nobody used for `max_age_s`, then the longest unused above `max_bytes`.

    Builds that run meanwhile fetch again what they miss; remains of killed ones go as well. With
    `dry_run` it only tells.
    """
    now_s = time.time()
    used: list[tuple[float, int, Path]] = []
    files = size_bytes = 0
    for folder, age_s in ((store.directory / _PARTIAL, _PARTIAL_AGE_S), (store.directory, None)):
        for path in folder.glob("*") if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat(follow_symlinks=False)
                if age_s is not None and now_s - status.st_mtime > age_s:
                    if not dry_run:
                        _remove(path)
                elif age_s is None and _DIGEST.fullmatch(path.name):
                    used.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in used)
    for mtime, size, path in sorted(used):
        too_old = max_age_s is not None and now_s - mtime > max_age_s
        too_much = max_bytes is not None and total > max_bytes
        if too_old or too_much:
            if not dry_run:
                path.unlink(missing_ok=True)
            total -= size
            files += 1
            size_bytes += size
    return Pruned(files, size_bytes)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copied(source: Path, target: Path, archive: Archive) -> bool:
    """Copy a file; False when it is not the archive, the target is then worthless."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    digest = hashlib.sha256()
    with open(fd, "rb") as reader, open(target, "wb") as writer:
        if os.fstat(fd).st_size != archive.size_bytes:
            return False
        os.fchmod(writer.fileno(), 0o600)
        while data := reader.read(_CHUNK_BYTES):
            digest.update(data)
            writer.write(data)
    return digest.hexdigest() == archive.sha256
