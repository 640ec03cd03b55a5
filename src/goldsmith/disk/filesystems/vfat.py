"""vfat, made by mkfs.vfat and filled by mtools inside an image file: no driver, no root.

vfat holds plain files and directories only. What it cannot hold is refused by name, because mtools
follows symlinks without a word and leaves out what it cannot read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from goldsmith.disk.filesystems import vfat_geometry
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.errors import CommandFailed, GoldsmithError, LayoutError
from goldsmith.host.process import run, tool_environment
from goldsmith.host.sparse import full_file_system_named
from goldsmith.units import format_size

_T = TypeVar("_T")

# The FAT epoch: directory entries count years from 1980.
EARLIEST_EPOCH_S: Final = 315_532_800
LARGEST_FILE_BYTES: Final = 2**32 - 1
TOOL_TIMEOUT_S: Final = 1800.0
_NOTHING_TO_LIST: Final = ("File not found", 'File "::" not found')
_FILES_PER_CALL: Final = 100
# Not allowed in vfat's long names; brackets are, but mtools takes them for a pattern (4.0.33).
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f"*:<>?\\|\[\]]')


@dataclass(frozen=True, slots=True)
class Vfat:
    """What tells one vfat from another."""

    serial: int
    label: str | None = None
    options: tuple[str, ...] = ()
    sector_bytes: int = 512
    """Those of the disk: nobody mounts a vfat of smaller ones."""


Contents = Mapping[PurePosixPath, Path | None]
"""Paths below the root, each with the host's file that it is filled from; None: a directory."""


def read_tree(tree: Path) -> dict[PurePosixPath, Path | None]:
    """What a directory holds; raises GoldsmithError with everything that vfat cannot hold."""
    found: dict[PurePosixPath, Path | None] = {}
    problems: list[str] = []
    for path in _walk(tree):
        name = PurePosixPath(path.relative_to(tree).as_posix())
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            found[name] = None
        elif stat.S_ISREG(status.st_mode):
            if status.st_size > LARGEST_FILE_BYTES:
                problems.append(f"{name} is larger than 4 GiB")
            found[name] = path
        else:
            kind = "symlink" if stat.S_ISLNK(status.st_mode) else "special file"
            problems.append(f"{name} is a {kind}")
    if problems:
        raise GoldsmithError(
            f"vfat cannot hold everything below {tree}: " + "; ".join(problems),
            hint="remove it from the tree, or mount an ext4 there",
        )
    return found


def _walk(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir(), key=lambda p: os.fsencode(p.name)):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def is_allowed(name: str) -> bool:
    """Whether vfat and mtools can write a name, and no path of a host is changed by it."""
    bad = _FORBIDDEN.search(name) or name.endswith((".", " ")) or "/" in name
    return not bad and 0 < len(name) <= 255


def check_names(contents: Contents) -> None:
    """Raise GoldsmithError with every name that vfat or mtools cannot write, or tell apart."""
    problems: list[str] = []
    folded: dict[str, PurePosixPath] = {}
    for path in sorted(contents, key=str):
        try:
            path.name.encode()
        except UnicodeEncodeError:
            problems.append(f"{os.fsencode(path)!r} is not UTF-8")
            continue
        if not is_allowed(path.name):
            problems.append(f"{str(path)!r} has a name that vfat or mtools does not allow")
        other = folded.setdefault(str(path).casefold(), path)
        if other != path:
            problems.append(f"{other} and {path} differ in case only")
    if problems:
        raise GoldsmithError("vfat cannot hold " + "; ".join(problems),
                             hint="rename the files, or mount an ext4 there")  # fmt: skip


