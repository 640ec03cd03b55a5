"""What is put right in a finished tree, beside upstream's own function on the same tree."""

import os
import shutil
import subprocess

import pytest

from goldsmith.builders.elements.tidy import tidy
from goldsmith.elements import catalog

LIB = catalog.upstream_package() / "lib"
SCRIPT = f"""
set -eE
run_d() {{ :; }}
unmount_dir() {{ :; }}
source {LIB}/img-functions
finalise_base
"""


@pytest.fixture
def upstream(tmp_path):
    """Runs its function on a tree and returns its status; its sudo is that of a root's host."""
    program = tmp_path / "bin/sudo"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nexec "$@"\n')
    program.chmod(0o755)

    def run(script, tree):
        done = subprocess.run(
            ["/bin/bash", "-c", script], capture_output=True, check=False, timeout=60,
            env={"PATH": f"{program.parent}:{os.environ['PATH']}", "TMP_MOUNT_PATH": str(tree)},
        )  # fmt: skip
        return done.returncode

    return run


def tree_of(top, own, original):
    for name in ("etc", "tmp/a", "var/log/deep er", "root/sub"):
        (top / name).mkdir(parents=True)
    for name in ("tmp/.x", "tmp/a/y", "var/log/one", "var/log/deep er/two", "root/a.log",
                 "root/kept", "root/sub/b.log"):  # fmt: skip
        (top / name).write_text(name)
    (top / "var/log/link").symlink_to("../../etc/motd")
    (top / "etc/motd").write_text("kept")
    for name, text in (("resolv.conf", own), ("resolv.conf.ORIG", original)):
        if text.startswith("-> "):
            (top / "etc" / name).symlink_to(text[3:])
        elif text:
            (top / "etc" / name).write_text(text)


def content(top):
    found = {}
    for path in sorted(top.rglob("*")):
        place = str(path.relative_to(top))
        if path.is_symlink():
            found[place] = f"-> {os.readlink(path)}"
        else:
            found[place] = path.read_text() if path.is_file() else None
    return found


@pytest.mark.parametrize("original", ["", "its own", "-> ../run/resolv.conf"])
@pytest.mark.parametrize("own", ["the host's", "-> ../run/x", ""])
def test_a_tree_is_put_right_as_upstream_does_it(own, original, upstream, tmp_path):
    for name in ("ours", "theirs"):
        tree_of(tmp_path / name, own, original)
    assert upstream(SCRIPT, tmp_path / "theirs") == 0
    tidy(tmp_path / "ours")
    assert content(tmp_path / "ours") == content(tmp_path / "theirs")


def test_a_tree_without_logs_ends_upstreams_build_alone(upstream, tmp_path):
    for name in ("ours", "theirs"):
        tree_of(tmp_path / name, "x", "y")
        shutil.rmtree(tmp_path / name / "var")
    assert upstream(SCRIPT, tmp_path / "theirs") != 0
    tidy(tmp_path / "ours")
    assert (tmp_path / "ours/etc/resolv.conf").read_text() == "y"


def test_files_whose_names_begin_with_a_dot_are_lost_upstream_alone(upstream, tmp_path):
    """Its copy of the tree into the disk names `built/*`; ours is in the tests of disks."""
    lines = (LIB / "disk-image-create").read_text().splitlines()
    (copy,) = [line for line in lines if "cp -ra" in line]
    for name in ("built", "mnt"):
        (tmp_path / name).mkdir()
    (tmp_path / "built/.top").write_text("")
    (tmp_path / "built/seen").write_text("")
    assert upstream(f"TMP_BUILD_DIR={tmp_path}; {copy}", tmp_path / "mnt") == 0
    assert os.listdir(tmp_path / "mnt") == ["seen"]
