"""The texts that a deployment writes into its target: fstab, GRUB's defaults, rules, mdadm.conf."""

import shlex
from pathlib import Path

import pytest

from goldsmith.deploy.boot_loader import bios_place, choose_kernels, require_places
from goldsmith.deploy.grub_defaults import (
    DEFAULTS,
    DROP_IN,
    changed_defaults,
    image_parameters,
    merged,
    write_defaults,
)
from goldsmith.deploy.node_facts import NodeFacts, parse_facts
from goldsmith.deploy.scheme import (
    Interface,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
)
from goldsmith.deploy.target_arrays import parse_array
from goldsmith.deploy.target_fstab import target_fstab
from goldsmith.deploy.target_mounts import mtab_text
from goldsmith.deploy.target_network import naming_rules
from goldsmith.disk.bootloader.grub_config import Kernel
from goldsmith.errors import GoldsmithError
from goldsmith.host.mounts import MountPoint

MIB = 1 << 20


def fstab(*filesystems, disks=(), **uuids):
    """The lines of fstab without comments; each file system is what the scheme says."""
    facts = {
        fs.node: NodeFacts(fs.node, fs.type, uuids.get(fs.node[5:], f"uuid-{fs.node[5:]}"))
        for fs in filesystems
    }
    text = target_fstab(Scheme(disks=disks, filesystems=filesystems), facts)
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_an_ext_root_stops_the_machine_at_an_error(kind):
    assert fstab(TargetFilesystem("/dev/a1", "/", kind)) == [
        f"UUID=uuid-a1 / {kind} defaults,errors=panic 0 1"
    ]


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_roots_have_no_option_that_mount_refuses(kind):
    assert fstab(TargetFilesystem("/dev/a1", "/", kind)) == [f"UUID=uuid-a1 / {kind} defaults 0 0"]


def test_lines_stand_by_depth_with_pass_numbers_and_swap_last():
    lines = fstab(
        TargetFilesystem("/dev/s", "swap", "swap"),
        TargetFilesystem("/dev/v", "/var/lib", "xfs"),
        TargetFilesystem("/dev/b", "/boot", "ext2"),
        TargetFilesystem("/dev/r", "/", "ext4"),
        TargetFilesystem("/dev/unused", None, "ext4"),
        TargetFilesystem("/dev/w", "/var", "ext4"),
    )
    assert [line.split()[1:] for line in lines] == [
        ["/", "ext4", "defaults,errors=panic", "0", "1"],
        ["/boot", "ext2", "defaults", "0", "2"],
        ["/var", "ext4", "defaults", "0", "2"],
        ["/var/lib", "xfs", "defaults", "0", "0"],
        ["none", "swap", "sw", "0", "0"],
    ]


def test_what_an_image_brought_counts_not_what_the_scheme_says():
    node = TargetFilesystem("/dev/a1", "/", "ext4")
    text = target_fstab(Scheme(filesystems=(node,)), {"/dev/a1": NodeFacts("/dev/a1", "xfs", "u")})
    assert "UUID=u / xfs defaults 0 0" in text


def test_options_of_the_scheme_win():
    line = fstab(TargetFilesystem("/dev/a1", "/", "ext4", mount_options=("noatime", "ro")))
    assert line == ["UUID=uuid-a1 / ext4 noatime,ro 0 1"]


def test_a_machine_with_two_boot_disks_starts_without_either_system_partition():
    esp = TargetFilesystem("/dev/a1", "/boot/efi", "vfat")
    disks = tuple(TargetDisk(d, boot_loader=True) for d in ("/dev/a", "/dev/b"))
    assert fstab(esp, disks=disks) == ["UUID=uuid-a1 /boot/efi vfat umask=0077,nofail 0 2"]
    assert fstab(esp, disks=disks[:1]) == ["UUID=uuid-a1 /boot/efi vfat umask=0077 0 2"]


def test_a_node_without_identifier_is_named():
    with pytest.raises(GoldsmithError, match=r"/dev/a1 .* no file system with an identifier"):
        fstab(TargetFilesystem("/dev/a1", "/", "ext4"), a1="")


