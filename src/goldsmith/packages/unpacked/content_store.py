"""The files of packages, unpacked once: a directory for each package, by the SHA-256 of its file.

    DIGEST/root/…       the package's files, with mode, owner and time
    DIGEST/control/…    its control files
    DIGEST/index        every path in the order of the archive, and what is in it

A directory is made under another name and renamed when it is whole, so any number of builds share
a store, and one that is killed leaves nothing that counts. Nothing writes into it afterwards:
trees are copies, or links that only ever are the lower directory of an overlay. What is changed
all the same is found whenever it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.host.journal import remove_tree
from goldsmith.host.locks import try_lock
from goldsmith.packages.errors import PackageError
from goldsmith.packages.package_store import Archive
from goldsmith.packages.unpacked.deb_file import Member
from goldsmith.packages.unpacked.ingest import INDEX, VERSION, unpack_all
from goldsmith.packages.unpacked.sealed import unsealed

STORE_NAME: Final = "unpacked"
"""The store's directory, beside that of the downloaded packages."""
_PARTIAL: Final = "partial"
_LOCK: Final = "lock"
_PARTIAL_AGE_S: Final = 24 * 3600.0
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class UnpackedPackage:
    """A package in the store: its control fields (names in lower case) and its paths."""

    digest: str
    directory: Path
    fields: Mapping[str, str]
    members: tuple[Member, ...]
    conffiles: tuple[str, ...] = ()
    """The lines of its conffiles: paths, or a flag and a path."""
    unusual: str = ""
    """Why only dpkg may unpack it; then it has no paths here."""
    controls: tuple[tuple[str, int, str], ...] = ()
    """Name, mode and SHA-256 of every control file."""

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["package"]

    @property
    def architecture(self) -> str:
        """The package's architecture, or "all"."""
        return self.fields["architecture"]

    @property
    def info_name(self) -> str:
        """What its files below /var/lib/dpkg/info are called by."""
        same = self.fields.get("multi-arch") == "same"
        return f"{self.name}:{self.architecture}" if same else self.name

    def control(self, name: str) -> bytes | None:
        """The content of a control file, None where it has none of that name."""
        try:
            return (self.directory / "control" / name).read_bytes()
        except FileNotFoundError:
            return None


@dataclass(frozen=True, slots=True)
class ContentStore:
    """The directory of all unpacked packages, for its owner alone; made when it is needed."""

    directory: Path

    def take_all(
        self,
        archives: Iterable[tuple[Archive, Path]],
        *,
        threads: int | None = None,
        on_damage: Callable[[str], None] = lambda text: None,
    ) -> list[UnpackedPackage]:
        """Unpack what is not here yet, the largest first, in several processes; in the given order.

        What was changed since it was unpacked is told to `on_damage`, and made again. Raises
        PackageError for a file whose content is not what the index says.
        """
        wanted = list(archives)
        # It holds setuid programs, old ones too: other users must not reach them.
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory.chmod(0o700)
        partial = self.directory / _PARTIAL
        partial.mkdir(exist_ok=True, mode=0o700)
        remove_old(partial.iterdir())
        found = {one.sha256: self.find(one.sha256) for one, _ in wanted}
        count = threads or os.cpu_count() or 1
        for changed, path in changed_packages([one for one in found.values() if one], count):
            on_damage(f"{changed.name} is unpacked again: /{path} was changed in {self.directory}")
            found[changed.digest] = None
        missing = {one[0].sha256: one for one in wanted if found[one[0].sha256] is None}
        by_size = sorted(missing.values(), key=lambda one: -one[0].size_bytes)
        with tempfile.TemporaryDirectory(dir=partial, ignore_cleanup_errors=True) as scratch:
            new = Path(scratch)
            unpack_all(by_size, new, count)
            # Not synced: what a crash tears is found when it is used, as whatever is changed.
            for archive, _ in by_size:
                self._keep(new, archive.sha256)
                found[archive.sha256] = self.find(archive.sha256)
        taken = []
        for archive, _ in wanted:
            package = found[archive.sha256]
            if package is None:
                raise PackageError(f"{archive.name} was unpacked, and is not in {self.directory}")
            with contextlib.suppress(OSError):
                os.utime(package.directory)
            taken.append(package)
        return taken

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Nothing is removed within the block; waits while somebody does that."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody uses it; then nobody begins to within the block."""
        if not self.directory.is_dir():
            yield True
            return
        fd = try_lock(self.directory / _LOCK)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def clear(self, *, dry_run: bool = False) -> int | None:
        """Remove everything; returns how many packages, None where a build uses them."""
        if not self.directory.is_dir():
            return 0
        with self.alone() as alone:
            if not alone:
                return None
            places = [path for path in self.directory.iterdir() if path.name != _LOCK]
            if not dry_run:
                self._remove(places)
            return sum(path.name != _PARTIAL for path in places)

    def packages(self) -> list[UnpackedPackage]:
        """Everything that is whole, by name."""
        names = os.listdir(self.directory) if self.directory.is_dir() else []
        found = [self.find(name) for name in names if name not in (_PARTIAL, _LOCK)]
        return sorted((one for one in found if one), key=lambda one: one.info_name)

    def forget(self, digests: Iterable[str]) -> bool:
        """Remove packages; False where a build uses the store, and nothing is removed."""
        with self.alone() as alone:
            if alone:
                self._remove([self.directory / digest for digest in digests])
            return alone

    def _remove(self, places: Iterable[Path]) -> None:
        """Remove directories; whoever is killed meanwhile leaves no half of a package."""
        partial = self.directory / _PARTIAL
        partial.mkdir(exist_ok=True, mode=0o700)
        gone = Path(tempfile.mkdtemp(dir=partial))
        for place in places:
            if place != partial:
                with contextlib.suppress(FileNotFoundError):
                    place.rename(gone / place.name)
        remove_tree(partial)

    def take(self, archive: Archive, file: Path) -> UnpackedPackage:
        """Unpack one package unless it is here."""
        (package,) = self.take_all([(archive, file)], threads=1)
        return package

    def _keep(self, new: Path, digest: str) -> None:
        """Rename what is whole to its place, where only what is no package of ours may be."""
        place = self.directory / digest
        try:
            os.rename(new / digest, place)
            return
        except OSError:
            # Another build was quicker; what it has made is the same.
            there = self.find(digest)
            if there is not None and changed_path(there) is None:
                return
        # A crash has torn it, somebody has changed it, or another goldsmith has made it.
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, new / f"{digest}.old")
        try:
            os.rename(new / digest, place)
        except OSError:
            if self.find(digest) is None:
                raise

    def find(self, digest: str) -> UnpackedPackage | None:
        """A package of the store; one that another goldsmith has made, or half of one, is none."""
        directory = self.directory / digest
        try:
            read = json.loads(unsealed((directory / INDEX).read_text()))
        except (OSError, ValueError):
            return None
        if not isinstance(read, dict) or read.get("version") != VERSION:
            return None
        members = tuple(Member(*row) for row in read["members"])
        controls = tuple((name, mode, sha256) for name, mode, sha256 in read["controls"])
        return UnpackedPackage(
            digest, directory, read["fields"], members, tuple(read["conffiles"]), read["unusual"],
            controls,
        )  # fmt: skip


