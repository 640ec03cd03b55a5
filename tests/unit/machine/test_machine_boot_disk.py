"""Files that are no image of the format that was said are refused before QEMU sees them."""

import gzip
import os

import pytest
import zstandard

from goldsmith.disk.container_reader import CorruptContainer
from goldsmith.errors import GoldsmithError, UsageError
from goldsmith.machine import boot_disk
from goldsmith.machine.boot_disk import check_image, open_disk

QCOW2 = b"QFI\xfb" + (3).to_bytes(4, "big")


@pytest.fixture
def image(tmp_path):
    def make(content):
        path = tmp_path / "image"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize(
    ("content", "format", "said"),
    [
        (b"", "raw", "is empty"),
        (b"", "qcow2", "is empty"),
        (bytes(4096), "qcow2", "is not a qcow2 image: it has no header"),
        (b"garbage!" * 64, "qcow2", "unknown bytes 67 61 72 62 61 67 65 21"),
        (b"garbage!" * 64, "raw.gz", "is not a raw.gz image"),
        (b"garbage!" * 64, "vpc", "is not a vpc image"),
        (QCOW2 + bytes(4096), "raw", "is not a raw image: it is a qcow2 image"),
        (QCOW2 + bytes(4096), "vmdk", "is not a vmdk image: it is a qcow2 image"),
        (b"KDMV" + bytes(4096), "qcow2", "it is a vmdk image"),
        (b"conectix" + bytes(4096), "raw", "it is a vpc image"),
        (b"# Disk DescriptorFile\n", "vmdk", "is not a vmdk image"),
        (QCOW2 + (512).to_bytes(8, "big") + bytes(100), "qcow2", "depends on another file"),
        (QCOW2 + bytes(64) + (4).to_bytes(8, "big") + bytes(40), "qcow2", "depends on another"),
        (b"KDMV" + bytes(508) + b"CID=1\nparentCID=12ab34cd\n", "vmdk", "depends on another"),
    ],
)
def test_what_is_not_of_the_format_says_what_it_is(image, content, format, said):
    with pytest.raises(GoldsmithError) as caught:
        check_image(image(content), format)
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_raw_disk_may_end_like_a_vpc_and_begin_with_anything_unknown(image):
    check_image(image(b"boot code" + bytes(1015) + b"conectix" + bytes(504)), "raw")


def test_a_raw_disk_that_ends_before_its_last_partition_is_cut(image):
    entry = b"\1" * 32 + (2048).to_bytes(8, "little") + (4095).to_bytes(8, "little") + bytes(80)
    header = b"EFI PART" + bytes(64) + (2).to_bytes(8, "little") + (128).to_bytes(4, "little")
    table = bytes(512) + (header + (128).to_bytes(4, "little")).ljust(512, b"\0") + entry
    check_image(image(table.ljust(4096 * 512, b"\0")), "raw")
    with pytest.raises(GoldsmithError, match="is cut"):
        check_image(image(table.ljust(4095 * 512, b"\0")), "raw")


def test_an_unknown_format_and_an_absent_image_are_named(image, tmp_path):
    with pytest.raises(UsageError, match="parallels"):
        check_image(image(b"x"), "parallels")
    with pytest.raises(GoldsmithError, match="no image"):
        check_image(tmp_path / "absent", "raw")
    with pytest.raises(GoldsmithError, match="no image"):
        check_image(tmp_path, "raw")


@pytest.mark.parametrize(
    ("format", "pack"),
    [("raw.gz", gzip.compress), ("raw.zst", zstandard.ZstdCompressor().compress)],
)
def test_a_packed_disk_is_unpacked_with_its_holes(image, tmp_path, format, pack):
    raw = b"boot" * 1024 + bytes(8 << 20) + b"end" + bytes(2 << 20) + b"odd"
    path = image(pack(raw))
    check_image(path, format)
    disk = open_disk(path, format, tmp_path)
    assert (disk.driver, disk.path.read_bytes() == raw) == ("raw", True)
    assert os.stat(disk.path).st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_cut_container_is_corrupt(image, tmp_path, pack):
    whole = pack(os.urandom(100_000))
    format = "raw.gz" if pack is gzip.compress else "raw.zst"
    with pytest.raises(CorruptContainer, match="is cut"):
        open_disk(image(whole[:-20]), format, tmp_path)


def test_a_container_of_nothing_is_refused(image, tmp_path):
    with pytest.raises(GoldsmithError, match="empty once"):
        open_disk(image(gzip.compress(b"")), "raw.gz", tmp_path)


def test_every_format_that_is_written_can_be_booted():
    from goldsmith.disk.formats import FORMATS

    assert set(boot_disk.DRIVERS) == set(FORMATS)
