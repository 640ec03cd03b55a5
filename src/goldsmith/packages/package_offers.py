"""The package store for APT inside a tree: what a step may need lies in its archives already.

A step that installs packages runs programs of its own choice, so nobody knows beforehand what it
will fetch. It is offered every stored file that the tree's own indexes name by digest and that is
not installed yet; what it fetches besides is taken in afterwards. The files are copies: the step
may do with them what it likes.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from goldsmith.host import mounts
from goldsmith.host.confined import confined
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.installed import installed_packages
from goldsmith.packages.package_store import Archive, PackageStore, digest_of

ARCHIVES: Final = "/var/cache/apt/archives"
LISTS: Final = "/var/lib/apt/lists"

_SHA256: Final = re.compile(rb"\nSHA256: ([0-9a-f]{64})\n")
_READERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress,
}  # fmt: skip
"""APT keeps an index as it is unless it was told otherwise; other endings are passed over."""


MOST_OFFERED_BYTES: Final = 512 << 20
"""A store of many builds holds more than a step would ever take: copying it costs more."""


@contextmanager
def offered_archives(
    store: PackageStore, tree: Path, *, most_bytes: int = MOST_OFFERED_BYTES
) -> Iterator[int]:
    """Let APT in the tree find stored packages for the length of a block; yields how many.

    Of more than `most_bytes` those are offered that were used last.

    A directory of the store's file system is bound over the tree's archives, so this must be left
    before the tree is unmounted and entered before a step's namespaces are made, in a private
    mount namespace. What was fetched meanwhile is taken into the store, also when the block fails.
    Nothing of it stays in the tree. A tree without APT is left alone.
    """
    archives = _directory(tree, ARCHIVES)
    if archives is None:
        yield 0
        return
    with _working_directory(store) as folder:
        wanted = _latest(store, _wanted(store, tree), most_bytes)
        offered = [archive for archive in wanted if store.give(archive, folder)]
        names = {archive.name for archive in offered}
        with mounts.bound(folder, archives):
            try:
                yield len(offered)
            finally:
                _harvest(store, tree, folder, names)


def indexed_archives(tree: Path, digests: Callable[[str], bool]) -> dict[str, Archive]:
    """The packages of the tree's indexes whose digest is asked for, by digest.

    Indexes that cannot be read count as empty.
    """
    found: dict[str, Archive] = {}
    lists = _directory(tree, LISTS)
    for path in sorted(lists.iterdir()) if lists is not None else ():
        name, packages, ending = path.name.partition("_Packages")
        if not (packages or path.name == "Packages") or not name or path.is_symlink():
            continue
        content = _read_index(path, ending)
        for match in _SHA256.finditer(content):
            digest = match.group(1).decode()
            if digest not in found and digests(digest):
                archive = _archive(content, match.start(1), digest)
                if archive is not None:
                    found[digest] = archive
    return found


def _read_index(path: Path, ending: str) -> bytes:
    reader = _READERS.get(ending)
    if reader is None or not path.is_file():
        return b""
    try:
        return reader(path.read_bytes())
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return b""


def _archive(content: bytes, position: int, digest: str) -> Archive | None:
    """The package whose paragraph is around a place of an index."""
    gap = content.rfind(b"\n\n", 0, position)
    start = 0 if gap < 0 else gap + 2
    end = content.find(b"\n\n", position)
    text = content[start : len(content) if end < 0 else end].decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError):
        fields = next(iter(paragraphs(text)), {})
        version = fields["version"].replace(":", "%3a")
        name = f"{fields['package']}_{version}_{fields['architecture']}.deb"
        return Archive(name, int(fields["size"]), digest)
    return None


def _wanted(store: PackageStore, tree: Path) -> list[Archive]:
    """What is stored, named by an index of the tree, and not installed in that version."""
    stored = store.digests()
    if not stored:
        return []
    installed = {
        f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"
        for package in installed_packages(tree)
    }
    known = indexed_archives(tree, stored.__contains__)
    return [archive for archive in known.values() if archive.name not in installed]


def _latest(store: PackageStore, archives: list[Archive], most_bytes: int) -> list[Archive]:
    """As many as there is room for, those that were used last first."""
    used: list[tuple[float, Archive]] = []
    for archive in archives:
        with contextlib.suppress(FileNotFoundError):
            used.append((store.path(archive.sha256).stat().st_mtime, archive))
    kept: list[Archive] = []
    room_bytes = most_bytes
    for _, archive in sorted(used, key=lambda pair: -pair[0]):
        if archive.size_bytes <= room_bytes:
            kept.append(archive)
            room_bytes -= archive.size_bytes
    return kept


def _harvest(store: PackageStore, tree: Path, folder: Path, offered: set[str]) -> None:
    """Take in what APT has fetched: new files that an index of the tree names by digest."""
    fetched = {}
    for path in folder.glob("*.deb"):
        if path.name not in offered and not path.is_symlink() and path.is_file():
            fetched[digest_of(path)] = path
    if not fetched:
        return
    for digest, archive in indexed_archives(tree, fetched.__contains__).items():
        store.take(fetched[digest], archive)


def _directory(tree: Path, path: str) -> Path | None:
    """A real directory of the tree that no link leads to, or None."""
    place = confined(tree, path, follow_last=True)
    return place if place == tree / path.lstrip("/") and place.is_dir() else None


@contextmanager
def _working_directory(store: PackageStore) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=store.partial_directory()))
    try:
        # APT fetches as a user of its own.
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
