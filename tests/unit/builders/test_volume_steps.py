"""The steps around a volume, as far as they need no root: rendering, places, order, options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from goldsmith.builders.chroot.options import ChrootOptions
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.extras import (
    CopyFilesStep,
    ExtraMount,
    MountExtraStep,
    extra_mounts,
)
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.host.locks import try_lock
from goldsmith.host.teardown import Teardown


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    return StepContext(emitter=Emitter("b", lambda event: None), scratch=tmp_path, epoch_s=0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "etc").mkdir(parents=True)
    (top / "etc/own").write_text("the image's")
    (top / "link").symlink_to("/tmp")
    os.utime(top / "etc", ns=(5, 5))
    os.utime(top, ns=(7, 7))
    return top


def test_a_lock_ends_early_or_with_the_teardown(tmp_path: Path, context: StepContext) -> None:
    path = tmp_path / "locks/attach"
    with Teardown() as teardown:
        lock = LockStep(path, teardown).run(context)
        assert try_lock(path) is None
        EarlyUnlockStep(lock).run(context)
        fd = try_lock(path)
        assert fd is not None
        os.close(fd)
        LockStep(path, teardown).run(context)
        assert try_lock(path) is None
    fd = try_lock(path)
    assert fd is not None
    os.close(fd)


def test_commands_are_rendered_and_wrapped() -> None:
    data = {"Device": "/dev/loop9"}
    step = HostCommandsStep(*PRE_MOUNT, (), "sudo {{.Command}}", data)
    assert step.rendered("fsck {{.Device}}p1 $HOME") == "sudo fsck /dev/loop9p1 $HOME"
    with pytest.raises(GoldsmithError, match="cannot be rendered"):
        step.rendered("{{.MountPath}}")


def test_mounts_that_every_tree_has_are_not_extra() -> None:
    found = extra_mounts([
        ["proc", "proc", "/proc"], ["sysfs", "sysfs", "/sys"], ["bind", "/dev", "/dev"],
        ["devpts", "devpts", "/dev/pts/"], ["binfmt_misc", "x", "/proc/sys/fs/binfmt_misc"],
        ["bind", "/srv", "/mnt/x/../y"], ["tmpfs", "tmpfs", "/tmp"],
    ])  # fmt: skip
    assert found == (ExtraMount("bind", "/srv", "/mnt/y"), ExtraMount("tmpfs", "tmpfs", "/tmp"))
    assert [mount.tells_nothing for mount in found] == [False, True]


def test_places_are_made_and_taken_away(tree: Path, tmp_path: Path, context: StepContext) -> None:
    copied = tmp_path / "copied"
    copied.write_text("x")
    (tree / str(tmp_path).lstrip("/")).mkdir(parents=True)
    before = sorted(str(path) for path in tree.rglob("*"))
    os.utime(tree / "etc", ns=(5, 5))
    times = (tree / "etc").stat().st_mtime_ns, tree.stat().st_mtime_ns
    with Teardown() as teardown:
        mounts = [ExtraMount("tmpfs", "tmpfs", "/etc/deep/er"), ExtraMount("bind", "/", "/etc")]
        first = MountExtraStep(tree, mounts, teardown).run(context)
        second = CopyFilesStep(tree, {str(copied): copied}, teardown).run(context)
        assert (tree / "etc/deep/er").is_dir()
        assert (tree / str(copied).lstrip("/")).read_text() == ""
        EarlyCleanupStep([first, second]).run(context)
        assert sorted(str(path) for path in tree.rglob("*")) == before
        assert ((tree / "etc").stat().st_mtime_ns, tree.stat().st_mtime_ns) == times


def test_what_came_into_a_place_stays(tree: Path, context: StepContext) -> None:
    with Teardown() as teardown:
        mounts = [ExtraMount("tmpfs", "tmpfs", "/kept"), ExtraMount("tmpfs", "tmpfs", "/gone")]
        handle = MountExtraStep(tree, mounts, teardown).run(context)
        (tree / "kept/file").write_text("x")
        EarlyCleanupStep([handle]).run(context)
    assert (tree / "kept/file").exists()
    assert not (tree / "gone").exists()


@pytest.mark.parametrize(("mount", "words"), [
    (ExtraMount("tmpfs", "tmpfs", "/link/x"), "leads to /tmp/x"),
    (ExtraMount("tmpfs", "tmpfs", "/etc/own"), "is not a directory"),
    (ExtraMount("bind", "/does/not/exist", "/mnt"), "there is no /does/not/exist"),
])  # fmt: skip
def test_places_that_cannot_be(
    tree: Path, context: StepContext, mount: ExtraMount, words: str
) -> None:
    with Teardown() as teardown, pytest.raises(GoldsmithError, match=words):
        MountExtraStep(tree, [mount], teardown).run(context)


def test_files_that_cannot_be_shown(tree: Path, tmp_path: Path, context: StepContext) -> None:
    for path, words in ((str(tmp_path), "is not a file"), ("/does/not/exist", "No such file"),
                        ("/proc/self/status", "its directory is not there")):  # fmt: skip
        with Teardown() as teardown, pytest.raises(GoldsmithError, match=words):
            CopyFilesStep(tree, {path: Path(path)}, teardown).run(context)


def test_early_cleanup_halts_at_the_first_error_and_nothing_runs_twice(
    context: StepContext,
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise GoldsmithError("busy")

    with Teardown() as teardown:
        first = teardown.defer("first", lambda: done.append("first"))
        second = teardown.defer("second", fail)
        third = teardown.defer("third", lambda: done.append("third"))
        with pytest.raises(GoldsmithError, match="busy"):
            EarlyCleanupStep([first, second, third]).run(context)
        assert done == ["third"]
    assert done == ["third", "first"]


@pytest.mark.parametrize("options", [
    {"mount_partition": -1}, {"formats": ()}, {"formats": ("raw", "raw")}, {"source": ""},
    {"mount_options": ("a b",)}, {"chroot_mounts": (("tmpfs", "tmpfs", "relative"),)},
    {"copy_files": ("/",)}, {"root_label": "a", "root_uuid": "b"}, {"firmware": ("coreboot",)},
])  # fmt: skip
def test_options_that_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChrootOptions(**{"source": "x", **options})


def test_compression_belongs_to_qcow2() -> None:
    (found,) = ChrootOptions(source="x", formats=("raw",), compression="zlib").findings()
    assert "compression is that of qcow2" in found.message
