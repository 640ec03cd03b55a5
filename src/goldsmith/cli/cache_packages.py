"""What `goldsmith cache` shows and removes of packages: downloaded, unpacked, and APT's answers."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.journal import remove_tree
from goldsmith.layers.prune import Beside
from goldsmith.layers.usage import Seen, taken_bytes
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.unpacked.content_store import (
    STORE_NAME,
    ContentStore,
    UnpackedPackage,
    changed_packages,
    changed_path,
)
from goldsmith.packages.unpacked.resolution import STORE_NAME as RESOLUTIONS
from goldsmith.packages.unpacked.resolution import ResolutionStore
from goldsmith.ui.terminal import write_line
from goldsmith.units import format_age, format_size

SHORT: Final = 12
"""How much of a key or digest is shown."""
DOWNLOADED, UNPACKED, ANSWERS = "packages", "unpacked packages", "answers of APT"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ANY: Final = re.compile(r"[^.].*")


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing that may be removed; what also lies in a result of a step takes no room here."""

    kind: str
    place: Path
    used_s: float
    size_bytes: int

    @property
    def beside(self) -> Beside:
        """How it counts among the results of steps."""
        return Beside(self.used_s, self.size_bytes)


def downloads_in(state: Path) -> PackageStore:
    """The store of package files."""
    return PackageStore(state / "packages")


def kept_packages(state: Path) -> list[Kept]:
    """Everything of packages, the least recently used first.

    While a build uses the store, only the downloaded files: nothing else can be removed then.
    """
    downloads, unpacked = downloads_in(state), ContentStore(state / STORE_NAME)
    places = [(DOWNLOADED, downloads.path(digest)) for digest in downloads.digests()]
    answers: list[Path] = []
    with unpacked.alone() as alone:
        if alone:
            # What another goldsmith has unpacked goes with its age, too.
            places += [(UNPACKED, path) for path in _named_in(unpacked.directory, _DIGEST)]
            answers = _named_in(state / RESOLUTIONS, _ANY)
    found = []
    for kind, place in places:
        with contextlib.suppress(FileNotFoundError):
            found.append(Kept(kind, place, place.stat().st_mtime, _own_bytes(place, {})))
    # Answers share files: the room is free once the last of them is gone.
    shared: dict[tuple[int, int], int] = {}
    by_use: list[tuple[float, Path]] = []
    for place in answers:
        with contextlib.suppress(FileNotFoundError):
            by_use.append((place.stat().st_mtime, place))
    for used_s, place in sorted(by_use):
        with contextlib.suppress(FileNotFoundError):
            found.append(Kept(ANSWERS, place, used_s, _own_bytes(place, shared)))
    return sorted(found, key=lambda one: (one.used_s, one.place))


