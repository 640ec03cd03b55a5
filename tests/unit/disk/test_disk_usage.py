"""Measuring trees."""

import os

from hypothesis import given
from hypothesis import strategies as st

from goldsmith.disk.usage import TreeUsage, extent_tree_blocks, file_usage, measure


def test_files_links_and_holes(tmp_path):
    (tmp_path / "one").write_bytes(b"x")
    os.link(tmp_path / "one", tmp_path / "again")
    (tmp_path / "two").write_bytes(b"x" * 4097)
    (tmp_path / "empty").touch()
    with open(tmp_path / "holes", "wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(32 << 20)
        stream.write(b"x")
    (tmp_path / "short").symlink_to("a" * 59)
    (tmp_path / "long").symlink_to("a" * 60)
    used = measure(tmp_path)["/"]
    assert used.inodes == 1 + 6
    assert used.data_blocks == 1 + 2 + 0 + 1 + 1
    assert used.directory_blocks == 1


def test_each_mount_point_has_its_own_numbers(tmp_path):
    efi = tmp_path / "boot/efi"
    (efi / "EFI").mkdir(parents=True)
    (efi / "EFI/a").write_bytes(b"x" * 8192)
    (tmp_path / "boot/kernel").write_bytes(b"x" * 4096)
    used = measure(tmp_path, ["/", "/boot/efi", "/srv"])
    assert used["/boot/efi"] == TreeUsage(3, 2, 2, 0)
    assert used["/"] == TreeUsage(4, 1, 3, 0)
    assert used["/srv"] == TreeUsage()


def test_a_link_across_mount_points_counts_for_both(tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    os.link(tmp_path / "file", tmp_path / "srv/file")
    used = measure(tmp_path, ["/", "/srv"])
    assert [used["/"].data_blocks, used["/srv"].data_blocks] == [1, 1]


def test_a_large_directory_takes_more_blocks(tmp_path):
    for number in range(500):
        (tmp_path / f"{number:0>100}").touch()
    used = measure(tmp_path)["/"]
    # 37 entries of 108 bytes in each block.
    assert 14 <= used.directory_blocks <= 15


def test_names_that_are_not_text(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\n")
    assert measure(tmp_path)["/"].inodes == 2


def test_large_attributes_take_a_block(tmp_path):
    (tmp_path / "file").touch()
    os.setxattr(tmp_path / "file", "user.small", b"x")
    before = measure(tmp_path)["/"].metadata_blocks
    os.setxattr(tmp_path / "file", "user.large", b"x" * 200)
    assert measure(tmp_path)["/"].metadata_blocks == before + 1


def test_extent_trees():
    assert [extent_tree_blocks(n) for n in (0, 4, 5, 340, 341, 340 * 5)] == [0, 0, 1, 1, 2, 6]
    assert file_usage(5 << 30).metadata_blocks == 1


@given(st.lists(st.builds(TreeUsage, *[st.integers(0, 10**6)] * 4)))
def test_usages_add_up(usages):
    total = sum(usages, TreeUsage())
    assert total.blocks == sum(u.blocks for u in usages)
    assert total.inodes == sum(u.inodes for u in usages)
