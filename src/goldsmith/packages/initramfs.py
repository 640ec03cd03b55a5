"""The initramfs is made once, when the tree is finished.

Until then `update-initramfs` is a stub of ours, by dpkg's own diversion: every package that wants
a new initramfs gets success and a note, and saves five seconds. Source: update-initramfs(8),
mkinitramfs(8), initramfs-tools 0.142, dpkg-divert(1).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from goldsmith.errors import CommandFailed
from goldsmith.host.confined import confined, read_confined, remove_confined, write_confined
from goldsmith.host.process import Completed
from goldsmith.packages import lent_zstd, quick_copies
from goldsmith.packages.errors import PackageError

STUB: Final = "/usr/sbin/update-initramfs"
DIVERTED: Final = "/usr/sbin/update-initramfs.goldsmith"
STUB_CONTENT: Final = b"""#!/bin/sh
# goldsmith: stands in for update-initramfs while this image is built
echo "update-initramfs: the initramfs is made once, when the image is finished"
exit 0
"""

_MAGICS: Final = (
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("gzip", b"\x1f\x8b"),
    ("xz", b"\xfd7zXZ\x00"),
    ("lzma", b"\x5d\x00\x00"),
    ("lz4", b"\x02\x21\x4c\x18"),
    ("lzop", b"\x89LZO"),
    ("bzip2", b"BZh"),
    ("none", b"07070"),
)
_SAME_FORMAT: Final = {"pigz": "gzip"}
_CONF_HOOKS: Final = "/usr/share/initramfs-tools/conf-hooks.d"
_LEVEL: Final = "COMPRESSLEVEL"
MAGIC_BYTES: Final = 8
CPIO_HEADER_BYTES: Final = 110
CPIO_MAGICS: Final = (b"070701", b"070702")


class RunInTree(Protocol):
    """Runs a program chrooted in the tree, inside namespaces of its own."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> Completed: ...


@dataclass(frozen=True, slots=True)
class Initramfs:
    """One initramfs that was made: the kernel's version, its path in the tree, its compression."""

    kernel: str
    path: str
    compression: str


def divert_update_initramfs(tree: Path, run_in_tree: RunInTree) -> bool:
    """Put the stub in place in a tree that was not made by `bootstrap`; False without dpkg.

    A tree that has the stub already is left as it is.
    """
    if read_confined(tree, STUB) == STUB_CONTENT:
        return True
    if not confined(tree, "/usr/bin/dpkg-divert", follow_last=True).exists():
        return False
    _run(run_in_tree, ["dpkg-divert", "--quiet", "--local", "--rename", "--divert", DIVERTED,
                       "--add", STUB])  # fmt: skip
    write_confined(tree, STUB, STUB_CONTENT, mode=0o755)
    return True


def restore_update_initramfs(tree: Path, run_in_tree: RunInTree) -> bool:
    """Remove the stub and the diversion; returns whether they were there.

    Raises PackageError when something else has taken the stub's place.
    """
    diversions = (read_confined(tree, "/var/lib/dpkg/diversions") or b"").decode().splitlines()
    if DIVERTED not in diversions:
        return False
    present = read_confined(tree, STUB)
    if present is not None and present != STUB_CONTENT:
        raise PackageError(
            f"{STUB} was replaced while the image was built, so the initramfs cannot be made",
            hint=f"a provisioner wrote it: change {DIVERTED} instead, or use dpkg-divert",
        )
    remove_confined(tree, STUB)
    _run(run_in_tree, ["dpkg-divert", "--quiet", "--local", "--rename", "--remove", STUB])
    return True


