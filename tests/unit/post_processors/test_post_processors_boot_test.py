"""`boot-test`: what it refuses before an image is built for minutes."""

import pytest

from goldsmith.core.artifact import ExpectedArtifact
from goldsmith.errors import GoldsmithError, MissingToolError
from goldsmith.machine import qemu
from goldsmith.post_processors import boot_test as module
from goldsmith.post_processors.boot_test import BootTest, BootTestOptions
from goldsmith.post_processors.compress import Compress, CompressOptions


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """A host with QEMU, and with UEFI firmware in the directory that is returned."""
    monkeypatch.setattr(module, "get_tool", lambda tool: tool)
    monkeypatch.setattr(qemu, "UEFI_DIRECTORY", tmp_path)
    for name in (qemu.UEFI_CODE, qemu.UEFI_VARIABLES):
        (tmp_path / name).touch()
    return tmp_path


def look(formats, made_for, **options):
    return BootTest(BootTestOptions(**options)).preflight(ExpectedArtifact(formats, made_for))


def test_a_bootable_image_is_handed_on():
    given = ExpectedArtifact(("vmdk", "raw"), ("bios", "uefi"))
    assert look(given.formats, given.firmware) == given


@pytest.mark.parametrize("formats", [(), ("vmdk",), ("raw.gz", "vhdx")])
def test_no_image_that_it_can_boot(formats):
    with pytest.raises(GoldsmithError, match="no image that it can boot") as caught:
        look(formats, ("bios",))
    assert "qcow2" in caught.value.hint


def test_an_image_for_no_firmware():
    with pytest.raises(GoldsmithError, match="no firmware to boot on"):
        look(("raw",), ())
    look(("raw",), (), firmware=("bios",))


@pytest.mark.parametrize("name", [qemu.UEFI_CODE, qemu.UEFI_VARIABLES])
def test_without_uefi_firmware_only_bios_is_booted(host, name):
    (host / name).unlink()
    with pytest.raises(MissingToolError) as caught:
        look(("raw",), ("bios", "uefi"))
    assert "ovmf" in f"{caught.value} {caught.value.hint}"
    look(("raw",), ("bios",))
    look(("raw",), ("bios", "uefi"), firmware=("bios",))


def test_without_qemu(monkeypatch):
    def get_tool(tool):
        raise MissingToolError(tool, "qemu")

    monkeypatch.setattr(module, "get_tool", get_tool)
    with pytest.raises(MissingToolError):
        look(("raw",), ("bios",))


def test_what_compress_makes_cannot_be_booted():
    packed = Compress(CompressOptions()).preflight(ExpectedArtifact(("raw",), ("bios",)))
    assert packed == ExpectedArtifact()
