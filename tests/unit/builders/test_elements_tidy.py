"""What is put right in a finished tree: resolver, /tmp, logs; links lead nowhere outside it."""

import contextlib
import os
import shutil

import pytest

from goldsmith.builders.elements.disk import write_fstab
from goldsmith.builders.elements.disk_size import usage_report
from goldsmith.builders.elements.tidy import tidy
from goldsmith.host.confined import ConfinedPathError


@pytest.fixture
def tree(tmp_path):
    for name in ("etc", "tmp", "var/log/a", "root/b"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    return tmp_path / "tree"


def test_the_original_resolver_comes_back(tree):
    (tree / "etc/resolv.conf").write_text("the host's")
    (tree / "etc/resolv.conf.ORIG").write_text("its own")
    tidy(tree)
    assert (tree / "etc/resolv.conf").read_text() == "its own"
    assert os.listdir(tree / "etc") == ["resolv.conf"]


def test_an_original_link_comes_back_as_a_link(tree):
    (tree / "etc/resolv.conf").write_text("the host's")
    (tree / "etc/resolv.conf.ORIG").symlink_to("/run/resolv.conf")
    tidy(tree)
    assert os.readlink(tree / "etc/resolv.conf") == "/run/resolv.conf"


def test_without_an_original_there_is_none(tree):
    (tree / "etc/resolv.conf").write_text("the host's")
    tidy(tree)
    assert os.listdir(tree / "etc") == []


def test_a_link_that_an_element_has_made_stays(tree):
    (tree / "etc/resolv.conf").symlink_to("../run/x")
    (tree / "etc/resolv.conf.ORIG").write_text("old")
    tidy(tree)
    assert os.readlink(tree / "etc/resolv.conf") == "../run/x"
    assert os.listdir(tree / "etc") == ["resolv.conf"]


def test_what_holds_inodes_of_this_build_goes(tree):
    for name in ("aux-cache", "kept"):
        (tree / "var/cache/ldconfig").mkdir(parents=True, exist_ok=True)
        (tree / "var/cache/ldconfig" / name).write_text("x")
    tidy(tree)
    assert os.listdir(tree / "var/cache/ldconfig") == ["kept"]


def test_tmp_is_emptied_and_logs_are(tree):
    (tree / "tmp/a b").mkdir()
    (tree / "tmp/a b/c").write_text("x")
    (tree / "tmp/.hidden").write_text("x")
    (tree / "var/log/a/x y").write_text("x")
    (tree / "root/b/install.log").write_text("x")
    (tree / "root/b/kept").write_text("x")
    tidy(tree)
    assert os.listdir(tree / "tmp") == []
    assert (tree / "var/log/a/x y").read_text() == ""
    assert os.listdir(tree / "root/b") == ["kept"]


@pytest.mark.parametrize("place", ["tmp", "var/log", "root", "etc"])
def test_links_out_of_the_tree_lead_nowhere(tree, tmp_path, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("x.log", "resolv.conf"):
        (outside / name).write_text("the host's")
    shutil.rmtree(tree / place)
    # By a relative path, which does not lead through the tree's own /tmp again.
    (tree / place).symlink_to("../" * 9 + str(outside.relative_to("/")))
    (tree / "link.log").symlink_to(outside / "x.log")
    with contextlib.suppress(ConfinedPathError):
        tidy(tree)
    assert {path.read_text() for path in outside.iterdir()} == {"the host's"}


def test_a_tree_without_any_of_it_is_fine(tmp_path):
    tidy(tmp_path)
    assert os.listdir(tmp_path) == []


def test_fstab_takes_the_place_of_the_trees_own(tree, tmp_path):
    (tmp_path / "hosts").write_text("the host's")
    (tree / "etc/fstab").symlink_to(tmp_path / "hosts")
    write_fstab(tree, "LABEL=r / ext4 defaults 0 1\n")
    assert (tree / "etc/fstab").read_text() == "LABEL=r / ext4 defaults 0 1\n"
    assert (tmp_path / "hosts").read_text() == "the host's"


def test_the_report_has_large_files_or_all(tree):
    (tree / "etc/small").write_text("x")
    (tree / "etc/large").write_bytes(os.urandom(11 << 20))
    short = list(usage_report(tree, everything=False))
    assert short[1] == "Image size report (files > 10MiB)"
    assert any(line.endswith(" /etc/large") for line in short)
    assert not any("small" in line for line in short)
    assert any(line.endswith(" /etc/small") for line in usage_report(tree, everything=True))
