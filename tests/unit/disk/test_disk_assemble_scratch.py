"""The files of an assembly that are no part of the image."""

import os
import tempfile

from goldsmith.disk import filling as module
from goldsmith.disk.bootloader.grub import BootLoader
from goldsmith.disk.disk_plan import PlannedPartition
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import FileSystem, Partition


def test_the_boot_loader_for_an_esp_stands_in_the_scratch_directory(tmp_path, monkeypatch):
    """What is written to TMPDIR instead stays there when the build is killed."""
    elsewhere, scratch = tmp_path / "elsewhere", tmp_path / "scratch"
    elsewhere.mkdir()
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    seen = []

    def make(stretch, spec, contents, *, epoch_s):
        (loader,) = contents.values()
        seen.append((loader.is_relative_to(scratch), loader.read_bytes(), os.listdir(elsewhere)))

    monkeypatch.setattr(module.vfat, "make", make)
    esp = Partition("esp", "esp", filesystem=FileSystem("vfat"), mount="/boot/efi")
    planned = PlannedPartition(1, esp, 2048, 65536)
    filler = module.Filler(
        trees={}, identity=DiskIdentity("seed"), epoch_s=0,
        clamp_mtimes=True, boot_loader=BootLoader(efi=b"efi"), packed_files={}, scratch=scratch,
    )  # fmt: skip
    filler.fill(planned, Stretch(tmp_path / "image", planned.offset_bytes, planned.size_bytes))
    assert seen == [(True, b"efi", [])]
    assert os.listdir(scratch) == []