def remove_old(places: Iterable[Path]) -> None:
    """Remove what builds that were killed have left unfinished, a day ago or earlier."""
    latest_s = time.time() - _PARTIAL_AGE_S
    for place in places:
        with contextlib.suppress(FileNotFoundError):
            if place.lstat().st_mtime < latest_s:
                remove_tree(place)


def changed_packages(
    packages: Sequence[UnpackedPackage], threads: int | None = None
) -> list[tuple[UnpackedPackage, str]]:
    """Those of the packages of which a path is not as it was unpacked, with the first such path."""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        found = list(zip(packages, pool.map(changed_path, packages), strict=True))
    return [(package, path) for package, path in found if path is not None]


def changed_path(package: UnpackedPackage) -> str | None:
    """The first path of a package that is not as it was unpacked; reads every file."""
    # Paths are texts here: there are ten thousand of them in a small system.
    control, root = f"{package.directory}/control", f"{package.directory}/root"
    for name, mode, sha256 in package.controls:
        place = f"{control}/{name}"
        try:
            if stat.S_IMODE(os.lstat(place).st_mode) != mode or _digest_of(place) != sha256:
                return f"control/{name}"
        except OSError:
            return f"control/{name}"
    for member in package.members:
        try:
            if not _is_as_unpacked(member, root):
                return member.path
        except OSError:
            return member.path
    return None


def _is_as_unpacked(member: Member, root: str) -> bool:
    place = f"{root}/{member.path}"
    status = os.lstat(place)
    if member.kind == "h":
        # What the archive says of a second name counts for nothing.
        return os.path.samestat(status, os.lstat(f"{root}/{member.target}"))
    kind, owner = stat.S_IFMT(status.st_mode), (status.st_uid, status.st_gid)
    if owner != (member.uid, member.gid):
        return False
    if member.kind == "l":
        return kind == stat.S_IFLNK and os.readlink(place) == member.target
    if stat.S_IMODE(status.st_mode) != member.mode:
        return False
    if member.kind == "d":
        return kind == stat.S_IFDIR
    if kind != stat.S_IFREG or status.st_size != member.size_bytes:
        return False
    return _digest_of(place) == member.sha256 and int(status.st_mtime) == member.mtime_s


def _digest_of(place: str) -> str:
    digest = hashlib.sha256()
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while data := os.read(fd, _CHUNK_BYTES):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.hexdigest()
