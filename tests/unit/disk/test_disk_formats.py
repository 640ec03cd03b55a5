"""Formats, checksums of ext4, the geometry's own rules, and the finding of a name."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.disk import containers, filesystems, formats
from goldsmith.disk.filesystems import ext4_geometry
from goldsmith.disk.filesystems.crc32c import crc32c
from goldsmith.disk.filesystems.ext4 import Stretch
from goldsmith.errors import GoldsmithError, NoSpaceError
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


@pytest.mark.parametrize(
    ("name", "extension", "tools"),
    [
        ("vmdk", "vmdk", ("qemu-img",)), ("vdi", "vdi", ("qemu-img",)),
        ("vhdx", "vhdx", ("qemu-img",)), ("vpc", "vhd", ("qemu-img",)),
        ("raw.gz", "raw.gz", ()), ("raw.zst", "raw.zst", ()),
    ],
)  # fmt: skip
def test_every_format_can_be_made(name, extension, tools):
    found = formats.check_format(name)
    assert (found.extension, found.tools) == (extension, tools)


def test_two_formats_never_have_one_name():
    extensions = [found.extension for found in formats.FORMATS.values()]
    assert len(set(extensions)) == len(extensions)


def test_raw_and_containers_are_written_without_any_tool(tmp_path):
    image = tmp_path / "image"
    sparse.create_sparse(image, 20 * MIB)
    with open(image, "r+b") as stream:
        stream.seek(9 * MIB)
        stream.write(b"disk" * 5000)
    wanted = sparse.hash_sparse(image)["sha256"]
    targets = {name: tmp_path / name for name in ("raw.zst", "raw", "raw.gz")}
    seen = []
    written = formats.write_all(
        image, targets, epoch_s=0, on_percent=lambda name, percent: seen.append((name, percent))
    )
    assert written.raw.sha256 == written.files["raw"].sha256 == wanted
    assert list(written.files) == list(targets)
    for name, path in targets.items():
        assert written.files[name].size_bytes == path.stat().st_size
        assert written.files[name].sha256 == sparse.hash_sparse(path)["sha256"]
    assert not image.exists()
    assert {("raw.gz", 100), ("raw.zst", 100)} <= set(seen)


def test_the_image_may_be_the_raw_target_already(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"disk")
    written = formats.write_all(image, {"raw": image}, epoch_s=0)
    assert image.read_bytes() == b"disk"
    assert written.files["raw"].size_bytes == 4


@pytest.fixture
def synced(monkeypatch):
    """The inodes of all files that the disk was told to keep."""
    inodes, own = set(), os.fsync

    def fsync(fd):
        own(fd)
        inodes.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes


@pytest.mark.parametrize("is_moved", [True, False])
def test_every_file_that_stays_is_synced(tmp_path, synced, is_moved):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(3 * MIB))
    raw = tmp_path / "raw" if is_moved else image
    targets = {"qcow2": tmp_path / "qcow2", "raw": raw, "raw.zst": tmp_path / "zst"}
    formats.write_all(image, targets, epoch_s=0)
    assert synced == {path.stat().st_ino for path in targets.values()}


def test_an_image_that_does_not_stay_is_not_synced(tmp_path, synced):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(3 * MIB))
    formats.write_all(image, {"qcow2": tmp_path / "qcow2"}, epoch_s=0)
    assert synced == {(tmp_path / "qcow2").stat().st_ino}


def test_a_disk_that_is_full_when_the_image_is_synced_is_named(tmp_path, monkeypatch):
    image = tmp_path / "image"
    image.write_bytes(b"disk" * 3000)
    inode, own = image.stat().st_ino, os.fsync

    def full(fd):
        if os.fstat(fd).st_ino == inode:
            raise OSError(28, "No space left on device")
        own(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match=r"image cannot be written"):
        formats.write_all(image, {"qcow2": tmp_path / "q", "raw": tmp_path / "raw"}, epoch_s=0)
    assert os.listdir(tmp_path) == ["image"]


def test_a_target_in_the_way_stays_and_no_other_is_made(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"disk")
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        formats.write_all(image, {"raw.gz": tmp_path / "gz", "raw": tmp_path / "mine"}, epoch_s=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "mine"]
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_the_first_error_stops_the_others_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    image = tmp_path / "image"
    image.write_bytes(os.urandom(3 * MIB))
    monkeypatch.setitem(containers.CONTAINERS, "gzip", fail)
    with pytest.raises(NoSpaceError, match=r"raw\.gz cannot be written"):
        formats.write_all(
            image,
            {name: tmp_path / name for name in ("raw.zst", "raw.gz", "raw")},
            epoch_s=0,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_an_unknown_compression_of_qcow2_is_refused(tmp_path):
    (tmp_path / "image").write_bytes(b"disk")
    with pytest.raises(GoldsmithError, match='"lzo" is no compression of qcow2'):
        formats.convert(tmp_path / "image", tmp_path / "target", "qcow2", compression="lzo")
    assert not (tmp_path / "target").exists()


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
