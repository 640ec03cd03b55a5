"""Which blocks of real images may be left out: those alone of which nobody ever reads anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from old_images import MIB, call

from goldsmith.cloud.ebs_direct.contents import Contents, provably_free, read_contents
from goldsmith.cloud.ebs_direct.digest_index import BLOCK_BYTES, ZERO_DIGEST
from goldsmith.cloud.ebs_direct.scrub import ScrubStep
from goldsmith.core.step import StepContext
from goldsmith.events import Emitter
from goldsmith.host.sparse import data_extents, punch_hole

PARTS = "label: {}\nstart=2048, size=131072\nstart=133120, size=16384, type={}\n"
"""64 MiB at 1 MiB, 8 MiB behind them."""
ROOT = (MIB, 65 * MIB)
OTHER = (65 * MIB, 73 * MIB)
FILE_BYTES = 4 * MIB


def image_of(place: Path, label: str, *, size: int = 96 * MIB) -> Path:
    """A disk with an ext4 in which there is a file, and a partition of who knows what."""
    tree = place / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * FILE_BYTES)
    image = place / "disk.raw"
    with image.open("wb") as file:
        file.truncate(size)
    kind = "swap" if label == "dos" else "linux"
    call("sfdisk", "-q", image, text=PARTS.format(label, kind))
    part = place / "part"
    with part.open("wb") as file:
        file.truncate(ROOT[1] - ROOT[0])
    # Inode tables that were never written are holes then, as they are on a loop device.
    call("mkfs.ext4", "-q", "-F", "-d", tree, part)
    call("dd", f"if={part}", f"of={image}", "bs=1M", "seek=1", "conv=notrunc,sparse")
    return image


def blocks(start: int, end: int) -> set[int]:
    """The blocks that a stretch of bytes touches."""
    return set(range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)))


def of_file(place: Path) -> list[tuple[int, int]]:
    """The stretches of the image that belong to the file, as debugfs tells of them."""
    told = call("debugfs", "-R", "blocks /file", place / "part").split()
    size = int(call("blkid", "-o", "value", "-s", "BLOCK_SIZE", place / "part"))
    found: list[tuple[int, int]] = []
    for start in sorted(MIB + int(number) * size for number in told):
        before = found.pop()[0] if found and found[-1][1] == start else start
        found.append((before, start + size))
    return found


def has(contents: Contents, number: int) -> bool:
    return contents.index.get(number) is not None


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_holes_that_files_rely_on_are_sent_as_zeros(tmp_path: Path, label: str) -> None:
    image = image_of(tmp_path, label)
    stretches = of_file(tmp_path)
    assert sum(end - start for start, end in stretches) >= FILE_BYTES
    with image.open("r+b") as file:
        # What a discard that zeroes leaves of a file: holes, and no data anywhere.
        for start, end in stretches:
            assert punch_hole(file.fileno(), start, end - start)
        data = {number for start, length in data_extents(file.fileno())
                for number in blocks(start, start + length)}  # fmt: skip
    contents = read_contents(image)
    used = {number for one in stretches for number in blocks(*one)}
    assert len(used - data) >= FILE_BYTES // BLOCK_BYTES // 2
    assert all(contents.index.get(number) == ZERO_DIGEST for number in used - data)
    assert all(has(contents, number) for number in used)
    # Nothing is known of the second partition, so that all of it counts; so do the tables.
    assert all(contents.index.get(number) == ZERO_DIGEST for number in blocks(*OTHER))
    assert has(contents, 0) and has(contents, 1) and has(contents, 96 * MIB // BLOCK_BYTES - 1)
    # What is left out is free, and there is much of it.
    left_out = {number for number in range(96 * 2) if not has(contents, number)}
    assert len(left_out) > 64
    free = {number for start, end in provably_free(image)
            for number in range(-(-start // BLOCK_BYTES), end // BLOCK_BYTES)}  # fmt: skip
    assert left_out <= free and not left_out & (blocks(*OTHER) | used)


def test_what_is_unknown_counts_whole(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(b"no table")
    os.truncate(image, 8 * MIB)
    assert provably_free(image) == []
    assert len(read_contents(image).index) == 16
    whole = read_contents(image_of(tmp_path, "gpt"), everything=True)
    assert len(whole.index) == 2048


def scrubbed(image: Path, before: Contents, place: Path) -> Contents:
    step = ScrubStep(image, before.index)
    return step.run(StepContext(emitter=Emitter("b", lambda _: None), scratch=place, epoch_s=0))


def test_free_parts_of_changed_blocks_are_emptied_and_nothing_else(tmp_path: Path) -> None:
    image = image_of(tmp_path, "gpt")
    before = read_contents(image)
    free = provably_free(image)
    inside = [(start, end) for start, end in free if end <= ROOT[1] and end - start > MIB]
    at = -(-inside[-1][0] // BLOCK_BYTES) * BLOCK_BYTES
    was = image.read_bytes()
    with image.open("r+b") as file:
        for place, text in ((at, b"secret"), (OTHER[0] + 100, b"kept")):
            file.seek(place)
            file.write(text)
    after = scrubbed(image, before, tmp_path)
    now = image.read_bytes()
    assert b"secret" not in now and now[OTHER[0] + 100 :].startswith(b"kept")
    assert now[: OTHER[0]] == was[: OTHER[0]] and now[OTHER[1] :] == was[OTHER[1] :]
    assert not has(before, at // BLOCK_BYTES) and not has(after, at // BLOCK_BYTES)
    assert after.index.get(OTHER[0] // BLOCK_BYTES) != ZERO_DIGEST


def test_the_copy_of_a_table_in_a_volume_that_has_grown_stays(tmp_path: Path) -> None:
    """It lies outside of all partitions, and no longer at the end."""
    size = 96 * MIB
    image = image_of(tmp_path, "gpt", size=size)
    before = read_contents(image)
    os.truncate(image, 2 * size)
    with image.open("r+b") as file:
        file.seek(size - 40 * 1024)
        # Somebody else's data in the same block.
        file.write(b"changed")
    scrubbed(image, before, tmp_path)
    with image.open("rb") as file:
        file.seek(size - 512)
        assert file.read(8) == b"EFI PART"
