"""What is rendered for the tree: fstab, grub.cfg, the defaults, sfdisk's script."""

import shlex

import pytest

from goldsmith.disk import fstab, partition_table
from goldsmith.disk.bootloader import grub, grub_config
from goldsmith.disk.bootloader.grub_config import Kernel, find_kernels, render_grub_cfg
from goldsmith.disk.fstab import FstabEntry
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import REST, ExactSize, FileSystem, Layout, Partition
from goldsmith.disk.planner import plan
from goldsmith.errors import GoldsmithError
from goldsmith.units import GIB, MIB

LAYOUT = Layout(
    size_bytes=GIB,
    partitions=(
        Partition("bios", "bios-boot", ExactSize(MIB)),
        Partition("esp", "esp", ExactSize(64 * MIB), FileSystem("vfat"), "/boot/efi"),
        Partition("boot", "boot", ExactSize(128 * MIB), FileSystem("ext4"), "/boot"),
        Partition("root", "root", REST, FileSystem("ext4"), "/"),
    ),
)
PLAN = plan(LAYOUT, {})


def test_fstab_is_sorted_by_depth_with_right_options_and_passes():
    identity = DiskIdentity("s")
    lines = fstab.render(fstab.entries(LAYOUT, identity)).splitlines()[1:]
    fields = [line.split() for line in lines]
    assert [f[1:] for f in fields] == [
        ["/", "ext4", "errors=remount-ro", "0", "1"],
        ["/boot", "ext4", "defaults", "0", "2"],
        ["/boot/efi", "vfat", "umask=0077", "0", "2"],
    ]
    assert fields[0][0] == f"UUID={identity.filesystem_uuid('root', 'ext4')}"
    assert fields[2][0] == f"UUID={identity.filesystem_uuid('esp', 'vfat')}"


def test_no_field_of_fstab_is_left():
    odd = FstabEntry("U", "/a\nb#c d", "ext4", ("x=a b", "y=\\#\n"))
    (line,) = fstab.render([odd]).splitlines()[1:]
    assert line == r"UUID=U /a\012b\043c\040d ext4 x=a\040b,y=\134\043\012 0 2"


def test_fstab_of_file_systems_without_a_check_and_of_odd_mount_points():
    text = fstab.render(
        [
            FstabEntry("a", "/", "xfs"),
            FstabEntry("b", "/srv/my data", "btrfs", ("compress=zstd", "noatime")),
        ]
    )
    assert text.splitlines()[1:] == [
        "UUID=a / xfs defaults 0 0",
        "UUID=b /srv/my\\040data btrfs compress=zstd,noatime 0 0",
    ]


KERNELS = [Kernel("6.1.0-10-amd64", "vmlinuz-6.1.0-10-amd64", "initrd.img-6.1.0-10-amd64"),
           Kernel("6.1.0-9-amd64", "vmlinuz-6.1.0-9-amd64")]  # fmt: skip


def test_kernels_are_found_newest_first(tmp_path):
    boot = tmp_path / "boot"
    boot.mkdir()
    assert find_kernels(tmp_path) == []
    for name in ("vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-10-amd64", "vmlinuz-5.10.0-30-amd64",
                 "initrd.img-6.1.0-10-amd64", "System.map-6.1.0-9-amd64"):  # fmt: skip
        (boot / name).touch()
    found = find_kernels(tmp_path)
    assert found[:2] == KERNELS
    assert found[2].version == "5.10.0-30-amd64"


def test_grub_cfg_has_an_entry_per_kernel():
    text = render_grub_cfg(KERNELS, "root-uuid", "console=tty0 console=ttyS1,9600n8 quiet")
    assert text.count("menuentry ") == 2
    assert text.index("6.1.0-10") < text.index("6.1.0-9-")
    assert "serial --unit=1 --speed=9600\nterminal_input console serial" in text
    assert (
        "\tlinux /boot/vmlinuz-6.1.0-10-amd64 root=UUID=root-uuid ro "
        "console=tty0 console=ttyS1,9600n8 quiet\n\tinitrd /boot/initrd.img-6.1.0-10-amd64\n"
        in text
    )
    assert "set timeout=1" in text
    assert "--set=root root-uuid" in text


def test_grub_cfg_of_an_own_boot_file_system():
    text = render_grub_cfg(KERNELS, "root-uuid", "", boot_uuid="boot-uuid", title="It's Debian")
    assert "\tlinux /vmlinuz-6.1.0-10-amd64 root=UUID=root-uuid ro\n" in text
    assert "--set=root boot-uuid" in text
    assert "serial" not in text
    assert "'It'\\''s Debian, with Linux 6.1.0-9-amd64'" in text


def test_words_of_the_command_line_cannot_leave_their_place():
    text = render_grub_cfg(KERNELS[:1], "u", "a;reboot $x {b}")
    assert "ro 'a;reboot' '$x' '{b}'\n" in text
    with pytest.raises(GoldsmithError, match="more than one line"):
        render_grub_cfg([Kernel("1\n2", "vmlinuz-1\n2")], "u", "")
    with pytest.raises(GoldsmithError, match="no kernel"):
        render_grub_cfg([], "u", "")


def test_the_defaults_are_a_shell_file_that_says_what_was_given():
    cmdline = 'console=ttyS0 a="b c" $HOME `id` \\'
    lines = grub_config.render_default_grub(cmdline).splitlines()
    values = dict(shlex.split(line)[0].split("=", 1) for line in lines if "=" in line)
    assert values["GRUB_TERMINAL"] == "console serial"
    line = next(line for line in lines if line.startswith("GRUB_CMDLINE_LINUX="))
    assert line == 'GRUB_CMDLINE_LINUX="console=ttyS0 a=\\"b c\\" \\$HOME \\`id\\` \\\\"'
    assert "GRUB_TERMINAL" not in grub_config.render_default_grub("quiet")


def test_the_embedded_configuration_finds_the_file_system_of_boot():
    assert "--set=root u-1\nset prefix=($root)/boot/grub\n" in grub.embedded_config(
        "u-1", own_boot=False
    )
    assert "set prefix=($root)/grub\n" in grub.embedded_config("u-1", own_boot=True)


def test_the_packages_of_each_firmware():
    assert grub.packages([]) == []
    assert grub.packages(["uefi", "bios"]) == [
        "grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "grub2-common",
    ]  # fmt: skip


def test_the_script_of_sfdisk():
    identity = DiskIdentity("s")
    lines = partition_table.sfdisk_script(PLAN, identity).splitlines()
    assert lines[:2] == ["label: gpt", f"label-id: {identity.disk_uuid}"]
    assert lines[-4] == (
        "start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, "
        f'uuid={identity.partition_uuid("bios")}, name="bios"'
    )