def test_facts_are_read_from_blkids_export():
    exported = "DEVNAME=/dev/x\nUUID=1-2\nLABEL=a=b\nTYPE=ext4\nUSAGE=filesystem\n"
    assert parse_facts("/dev/x", exported) == NodeFacts("/dev/x", "ext4", "1-2", "a=b")
    assert parse_facts("/dev/x", "") == NodeFacts("/dev/x")


DEFAULT_FILE = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_HIDDEN_TIMEOUT=0
GRUB_HIDDEN_TIMEOUT_QUIET=true
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX="net.ifnames=0 root=/dev/old"
# GRUB_CMDLINE_LINUX="not me"
"""


def assigned(text):
    """What a shell would have set, the last one counting."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: " ".join(shlex.split(value)) for name, _, value in pairs}


def test_defaults_get_the_parameters_and_lose_hidden_timeouts():
    text = changed_defaults(DEFAULT_FILE, ["a=b c", 'q="1"', "$x"], 7)
    values = assigned(text)
    assert values["GRUB_CMDLINE_LINUX"] == r'a=b c q="1" \$x'
    assert values["GRUB_TIMEOUT"] == values["GRUB_RECORDFAIL_TIMEOUT"] == "7"
    assert values["GRUB_CMDLINE_LINUX_DEFAULT"] == "quiet splash"
    assert "HIDDEN" not in text
    assert '# GRUB_CMDLINE_LINUX="not me"' in text


def test_defaults_without_a_line_for_the_kernel_do_not_lose_it():
    assert assigned(changed_defaults("GRUB_DEFAULT=0\n", ["x=1"], 3))["GRUB_CMDLINE_LINUX"] == "x=1"
    assert assigned(changed_defaults("", ["x=1"], 3))["GRUB_CMDLINE_LINUX"] == "x=1"


def test_defaults_can_be_changed_twice():
    once = changed_defaults(DEFAULT_FILE, ["x=1"], 3)
    assert changed_defaults(once, ["x=1"], 3) == once


def test_parameters_of_all_files_of_the_image_are_found(tmp_path):
    (tmp_path / "etc/default/grub.d").mkdir(parents=True)
    (tmp_path / "etc/default/grub").write_text(DEFAULT_FILE)
    drop_ins = tmp_path / "etc/default/grub.d"
    (drop_ins / "10.cfg").write_text('GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0"\n')
    (drop_ins / "20.cfg").write_text('GRUB_CMDLINE_LINUX_DEFAULT="$(id) ${HOME} ro"\n')
    (drop_ins / "30.cfg").write_text("GRUB_CMDLINE_LINUX='no end\n")
    found = image_parameters(tmp_path)
    assert found == (["net.ifnames=0", "root=/dev/old", "console=ttyS0"], ["ro"])
    assert merged(found[0], ["console=ttyS0", "x"]) == ["net.ifnames=0", "console=ttyS0", "x"]


def test_defaults_of_a_tree_have_the_last_word_and_never_leave_it(tmp_path):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "etc/default/grub.d").mkdir(parents=True)
    outside.write_text("untouched")
    (tree / "etc/default/grub").symlink_to(outside)
    write_defaults(tree, ["x=1"], 3)
    write_defaults(tree, ["x=2"], 3)
    assert outside.read_text() == "untouched"
    assert assigned((tree / DEFAULTS[1:]).read_text())["GRUB_CMDLINE_LINUX"] == "x=2"
    assert assigned((tree / DROP_IN[1:]).read_text())["GRUB_CMDLINE_LINUX"] == "x=2"
    assert image_parameters(tree)[0] == ["x=2"]


OLD, NEW = Kernel("5.1", "vmlinuz-5.1", "initrd.img-5.1"), Kernel("6.1", "vmlinuz-6.1", None)
FILES = ["initrd.img-5.1", "initrd.img-6.1-custom", "vmlinuz-5.1", "vmlinuz-6.1"]


@pytest.mark.parametrize(
    ("kernel", "initrd", "first"),
    [
        ("", "", NEW),
        ("vmlinuz-5.1", "", OLD),
        (r"^vmlinuz-5\.", "", OLD),
        ("", "^initrd", Kernel("6.1", "vmlinuz-6.1", "initrd.img-6.1-custom")),
    ],
)
def test_the_kernel_that_is_asked_for_is_the_first(kernel, initrd, first):
    chosen = choose_kernels([NEW, OLD], kernel, FILES, initrd)
    assert chosen[0] == first
    assert {k.version for k in chosen} == {"5.1", "6.1"}


