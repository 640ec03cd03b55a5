"""The words for mke2fs that change how much an ext4 holds, as block device YAML has them."""

import pytest

from goldsmith.disk.block_devices.ext_words import ExtWords, read_ext_words
from goldsmith.disk.filesystems import ext4_geometry, space
from goldsmith.disk.model import FileSystem
from goldsmith.disk.usage import TreeUsage
from goldsmith.errors import LayoutError

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ExtWords()),
        ("-i 4096 -J size=64", ExtWords(4096, 64)),
        ("-i4096 -Jsize=64 -q -F", ExtWords(4096, 64)),
        ("-i 1024 -i 8192", ExtWords(8192)),
        ("-E resize=100 -O ^64bit -m 3",
         ExtWords(None, None, ("-E", "resize=100", "-O", "^64bit", "-m", "3"))),
    ],
)  # fmt: skip
def test_words_are_read_and_the_last_one_counts(text, expected):
    assert read_ext_words(text.split()) == expected


@pytest.mark.parametrize(
    "text", ["-i", "-i 0", "-i many", "-J size=0", "-J device=/dev/sda1", "-J"]
)
def test_words_without_sense_are_refused(text):
    with pytest.raises(LayoutError, match="mkfs option"):
        read_ext_words(text.split())


def test_inodes_and_journal_are_planned_with():
    plain, wide = FileSystem("ext4"), FileSystem("ext4", bytes_per_inode=4096, journal_mib=64)
    usage = TreeUsage(inodes=10, data_blocks=(100 * MIB) // 4096)
    assert space.inode_count(plain, usage, 200 * MIB) == 200 * MIB // 16384
    assert space.inode_count(wide, usage, 200 * MIB) == 200 * MIB // 4096
    assert space.missing_bytes(plain, usage, 160 * MIB) == 0
    assert space.missing_bytes(wide, usage, 160 * MIB) > 0
    shape = ext4_geometry.geometry(400 * MIB, 1000, "ext4", 64)
    assert shape is not None
    assert shape.journal_blocks == 64 * MIB // 4096
