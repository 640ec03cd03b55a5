"""Trees taken from disk images: which partition, which formats, and every kind of damage."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from private_namespace import run_privately

from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import read_partitions, require_image
from goldsmith.packages.image_tree import bootstrap_image

pytestmark = pytest.mark.root

MIB = 1 << 20
ROOT_UUID = "11111111-2222-3333-4444-555555555555"
BOOT_UUID = "66666666-7777-8888-9999-000000000000"
TABLE = """label: gpt
start=2048, size=65536, type=U
start=67584, size=65536, type=L
start=133120, size=262144, type=L
"""
MAKERS: dict[str, Callable[[Path, Path], list[str]]] = {
    "ext4": lambda tree, file: [
        "mkfs.ext4",
        "-q",
        "-b",
        "1024",
        "-U",
        ROOT_UUID,
        "-d",
        str(tree),
        str(file),
    ],
    "btrfs": lambda tree, file: ["mkfs.btrfs", "-q", "--rootdir", str(tree), str(file)],
    "squashfs": lambda tree, file: ["mksquashfs", str(tree), str(file), "-quiet", "-noappend"],
    "erofs": lambda tree, file: ["mkfs.erofs", str(file), str(tree)],
}


def call(*argv: str | Path, text: str | None = None) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True,
                   input=text)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name in ("usr/bin", "etc", "boot", "dev"):
        (root / name).mkdir(parents=True)
    (root / "etc/hostname").write_text("golden\n")
    (root / "usr/bin/tool").write_bytes(b"\x7fELF")
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/link").symlink_to("/etc/hostname")
    os.chown(root / "etc/hostname", 12, 34)
    return root


def made(tmp_path: Path, tree: Path, kind: str = "ext4", *, name: str = "fs") -> Path:
    """A file with one bare file system of the tree."""
    file = tmp_path / f"{name}.{kind}"
    with file.open("wb") as handle:
        handle.truncate(128 * MIB)
    call(*MAKERS[kind](tree, file))
    return file


def partitioned(tmp_path: Path, root: Path, boot: Path | None = None) -> Path:
    """A GPT disk with an empty partition, one for /boot, and the root in the third."""
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(200 * MIB)
    call("sfdisk", "--quiet", disk, text=TABLE)
    for source, start in ((boot, 67584), (root, 133120)):
        if source is not None:
            call("dd", f"if={source}", f"of={disk}", "conv=notrunc,sparse", "bs=1M",
                 f"seek={start * 512}", "oflag=seek_bytes")  # fmt: skip
    return disk


def take(
    image: Path, tmp_path: Path, *, partition: int | None = None
) -> tuple[Path, list[tuple[str, str]]]:
    """The tree of an image, made in a mount namespace of its own."""
    target = tmp_path / "target"

    def body() -> list[tuple[str, str]] | PackageError:
        told: list[tuple[str, str]] = []
        try:
            bootstrap_image(target, image, scratch=tmp_path, partition=partition,
                            emit=lambda *line: told.append(line))  # fmt: skip
        except PackageError as e:
            return e
        return told

    found = run_privately(body)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("image.")] == []
    if isinstance(found, PackageError):
        raise found
    return target, found


def assert_same(target: Path) -> None:
    assert (target / "etc/hostname").read_text() == "golden\n"
    status = (target / "etc/hostname").stat()
    assert (status.st_uid, status.st_gid) == (12, 34)
    assert (target / "usr/bin/tool").stat().st_mode & 0o7777 == 0o4755
    assert os.readlink(target / "usr/bin/link") == "/etc/hostname"


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "squashfs", "erofs"])
def test_bare_file_systems(tmp_path: Path, tree: Path, kind: str) -> None:
    target, _ = take(made(tmp_path, tree, kind), tmp_path)
    assert_same(target)


@pytest.mark.parametrize("format_name", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"])
def test_disks_of_every_format(tmp_path: Path, tree: Path, format_name: str) -> None:
    disk = partitioned(tmp_path, made(tmp_path, tree))
    image = tmp_path / f"golden.{format_name}"
    call("qemu-img", "convert", "-f", "raw", "-O", format_name, disk, image)
    before = image.stat().st_mtime_ns, image.stat().st_size
    target, told = take(image, tmp_path)
    assert_same(target)
    assert ("message", f"Copying partition 3 of golden.{format_name}") in told
    assert (image.stat().st_mtime_ns, image.stat().st_size) == before


def test_other_file_systems_come_along(tmp_path: Path, tree: Path) -> None:
    boot = tmp_path / "boot-files"
    boot.mkdir()
    (boot / "vmlinuz").write_text("kernel")
    (tree / "etc/fstab").write_text(
        f"UUID={ROOT_UUID} / ext4 defaults 0 1\nUUID={BOOT_UUID} /boot ext2 ro 0 2\n"
        "UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1\ntmpfs /tmp tmpfs\n/dev/x none swap sw\n"
    )
    small = tmp_path / "boot.ext2"
    with small.open("wb") as file:
        file.truncate(16 * MIB)
    call("mkfs.ext2", "-q", "-U", BOOT_UUID, "-d", boot, small)
    target, told = take(partitioned(tmp_path, made(tmp_path, tree), small), tmp_path)
    assert_same(target)
    assert (target / "boot/vmlinuz").read_text() == "kernel"
    assert [text for level, text in told if level == "warning"] == [
        "/boot/efi of the image (UUID=ABCD-1234) is not copied"
    ]


def test_several_systems(tmp_path: Path, tree: Path) -> None:
    one = made(tmp_path, tree, name="one")
    two = tmp_path / "two.ext4"
    with two.open("wb") as file:
        file.truncate(30 * MIB)
    call("mkfs.ext4", "-q", "-d", tree, two)
    disk = partitioned(tmp_path, one, two)
    with pytest.raises(PackageError, match="several systems: partition 2, partition 3"):
        take(disk, tmp_path)
    target, _ = take(disk, tmp_path, partition=2)
    assert_same(target)
    shutil.rmtree(target)
    with pytest.raises(PackageError, match="no partition 9: it has 1, 2, 3"):
        take(disk, tmp_path, partition=9)
    with pytest.raises(PackageError, match=r"partition 1 of .* is of an unknown kind"):
        take(disk, tmp_path, partition=1)


def test_a_journal_that_was_not_replayed(tmp_path: Path, tree: Path) -> None:
    image = made(tmp_path, tree)
    call("debugfs", "-w", "-R", "feature needs_recovery", image)
    target, told = take(image, tmp_path)
    assert_same(target)
    assert any("was not unmounted" in text for level, text in told if level == "warning")


def test_what_is_no_image(tmp_path: Path, tree: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not an image\n" * 1000)
    with pytest.raises(PackageError, match="neither a partition table nor a file system"):
        take(text, tmp_path)
    for magic, program in ((b"\x1f\x8b\x08", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd")):
        packed = tmp_path / "packed"
        packed.write_bytes(magic + bytes(1000))
        with pytest.raises(PackageError, match="is compressed") as caught:
            require_image(packed)
        assert program in str(caught.value.hint)
    (tmp_path / "empty").touch()
    with pytest.raises(PackageError, match="is empty"):
        require_image(tmp_path / "empty")
    with pytest.raises(PackageError, match="is a directory"):
        require_image(tree)
    with pytest.raises(PackageError, match="there is no image"):
        require_image(tmp_path / "none")


def test_a_file_system_without_a_system(tmp_path: Path, tree: Path) -> None:
    shutil.rmtree(tree / "usr")
    with pytest.raises(PackageError, match="has no system: no /usr and no /etc"):
        take(made(tmp_path, tree), tmp_path)


def test_a_damaged_file_system(tmp_path: Path, tree: Path) -> None:
    image = made(tmp_path, tree)
    with image.open("r+b") as file:
        # The group descriptors behind the superblock, whose checksum stays right.
        file.seek(2048)
        file.write(b"\xff" * 4096)
    with pytest.raises(PackageError, match=r"the ext4 in the image of .* cannot be read"):
        take(image, tmp_path)


def test_a_disk_that_is_cut_short(tmp_path: Path, tree: Path) -> None:
    disk = partitioned(tmp_path, made(tmp_path, tree))
    os.truncate(disk, 100 * MIB)
    with pytest.raises(PackageError, match=r"table of .* is damaged, or the image is cut short"):
        read_partitions(disk, disk)


def test_damaged_and_partial_qcow2(tmp_path: Path, tree: Path) -> None:
    disk = partitioned(tmp_path, made(tmp_path, tree))
    whole, part = tmp_path / "whole.qcow2", tmp_path / "part.qcow2"
    call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, whole)
    call("qemu-img", "create", "-q", "-f", "qcow2", "-b", whole, "-F", "qcow2", part)
    with pytest.raises(PackageError, match="the rest is in another file"):
        take(part, tmp_path)
    with whole.open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * 40)
    with pytest.raises(PackageError, match="cannot be read as qcow2"):
        take(whole, tmp_path)


def test_a_header_that_the_guest_wrote_is_not_believed(tmp_path: Path, tree: Path) -> None:
    """A raw disk is only taken for qcow2 when it is one as a whole: no host file gets in."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"host" * 1024)
    fake = tmp_path / "fake.raw"
    call("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", fake)
    with pytest.raises(PackageError, match="the rest is in another file"):
        take(fake, tmp_path)


def test_raid_members_are_named(tmp_path: Path) -> None:
    disk = partitioned(tmp_path, Path("/dev/null"))
    with disk.open("r+b") as file:
        file.seek(133120 * 512 + 512)
        # A label of LVM: its identifier, the sector, the checksum, the offset, the type.
        file.write(b"LABELONE" + (1).to_bytes(8, "little") + bytes(4)
                   + (32).to_bytes(4, "little") + b"LVM2 001" + b"x" * 32)  # fmt: skip
    with pytest.raises(PackageError, match="no root file system that can be read"):
        take(disk, tmp_path)
