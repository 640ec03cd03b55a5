"""The bytes of GRUB's images, and making them in a tree."""

import struct

import pytest

from goldsmith.disk.bootloader.grub import (
    BootLoader,
    make_boot_loader,
    patch_boot_img,
    patch_core_img,
    write_bios_boot,
)
from goldsmith.errors import GoldsmithError, LayoutError
from goldsmith.host.process import Completed


def boot_img() -> bytes:
    """As GRUB 2.06 ships it, in the places that matter."""
    image = bytearray(range(256)) * 2
    struct.pack_into("<Q", image, 0x5C, 1)
    image[0x66:0x68] = b"\xeb\x05"
    return bytes(image)


def core_img(length: int = 1300) -> bytes:
    image = bytearray(b"\xc7" * length)
    struct.pack_into("<QHH", image, 0x1F4, 2, 0x208, 0x820)
    return bytes(image)


def test_boot_code_is_told_where_the_core_image_lies():
    code = patch_boot_img(boot_img(), 0x1122334455)
    assert len(code) == 440
    assert code[0x5C:0x64] == bytes.fromhex("5544332211000000")
    assert code[0x66:0x68] == b"\x90\x90"
    assert code[:0x5C] == boot_img()[:0x5C]
    assert code[0x68:] == boot_img()[0x68:440]


@pytest.mark.parametrize("image", [b"", boot_img()[:-1], bytes(512)])
def test_another_boot_img_is_refused(image):
    with pytest.raises(GoldsmithError, match="shape"):
        patch_boot_img(image, 2048)


def test_the_core_image_is_told_where_its_rest_lies():
    core = patch_core_img(core_img(), 2048)
    assert len(core) == 1536
    assert core[0x1F4:0x200] == bytes.fromhex("0108000000000000") + b"\x02\x00\x20\x08"
    assert core[0x200:1300] == core_img()[0x200:]
    assert core[1300:] == bytes(236)
    assert len(patch_core_img(core_img(1024), 1)) == 1024
    with pytest.raises(GoldsmithError, match="1 sectors"):
        patch_core_img(core_img(512), 1)


def test_boot_code_and_table_share_the_first_sector(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"\xaa" * 8192)
    write_bios_boot(image, BootLoader(boot_img(), core_img()), lba=8, sectors=3)
    data = image.read_bytes()
    assert data[:440] == patch_boot_img(boot_img(), 8)
    assert data[440 : 8 * 512] == b"\xaa" * (8 * 512 - 440)
    assert data[4096 : 4096 + 1536] == patch_core_img(core_img(), 8)
    with pytest.raises(LayoutError, match=r"needs 1.5 KiB, .* has 1 KiB"):
        write_bios_boot(image, BootLoader(boot_img(), core_img()), lba=8, sectors=2)
    with pytest.raises(GoldsmithError, match="not made for bios"):
        write_bios_boot(image, BootLoader(efi=b"x"), lba=8, sectors=2)


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    for platform in ("i386-pc", "x86_64-efi"):
        (tree / "usr/lib/grub" / platform).mkdir(parents=True)
        (tree / "usr/lib/grub" / platform / "kernel.img").touch()
    (tree / "usr/lib/grub/i386-pc/boot.img").write_bytes(boot_img())
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/grub-mkimage").touch()
    (tree / "boot").mkdir()
    (tree / "boot/vmlinuz-6.1").touch()
    return tree


class FakeGrub:
    """Stands for the tree's grub-mkimage."""

    def __init__(self, tree):
        self.tree = tree
        self.calls = []

    def __call__(self, argv):
        self.calls.append(list(argv))
        option = dict(zip(argv[1::2], argv[2::2], strict=False))
        config = (self.tree / option["-c"].lstrip("/")).read_text()
        platform = option["-O"].encode()
        (self.tree / option["-o"].lstrip("/")).write_bytes(platform + config.encode())
        return Completed(tuple(argv), 0, b"", (), 0.0)


def test_the_trees_own_grub_makes_both_images_and_nothing_stays(tree):
    before = tree.stat().st_mtime_ns, sorted(p.name for p in tree.iterdir())
    fake = FakeGrub(tree)
    made = make_boot_loader(tree, fake, firmware=["bios", "uefi"], filesystem_uuid="u-1")
    assert made.boot_img == boot_img()
    assert made.core_img.startswith(b"i386-pcsearch --no-floppy --fs-uuid --set=root u-1")
    assert made.efi.startswith(b"x86_64-efi")
    assert (tree.stat().st_mtime_ns, sorted(p.name for p in tree.iterdir())) == before
    assert all(call[0] == "grub-mkimage" for call in fake.calls)
    assert make_boot_loader(tree, fake, firmware=["uefi"], filesystem_uuid="u").core_img is None


def test_the_directory_goes_when_grub_fails(tree):
    def fail(argv):
        raise GoldsmithError("no")

    with pytest.raises(GoldsmithError, match="no"):
        make_boot_loader(tree, fail, firmware=["bios"], filesystem_uuid="u-1")
    assert not list(tree.glob(".goldsmith*"))


def test_a_tree_without_grub_is_told_what_it_lacks(tmp_path):
    with pytest.raises(GoldsmithError, match=r"grub-common, grub-pc-bin, grub-efi-amd64-bin"):
        make_boot_loader(tmp_path, print, firmware=["bios", "uefi"], filesystem_uuid="u")