def _named_in(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    names = os.listdir(folder) if folder.is_dir() else []
    return [folder / name for name in names if pattern.fullmatch(name)]


def _own_bytes(place: Path, own: dict[tuple[int, int], int]) -> int:
    """The blocks that are free once it is removed: files that trees have as links are not.

    `own` has, by device and inode, how many names of a file go before, and gets those here.
    """
    taken = 0
    for path in (place, *_below(place)):
        status = path.lstat()
        if path.is_symlink() or path.is_dir() or status.st_nlink == 1:
            taken += status.st_blocks * 512
            continue
        key = (status.st_dev, status.st_ino)
        own[key] = own.get(key, 0) + 1
        if own[key] == status.st_nlink:
            taken += status.st_blocks * 512
    return taken


def _below(place: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(place):
        yield from (Path(folder, name) for name in (*folders, *files))


def remove_kept(state: Path, chosen: Sequence[Kept], *, dry_run: bool) -> None:
    """Remove what was chosen, and tell what went."""
    unpacked = ContentStore(state / STORE_NAME)
    by_kind = {kind: [one for one in chosen if one.kind == kind]
               for kind in (DOWNLOADED, UNPACKED, ANSWERS)}  # fmt: skip
    if not dry_run:
        for one in by_kind[DOWNLOADED]:
            one.place.unlink(missing_ok=True)
        digests = [one.place.name for one in by_kind[UNPACKED]]
        if digests and not unpacked.forget(digests):
            by_kind[UNPACKED] = []
        with unpacked.alone() as alone:
            for one in by_kind[ANSWERS] if alone else ():
                remove_tree(one.place)
            by_kind[ANSWERS] = by_kind[ANSWERS] if alone else []
    verb = "Would remove" if dry_run else "Removed"
    for kind, gone in by_kind.items():
        if gone:
            size_bytes = sum(one.size_bytes for one in gone)
            write_line(f"{verb} {len(gone)} {kind}, {format_size(size_bytes)}.")


def remove_all_packages(state: Path, *, dry_run: bool) -> None:
    """Remove everything of packages that no build uses, what nothing can read any more as well."""
    kept = kept_packages(state)
    remove_kept(state, [one for one in kept if one.kind == DOWNLOADED], dry_run=dry_run)
    unpacked = ContentStore(state / STORE_NAME)
    count = unpacked.clear(dry_run=dry_run)
    if count:
        write_line(f"{'Would remove' if dry_run else 'Removed'} {count} {UNPACKED}.")
    remove_kept(state, [one for one in kept if one.kind == ANSWERS], dry_run=dry_run)


def told_in_use(state: Path) -> None:
    """Say so where a build uses the unpacked packages, which therefore stay."""
    with ContentStore(state / STORE_NAME).alone() as alone:
        if not alone:
            write_line("A build uses the unpacked packages: they stay.")


def list_packages(state: Path) -> None:
    """A line for each unpacked package, that used last at the end."""
    downloads, unpacked = downloads_in(state), ContentStore(state / STORE_NAME).packages()
    digests = downloads.digests()
    now_s = time.time()
    rows = [("KEY", "PACKAGE", "VERSION", "SIZE", "FILE", "USED", "TREES")]
    for package in sorted(unpacked, key=lambda one: (_used_s(one), one.info_name)):
        file = downloads.path(package.digest)
        rows.append(
            (package.digest[:SHORT], package.info_name, package.fields["version"],
             format_size(taken_bytes(package.directory, set())),
             format_size(file.stat().st_size) if package.digest in digests else "-",
             f"{format_age(now_s - _used_s(package))} ago", str(trees_of(package)))
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if unpacked else ():
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        write_line("  ".join(cells).rstrip())
    others = digests - {package.digest for package in unpacked}
    if others:
        seen: Seen = set()
        size_bytes = sum(taken_bytes(downloads.path(digest), seen) for digest in others)
        write_line(f"{len(others)} other downloaded packages, {format_size(size_bytes)}.")
    if not digests and not unpacked:
        write_line("No packages are kept yet.")


def _used_s(package: UnpackedPackage) -> float:
    return package.directory.stat().st_mtime


def trees_of(package: UnpackedPackage) -> int:
    """How many trees have a file of the package as a link; those with copies do not count."""
    names: dict[str, int] = {}
    for member in package.members:
        if member.kind in "fh":
            first = member.target if member.kind == "h" else member.path
            names[first] = names.get(first, 0) + 1
    links = [0]
    for path, own in names.items():
        with contextlib.suppress(OSError):
            # Another name of another name is counted with that one.
            links.append((package.directory / "root" / path).lstat().st_nlink // own - 1)
    return max(links)


def show_package(state: Path, wanted: str) -> bool:
    """Tell all of the unpacked package with that name, or beginning of its digest; reads it.

    False where there is none.
    """
    unpacked = ContentStore(state / STORE_NAME).packages()
    found = [one for one in unpacked if wanted in (one.name, one.info_name)]
    found = found or [one for one in unpacked if wanted and one.digest.startswith(wanted)]
    if not found:
        return False
    if len(found) > 1:
        shown = "".join(
            f"\n  {one.digest[:SHORT]}  {one.info_name} {one.fields['version']}" for one in found
        )
        raise GoldsmithError(f"several packages are called {wanted!r}:{shown}", hint="give a key")
    (package,) = found
    changed, file = changed_path(package), downloads_in(state).path(package.digest)
    age = format_age(time.time() - _used_s(package))
    rows = {
        "package": f"{package.info_name} {package.fields['version']} ({package.architecture})",
        "digest": package.digest,
        "unpacked": str(package.directory),
        "size": format_size(taken_bytes(package.directory, set())),
        "paths": str(len(package.members)) if not package.unusual
                 else f"none: dpkg unpacks it, as {package.unusual}",
        "file": str(file) if file.exists() else "not kept",
        "used": f"{age} ago; {trees_of(package)} trees have links to it",
        "content": "as it was unpacked" if changed is None else f"/{changed} was changed",
    }  # fmt: skip
    for name, text in rows.items():
        write_line(f"{name:<9} {text}")
    return True


def package_problems(state: Path, *, forget: bool) -> list[str]:
    """What of the unpacked packages, and of APT's answers, is not as it was kept."""
    unpacked, answers = ContentStore(state / STORE_NAME), ResolutionStore(state / RESOLUTIONS)
    changed, damaged = changed_packages(unpacked.packages()), answers.damaged()
    told = [
        f"{package.name} {package.fields['version']} (unpacked): /{path} was changed"
        for package, path in changed
    ]
    told += [f"an answer of APT ({place.name[:SHORT]}): {name} was changed"
             for place, name in damaged]  # fmt: skip
    if not told:
        return []
    for place, _ in damaged if forget else ():
        remove_tree(place)
    if forget and not unpacked.forget(package.digest for package, _ in changed):
        told.append("a build uses the unpacked packages: the next one makes them again")
    return told