def installed_kernels(tree: Path) -> tuple[str, ...]:
    """The versions of the kernels in /boot that have modules, sorted by name."""
    boot = confined(tree, "/boot", follow_last=True)
    versions = sorted(path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*"))
    modules = confined(tree, "/lib/modules", follow_last=True)
    return tuple(version for version in versions if (modules / version).is_dir())


def generate(
    tree: Path,
    run_in_tree: RunInTree,
    *,
    source_date_epoch: int,
    emit: Callable[[str], None] = lambda _: None,
) -> tuple[Initramfs, ...]:
    """`prepare` and `make` in one."""
    if not prepare(tree, run_in_tree):
        return ()
    return make(tree, run_in_tree, source_date_epoch=source_date_epoch, emit=emit)


def prepare(tree: Path, run_in_tree: RunInTree) -> bool:
    """Restore `update-initramfs` and take away what was made for kernels that are gone.

    False in a tree without initramfs-tools.
    """
    restore_update_initramfs(tree, run_in_tree)
    if not confined(tree, STUB, follow_last=True).exists():
        return False
    _remove_orphans(tree)
    return True


def make(
    tree: Path,
    run_in_tree: RunInTree,
    *,
    source_date_epoch: int,
    emit: Callable[[str], None] = lambda _: None,
    lends_zstd: bool = False,
) -> tuple[Initramfs, ...]:
    """Run `update-initramfs` once for every installed kernel, in a tree that was prepared.

    The same tree and `source_date_epoch` give the same bytes; `run_in_tree` must hide the host's
    /proc/cmdline, from which libkmod reads `modprobe.blacklist`. With `lends_zstd` a tree without
    zstd gets along all the same (`packs_itself`); without it, raises PackageError when the result
    is not compressed as the tree's configuration says: mkinitramfs falls back to gzip silently.
    """
    wanted = configured_compression(tree)
    kernels = installed_kernels(tree)
    packs = packs_itself(tree, kernels, lends_zstd=lends_zstd)
    made = []
    for kernel in kernels:
        emit(f"Making the initramfs of {kernel}")
        path = initramfs_path(kernel)
        with lent_zstd.lent(tree) if packs else nullcontext(), quick_copies.lent(tree):
            _run(
                run_in_tree,
                ["update-initramfs", "-c", "-k", kernel],
                env={"SOURCE_DATE_EPOCH": str(source_date_epoch)},
            )
        place = confined(tree, path, follow_last=True)
        if packs:
            lent_zstd.compress_marked(place, start_of_main)
        with place.open("rb") as file:
            found = compression_of(file)
        if found != _SAME_FORMAT.get(wanted, wanted) and not lends_zstd:
            raise PackageError(
                f"{path} is compressed with {found}, but initramfs.conf says {wanted}",
                hint=f"add the package {wanted} to the image, or set COMPRESS={found} in "
                "/etc/initramfs-tools/conf.d",
            )
        made.append(Initramfs(kernel, path, found))
    return tuple(made)


def packs_itself(tree: Path, kernels: Sequence[str], *, lends_zstd: bool) -> bool:
    """Whether `make` compresses the initramfs itself: by zstd, unless a level is configured.

    In a tree without zstd only with `lends_zstd`.
    """
    if configured_compression(tree) != lent_zstd.COMPRESSION or has_level(tree):
        return False
    return (lends_zstd or lent_zstd.has_own(tree)) and lent_zstd.can_lend(tree, kernels)


def has_level(tree: Path) -> bool:
    """Whether the tree's configuration says how hard mkinitramfs is to compress."""
    return bool(configured(tree, _LEVEL, ""))


def initramfs_path(kernel: str) -> str:
    """Where update-initramfs puts the initramfs of a kernel."""
    return f"/boot/initrd.img-{kernel}"


def _run(
    run_in_tree: RunInTree, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> Completed:
    done = run_in_tree(argv, env=env)
    if done.status != 0:
        raise CommandFailed(argv, done.status, tail=done.tail, duration_s=done.duration_s)
    return done


def _remove_orphans(tree: Path) -> None:
    """Remove each initramfs whose kernel was removed while `update-initramfs -d` was the stub."""
    boot = confined(tree, "/boot", follow_last=True)
    modules = confined(tree, "/lib/modules", follow_last=True)
    for initrd in boot.glob("initrd.img-*"):
        version = initrd.name.removeprefix("initrd.img-")
        if not (boot / f"vmlinuz-{version}").exists() and not (modules / version).is_dir():
            initrd.unlink()


def configured_compression(tree: Path) -> str:
    """COMPRESS as mkinitramfs reads it."""
    return configured(tree, "COMPRESS", "gzip")


def configured(tree: Path, name: str, default: str) -> str:
    """An option as mkinitramfs reads it: initramfs.conf, then each conf.d in order of names.

    The files of packages in conf-hooks.d, of any name, come last. A value that a shell would have
    to work out is returned as it stands.
    """
    folder, packaged = "/etc/initramfs-tools", "/usr/share/initramfs-tools/conf.d"
    own = _parts(tree, f"{folder}/conf.d")
    masked = {os.path.basename(path) for path in own}
    shipped = [path for path in _parts(tree, packaged) if os.path.basename(path) not in masked]
    value = default
    hooks = sorted(confined(tree, _CONF_HOOKS, follow_last=True).glob("[!.]*"))
    last = [f"{_CONF_HOOKS}/{path.name}" for path in hooks]
    for path in (f"{folder}/initramfs.conf", *shipped, *own, *last):
        text = (read_confined(tree, path) or b"").decode(errors="replace")
        for match in re.finditer(
            rf"^\s*(?:export\s+)?{name}=[\"']?([^\s\"';#]*)", text, re.MULTILINE
        ):
            value = match.group(1) or default
    return value


def _parts(tree: Path, folder: str) -> list[str]:
    """The files of a conf.d that mkinitramfs reads, in order."""
    names = sorted(path.name for path in confined(tree, folder, follow_last=True).glob("*"))
    read = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
    return [f"{folder}/{name}" for name in names if read.fullmatch(name) and ".dpkg-" not in name]


def compression_of(file: BinaryIO) -> str:
    """How the main part of an initramfs is compressed, "unknown" if it cannot be told.

    It may follow uncompressed cpio archives with early microcode (initramfs-tools(7)). The file is
    left behind the first `MAGIC_BYTES` of that part.
    """
    while True:
        start = file.tell()
        head = file.read(MAGIC_BYTES)
        if head[:6] not in CPIO_MAGICS:
            return next((name for name, magic in _MAGICS if head.startswith(magic)), "unknown")
        file.seek(start)
        if not _skip_cpio(file) or not _skip_zeros(file):
            return "none"


def start_of_main(file: BinaryIO) -> int:
    """Where the main part of an initramfs begins, behind early archives: its offset in bytes."""
    compression_of(file)
    return file.tell() - MAGIC_BYTES


def _skip_cpio(file: BinaryIO) -> bool:
    """Move behind a cpio archive of the form "newc"; returns False at an unexpected end."""
    while len(header := file.read(CPIO_HEADER_BYTES)) == CPIO_HEADER_BYTES:
        size_bytes, name_bytes = int(header[54:62], 16), int(header[94:102], 16)
        name = file.read(name_bytes).rstrip(b"\0")
        file.seek(-(CPIO_HEADER_BYTES + name_bytes) % 4, 1)
        if name == b"TRAILER!!!":
            return True
        file.seek(size_bytes + -size_bytes % 4, 1)
    return False


def _skip_zeros(file: BinaryIO) -> bool:
    """Move behind the padding between two archives; returns False at the end of the file."""
    while block := file.read(512):
        rest = block.lstrip(b"\0")
        if rest:
            file.seek(-len(rest), 1)
            return True
    return False
