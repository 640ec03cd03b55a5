"""GRUB's real programs and images, unpacked from Debian's packages without installing them."""

import os
import shutil
import struct
import subprocess

import pytest
from private_namespace import run_privately

from goldsmith.disk.assemble import assemble
from goldsmith.disk.attached import why_not
from goldsmith.disk.bootloader import grub
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import AUTO, ExactSize, FileSystem, Layout, Partition
from goldsmith.disk.planner import plan
from goldsmith.disk.usage import measure
from goldsmith.host.process import Completed, search_path
from goldsmith.units import MIB

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get"),
]

PACKAGES = ("grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "libdevmapper1.02.1")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with nothing but GRUB."""
    directory = tmp_path_factory.mktemp("grub")
    tree = directory / "tree"
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=directory, check=True,
                       capture_output=True, timeout=300)  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("the host's APT sources cannot be reached")
    for package in sorted(directory.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True, capture_output=True)
    return tree


def in_tree(tree):
    """Runs a program of the tree on the host's libraries: paths are moved into the tree."""

    def run(argv):
        moved = [
            str(tree) + word if word.startswith("/") and option != "-p" else word
            for option, word in zip(["", *argv], argv, strict=False)
        ]
        done = subprocess.run(
            [tree / "usr/bin" / argv[0], *moved[1:]],
            env={"PATH": search_path(), "LD_LIBRARY_PATH": f"{tree}/lib/x86_64-linux-gnu"},
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Completed(tuple(argv), 0, done.stdout, (), 0.0)

    return run


def test_both_boot_loaders_are_made_and_written(tree, tmp_path):
    identity = DiskIdentity("grub")
    layout = Layout(
        partitions=(
            Partition("bios", "bios-boot", ExactSize(MIB)),
            Partition("esp", "esp", ExactSize(40 * MIB), FileSystem("vfat"), "/boot/efi"),
            Partition("root", "root", AUTO, FileSystem("ext4"), "/"),
        )
    )
    uuid = identity.filesystem_uuid("root", "ext4")
    loaders = [
        grub.make_boot_loader(tree, in_tree(tree), firmware=["bios", "uefi"], filesystem_uuid=uuid)
        for _ in range(2)
    ]
    assert loaders[0] == loaders[1]
    loader = loaders[0]
    assert loader.efi[:2] == b"MZ"
    assert uuid.encode() in loader.efi
    # The sectors of the core image as grub-mkimage counts them itself are those that we write.
    assert (
        struct.unpack_from("<H", loader.core_img, 0x1FC)[0] == -(-len(loader.core_img) // 512) - 1
    )
    made = assemble(
        plan(layout, measure(tree, layout.by_mount())), {"/": tree}, tmp_path / "image.raw",
        identity=identity, epoch_s=1_700_000_000, boot_loader=loader,
    )  # fmt: skip
    with open(made.path, "rb") as stream:
        first = stream.read(512)
        assert first[:2] == b"\xeb\x63"
        assert first[510:] == b"\x55\xaa"
        assert first[450] == 0xEE, "the protective entry of the partition table stays"
        (lba,) = struct.unpack_from("<Q", first, 0x5C)
        assert lba == made.partitions[0].offset_bytes // 512
        core = os.pread(stream.fileno(), len(loader.core_img), lba * 512)
        assert core == grub.patch_core_img(loader.core_img, lba)[: len(core)]


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU")
@pytest.mark.parametrize(
    ("label", "type"), [("mbr", "ext4"), ("mbr", "xfs"), ("gpt", "btrfs"), ("mbr", "ext2")]
)
def test_firmware_finds_grub_and_grub_its_configuration(tree, tmp_path, label, type):
    if type == "xfs" and (reason := why_not("xfs")):
        pytest.skip(reason)
    if type == "btrfs" and shutil.which("mkfs.btrfs", path=search_path()) is None:
        pytest.skip("needs mkfs.btrfs")
    root = tmp_path / "root"
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_text(
        "serial --unit=0\nterminal_output serial\necho This is GRUB on $root.\nhalt\n"
    )
    identity = DiskIdentity("boots")
    parts = [Partition("bios", "bios-boot", ExactSize(MIB))] if label == "gpt" else []
    # Behind an extended partition, so that GRUB has to follow its chain.
    parts += [Partition(f"p{n}", "data", ExactSize(MIB)) for n in range(3 if label == "mbr" else 0)]
    parts += [Partition("root", "root", AUTO, FileSystem(type), "/"),
              Partition("last", "data", ExactSize(MIB))]  # fmt: skip
    layout = Layout(label, None, tuple(parts))
    loader = grub.make_boot_loader(
        tree, in_tree(tree), firmware=["bios"],
        filesystem_uuid=identity.filesystem_uuid("root", type),
    )  # fmt: skip
    disk = plan(layout, measure(root, layout.by_mount()))
    image = tmp_path / "image.raw"
    run_privately(
        lambda: assemble(disk, {"/": root}, image, identity=identity, epoch_s=1_700_000_000,
                         boot_loader=loader)
    )  # fmt: skip
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-nographic",
         "-snapshot", "-no-reboot", "-serial", "stdio",
         "-drive", f"file={image},format=raw,if=virtio"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    number = {"mbr": "msdos5", "gpt": "gpt2"}[label]
    assert f"This is GRUB on hd0,{number}." in done.stdout.decode(errors="replace")
