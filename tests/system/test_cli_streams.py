"""Standard streams that are full or closed, and a working directory that is gone."""

import os
import subprocess
import sys

import pytest

TEMPLATE = """source "file" "j" {
  content = "1"
  target  = "o/same.txt"
}
source "file" "k" {
  content = "2"
  target  = "o/same.txt"
}
build {
  sources = ["file.j", "file.k"]
}
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE)
    return tmp_path


def run(place, *words, redirected=None, **options):
    program = [sys.executable, "-P", "-m", "goldsmith", *words]
    by_shell = ["/bin/sh", "-c", f'exec "$@" {redirected}', "sh", *program]
    argv = program if redirected is None else by_shell
    environment = {**os.environ, "GOLDSMITH_CACHE_DIR": str(place / "cache")}
    return subprocess.run(
        argv, cwd=place, env=environment, stderr=subprocess.PIPE, text=True, check=False,
        timeout=300, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [["version"], ["--help"], ["validate", "t.pkr.hcl"], ["inspect", "t.pkr.hcl"], ["schema"],
     ["build", "t.pkr.hcl"], ["build", "-log-format=jsonl", "t.pkr.hcl"]],
    ids=" ".join,
)  # fmt: skip
def test_a_full_disk_is_an_error_of_one_line(place, words):
    with open("/dev/full", "w") as full:
        done = run(place, *words, stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Error: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_closed_streams_are_no_error(place):
    assert run(place, "build", "t.pkr.hcl", redirected=">&- <&-").returncode == 0
    assert (place / "o/same.txt").read_text() in ("1", "2")
    assert [path.name for path in (place / "o").iterdir()] == ["same.txt"]


def test_a_working_directory_that_is_gone(place, tmp_path_factory):
    gone = tmp_path_factory.mktemp("gone")
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone,
         sys.executable, "-P", "-m", "goldsmith", "validate", place / "t.pkr.hcl"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the working directory does not exist any more" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
