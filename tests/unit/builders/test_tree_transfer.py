"""The difference of two trees, and its transfer to a third: after it the third is the second."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from goldsmith.builders.chroot.difference import compare
from goldsmith.builders.chroot.transfer import transfer
from goldsmith.errors import GoldsmithError


def listing(top: Path) -> dict[str, tuple[object, ...]]:
    """All that a tree is, links as groups of names."""
    found: dict[str, tuple[object, ...]] = {}
    groups: dict[int, str] = {}
    for directory, names, files in os.walk(top):
        for name in [".", *names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            shown = os.path.normpath(os.path.relpath(path, top))
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[shown] = (status.st_mode, status.st_mtime_ns, content,
                            [*map(str, _xattrs(path))], status.st_ino)  # fmt: skip
    for name in sorted(found):
        *rest, inode = found[name]
        is_directory = stat.S_ISDIR(int(str(rest[0])))
        found[name] = (*rest, None if is_directory else groups.setdefault(int(str(inode)), name))
    return found


def _xattrs(path: Path) -> list[tuple[str, bytes]]:
    return [(name, os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))]  # fmt: skip


def fill(top: Path) -> None:
    (top / "d/deep").mkdir(parents=True)
    (top / "file").write_text("text")
    (top / "other").hardlink_to(top / "file")
    (top / "third").hardlink_to(top / "file")
    (top / "d/deep/x").write_text("x")
    (top / "link").symlink_to("d")
    (top / "single").write_text("single")
    os.mkfifo(top / "fifo")


def trees(tmp_path: Path) -> tuple[Path, Path, Path]:
    before = tmp_path / "before"
    before.mkdir()
    fill(before)
    copies = [tmp_path / "after", tmp_path / "target"]
    for copy in copies:
        _copy(before, copy)
    return before, *copies


def _copy(source: Path, target: Path) -> None:
    """A copy with links, times and modes."""
    target.mkdir()
    transfer(compare(target, source), source, target, mount_points=())


def rewrite(top: Path) -> None:
    (top / "file").write_text("other text")  # through all three names


def unlink_one(top: Path) -> None:
    (top / "other").unlink()


def break_link(top: Path) -> None:
    (top / "other").unlink()
    (top / "other").write_text("text")


def link_more(top: Path) -> None:
    (top / "d/fourth").hardlink_to(top / "file")


def join_links(top: Path) -> None:
    (top / "single").unlink()
    (top / "single").hardlink_to(top / "d/deep/x")


def swap_kinds(top: Path) -> None:
    shutil.rmtree(top / "d")
    (top / "d").write_text("a file now")
    (top / "single").unlink()
    (top / "single").mkdir()
    (top / "single/inside").write_text("inside")
    (top / "link").unlink()
    (top / "link").mkdir()


def retarget(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("/etc/passwd")


def attributes(top: Path) -> None:
    (top / "d/deep").chmod(0o700)
    (top / "single").chmod(0o4755)
    os.setxattr(top / "file", "user.colour", b"red")
    os.utime(top / "fifo", ns=(1, 2))
    os.utime(top, ns=(3, 4))


def same_time(top: Path) -> None:
    status = (top / "d").stat()
    (top / "d/deep").rename(top / "d/deeper")
    os.utime(top / "d", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", [
    lambda top: None, rewrite, unlink_one, break_link, link_more, join_links, swap_kinds, retarget,
    attributes, same_time,
])  # fmt: skip
def test_the_third_tree_becomes_the_second(tmp_path: Path, change: Callable[[Path], None]) -> None:
    before, after, target = trees(tmp_path)
    assert listing(after) == listing(before) == listing(target)
    change(after)
    found = compare(before, after)
    transfer(found, after, target, mount_points=())
    assert listing(target) == listing(after)
    assert compare(target, after).is_empty


def test_an_untouched_tree_is_not_written(tmp_path: Path) -> None:
    before, after, _ = trees(tmp_path)
    assert compare(before, after).is_empty
    (after / "file").write_text("text")  # the same, at another time
    os.utime(after / "file", ns=(1, 2))
    assert compare(before, after).files == [("file", "other", "third")]


def test_random_changes(tmp_path: Path) -> None:
    for seed in range(25):
        chance = random.Random(seed)
        place = tmp_path / str(seed)
        place.mkdir()
        before, after, target = trees(place)
        for _ in range(chance.randint(1, 12)):
            _change_by_chance(after, chance)
        transfer(compare(before, after), after, target, mount_points=())
        assert listing(target) == listing(after), seed


def _change_by_chance(top: Path, chance: random.Random) -> None:
    paths = [Path(d, name) for d, names, files in os.walk(top) for name in (*names, *files)]
    directories = [top, *(p for p in paths if p.is_dir() and not p.is_symlink())]
    fresh = chance.choice(directories) / f"n{chance.randrange(1000)}"
    path = chance.choice(paths) if paths else fresh
    kind = chance.choice(["write", "link", "remove", "move", "new", "directory", "mode"])
    if fresh.exists() or not paths:
        return
    is_file = path.is_file() and not path.is_symlink()
    if kind == "write" and is_file:
        path.write_text(str(chance.random()))
    elif kind == "link" and is_file:
        fresh.hardlink_to(path)
    elif kind == "remove":
        shutil.rmtree(path) if path in directories else path.unlink()
    elif kind == "move" and not fresh.is_relative_to(path):
        path.rename(fresh)
    elif kind == "new":
        fresh.write_text("new")
    elif kind == "directory":
        fresh.mkdir()
    elif kind == "mode" and not path.is_symlink():
        path.chmod(chance.choice([0o700, 0o755, 0o711]))


def test_what_lies_apart_is_left_alone(tmp_path: Path) -> None:
    before, after, _ = trees(tmp_path)
    (after / "d/deep/new").write_text("new")
    assert compare(before, after, apart=["d"]).is_empty
    shutil.rmtree(after / "d")
    with pytest.raises(GoldsmithError, match="a provisioner removed /d, where"):
        compare(before, after, apart=["d"])


def test_a_mount_point_is_not_removed(tmp_path: Path) -> None:
    before, after, target = trees(tmp_path)
    shutil.rmtree(after / "d")
    found = compare(before, after)
    with pytest.raises(GoldsmithError, match="a provisioner removed /d/deep, where"):
        transfer(found, after, target, mount_points=["d/deep"])
    assert (target / "d/deep/x").exists()


def test_links_of_the_target_are_not_followed(tmp_path: Path) -> None:
    before, after, target = trees(tmp_path)
    (after / "d/deep/x").write_text("evil")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    shutil.rmtree(target / "d")
    (target / "d").symlink_to(outside)
    with pytest.raises(GoldsmithError, match="is not where it was"):
        transfer(compare(before, after), after, target, mount_points=())
    assert list((outside / "deep").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    before, after, target = trees(tmp_path)
    (after / "d/deep/x").write_text("y")
    shutil.rmtree(target / "d")
    with pytest.raises(GoldsmithError, match="/d/deep/x cannot be written to the new image"):
        transfer(compare(before, after), after, target, mount_points=())
