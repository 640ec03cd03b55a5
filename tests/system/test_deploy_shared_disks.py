"""What lies on a target disk and on one that nobody named is kept, running or not."""

from __future__ import annotations

import struct
import uuid
import zlib

import pytest
from deploy_targets import SCHEME, attached, tool

from goldsmith.disk.lvm_labels import read_group

pytestmark = pytest.mark.root

MIB = 1 << 20
PV_UUIDS = [f"Goldsm-0000-0000-0000-0000-0000-00000{n}" for n in (1, 2)]
GROUP = "data"


def lvm_crc(data: bytes) -> int:
    """LVM's own beginning of a CRC-32 (lib/misc/crc.c), and no inversion at its end."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def physical_volume(number: int, *, copies: int = 1) -> bytes:
    """The first MiB of a physical volume of the group, whose text wraps around its area."""
    own = PV_UUIDS[number].replace("-", "").encode()
    volumes = "".join(
        f'pv{n} {{\nid = "{name}"\ndevice = "/dev/sd{n}"\n}}\n' for n, name in enumerate(PV_UUIDS)
    )
    head = f'{GROUP} {{\nid = "G"\nphysical_volumes {{\n{volumes}}}\n\nlogical_volumes {{\n'
    text = (head + 'root {\nid = "r"\n}\n}\n}\n').encode()
    area_at, area_bytes = 4096, MIB - 4096
    areas = struct.pack("<QQQQ", MIB, 0, 0, 0)
    areas += struct.pack("<QQQQ", area_at, area_bytes, 0, 0) if copies else bytes(32)
    header = own + struct.pack("<Q", 32 * MIB) + areas
    rest = struct.pack("<I", 32) + b"LVM2 001" + header
    rest += bytes(512 - 20 - len(rest))
    label = b"LABELONE" + struct.pack("<QI", 1, lvm_crc(rest)) + rest
    disk = bytearray(MIB)
    disk[512:1024] = label
    if copies:
        offset = area_bytes - 60
        found = struct.pack("<QQII", offset, len(text), lvm_crc(text), 0)
        body = b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, area_at, area_bytes) + found
        body += bytes(512 - 4 - len(body))
        disk[area_at : area_at + 512] = struct.pack("<I", lvm_crc(body)) + body
        disk[area_at + offset : area_at + area_bytes] = text[:60]
        disk[area_at + 512 : area_at + 512 + len(text) - 60] = text[60:]
    return bytes(disk)


def array_member(number: int) -> bytes:
    """A superblock of metadata 1.2 (linux/raid/md_p.h), 4 KiB into the member."""
    block = bytearray(256 + 4)
    struct.pack_into("<III", block, 0, 0xA92B4EFC, 1, 0)
    block[16:32] = uuid.UUID(int=7).bytes
    block[32:38] = b"host:0"
    struct.pack_into("<iiQII", block, 72, 1, 0, 2048, 0, 2)
    struct.pack_into("<QQQ", block, 128, 2048, 30000, 8)
    struct.pack_into("<I", block, 160, number)
    struct.pack_into("<I", block, 220, 2)
    struct.pack_into("<HH", block, 256, 0, 1)
    total = sum(struct.unpack(f"<{len(block) // 4}I", block))
    struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    return bytes(4096) + bytes(block)


def put(node: str, data: bytes) -> None:
    with open(node, "r+b", buffering=0) as stream:
        stream.write(data)


MADE = {
    "lvm": lambda nodes: [put(n, physical_volume(i)) for i, n in enumerate(nodes)],
    "lvm without metadata": lambda nodes: [
        put(n, physical_volume(i, copies=i)) for i, n in enumerate(nodes)
    ],
    "array": lambda nodes: [put(n, array_member(i)) for i, n in enumerate(nodes)],
    "btrfs": lambda nodes: tool("mkfs.btrfs", "-q", "-f", "-m", "raid1", "-d", "raid1", *nodes),
}
NAMED = {"lvm": "volume group 'data'", "lvm without metadata": "volume group", "array": "array",
         "btrfs": "btrfs"}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_a_part_of_something_on_a_disk_that_is_not_named(goldsmith, tmp_path, kind):
    """Both ways of lying there: in a partition of the target, and on the whole of the other."""
    scheme = tmp_path / "scheme.hcl"
    scheme.write_text(SCHEME)
    size = 300 if kind != "btrfs" else 400
    with (attached(tmp_path / "disk.img", size, pattern=b"") as target,
          attached(tmp_path / "other.img", size, pattern=b"") as other):  # fmt: skip
        tool("sfdisk", "--quiet", "--no-tell-kernel", target.device, input=b"label: gpt\n,,\n")
        tool("partx", "--update", target.device)
        MADE[kind]([f"{target.device}p1", other.device])
        before = target.digest(), other.digest()
        done = goldsmith("deploy", "--scheme", scheme, "--disk", f"one={target.device}", "--yes")
        assert done.status == 1
        assert f"{target.device}p1 is a part of the {NAMED[kind]}" in done.stderr
        assert f"also lies on {other.device}, which the scheme does not name" in done.stderr
        assert (target.digest(), other.digest()) == before

        # What is left of it elsewhere is nobody's any more once it is taken out.
        tool("wipefs", "--all", "--quiet", f"{target.device}p1")
        others = other.digest()
        done = goldsmith("deploy", "--scheme", scheme, "--disk", f"one={target.device}", "--yes")
        assert done.status == 0, done
        assert other.digest() == others


MARKS = {
    "isw_raid_member": (1024, b"Intel Raid ISM Cfg Sig. 1.3.00"),
    "ddf_raid_member": (
        512,
        b"\xde\x11\xde\x11" + bytes(4) + b"GOLD0001" + bytes(16) + b"01.02.00",
    ),
}
"""What firmware writes at the end of each disk of its arrays: how far before it, and the bytes."""


@pytest.mark.parametrize("kind", MARKS)
def test_a_disk_of_an_array_of_firmware_is_refused(goldsmith, tmp_path, kind):
    """The other disks of the array would lose what they have, though no kernel assembles it."""
    scheme = tmp_path / "scheme.hcl"
    scheme.write_text(SCHEME)
    before_end, mark = MARKS[kind]
    with attached(tmp_path / "disk.img", pattern=b"") as target:
        tool("sfdisk", "--quiet", "--no-tell-kernel", target.device, input=b"label: gpt\n,,\n")
        with open(target.device, "r+b", buffering=0) as stream:
            stream.seek(-before_end, 2)
            stream.write(mark)
        before = target.digest()
        words = ("deploy", "--scheme", scheme, "--disk", f"one={target.device}", "--yes")
        done = goldsmith(*words)
        assert done.status == 1
        assert f"{target.device} is held: it belongs to an array of its" in done.stderr
        assert kind in done.stderr
        assert target.digest() == before

        done = goldsmith(*words, "--distinct-disk", "/dev/nothing")
        assert "/dev/nothing is said to be a disk of its own" in done.stderr

        tool("wipefs", "--all", "--quiet", target.device)
        done = goldsmith(*words, "--distinct-disk", target.device)
        assert done.status == 0, done


def test_the_group_of_a_physical_volume_is_read(tmp_path):
    path = tmp_path / "pv"
    for copies in (1, 0):
        path.write_bytes(bytes(8192) + physical_volume(1, copies=copies))
        with path.open("rb") as stream:
            found = read_group(stream.fileno(), 8192)
        if copies:
            assert found is not None
            assert (found.name, found.members) == (GROUP, frozenset(PV_UUIDS))
        else:
            assert found is None


@pytest.mark.parametrize("at", [(1 << 64) - 512, (1 << 63) - 8000, 1 << 40])
def test_an_area_that_lies_beyond_the_disk_is_none(tmp_path, at):
    disk = bytearray(physical_volume(0))
    areas = 512 + 32 + 40
    assert struct.unpack_from("<Q", disk, areas + 32) == (4096,)
    struct.pack_into("<Q", disk, areas + 32, at)
    path = tmp_path / "pv"
    path.write_bytes(disk)
    with path.open("rb") as stream:
        assert read_group(stream.fileno(), 0) is None
        assert read_group(stream.fileno(), 1 << 20) is None


def test_a_text_that_begins_beyond_any_disk_is_none(tmp_path):
    disk = bytearray(physical_volume(0))
    struct.pack_into("<QQ", disk, 4096 + 40, (1 << 64) - 100, 200)
    struct.pack_into("<Q", disk, 512 + 32 + 40 + 40, (1 << 64) - 1)
    path = tmp_path / "pv"
    path.write_bytes(disk)
    with path.open("rb") as stream:
        assert read_group(stream.fileno(), 0) is None
