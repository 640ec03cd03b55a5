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
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.journal import remove_tree
from goldsmith.host.locks import try_lock
from goldsmith.host.parallel import beside, cores
from goldsmith.host.process import run
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
COMPARE_VERB: Final = "_compare"
"""The hidden verb of a process that compares packages with what they were."""
_MOST_READERS: Final = 4
_MUCH_BYTES: Final = 128 << 20
_STARTED_BYTES: Final = 48 << 20
"""So much is compared in the time in which a process starts."""


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
        sound: Set[str] = frozenset(),
        on_damage: Callable[[str], None] = lambda text: None,
    ) -> list[UnpackedPackage]:
        """Unpack what is not here yet, the largest first, in several processes; in the given order.

        What was changed since it was unpacked is told to `on_damage`, and made again; those of
        which the caller knows from a moment ago that they are `sound` are not looked at. Raises
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
        unsure = [one for one in found.values() if one is not None and one.digest not in sound]
        for changed, path in changed_packages(unsure, threads):
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

    def sound(self, digests: Iterable[str], is_over: Callable[[], bool]) -> frozenset[str]:
        """Those of the packages that are here, and as they were unpacked; reads every file.

        Only those that it has come to until `is_over`; raises Interrupted.
        """
        found = set()
        for digest in digests:
            if is_over():
                break
            package = self.find(digest)
            if package is not None and not _changed_here([package]):
                found.add(digest)
        return frozenset(found)

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
    packages: Sequence[UnpackedPackage], processes: int | None = None
) -> list[tuple[UnpackedPackage, str]]:
    """Those of the packages of which a path is not as it was unpacked, with the first such path.

    Where there is much to read, in several processes: threads would wait for each other.
    """
    first, *others = _shares(packages, min(processes or cores(), _MOST_READERS))
    with ExitStack() as stack:
        started = [(one, stack.enter_context(beside(partial(_changed_elsewhere, one))))
                   for one in others]  # fmt: skip
        found = _changed_here(first)
        for share, result in started:
            known = result()
            found.update(_changed_here(share) if known is None else known)
    return [(one, found[one.digest]) for one in packages if one.digest in found]


def _shares(packages: Sequence[UnpackedPackage], count: int) -> list[list[UnpackedPackage]]:
    """The packages in lists of about the same size; the first is the largest by a start."""
    sizes = [sum(member.size_bytes for member in package.members) for package in packages]
    if sum(sizes) < _MUCH_BYTES:
        return [list(packages)]
    shares: list[list[UnpackedPackage]] = [[] for _ in range(count)]
    taken = [0, *[_STARTED_BYTES] * (count - 1)]
    for package, size_bytes in zip(packages, sizes, strict=True):
        least = taken.index(min(taken))
        shares[least].append(package)
        taken[least] += size_bytes
    return shares


def _changed_here(packages: Iterable[UnpackedPackage]) -> dict[str, str]:
    """The first changed path of each package that has one, by the package's digest."""
    found = {}
    for package in packages:
        check_cancelled()
        path = changed_path(package)
        if path is not None:
            found[package.digest] = path
    return found


def _changed_elsewhere(packages: Sequence[UnpackedPackage]) -> dict[str, str] | None:
    """The same from a process of its own; None where that has not told."""
    if not packages:
        return {}
    store = packages[0].directory.parent
    argv = [sys.executable, "-P", "-m", "goldsmith", COMPARE_VERB, os.fspath(store.absolute())]
    listed = json.dumps([package.digest for package in packages]).encode()
    done = run(argv, input=listed, capture=True, check=False)
    if done.status != 0:
        return None
    with contextlib.suppress(ValueError, TypeError):
        return {str(digest): str(path) for digest, path in json.loads(done.text)}
    return None


def compare(directory: Path, digests: bytes) -> list[tuple[str, str]]:
    """The other side of `_changed_elsewhere`: each changed package's digest, and the path."""
    store = ContentStore(directory)
    found: list[tuple[str, str]] = []
    for digest in json.loads(digests):
        package = store.find(digest)
        path = INDEX if package is None else changed_path(package)
        if path is not None:
            found.append((digest, path))
    return found


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
