"""Our qcow2 images, judged by qemu-img: the same disk, no error, the same bytes on all cores."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from goldsmith.disk.formats import convert
from goldsmith.disk.qcow2_writer import CLUSTER_BYTES, write_qcow2
from goldsmith.errors import NoSpaceError

MIB = 1 << 20


def sparse_image(path, size_bytes, seed):
    """A raw image of holes, zeros that are written, texts, and noise, side by side."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size_bytes)
        while (at := chance.randrange(size_bytes + MIB)) < size_bytes:
            kinds = (bytes(CLUSTER_BYTES), b"a text of words " * 9000, chance.randbytes(99_999))
            file.seek(at)
            file.write((chance.choice(kinds) * chance.randrange(1, 9))[: size_bytes - at])
    return path


def judged(raw, image):
    subprocess.run(["qemu-img", "check", "-q", image], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", raw, image], check=True)


@pytest.mark.parametrize("seed", range(8))
def test_the_disk_is_the_same_and_its_bytes_too(tmp_path, seed):
    size_bytes = (3 + 7 * seed) * MIB + 512 * (seed % 3)
    raw = sparse_image(tmp_path / "raw", size_bytes, seed)
    compression = ("zstd", "zlib")[seed % 2]
    made = []
    for threads in (1, 2, 5):
        write_qcow2(raw, tmp_path / f"{threads}", compression=compression, threads=threads)
        made.append((tmp_path / f"{threads}").read_bytes())
    assert made[0] == made[1] == made[2]
    judged(raw, tmp_path / "1")
    told = subprocess.check_output(["qemu-img", "info", tmp_path / "1"], text=True)
    assert f"compression type: {compression}" in told
    assert f"({size_bytes} bytes)" in told


def test_levels_make_other_files_of_the_same_disk(tmp_path):
    raw = sparse_image(tmp_path / "raw", 9 * MIB, 3)
    for level in (1, 2, 3):
        write_qcow2(raw, tmp_path / f"{level}", level=level)
        judged(raw, tmp_path / f"{level}")
    assert (tmp_path / "1").read_bytes() != (tmp_path / "3").read_bytes()


def test_an_empty_disk_is_a_disk(tmp_path):
    (tmp_path / "raw").touch()
    os.truncate(tmp_path / "raw", 700 * MIB)
    write_qcow2(tmp_path / "raw", tmp_path / "image")
    judged(tmp_path / "raw", tmp_path / "image")
    assert (tmp_path / "image").stat().st_size == 4 * CLUSTER_BYTES


def test_data_that_cannot_be_compressed_stays_as_it_is(tmp_path):
    (tmp_path / "raw").write_bytes(os.urandom(5 * MIB))
    write_qcow2(tmp_path / "raw", tmp_path / "image")
    judged(tmp_path / "raw", tmp_path / "image")
    assert (tmp_path / "image").stat().st_size <= 5 * MIB + 5 * CLUSTER_BYTES


def test_many_tables_and_counts(tmp_path):
    # More than 512 MiB needs a second table; data at its end lies in the last one.
    with open(tmp_path / "raw", "wb") as file:
        file.truncate(5 << 30)
        for at in (0, 600 * MIB, (5 << 30) - 4096):
            file.seek(at)
            file.write(b"here" * 1024)
    write_qcow2(tmp_path / "raw", tmp_path / "image")
    judged(tmp_path / "raw", tmp_path / "image")


@pytest.mark.root
def test_a_full_disk_is_named_and_nothing_stays(tmp_path):
    (tmp_path / "raw").write_bytes(os.urandom(6 * MIB))
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", place], check=True)
    try:
        with pytest.raises(NoSpaceError):
            convert(tmp_path / "raw", place / "image", "qcow2")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)
