"""What identifies the steps of a `chroot` build."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from goldsmith.builders.chroot import tree_steps
from goldsmith.builders.chroot.options import ChrootOptions
from goldsmith.builders.chroot.recipe import ChrootRecipe
from goldsmith.builders.chroot.root import MountedImage
from goldsmith.builders.chroot.tree_steps import SourceTreeStep, provision_step
from goldsmith.disk.filesystems.vfat_files import take_out
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey
from goldsmith.packages.image_file import ImagePartition


def recipe(**options):
    return ChrootRecipe(ChrootOptions(source="i", **options), "new")


def mounted(*failed):
    return MountedImage(Path("m"), ImagePartition(1, 0, 0), (), {}, (), failed)


def test_the_tree_is_kept_under_the_digest_that_was_taken_before_the_copy(tmp_path):
    step = SourceTreeStep(recipe(), tmp_path, mounted(), digest="before")
    assert step.key().inputs["source"] == "before"


def test_a_tree_without_what_could_not_be_mounted_is_not_kept(tmp_path):
    assert SourceTreeStep(recipe(), tmp_path, mounted("/srv"), digest="before").key() is None


def test_files_of_this_host_count_as_they_are_when_the_step_is_reached(tmp_path, monkeypatch):
    own = StepKey({"type": "shell"})
    monkeypatch.setattr(tree_steps.KeyedProvision, "key", lambda step: own)
    file = tmp_path / "hosts"
    file.write_text("one")
    build = SimpleNamespace()
    step = provision_step(recipe(copy_files=[str(file)]), SimpleNamespace(), 1, build, "chroot")
    before = step.key()
    file.write_text("two")
    assert step.key() != before


def test_a_vfat_is_taken_out_into_empty_directories_only(tmp_path):
    (tmp_path / "EFI").symlink_to("/etc")
    with pytest.raises(GoldsmithError, match="empty directories only"):
        take_out(None, tmp_path, epoch_s=0)
