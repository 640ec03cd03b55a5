"""The benchmarks run on small things: what they print is for people, that they work is for us."""

import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.host.process import find_tool

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script, *words, **environment):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *words], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )  # fmt: skip
    return done.stdout + done.stderr


def test_finish_measures_every_way_and_cleans_up(tmp_path):
    missing = [tool for tool in ("mkfs.ext4", "qemu-img", "gzip", "zstd") if not find_tool(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    files = tmp_path / "files"
    files.mkdir()
    for number in range(20):
        (files / f"{number}").write_text(f"{number} of some lines\n" * 20_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    said = run("finish.py", "--size", "32MiB", "--runs", "1", "--tree", files, TMPDIR=str(scratch))
    for name in ("raw.gz", "gzip -9", "raw.zst", "zstd -T0", "goldsmith qcow2", "sha256"):
        assert name in said, said
    assert "wanted at most 0.2" in said
    assert list(scratch.iterdir()) == []


def test_image_set_measures_both_ways_and_cleans_up(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "text").write_text("some lines\n" * 100_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    said = run("image_set.py", "--size", "32MiB", "--tree", files, TMPDIR=str(scratch))
    for name in ("goldsmith", "fuel-agent's way", "wanted at most 0.2"):
        assert name in said, said
    assert list(scratch.iterdir()) == []


def test_start_up_measures_every_command():
    said = run("start_up.py", "--runs", "1")
    for name in ("python -c pass", "goldsmith --version", "goldsmith --help", "goldsmith validate",
                 "goldsmith build"):  # fmt: skip
        assert name in said, said


def test_templates_measures_both_sides():
    said = run("templates.py", "--runs", "1", "--small")
    for name in ("one source, one provisioner", "growth", "memory at 10000", "goldsmith"):
        assert name in said, said


def test_engine_measures_time_and_memory(tmp_path):
    said = run("engine.py", "--provisioners", "20", "--sources", "3", TMPDIR=str(tmp_path))
    for name in ("1 x 20: goldsmith", "3 x 10: goldsmith", "grown by"):
        assert name in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script",
    [
        "amazon_chroot.py",
        "cold_build.py",
        "elements.py",
        "finish.py",
        "start_up.py",
        "templates.py",
    ],
)
def test_every_benchmark_says_what_it_takes(script):
    assert "--runs" in run(script, "--help")


def test_keys_measures_uploads_and_cached_steps(tmp_path):
    words = ("--files", "50", "--steps", "8", "--runs", "1")
    said = run("keys.py", *words, TMPDIR=str(tmp_path))
    for name in ("key of 50 files", "sha256sum of them", "cached step, last quarter"):
        assert name in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.nightly
def test_amazon_chroot_builds_beside_packer(tmp_path):
    said = run("amazon_chroot.py", "--runs", "1", TMPDIR=str(tmp_path))
    for name in ("goldsmith", "packer", "x packer's time"):
        assert name in said, said
    assert list(tmp_path.iterdir()) == []
