"""The guest's initramfs: what is chosen from packages, and the archive's bytes."""

import io
import os
import stat

import pytest
from machine_elf import module, program

from goldsmith.machine.guest_init import INIT, RUN_COMMAND, RUN_COMMAND_PATH
from goldsmith.machine.guest_initramfs import Archive, make_initramfs
from goldsmith.machine.guest_modules import WANTED_MODULES
from goldsmith.machine.guest_protocol import GuestError

LOADER = "/lib64/ld.so.2"


@pytest.fixture
def tree(tmp_path):
    """Packages unpacked beside each other: some know the merged /usr, some do not."""
    root = tmp_path / "tree"

    def put(path, content):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    put("sbin/mke2fs", program("libext.so.2", "libc.so.6", interpreter=LOADER))
    (root / "sbin/mkfs.ext4").symlink_to("mke2fs")
    os.link(root / "sbin/mke2fs", root / "sbin/mkfs.ext3")
    (root / "sbin/dangling").symlink_to("/etc/alternatives/none")
    put("usr/bin/script", b"#!/bin/sh\n")
    put("usr/bin/unwanted", program("libunwanted.so"))
    put("lib/x86_64-linux-gnu/libext.so.2.4", program("libc.so.6"))
    (root / "lib/x86_64-linux-gnu/libext.so.2").symlink_to("libext.so.2.4")
    put("usr/lib/x86_64-linux-gnu/libc.so.6", program("ld.so.2"))
    put("lib/x86_64-linux-gnu/ld.so.2", program())
    (root / "lib64").mkdir()
    (root / "lib64/ld.so.2").symlink_to("/lib/x86_64-linux-gnu/ld.so.2")
    put("etc/mke2fs.conf", b"[defaults]\n")
    for name in WANTED_MODULES:
        put(f"lib/modules/6.1/kernel/{name}.ko", module("depends="))
    return root


def make(tree, *programs):
    return make_initramfs(tree, tree / "lib/modules/6.1", programs=programs)


def test_programs_come_with_their_libraries_and_other_names(tree):
    archive = make(tree, "mke2fs", "script")
    found = {path for path in archive.files if not path.startswith(("usr/lib/modules", "etc/"))}
    libraries = "usr/lib/x86_64-linux-gnu"
    assert found == {
        "usr/sbin/mke2fs", "usr/bin/script", "usr/lib/goldsmith/init", RUN_COMMAND_PATH[1:],
        f"{libraries}/libext.so.2", f"{libraries}/libc.so.6", f"{libraries}/ld.so.2",
        "usr/lib64/ld.so.2",
    }  # fmt: skip
    assert archive.links["usr/sbin/mkfs.ext4"] == "mke2fs"
    assert archive.links["usr/sbin/mkfs.ext3"] == "mke2fs"
    assert "usr/sbin/dangling" not in archive.links
    assert archive.files["usr/sbin/mke2fs"][0] == 0o755
    assert archive.files["etc/mke2fs.conf"] == (0o644, b"[defaults]\n")
    assert archive.files["etc/fstab"] == (0o644, b"")
    assert b"udev_sync = 0" in archive.files["etc/lvm/lvm.conf"][1]
    assert b"kernel/vfat.ko:\n" in archive.files["usr/lib/modules/6.1/modules.dep"][1]


def test_what_no_package_brings_is_named(tree):
    with pytest.raises(GuestError, match="has the program lvm"):
        make(tree, "lvm")
    with pytest.raises(GuestError, match=r"has libunwanted\.so, which unwanted needs"):
        make(tree, "unwanted")
    (tree / "lib/modules/6.1/kernel/xfs.ko").unlink()
    with pytest.raises(GuestError, match="no module xfs"):
        make(tree, "script")


def read_cpio(data):
    """The entries of a new ASCII archive: name -> (mode, device, content)."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += -(-(110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        assert name not in found
        assert numbers[2:4] == [0, 0]
        found[name] = (numbers[1], tuple(numbers[9:11]), data[at : at + size])
        at += -(-size // 4) * 4


def test_the_archive_is_what_the_kernel_reads():
    archive = Archive(directories={"proc"}, links={"bin": "usr/bin"})
    archive.add("usr/bin/a", b"12345", 0o755)
    stream = io.BytesIO()
    archive.write(stream)
    found = read_cpio(stream.getvalue())
    assert found == {
        "bin": (stat.S_IFLNK | 0o777, (0, 0), b"usr/bin"),
        "dev": (stat.S_IFDIR | 0o755, (0, 0), b""),
        "dev/console": (stat.S_IFCHR | 0o600, (5, 1), b""),
        "proc": (stat.S_IFDIR | 0o755, (0, 0), b""),
        "usr": (stat.S_IFDIR | 0o755, (0, 0), b""),
        "usr/bin": (stat.S_IFDIR | 0o755, (0, 0), b""),
        "usr/bin/a": (stat.S_IFREG | 0o755, (0, 0), b"12345"),
    }
    order = list(found)
    assert order.index("usr") < order.index("usr/bin") < order.index("usr/bin/a")
    again = io.BytesIO()
    archive.write(again)
    assert again.getvalue() == stream.getvalue()


def test_no_placeholder_is_left_in_the_scripts():
    for text in (INIT, RUN_COMMAND):
        assert text.startswith("#!/usr/bin/dash\n")
        assert "{{" not in text
        assert "}}" not in text
