"""Images by strangers as sources: nothing outside of the build is read, written or waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from old_images import (
    BOOT_UUID,
    MIB,
    Changing,
    call,
    digest,
    disk,
    in_esp,
    look,
    made,
    shell,
    unpacked,
)

from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import as_raw, fstab_lines, read_partitions

pytestmark = pytest.mark.root


@pytest.fixture
def changing(tmp_path: Path, goldsmith: Any) -> Changing:
    return Changing(tmp_path, goldsmith)


@pytest.fixture
def tree(tmp_path: Path, small_tree: Path) -> Path:
    return unpacked(small_tree, tmp_path / "tree")


def boot(tmp_path: Path) -> Path:
    files = tmp_path / "boot-files"
    files.mkdir()
    (files / "vmlinuz").write_text("kernel")
    return made(tmp_path / "boot.ext4", "ext4", 8, files, uuid=BOOT_UUID, label="boot")


def test_an_fstab_and_links_that_lead_out(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tree / "escape").symlink_to(outside)
    (tree / "srv").rmdir()
    (tree / "srv").symlink_to("../../../..")
    (tree / "etc/fstab").write_text(
        f"UUID={BOOT_UUID} /escape ext4 defaults\n"
        f"UUID={BOOT_UUID} /srv/x ext4 defaults\n"
        f"UUID={BOOT_UUID} /../../.. ext4 defaults\n"
        f"UUID={BOOT_UUID} ../{outside} ext4 defaults\n"
        f"UUID={BOOT_UUID} /old/../../boot ext4 suid,exec,dev,subvol=x\n"
        "/etc/passwd /opt ext4 loop\n//server/share /mnt cifs password=x\n$(touch) /opt none\n"
        "UUID= /opt ext4\n\0 \0 \0\n# a comment\n\nonly two\n",
    )  # fmt: skip
    # The directory with fstab in it is a link to the root itself.
    (tree / "etc").rename(tree / "real-etc")
    (tree / "etc").symlink_to("/real-etc")
    source = disk(tmp_path / "old.raw", [
        (boot(tmp_path), "L"), (made(tmp_path / "root.ext4", "ext4", 64, tree), "L"),
    ])  # fmt: skip
    changing.write(source.name, shell("cat /boot/vmlinuz > /seen", "rm -r /old", "ln -s / /old"),
                   options="mount_partition = 2")  # fmt: skip
    text = changing.built()
    assert "/escape of the image" in text
    assert text.count("or a link leads elsewhere") == 2
    assert list(outside.iterdir()) == []
    shown = look(changing.image, lambda top: (
        (top / "seen").read_text(), os.readlink(top / "old"), os.readlink(top / "escape")
    ), offset=9 * MIB)  # fmt: skip
    assert shown == ("kernel", "/", str(outside))
    # A second build goes over the changed image, in which a directory is the host's root.
    changing.image.rename(tmp_path / "again.raw")
    changing.write("again.raw", shell("mkdir /opt/x", "rm -r /tmp"),
                   options="mount_partition = 2")  # fmt: skip
    changing.built("-force")


def test_an_fstab_of_absurd_size(changing: Changing, tree: Path, tmp_path: Path) -> None:
    (tree / "etc/fstab").write_text("UUID=x /mnt ext4\n" * 65)
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(source.name)
    assert "more than 64 mounts" in changing.failed()
    with (tree / "etc/fstab").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PackageError, match="larger than 1 MiB"):
        list(fstab_lines(tree))
    (tree / "etc/fstab").unlink()
    os.mkfifo(tree / "etc/fstab")
    assert list(fstab_lines(tree)) == []


def silent(level: str, text: str) -> None:
    pass


def test_parts_in_other_files_are_not_opened(
    changing: Changing, tree: Path, tmp_path: Path
) -> None:
    # Whoever opens a FIFO waits: a refusal that comes at all has not opened it.
    trap = tmp_path / "trap"
    os.mkfifo(trap)
    backed = tmp_path / "backed.qcow2"
    call("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", trap, "-F", "raw", backed, "64M")
    changing.write(backed.name)
    assert "only a part of an image: the rest is in another file" in changing.failed()
    outer = tmp_path / "outer.qcow2"
    call("qemu-img", "create", "-q", "-f", "qcow2", "-o",
         f"data_file={tmp_path}/data,data_file_raw=on", outer, "64M")  # fmt: skip
    (tmp_path / "data").unlink()
    os.mkfifo(tmp_path / "data")
    raw = tmp_path / "disk.raw"
    with pytest.raises(PackageError, match="the rest is in another file"):
        as_raw(outer, raw, silent)
    small = made(tmp_path / "old.raw", "ext4", 16, None)
    vmdk = tmp_path / "parts.vmdk"
    call("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", small, vmdk)
    with vmdk.open("r+b") as file:
        file.seek(12)
        file.write(bytes(8))  # no capacity: the descriptor names the parts
    with pytest.raises(PackageError, match="the rest is in another file"):
        as_raw(vmdk, raw, silent)
    assert not raw.exists()


def test_a_source_that_changes_meanwhile(changing: Changing, tree: Path, tmp_path: Path) -> None:
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(
        source.name, shell("echo x > /x"),
        more=f'  provisioner "shell-local" {{\n    inline = ["echo more >> {source}"]\n  }}\n',
    )  # fmt: skip
    assert "was changed while it was built from" in changing.failed()


def test_names_that_vfat_cannot_hold(changing: Changing, tree: Path, tmp_path: Path) -> None:
    (tree / "etc/fstab").write_text("LABEL=ESP /boot/efi vfat umask=0077 0 1\n")
    files = tmp_path / "esp-files"
    files.mkdir()
    (files / "loader.efi").write_text("loader")
    source = disk(tmp_path / "old.raw", [
        (made(tmp_path / "esp.vfat", "vfat", 8, files), "U"),
        (made(tmp_path / "root.ext4", "ext4", 64, tree), "L"),
    ])  # fmt: skip
    before = digest(source)
    for script, words in (
        ("ln -s loader.efi /boot/efi/link", "link is a symlink"),
        ("echo x > /boot/efi/LOADER.EFI", "differ in case only"),
        ("rm -r /boot/efi", "removed /boot/efi, where a file system of the image is mounted"),
        ("head -c 9000000 /dev/zero > /boot/efi/large", "vfat of 8 MiB is full"),
    ):
        changing.write(source.name, shell(script))
        assert words in changing.failed()
    assert digest(source) == before


def test_links_below_the_place_of_an_esp(
    changing: Changing, tree: Path, tmp_path: Path, host_unchanged: None
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "loader.efi").write_text("of this host")
    # What the root file system has under the mount point of the ESP nobody sees in the machine.
    (tree / "boot/efi/EFI").symlink_to(outside)
    (tree / "boot/efi/start.efi").symlink_to(outside / "loader.efi")
    (tree / "boot/efi/deep").mkdir()
    (tree / "boot/efi/deep/inner").symlink_to(outside)
    (tree / "etc/fstab").write_text(
        "LABEL=ESP /boot/efi vfat umask=0077 0 1\n"
        f"UUID={BOOT_UUID} /boot/efi/deep ext4 defaults 0 2\n"
    )
    files = tmp_path / "esp-files"
    (files / "EFI").mkdir(parents=True)
    (files / "deep/inner").mkdir(parents=True)
    for name in ("EFI/loader.efi", "start.efi", "deep/inner/loader.efi"):
        (files / name).write_text(f"hostile {name}")
    source = disk(tmp_path / "old.raw", [
        (made(tmp_path / "esp.vfat", "vfat", 8, files), "U"), (boot(tmp_path), "L"),
        (made(tmp_path / "root.ext4", "ext4", 64, tree), "L"),
    ])  # fmt: skip
    changing.write(source.name, shell("cat /boot/efi/EFI/loader.efi > /seen",
                                      "echo mine > /boot/efi/EFI/more"),
                   options="mount_partition = 3")  # fmt: skip
    text = changing.built()
    assert "it lies in a vfat of the image" in text
    assert [path.name for path in outside.iterdir()] == ["loader.efi"]
    assert (outside / "loader.efi").read_text() == "of this host"
    shown = look(changing.image, lambda top: (
        (top / "seen").read_text(), os.readlink(top / "boot/efi/EFI"),
    ), offset=17 * MIB)  # fmt: skip
    assert shown == ("hostile EFI/loader.efi", str(outside))
    assert in_esp(changing.image, MIB)["EFI/more"] == "mine\n"


def test_labels_with_blanks(tmp_path: Path) -> None:
    file = made(tmp_path / "one.ext4", "ext4", 16, None, label="two w\\rds")
    (part,) = read_partitions(file, file)
    assert part.answers_to("LABEL=two w\\rds")


def test_whiteouts_of_overlays(changing: Changing, tree: Path, tmp_path: Path) -> None:
    (tree / "srv/gone").parent.mkdir(exist_ok=True)
    os.mknod(tree / "srv/gone", stat.S_IFCHR | 0o600, 0)
    os.mknod(tree / "srv/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    source = made(tmp_path / "old.raw", "ext4", 64, tree)
    changing.write(source.name, shell("echo x > /srv/x"))
    changing.built()
    kinds = look(changing.image, lambda top: [
        (top / "srv" / name).stat().st_rdev for name in ("gone", "null", "x")
    ])  # fmt: skip
    assert kinds == [0, os.makedev(1, 3), 0]
