"""What an image set leaves is on the disk when its step ends; what goes away never has to be."""

from __future__ import annotations

import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from goldsmith.builders.image.set_options import ImageSetOptions, SetImage
from goldsmith.builders.image.set_steps import AssembleSetStep
from goldsmith.core.step import StepContext
from goldsmith.disk.identity import DiskIdentity
from goldsmith.events import Emitter


@pytest.mark.parametrize("container", ["raw", "gzip"])
@pytest.mark.parametrize("filesystem", ["ext2", "squashfs"])
def test_every_file_that_stays_is_synced(tmp_path, monkeypatch, filesystem, container):
    synced, own = {}, os.fsync

    def fsync(fd):
        own(fd)
        status = os.fstat(fd)
        synced[status.st_ino] = status.st_size

    tree, out, scratch = tmp_path / "tree", tmp_path / "out", tmp_path / "scratch"
    for directory in (tree, out, scratch):
        directory.mkdir()
    (tree / "file").write_text("text")
    image_set = ImageSetOptions(image=(SetImage(mount="/", filesystem=filesystem),),
                                container=container)  # fmt: skip
    name = image_set.image[0].file_name("set", image_set)
    targets = {name: out / "image", f"{name}.bmap": out / "map"}
    step = AssembleSetStep(
        SimpleNamespace(view=lambda: nullcontext(tree)),
        image_set,
        "set",
        DiskIdentity("s"),
        targets,
    )
    monkeypatch.setattr(os, "fsync", fsync)
    step.run(StepContext(emitter=Emitter("b", lambda _: None), scratch=scratch, epoch_s=0))
    assert sorted(os.listdir(out)) == ["image", "map"]
    for path in targets.values():
        assert synced.get(path.stat().st_ino) == path.stat().st_size
    assert os.listdir(scratch) == []
