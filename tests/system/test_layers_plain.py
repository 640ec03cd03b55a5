"""Steps on copies of trees: what they keep, what a failed one leaves, which method is chosen."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from private_namespace import run_privately
from test_layers_overlay import change_in_order, describe

from goldsmith.errors import GoldsmithError, NoSpaceError
from goldsmith.host import mounts
from goldsmith.layers import method
from goldsmith.layers.method import OVERLAY, PLAIN, choose_method
from goldsmith.layers.plain import copy_tree, step_copy, view_of_copy

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
EPOCH_S = 1_000_000_000


def grown(top: Path, seed: int) -> Path:
    """A tree of random files, links and directories, with a root that is not like others."""
    top.mkdir()
    chance = random.Random(seed)
    for _ in range(40):
        change_in_order(top, chance)
    top.chmod(0o1777)
    os.chown(top, 5, 6)
    return top


@pytest.mark.parametrize("seed", range(5))
def test_steps_on_copies_equal_steps_on_one_directory(tmp_path: Path, seed: int) -> None:
    def body() -> tuple[object, object, object, object]:
        plain, base = grown(tmp_path / "plain", seed), grown(tmp_path / "00", seed)
        before, layer = describe(base), base
        for step in (1, 2, 3):
            upper = tmp_path / f"{step:02d}"
            with step_copy(
                [layer], upper, scratch=tmp_path / "s", merged=tmp_path / "tree", clamp_to_s=None
            ) as tree:
                for directory in (tree, plain):
                    chance = random.Random(seed * 100 + step)
                    for _ in range(25):
                        change_in_order(directory, chance)
            layer = upper
        return describe(plain), describe(layer), before, describe(base)

    plain, last, before, after = run_privately(body)
    assert last == plain
    assert after == before


def test_a_copy_has_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("capable", "listed", "first"):
        (source / name).write_text(name)
    os.setxattr(source / "capable", "security.capability", CAPABILITY)
    os.setxattr(source / "capable", "user.mark", b"1")
    entries = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (0x10, 4, -1), (0x20, 0, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(source / "listed", "system.posix_acl_access", acl)
    os.link(source / "first", source / "second")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    os.symlink("nowhere", source / "link")
    os.lchown(source / "link", 7, 8)
    with (source / "sparse").open("wb") as file:
        file.truncate(8 << 20)
    os.utime(source, (5, 6))
    copy_tree(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert os.getxattr(copy / "capable", "security.capability") == CAPABILITY
    assert os.getxattr(copy / "capable", "user.mark") == b"1"
    assert os.getxattr(copy / "listed", "system.posix_acl_access") == acl
    assert os.lstat(copy / "first").st_ino == os.lstat(copy / "second").st_ino
    assert os.lstat(copy / "null").st_rdev == os.makedev(1, 3)
    assert (os.lstat(copy / "link").st_uid, os.lstat(copy / "link").st_gid) == (7, 8)
    assert os.lstat(copy / "sparse").st_blocks == 0
    assert os.lstat(copy).st_mtime == 6


def test_of_a_step_that_fails_nothing_stays_and_the_next_begins_anew(tmp_path: Path) -> None:
    base = tmp_path / "00"
    base.mkdir()
    (base / "file").write_text("old")
    upper = tmp_path / "01"

    def step(text: str) -> str:
        with step_copy(
            [base], upper, scratch=tmp_path / "s", merged=tmp_path / "tree", clamp_to_s=None
        ) as tree:
            seen = (tree / "file").read_text()
            (tree / "file").write_text(text)
            if text == "bad":
                raise GoldsmithError("as planned")
            return seen

    def body() -> tuple[bool, bool, str]:
        with pytest.raises(GoldsmithError, match="as planned"):
            step("bad")
        gone = not upper.exists() and os.listdir(tmp_path / "tree") == []
        mounted = any(point.path.startswith(str(tmp_path)) for point in mounts.list_mounts())
        return gone, mounted, step("good")

    assert run_privately(body) == (True, False, "old")
    assert (upper / "file").read_text() == "good"
    assert (base / "file").read_text() == "old"


def test_the_first_step_begins_with_an_empty_tree_and_times_are_clamped(tmp_path: Path) -> None:
    def body() -> list[str]:
        with step_copy(
            [], tmp_path / "00", scratch=tmp_path / "s", merged=tmp_path / "tree",
            clamp_to_s=EPOCH_S,
        ) as tree:  # fmt: skip
            found = os.listdir(tree)
            (tree / "new").write_text("")
        return found

    assert run_privately(body) == []
    assert os.lstat(tmp_path / "00").st_mode & 0o7777 == 0o755
    assert os.lstat(tmp_path / "00/new").st_mtime == EPOCH_S
    assert os.lstat(tmp_path / "00").st_mtime == EPOCH_S


def test_a_view_takes_no_change_to_the_tree(tmp_path: Path) -> None:
    (tmp_path / "00").mkdir()
    (tmp_path / "00/file").write_text("kept")

    def body() -> str:
        with view_of_copy([tmp_path / "00"], tmp_path / "tree", tmp_path / "view") as tree:
            text = (tree / "file").read_text()
            (tree / "file").unlink()
        return text

    assert run_privately(body) == "kept"
    assert (tmp_path / "00/file").read_text() == "kept"
    assert not (tmp_path / "view").exists()


def test_a_full_file_system_is_named(tmp_path: Path) -> None:
    source, small = tmp_path / "source", tmp_path / "small"
    source.mkdir()
    small.mkdir()
    (source / "file").write_bytes(b"x" * (2 << 20))

    def body() -> str:
        with mounts.mounted("tmpfs", small, "tmpfs", options="size=1m"):
            with pytest.raises(NoSpaceError) as caught:
                copy_tree(source, small / "copy")
        return str(caught.value)

    assert str(small) in run_privately(body)


def test_overlays_are_chosen_where_they_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goldsmith
) -> None:
    def choose(place: Path) -> str:
        return run_privately(lambda: choose_method(place).name)

    place = goldsmith.state
    place.mkdir(parents=True, exist_ok=True)
    assert choose(place) == OVERLAY.name
    monkeypatch.setenv(method.FORCED, "plain")
    assert choose(place) == PLAIN.name
    monkeypatch.delenv(method.FORCED)

    def on_ramfs() -> str:
        # It has no xattrs, so no overlay can write there.
        with mounts.mounted("ramfs", tmp_path, "ramfs"):
            return choose_method(tmp_path).name

    assert run_privately(on_ramfs) == PLAIN.name
    monkeypatch.setattr(method.user_namespace, "is_inside", lambda: True)
    assert choose(place) == PLAIN.name
