"""Kernel modules chosen with all that they depend on, and the tables for modprobe."""

import gzip
import lzma

import pytest
import zstandard
from machine_elf import module

from goldsmith.machine.guest_modules import load_order, modules_alias, modules_dep, read_modules
from goldsmith.machine.guest_protocol import GuestError

MODULES = {
    "kernel/fs/fat/vfat.ko": module("depends=fat", "alias=fs-vfat"),
    "kernel/fs/fat/fat.ko.xz": lzma.compress(module("depends=")),
    "kernel/md/raid456.ko.zst": zstandard.ZstdCompressor().compress(
        module("depends=md-mod,async_tx,xor", "alias=md-raid5", "alias=md-level-5")
    ),
    "kernel/md/md-mod.ko.gz": gzip.compress(module("depends=")),
    "kernel/crypto/async_tx.ko": module("depends=xor"),
    "kernel/lib/xor.ko": module("depends="),
    "kernel/crypto/crc32c_generic.ko": module("depends=", "alias=crypto-crc32c"),
    "kernel/unwanted.ko": module("depends=gone"),
}


@pytest.fixture
def directory(tmp_path):
    place = tmp_path / "6.1.0-cloud"
    for name, content in MODULES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    (place / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/x/in-the-kernel.ko\n")
    return place


def test_dependencies_come_along_and_builtins_do_not(directory):
    found = read_modules(
        directory, ["vfat", "raid456", "ext4", "in_the_kernel"], ["crc32c_generic", "crc32c_new"]
    )
    assert [m.name for m in found] == [
        "async_tx", "crc32c_generic", "fat", "md_mod", "raid456", "vfat", "xor"
    ]  # fmt: skip
    by_name = {m.name: m for m in found}
    assert by_name["fat"].path == "kernel/fs/fat/fat.ko"
    assert by_name["fat"].content == module("depends=")
    assert by_name["md_mod"].path == "kernel/md/md-mod.ko"
    assert by_name["raid456"].depends == ("md_mod", "async_tx", "xor")


def test_each_module_loads_after_what_it_needs(directory):
    modules = {m.name: m for m in read_modules(directory, ["raid456"], [])}
    order = load_order("raid456", modules)
    assert sorted(order) == ["async_tx", "md_mod", "xor"]
    assert order.index("xor") < order.index("async_tx")
    line = next(
        line for line in modules_dep(modules.values()).splitlines() if "raid456.ko:" in line
    )
    # modules.dep(5): what is needed first stands last.
    assert line.split()[1:] == [modules[name].path for name in reversed(order)]
    assert "kernel/lib/xor.ko:" in modules_dep(modules.values()).splitlines()


def test_aliases_name_their_module(directory):
    text = modules_alias(read_modules(directory, ["vfat", "raid456"], []))
    assert text.splitlines() == [
        "alias md-raid5 raid456", "alias md-level-5 raid456", "alias fs-vfat vfat"
    ]  # fmt: skip


def test_an_absent_module_is_named(directory):
    with pytest.raises(GuestError, match=r"6\.1\.0-cloud has no module zfs"):
        read_modules(directory, ["zfs"], [])
    with pytest.raises(GuestError, match="no module gone"):
        read_modules(directory, ["unwanted"], [])


def test_a_damaged_module_is_named(directory):
    (directory / "kernel/fs/fat/fat.ko.xz").write_bytes(b"no xz")
    with pytest.raises(GuestError, match=r"fat\.ko\.xz .* cannot be unpacked"):
        read_modules(directory, ["vfat"], [])
