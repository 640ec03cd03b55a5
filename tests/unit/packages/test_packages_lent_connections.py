"""Where APT of a tree is lent several connections, and that nothing of it stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from goldsmith.packages.lent_connections import lent

METHODS, SETTINGS = "usr/lib/apt/methods", "etc/apt/apt.conf.d"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in (METHODS, SETTINGS, "usr/bin"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (f"{METHODS}/http", "usr/bin/perl", f"{SETTINGS}/70debconf"):
        (tmp_path / file).write_text("it is there")
    (tmp_path / METHODS / "https").symlink_to("http")
    for folder in (METHODS, SETTINGS):
        os.utime(tmp_path / folder, (1000, 1000))
    return tmp_path


def state(tree: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode)
            for path in tree.rglob("*")}  # fmt: skip


def test_a_program_lies_in_front_of_both_methods(tree: Path) -> None:
    before = state(tree)
    with lent(tree):
        for kind in ("http", "https"):
            own = tree / METHODS / f"goldsmith-{kind}"
            assert stat.S_IMODE(own.stat().st_mode) == 0o755
        (settings,) = (tree / SETTINGS).glob("*goldsmith*")
        assert settings.read_text() == (
            'Dir::Bin::Methods::http "/usr/lib/apt/methods/goldsmith-http";\n'
            'Dir::Bin::Methods::https "/usr/lib/apt/methods/goldsmith-https";\n'
        )
    assert state(tree) == before


def test_a_directory_that_a_hook_has_changed_keeps_its_new_time(tree: Path) -> None:
    with pytest.raises(RuntimeError), lent(tree):
        (tree / SETTINGS / "95own").write_text("")
        os.utime(tree / SETTINGS, (5000, 5000))
        raise RuntimeError
    assert sorted(os.listdir(tree / SETTINGS)) == ["70debconf", "95own"]
    assert (tree / SETTINGS).stat().st_mtime > 1000
    assert (tree / METHODS).stat().st_mtime == 1000


@pytest.mark.parametrize("missing", ["usr/bin/perl", f"{METHODS}/http", SETTINGS, METHODS])
def test_a_tree_that_lacks_something_is_left_alone(tree: Path, missing: str) -> None:
    (tree / missing).rename(tree / "elsewhere")
    if missing.endswith("http"):
        (tree / METHODS / "https").unlink()
    before = state(tree)
    with lent(tree):
        assert state(tree) == before


def test_a_directory_behind_a_link_is_left_alone(tree: Path) -> None:
    (tree / SETTINGS).rename(tree / "elsewhere")
    (tree / SETTINGS).symlink_to("/elsewhere")
    before = state(tree)
    with lent(tree):
        assert state(tree) == before


def test_a_hook_may_remove_the_directories(tree: Path) -> None:
    with lent(tree):
        (tree / METHODS).rename(tree / "moved")
        (tree / METHODS).write_text("a file")
    assert (tree / METHODS).read_text() == "a file"
    assert sorted(os.listdir(tree / SETTINGS)) == ["70debconf"]