def make(stretch: Stretch, filesystem: Vfat, contents: Contents, *, epoch_s: int) -> None:
    """Make a vfat in a stretch of an image and fill it; every time in it is `epoch_s`.

    Directories above a file need not be listed. Raises LayoutError when it does not fit,
    NoSpaceError when the host's file system is full, GoldsmithError for what vfat cannot hold.
    """
    complete = dict(contents)
    for path in contents:
        for parent in path.parents:
            if parent.name:
                complete.setdefault(parent, None)
    check_names(complete)
    shape = vfat_geometry.geometry(stretch.size_bytes, filesystem.sector_bytes)
    if shape is None:
        raise LayoutError([f"{format_size(stretch.size_bytes)} is too small for vfat"],
                          hint="give the partition at least 1MiB")  # fmt: skip
    with full_file_system_named(stretch.image):
        argv = ["mkfs.vfat", "--invariant", "-a", "-F", str(shape.fat_bits),
                "-s", str(shape.sectors_per_cluster), "-S", str(filesystem.sector_bytes),
                "-i", f"{filesystem.serial:08X}",
                "--offset", str(stretch.offset_bytes // filesystem.sector_bytes)]  # fmt: skip
        if filesystem.label is not None:
            argv += ["-n", filesystem.label]
        argv += [*filesystem.options, stretch.image.name, str(stretch.size_bytes // 1024)]
        run(argv, cwd=stretch.image.parent, timeout_s=TOOL_TIMEOUT_S)
        Mtools(stretch, epoch_s).fill(complete)


class Mtools:
    """mtools on a part of an image, with no configuration but ours."""

    def __init__(self, stretch: Stretch, epoch_s: int) -> None:
        if "@@" in stretch.image.name:
            raise GoldsmithError(f"{stretch.image.name!r} cannot be the name of an image")
        self._stretch = stretch
        self._image = f"{stretch.image.name}@@{stretch.offset_bytes}"
        # mtools honours SOURCE_DATE_EPOCH (since 4.0.25) and writes local time.
        self._env = tool_environment(
            SOURCE_DATE_EPOCH=str(max(epoch_s, EARLIEST_EPOCH_S)),
            TZ="UTC0", MTOOLSRC="/dev/null", HOME="/nonexistent",
        )  # fmt: skip

    def run(self, program: str, *words: str | os.PathLike[str], capture: bool = False) -> str:
        """Run one of the tools and return what it prints; raises LayoutError for a full disk."""
        argv: list[str | os.PathLike[str]] = [program, "-i", self._image, *words]
        try:
            done = run(argv, env=self._env, cwd=self._stretch.image.parent, capture=capture,
                       timeout_s=TOOL_TIMEOUT_S)  # fmt: skip
        except CommandFailed as e:
            if any("Disk full" in line or "No directory slots" in line for line in e.tail):
                size = format_size(self._stretch.size_bytes)
                raise LayoutError(
                    [f"the files do not fit in a vfat of {size}"],
                    hint='make the partition larger, or write size = "auto"',
                ) from e
            raise
        return done.text

    def list(self) -> Sequence[str]:
        """Every path in it, from `::/` on; those of directories end in a slash."""
        try:
            return self.run("mdir", "-/", "-b", "-a", "::", capture=True).split("\n")[:-1]
        except CommandFailed as e:
            # That is what it says where there is nothing to list, the second of a device.
            if any(said in line for line in e.tail for said in _NOTHING_TO_LIST):
                return []
            raise

    def fill(self, contents: Contents) -> None:
        """Write everything in a fixed order, then compare with what the file system lists."""
        order = sorted(contents, key=lambda path: (len(path.parts), str(path).encode()))
        directories = [path for path in order if contents[path] is None]
        for group in _groups(directories):
            self.run("mmd", *(f"::/{path}" for path in group))
        by_parent: dict[PurePosixPath, list[Path]] = {}
        for path in order:
            source = contents[path]
            if source is None:
                continue
            if source.name == path.name:
                by_parent.setdefault(path.parent, []).append(source.absolute())
            else:
                self.run("mcopy", source.absolute(), f"::/{path}")
        for parent, sources in by_parent.items():
            for files in _groups(sources):
                self.run("mcopy", *files, f"::/{parent}/" if parent.name else "::/")
        if contents:
            self._verify(contents)

    def _verify(self, contents: Contents) -> None:
        listed = set(self.list())
        wanted = {f"::/{path}" + ("/" if contents[path] is None else "") for path in contents}
        missing = sorted(wanted - listed)
        if missing:
            raise GoldsmithError("mtools did not write " + ", ".join(missing))


def _groups(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[at : at + _FILES_PER_CALL] for at in range(0, len(items), _FILES_PER_CALL))
