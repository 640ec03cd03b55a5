"""Paths confined to a tree: compared with what a chroot would see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.host.confined import (
    ConfinedPathError,
    confined,
    make_directory,
    read_confined,
    remove_confined,
    write_confined,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "run").mkdir()
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    (tmp_path / "secret").write_text("host")
    return tree


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/hostname", "etc/hostname"),
        ("etc//./hostname", "etc/hostname"),
        ("../../etc/x", "etc/x"),
        ("/etc/../../../secret", "secret"),
        ("/lib/x", "usr/lib/x"),
        ("/lib/../x", "usr/x"),
        ("/missing/a/../b", "missing/b"),
        ("/", ""),
        ("", ""),
    ],
)
def test_plain_paths_and_dots(tree: Path, path: str, expected: str) -> None:
    assert confined(tree, path) == tree / expected


def test_absolute_links_mean_the_tree(tree: Path) -> None:
    (tree / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (tree / "abs").symlink_to(tree.parent)
    assert confined(tree, "etc/resolv.conf") == tree / "etc/resolv.conf"
    assert confined(tree, "etc/resolv.conf", follow_last=True) == tree / "run/resolv.conf"
    inside = tree.joinpath(*tree.parent.parts[1:], "secret")
    assert confined(tree, "abs/secret") == inside
    assert read_confined(tree, "abs/secret") is None


def test_relative_links_cannot_climb_out(tree: Path) -> None:
    (tree / "etc/up").symlink_to("../../../../..")
    assert confined(tree, "etc/up/secret") == tree / "secret"
    assert confined(tree, "etc/up", follow_last=True) == tree


def test_loops_end(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("/a")
    (tree / "self").symlink_to("self/x")
    for path in ("a/x", "b/x", "self/y"):
        with pytest.raises(ConfinedPathError, match="too many symbolic links"):
            confined(tree, path)
    assert confined(tree, "a") == tree / "a"


def test_a_file_is_no_directory(tree: Path) -> None:
    (tree / "file").write_text("x")
    with pytest.raises(ConfinedPathError, match="is not a directory"):
        confined(tree, "file/x")
    with pytest.raises(ConfinedPathError, match="NUL"):
        confined(tree, "a\0b")


def test_write_replaces_a_link_and_leaves_its_target(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/hostname").symlink_to(tmp_path / "secret")
    write_confined(tree, "/etc/hostname", b"golden\n", mode=0o600)
    assert (tmp_path / "secret").read_text() == "host"
    assert not (tree / "etc/hostname").is_symlink()
    assert (tree / "etc/hostname").read_bytes() == b"golden\n"
    assert (tree / "etc/hostname").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tree / "etc")) == ["hostname"]


def test_write_makes_directories_inside(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/out").symlink_to(tmp_path / "outside")
    write_confined(tree, "/etc/out/deep/file", b"x")
    assert not (tmp_path / "outside").exists()
    assert read_confined(tree, "/etc/out/deep/file") == b"x"


def test_read_takes_regular_files_only(tree: Path) -> None:
    os.mkfifo(tree / "etc/fifo")
    assert read_confined(tree, "etc/fifo") is None
    assert read_confined(tree, "etc") is None
    assert read_confined(tree, "etc/none") is None


def test_remove_and_make_directory(tree: Path, tmp_path: Path) -> None:
    (tree / "etc/link").symlink_to(tmp_path / "secret")
    assert remove_confined(tree, "etc/link")
    assert (tmp_path / "secret").exists()
    assert not remove_confined(tree, "etc/link")
    assert not remove_confined(tree, "etc")
    assert make_directory(tree, "/lib/systemd/system") == tree / "usr/lib/systemd/system"
    assert (tree / "usr/lib/systemd/system").is_dir()


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "up", "abs", "lib"]), max_size=12))
def test_nothing_escapes(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    tree = tmp_path_factory.getbasetemp() / "property-tree"
    if not tree.exists():
        (tree / "a/b").mkdir(parents=True)
        (tree / "a/up").symlink_to("../../..")
        (tree / "a/b/abs").symlink_to("/a/up")
        (tree / "lib").symlink_to("a/b")
    place = confined(tree, "/".join(names), follow_last=True)
    assert place.resolve().is_relative_to(tree.resolve())