@pytest.mark.parametrize(
    ("found", "kernel", "initrd", "message"),
    [
        ([], "", "", "no kernel in /boot"),
        ([NEW], "^bzImage", "", "no kernel .* matches"),
        ([NEW], "", "^ramdisk", "no file .* matches"),
        ([NEW], "(", "", "not a regular expression"),
    ],
)
def test_a_kernel_that_is_not_there_is_an_error(found, kernel, initrd, message):
    with pytest.raises(GoldsmithError, match=message):
        choose_kernels(found, kernel, FILES, initrd)


def disk(*types, label="gpt", boot_loader=True):
    """A disk with partitions of 1 MiB each from 1 MiB on."""
    partitions = tuple(
        TargetPartition("/dev/a", n, n * MIB, MIB, kind) for n, kind in enumerate(types, 1)
    )
    return TargetDisk("/dev/a", label, partitions=partitions, boot_loader=boot_loader)


def test_the_core_image_lies_in_its_partition_or_before_the_first_one():
    assert bios_place(disk("esp", "bios-boot")) == (4096, 2048)
    assert bios_place(disk("root", label="mbr")) == (1, 2047)
    flagged = TargetPartition("/dev/a", 1, MIB, MIB, flags=("bios_grub",))
    assert bios_place(TargetDisk("/dev/a", partitions=(flagged,))) == (2048, 2048)


@pytest.mark.parametrize(
    ("one", "firmware", "message"),
    [
        (disk("root"), ("bios",), "no bios-boot partition"),
        (disk("bios-boot"), ("uefi",), "no boot disk has an EFI system partition"),
        (disk("esp", boot_loader=False), ("uefi",), "no disk of the scheme is to boot"),
        (TargetDisk("/dev/a", "none", boot_loader=True), ("bios",), "no place for GRUB"),
    ],
)
def test_disks_without_a_place_for_grub_are_refused(one, firmware, message):
    with pytest.raises(GoldsmithError, match=message):
        require_places(Scheme(disks=(one,)), firmware)


def test_names_of_interfaces_become_rules():
    text = naming_rules(
        [Interface("eth0", "08:00:27:79:DA:80"), Interface("lan", "00:" * 5 + "01")]
    )
    lines = text.splitlines()[1:]
    assert 'ATTR{address}=="08:00:27:79:da:80"' in lines[0]
    assert lines[0].endswith('NAME="eth0"')
    assert lines[1].endswith('NAME="lan"')


@pytest.mark.parametrize(
    "wrong", [Interface('e", RUN+="/x', "08:00:27:79:da:80"), Interface("eth0", "08:00"),
              Interface("a" * 16, "08:00:27:79:da:80"), Interface("eth0", '08:00:27:79:da:80"')]
)  # fmt: skip
def test_what_is_no_name_or_address_never_reaches_a_rule(wrong):
    with pytest.raises(GoldsmithError, match="cannot be named"):
        naming_rules([wrong])


def test_an_arrays_line_is_made_of_what_mdadm_says():
    exported = "MD_LEVEL=raid1\nMD_METADATA=1.2\nMD_UUID=1:2:3:4\n"
    assert parse_array("/dev/md0", exported) == "ARRAY /dev/md0 metadata=1.2 UUID=1:2:3:4"
    with pytest.raises(GoldsmithError, match="no array that runs"):
        parse_array("/dev/md0", "")


def test_mtab_has_the_trees_mounts_as_it_sees_them():
    chroot = Path("/no such/target")
    listed = [
        MountPoint("/", "rootfs", "rootfs"),
        MountPoint("/home", "ext4", "/dev/h"),
        MountPoint("/no such/target", "ext4", "/dev/r"),
        MountPoint("/no such/target/a b", "xfs", "/dev/x", read_only=True),
        MountPoint("/no such/target/odd", "rootfs", "rootfs"),
        MountPoint("/no such/target-2", "ext4", "/dev/other"),
    ]
    assert mtab_text(chroot, listed) == (
        "/dev/r / ext4 rw 0 0\n" "/dev/x /a\\040b xfs ro 0 0\n"
    )  # fmt: skip
