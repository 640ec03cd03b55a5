"""What is read of an initramfs, and which of it could not have been known beforehand."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from debian_tree import KERNEL, debian_tree, lay
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs_contents import Member, members, uncovered
from goldsmith.packages.initramfs_key import initramfs_inputs

FILE, LINK, DIRECTORY = 0o100644, 0o120777, 0o40755
Entry = tuple[str, int, bytes]

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def cpio(*entries: Entry) -> bytes:
    """An archive of the form "newc", by its description in cpio(5)."""
    out = b""
    for name, mode, data in (*entries, ("TRAILER!!!", 0, b"")):
        named = name.encode() + b"\0"
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(named), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + named
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out + b"\0" * (-len(out) % 512)


def written(place: Path, content: bytes) -> Path:
    path = place / "initrd.img"
    path.write_bytes(content)
    return path


def as_member(entry: Entry) -> Member:
    name, mode, data = entry
    if mode == LINK:
        return Member(f"/{name}", len(data), target=data.decode())
    return Member(f"/{name}", len(data), hashlib.sha256(data).hexdigest())


names = st.text("abc./", min_size=1, max_size=12).map(lambda text: f"x{text}")
entries = st.lists(
    st.one_of(
        st.tuples(names, st.just(FILE), st.binary(max_size=70)),
        st.tuples(names, st.just(LINK), st.text("ab/", min_size=1).map(str.encode)),
        st.tuples(names, st.just(DIRECTORY), st.just(b"")),
    ),
    max_size=6,
)


@given(entries, entries, entries, st.sampled_from(sorted(COMPRESSORS)), st.integers(0, 3))
def test_all_archives_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    early: list[Entry],
    main: list[Entry],
    more: list[Entry],
    kind: str,
    zeros: int,
) -> None:
    archives = COMPRESSORS[kind](cpio(*main) + b"\0" * 4 * zeros + cpio(*more))
    content = cpio(*early) + b"\0" * 512 * zeros + archives
    found = list(members(written(tmp_path_factory.getbasetemp(), content)))
    assert found == [as_member(e) for e in (*early, *main, *more) if e[1] != DIRECTORY]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"plain text", b"\x02\x21\x4c\x18 an lz4", gzip.compress(cpio(("a", FILE, b"x")))[:-9],
        gzip.compress(cpio(("a", FILE, b"x"))[:100]), gzip.compress(b"plain text"),
        cpio(("a", FILE, b"x")) + b"garbage!", gzip.compress(b"070701" + b"G" * 104),
        gzip.compress(b"070701" + b"F" * 104), zstandard.ZstdCompressor().compress(b"0707"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PackageError, match=r"initrd\.img cannot be read"):
        list(members(written(tmp_path, content)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return debian_tree(tmp_path / "tree")


def foreign(tree: Path, *entries: Entry) -> list[str]:
    initramfs = written(tree.parent, gzip.compress(cpio(*entries)))
    return uncovered(tree, initramfs, initramfs_inputs(tree, (KERNEL,)).covered)


def of(tree: Path, path: str) -> bytes:
    return (tree / path).read_bytes()


def test_files_of_packages_and_of_mkinitramfs(tree: Path) -> None:
    lay(tree, "usr/lib/modules/6.1.0-1/kernel/y.ko.xz", "packed")
    assert foreign(
        tree,
        ("usr/bin", DIRECTORY, b""),
        ("bin", LINK, b"usr/bin"),
        ("usr/bin/kmod", FILE, of(tree, "usr/bin/kmod")),
        ("sbin/insmod", FILE, of(tree, "usr/bin/kmod")),
        ("init", FILE, of(tree, "usr/share/initramfs-tools/init")),
        ("conf/initramfs.conf", FILE, of(tree, "etc/initramfs-tools/initramfs.conf")),
        ("conf/arch.conf", FILE, b"DPKG_ARCH=amd64\n"),
        ("scripts/init-top/ORDER", FILE, b"udev\n"),
        ("etc/ld.so.cache", FILE, b"another one"),
        ("etc/fstab", FILE, b""),
        ("etc/mtab", LINK, b"/proc/mounts"),
        (f"usr/lib/modules/{KERNEL}/modules.dep.bin", FILE, b"made"),
        (f"usr/lib/modules/{KERNEL}/kernel/y.ko", FILE, b"unpacked"),
    ) == []  # fmt: skip


def test_files_of_others(tree: Path) -> None:
    lay(tree, "srv/secret", "for the initramfs")
    lay(tree, "srv/twin", of(tree, "usr/bin/kmod").decode())
    (tree / "usr/lib/odd").symlink_to("somewhere")
    assert foreign(
        tree,
        ("srv/secret", FILE, b"for the initramfs"),
        ("root/copy", FILE, b"for the initramfs"),
        # Equal to a file that counts today; tomorrow one of both may be another.
        ("srv/twin", FILE, of(tree, "srv/twin")),
        ("usr/bin/tmux", FILE, of(tree, "usr/bin/tmux")),
        ("etc/stamp", FILE, b"made by a hook at noon"),
        ("usr/lib/udev/rules.d/60-block.rules", FILE, b"edited by a hook"),
        ("lib/odd", LINK, b"somewhere"),
        ("usr/bin/kmod", FILE, of(tree, "usr/bin/kmod")),
    ) == ["/etc/stamp", "/lib/odd", "/root/copy", "/srv/secret", "/srv/twin", "/usr/bin/tmux",
          "/usr/lib/udev/rules.d/60-block.rules"]  # fmt: skip


def test_the_host_is_not_looked_at(tree: Path, tmp_path: Path) -> None:
    outside = lay(tmp_path, "outside", "of the host")
    (tree / "etc/modprobe.d/x.conf").symlink_to(outside)
    assert foreign(tree, ("etc/x", FILE, b"of the host")) == ["/etc/x"]
    (tree / "etc/loop").symlink_to("loop")
    assert foreign(tree, ("etc/loop/file", FILE, b"content")) == ["/etc/loop/file"]
