"""What is told of disk images by their bytes alone: formats, names of partitions, fstab."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import ImagePartition, as_raw, fstab_lines, image_format

PART = ImagePartition(
    2, 0, 0, uuid="AAAA-BB", label="System", probed={"UUID": "abcd-EF", "LABEL": "Root"}
)


@pytest.mark.parametrize(("device", "is_meant"), [
    ("UUID=ABCD-ef", True), ('UUID="abcd-EF"', True), ("UUID=", False), ("UUID=other", False),
    ("LABEL=Root", True), ("LABEL=root", False), ("PARTUUID=aaaa-bb", True),
    ("PARTLABEL=System", True), ("/dev/disk/by-uuid/abcd-EF", True),
    ("/dev/disk/by-label/Root", True), ("/dev/disk/by-label/../Root", False),
    ("/dev/sda2", True), ("/dev/vda2", True), ("/dev/xvda2", True), ("/dev/nvme0n1p2", True),
    ("/dev/sdb2", False), ("/dev/sda22", False), ("/dev/sda", False), ("abcd-EF", False),
    ("", False),
])  # fmt: skip
def test_names_of_devices(device: str, is_meant: bool) -> None:
    assert PART.answers_to(device) is is_meant


def test_lines_of_an_fstab(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(
        "# comment\nUUID=a / ext4 x 0 1\n UUID=b\t/with\\040blank//x/../y/ ext4 ro,noatime\n"
        "UUID=c /../.. ext4\nUUID=d none swap sw\ntmpfs /tmp tmpfs\nproc /proc proc\n"
        "UUID=e relative ext4\nLABEL=two\\040words /f vfat\n#UUID=g /g ext4\n"
    )
    found = [(line.device, line.place, line.kind, line.options) for line in fstab_lines(tmp_path)]
    assert found == [
        ("UUID=b", "/with blank/y", "ext4", ("ro", "noatime")),
        ("LABEL=two words", "/f", "vfat", ()),
    ]  # fmt: skip
    (tmp_path / "etc/fstab").unlink()
    assert list(fstab_lines(tmp_path)) == []


def header(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "image"
    path.write_bytes(data.ljust(4096, b"\0"))
    return path


def test_headers_that_name_other_files(tmp_path: Path) -> None:
    backing = b"QFI\xfb" + (2).to_bytes(4, "big") + (512).to_bytes(8, "big")
    data_file = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(64) + (4).to_bytes(8, "big")
    descriptor = b"KDMV" + bytes(16)
    for data in (backing, data_file, descriptor):
        with pytest.raises(PackageError, match="the rest is in another file"):
            as_raw(header(tmp_path, data), tmp_path / "raw", lambda *line: None)


def test_formats(tmp_path: Path) -> None:
    for data, name in ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"),
                       (b"conectix", "vpc"), (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
                       (b"\xeb\x63\x90", "raw")):  # fmt: skip
        assert image_format(header(tmp_path, data)) == name
    assert (
        as_raw(header(tmp_path, b"x"), tmp_path / "raw", lambda *line: None) == tmp_path / "image"
    )
