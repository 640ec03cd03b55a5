"""Formats, checksums of ext4, the geometry's own rules, and the finding of a name."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.disk import filesystems, formats
from goldsmith.disk.filesystems import ext4_geometry
from goldsmith.disk.filesystems.crc32c import crc32c
from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.errors import GoldsmithError
from goldsmith.host import sparse
from goldsmith.units import GIB, MIB


def test_crc32c_of_rfc_3720():
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert crc32c(b"") == 0xFFFFFFFF


@given(st.binary(), st.binary())
def test_crc32c_runs_on(first, second):
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


def test_formats_that_can_be_made():
    assert formats.check_format("qcow2").extension == "qcow2"
    assert formats.check_format("raw").tools == ()


@pytest.mark.parametrize("name", ["vmdk", "vdi", "vhdx", "vpc", "raw.gz", "raw.zst"])
def test_formats_that_cannot_be_made_yet(name):
    with pytest.raises(GoldsmithError, match="not available in goldsmith yet") as caught:
        formats.check_format(name)
    assert caught.value.hint == "choose among raw, qcow2"


def test_a_misspelt_format_gets_a_suggestion():
    with pytest.raises(GoldsmithError) as caught:
        formats.check_format("qcow")
    assert caught.value.hint == 'did you mean "qcow2"?'


def test_raw_is_moved_and_never_onto_another_file(tmp_path):
    image, target = tmp_path / "image", tmp_path / "target"
    image.write_bytes(b"disk")
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        formats.move_raw(image, target)
    assert (image.read_bytes(), target.read_bytes()) == (b"disk", b"mine")
    target.unlink()
    formats.move_raw(image, target)
    assert target.read_bytes() == b"disk"
    assert not image.exists()


def test_raw_is_copied_where_it_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    image = tmp_path / "image"
    sparse.create_sparse(image, 8 * MIB)
    formats.move_raw(image, tmp_path / "target")
    assert (tmp_path / "target").stat().st_size == 8 * MIB
    assert not image.exists()


def test_packages_and_tools_of_file_systems():
    assert filesystems.packages(["vfat", "ext4", "ext4"]) == ["dosfstools", "e2fsprogs"]
    assert "mcopy" in filesystems.host_tools(["vfat"])


@given(st.integers(4 * MIB, 64 * GIB), st.integers(0, 10**6))
def test_a_geometry_is_consistent(size_bytes, needed):
    shape = ext4_geometry.geometry(size_bytes, ext4_geometry.inode_count(size_bytes, needed))
    if shape is not None:
        assert 0 < shape.free_blocks < shape.blocks <= size_bytes // 4096
        assert shape.free_inodes >= needed


def test_superblock_copies_are_where_sparse_super_has_them():
    assert ext4_geometry.superblock_groups(130 * 32768) == [
        0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125,
    ]  # fmt: skip


def test_a_file_name_that_the_tools_would_misread_is_refused(tmp_path):
    for name in ("what?.raw", "-rf"):
        with pytest.raises(GoldsmithError, match="cannot be the name"):
            _ = Stretch(tmp_path / name, 0, MIB).tool_name
