"""An initramfs is compressed by the host in place of the tree's zstd; what is before it stays."""

import io
import os
import stat

import pytest
import zstandard

from goldsmith.errors import GoldsmithError
from goldsmith.packages.initramfs import compression_of, start_of_main
from goldsmith.packages.lent_zstd import MARK, _Unmarked, can_lend, compress_marked, has_own, lent

KERNEL = "6.1.0-1-test"


def cpio(name, content=b""):
    fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(f"{value:08x}".encode() for value in fields)
    path = head + name + b"\0"
    return path + b"\0" * (-len(path) % 4) + content + b"\0" * (-len(content) % 4)


def archive(*members):
    content = b"".join(cpio(*member) for member in members) + cpio(b"TRAILER!!!")
    return content + b"\0" * (-len(content) % 512)


EARLY = archive((b"kernel/x86/microcode/x.bin", b"code"))
MAIN = archive((b"init", b"#!/bin/sh\n" * 1000))

MKINITRAMFS = """#!/bin/sh
compress="zstd -q -9"
{
$compress -c "${__TMPMAINCPIO}" ||
	{ echo "E: mkinitramfs failure $compress $?" >&2; exit 1; }
} >"${outfile}" || exit 1
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/sbin").mkdir()
    (tmp_path / f"lib/modules/{KERNEL}").mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/config-{KERNEL}").write_text("CONFIG_X=y\nCONFIG_RD_ZSTD=y\n")
    return tmp_path


@pytest.mark.parametrize("early", [b"", EARLY], ids=["plain", "microcode"])
def test_only_the_marked_part_is_compressed(tmp_path, early):
    path = tmp_path / "initrd.img"
    path.write_bytes(early + MARK + MAIN)
    path.chmod(0o640)
    compress_marked(path, start_of_main)
    content = path.read_bytes()
    assert content.startswith(early)
    assert len(content) < len(early) + len(MAIN)
    frame = zstandard.ZstdDecompressor().stream_reader(content[len(early) :])
    assert frame.read() == MAIN
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with path.open("rb") as file:
        assert compression_of(file) == "zstd"
    assert list(tmp_path.iterdir()) == [path]


def test_an_initramfs_without_the_mark_is_an_error_and_stays(tmp_path):
    path = tmp_path / "initrd.img"
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(GoldsmithError, match="has not used zstd"):
        compress_marked(path, start_of_main)
    assert path.read_bytes() == b"\x1f\x8b" + bytes(100)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before_bytes", [0, 5, 131_072, 262_100])
def test_what_a_hook_took_of_the_stand_in_is_an_error(tmp_path, before_bytes):
    path = tmp_path / "initrd.img"
    copied = archive((b"bin/zstd", b"-" * before_bytes + b"printf %s " + MARK))
    path.write_bytes(MARK + copied)
    with pytest.raises(GoldsmithError, match="a hook"):
        compress_marked(path, start_of_main)
    assert path.read_bytes() == MARK + copied
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 64])
def test_it_is_found_wherever_blocks_end(size):
    for before in range(20):
        source = _Unmarked(io.BytesIO(b"-" * before + MARK + b"-" * 9), "x")
        with pytest.raises(GoldsmithError):
            while source.read(size):
                pass


def test_a_mark_without_an_archive_is_an_error(tmp_path):
    path = tmp_path / "initrd.img"
    path.write_bytes(MARK)
    with pytest.raises(GoldsmithError, match="no archive"):
        compress_marked(path, start_of_main)
    assert list(tmp_path.iterdir()) == [path]


def test_a_tree_without_zstd_is_lent_one(tree):
    assert can_lend(tree, [KERNEL])
    with lent(tree):
        program = tree / "usr/bin/zstd"
        assert stat.S_IMODE(program.stat().st_mode) == 0o755
        assert MARK in program.read_bytes()
        assert b"exit 1" in program.read_bytes()
    assert not program.exists()


def lay_own(tree, mkinitramfs=MKINITRAMFS):
    """A zstd of the tree's own, and the mkinitramfs that calls it."""
    (tree / "usr/bin/zstd").write_text("real")
    place = tree / "usr/sbin/mkinitramfs"
    place.write_text(mkinitramfs)
    place.chmod(0o751)
    os.utime(place, (1, 2))
    os.utime(place.parent, (3, 4))
    return place


def test_a_zstd_of_the_tree_stays_and_mkinitramfs_marks(tree):
    (tree / f"lib/modules/{KERNEL}/x.ko.zst").touch()
    place = lay_own(tree)
    assert has_own(tree)
    assert can_lend(tree, [KERNEL])
    with pytest.raises(RuntimeError), lent(tree):
        assert (tree / "usr/bin/zstd").read_text() == "real"
        assert MARK in place.read_bytes()
        raise RuntimeError
    assert list(place.parent.iterdir()) == [place]
    assert stat.S_IMODE(place.stat().st_mode) == 0o751
    assert (place.stat().st_mtime, place.parent.stat().st_mtime) == (2, 4)
    assert place.read_text() == MKINITRAMFS


@pytest.mark.parametrize("mkinitramfs", ["find . | cpio | $compress -c\n", MKINITRAMFS * 2])
def test_a_mkinitramfs_that_is_not_known_packs_by_itself(tree, mkinitramfs):
    place = lay_own(tree, mkinitramfs)
    assert not can_lend(tree, [KERNEL])
    place.unlink()
    assert not can_lend(tree, [KERNEL])
    place.symlink_to("elsewhere")
    assert not can_lend(tree, [KERNEL])


def test_nothing_is_lent_where_it_cannot_be_used(tree):
    assert not can_lend(tree, [])
    assert not can_lend(tree, [KERNEL, "5.4.0-without-config"])
    module = tree / f"lib/modules/{KERNEL}/x.ko.zst"
    module.touch()
    assert not can_lend(tree, [KERNEL])
    module.unlink()
    (tree / f"boot/config-{KERNEL}").write_text("# CONFIG_RD_ZSTD is not set\n")
    assert not can_lend(tree, [KERNEL])
    (tree / f"boot/config-{KERNEL}").write_text("CONFIG_RD_ZSTD=y\n")
    (tree / "usr/bin/zstd").symlink_to("../../opt/zstd")
    assert not has_own(tree)
    assert not can_lend(tree, [KERNEL])
