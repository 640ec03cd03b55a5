"""Random names in an initramfs: where they lie, and how they become those of another tree."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard
from test_packages_initramfs_contents import FILE, Entry, cpio

from goldsmith.packages.errors import PackageError
from goldsmith.packages.initramfs import start_of_main
from goldsmith.packages.initramfs_contents import members
from goldsmith.packages.initramfs_identities import (
    Slot,
    find_slots,
    name_in,
    replace_identities,
)
from goldsmith.packages.lent_zstd import MARK, compress_marked

PLACE = "/etc/iscsi/initiatorname.iscsi"
FIRST = b"## a comment\nInitiatorName=iqn.1993-08.org.debian:01:d38cf889558\n"
SECOND = b"## a comment\nInitiatorName=iqn.1993-08.org.debian:01:1\n"
BEFORE: Entry = ("bin/x", FILE, b"a program")
AFTER: Entry = ("lib/y", FILE, b"a library")
PACKERS = {"none": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
EARLY = cpio(("kernel/x86/microcode", FILE, b"early"))


def archive(identity: bytes) -> bytes:
    return cpio(BEFORE, ("etc/initiatorname.iscsi", FILE, identity), AFTER)


def contents(initramfs: Path) -> list[tuple[str, str, int]]:
    return [(one.path, one.sha256, one.size_bytes) for one in members(initramfs)]


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("early", [b"", EARLY], ids=["alone", "behind microcode"])
@pytest.mark.parametrize("names", [(FIRST, SECOND), (SECOND, FIRST)], ids=["shorter", "longer"])
def test_a_copy_is_replaced(
    packer: str, early: bytes, names: tuple[bytes, bytes], tmp_path: Path
) -> None:
    one, other = names
    made = tmp_path / "made"
    made.write_bytes(early + PACKERS[packer](archive(one)))
    expected = tmp_path / "expected"
    expected.write_bytes(early + PACKERS[packer](archive(other)))
    slots = find_slots(made, {PLACE: one})
    assert [slot.place for slot in slots] == [PLACE]
    replace_identities(made, tmp_path / "new", slots, {PLACE: other})
    assert contents(tmp_path / "new") == contents(expected)
    assert find_slots(tmp_path / "new", {PLACE: other}) == slots


def test_every_copy_is_replaced(tmp_path: Path) -> None:
    def packed(identity: bytes) -> bytes:
        return cpio(BEFORE, ("etc/a", FILE, identity), AFTER, ("etc/b", FILE, identity))

    made = tmp_path / "made"
    made.write_bytes(packed(FIRST))
    replace_identities(made, tmp_path / "new", find_slots(made, {PLACE: FIRST}), {PLACE: SECOND})
    (tmp_path / "expected").write_bytes(packed(SECOND))
    assert contents(tmp_path / "new") == contents(tmp_path / "expected")


def test_the_same_names_in_what_was_lent_zstd_give_the_same_bytes(tmp_path: Path) -> None:
    program = b"".join(b"%d is a line of a program\n" % number for number in range(400_000))
    content = cpio(("bin/x", FILE, program), ("etc/a", FILE, FIRST), AFTER)
    made = tmp_path / "made"
    made.write_bytes(EARLY + MARK + content)
    compress_marked(made, start_of_main)
    slots = find_slots(made, {PLACE: FIRST})
    assert slots
    replace_identities(made, tmp_path / "again", slots, {PLACE: FIRST})
    assert made.read_bytes() == (tmp_path / "again").read_bytes()


def test_one_that_holds_no_name_stays_as_it_is(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(cpio(BEFORE, AFTER))
    assert find_slots(made, {PLACE: FIRST}) == []


@pytest.mark.parametrize(
    "content",
    [
        cpio(BEFORE, ("etc/i", FILE, FIRST), ("etc/made-of-it", FILE, b"x=" + name_in(FIRST))),
        cpio((name_in(FIRST).decode(), FILE, b"")),
        cpio(("etc/microcode", FILE, FIRST)) + gzip.compress(cpio(BEFORE)),
        archive(FIRST).replace(b"070701", b"070702"),
        lzma.compress(archive(FIRST)),
        gzip.compress(archive(FIRST))[:-20],
        b"nonsense",
    ],
    ids=["elsewhere", "in a name", "in an early archive", "summed", "by xz", "torn", "no archive"],
)
def test_one_that_cannot_be_given_another_name_is_refused(content: bytes, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(content)
    with pytest.raises(PackageError):
        find_slots(made, {PLACE: FIRST})


def test_a_slot_that_is_none_is_refused(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(archive(FIRST))
    with pytest.raises(PackageError):
        replace_identities(made, tmp_path / "new", [Slot(PLACE, 4)], {PLACE: SECOND})


@pytest.mark.parametrize(
    ("content", "name"),
    [(FIRST, b"iqn.1993-08.org.debian:01:d38cf889558"), (b"", b""), (b"\n\n", b""),
     (b"InitiatorName=short\n", b""), (b"9c5f1d4e-8a3b-4d0e-9b1f-1234567890ab\n",
                                       b"9c5f1d4e-8a3b-4d0e-9b1f-1234567890ab")],
)  # fmt: skip
def test_what_is_random_is_the_end_of_the_last_line(content: bytes, name: bytes) -> None:
    assert name_in(content) == name
