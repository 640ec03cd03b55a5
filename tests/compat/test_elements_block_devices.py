"""Block device configurations beside upstream's own code: sizes, types, labels, fstab, mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from goldsmith.disk import partition_table
from goldsmith.disk.block_devices.checking import check_block_devices
from goldsmith.disk.block_devices.layouts import GPT_CODES, chosen_uuids, fstab_text, to_layout
from goldsmith.disk.block_devices.reading import read_block_devices
from goldsmith.disk.block_devices.sizes import parse_bytes
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.planner import plan
from goldsmith.elements import catalog
from goldsmith.errors import Diagnostics, LayoutError
from goldsmith.units import GIB, MIB, UnitError

ELEMENTS = catalog.upstream_package() / "elements"
SHIPPED = sorted(ELEMENTS.glob("block-device-*/block-device-*.yaml"))
SIZE = 64 * GIB
UNUSED_BY_UPSTREAM = 3 * MIB
"""Of the end of a disk, and never more."""

BARE = """
- local_loop:
    name: image0
    mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
"""
GRAPH = """
- fstab: {name: f, base: m, options: "rw,noatime", dump-freq: 1}
- mount: {name: m, base: mkfs_root, mount_point: /}
- mkfs: {name: mkfs_root, base: root, type: xfs, opts: "-i size=512"}
- partitioning: {name: p, base: image0, label: gpt, partitions: [
    {name: esp, size: 64MiB, type: EF00}, {name: root, size: 100%}]}
- local_loop: {name: image0, size: 8GiB}
- mkfs: {name: fs_esp, base: esp, type: vfat, label: efi, mount: {mount_point: /boot/efi}}
"""
SHARES = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: fixed, size: 1.5GiB}
      - {name: half, size: 50%, mkfs: {type: ext4, mount: {mount_point: /var, fstab: {}}}}
      - {name: quarter, size: 50%, mkfs: {type: ext3, mount: {mount_point: /srv}}}
      - {name: rest, size: 100%, mkfs: {type: ext2, label: top, mount: {mount_point: /,
         fstab: {options: "rw", fsck-passno: 1}}}}
"""
LOGICAL = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: boot, size: 512MiB, flags: [boot, primary],
         mkfs: {type: ext2, mount: {mount_point: /boot, fstab: {}}}}
      - {name: sw, size: 1GiB, type: '0x82', mkfs: {type: swap, mount: {mount_point: swap,
         fstab: {}}}}
      - {name: var, size: 25%, mkfs: {type: ext4, mount: {mount_point: /var/log,
         fstab: {options: nosuid}}}}
      - {name: root, size: 100%, mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {}}}}
"""
ALL_LOGICAL = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: one, size: 30%}
      - {name: root, size: 100%, mkfs: {name: mkfs_root, mount: {mount_point: /}}}
"""
VOLUMES = """
- local_loop: {name: image0}
- partitioning: {base: image0, label: gpt, partitions: [
    {name: a, size: 20GiB, type: 8E00}, {name: b, size: 100%}]}
- lvm:
    name: lvm
    pvs: [{name: pa, base: a}, {name: pb, base: b}]
    vgs: [{name: vg, base: [pa, pb]}]
    lvs: [{name: lv_root, base: vg, size: 10GiB}, {name: lv_rest, base: vg, extents: 100%FREE}]
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {}}}
- mkfs: {name: data, base: lv_rest, type: ext4, label: data,
         uuid: 6f1f6c58-3d0a-4c0e-8d8a-6b1f5b0b7a52, mount: {mount_point: /data}}
"""
OURS = {"bare": BARE, "graph": GRAPH, "shares": SHARES, "logical": LOGICAL,
        "all-logical": ALL_LOGICAL, "volumes": VOLUMES}  # fmt: skip
GOOD = {**{f"{f.parent.name[13:]}-{f.stem[13:]}": f.read_text() for f in SHIPPED}, **OURS}


def asked_of_upstream(configs):
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("upstream_block_devices.py")],
        input=json.dumps([{"config": text, "size_bytes": SIZE} for text in configs]),
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    return dict(zip(configs, json.loads(run.stdout), strict=True))


@pytest.fixture(scope="module")
def upstream():
    return asked_of_upstream([*GOOD.values(), *(BASE.replace(old, new) for old, new in BAD)])


def read(text):
    findings = Diagnostics()
    devices = read_block_devices(text, "c.yaml", findings, environment={})
    return devices, [*findings.found, *([] if findings.found else check_block_devices(devices))]


@pytest.fixture(params=GOOD)
def both(request, upstream):
    devices, found = read(GOOD[request.param])
    assert found == []
    theirs = upstream[GOOD[request.param]]
    assert "error" not in theirs, theirs
    return devices, theirs


def commands(theirs, program):
    return [words[1:] for words in theirs["commands"] if words[0] == program]


def test_fstab_is_the_same_text(both):
    devices, theirs = both
    assert fstab_text(devices) == theirs["fstab"]


def test_file_systems_have_their_types_labels_and_options(both):
    devices, theirs = both
    ours = []
    for one in devices.filesystems:
        if one.type == "swap":
            ours.append((["-L", one.label], None))
            continue
        flag = "-n" if one.type == "vfat" else "-L"
        ours.append((["-t", one.type, *one.options, flag, one.label], one.uuid or None))
    made = [*commands(theirs, "mkfs"), *commands(theirs, "mkswap")]
    assert len(ours) == len(made)
    for words, uuid in ours:
        (same,) = [command for command in made if command[: len(words)] == words]
        assert uuid is None or any(uuid in word for word in same)


def test_partitions_have_their_places_sizes_and_types(both):
    devices, theirs = both
    (losetup,) = commands(theirs, "losetup")
    layout = to_layout(devices, SIZE)
    planned = plan(layout, {}, sector_bytes=int(losetup[1]))
    if layout.label == "gpt":
        expected = _gpt_table(commands(theirs, "sgdisk")[0][1:])
    elif layout.label == "mbr":
        expected = _mbr_table(theirs["table"])
    else:
        assert theirs["table"] == commands(theirs, "sgdisk") == []
        return
    assert [one.number for one in planned.partitions] == [one[0] for one in expected]
    for ours, (_, name, type_id, size_bytes, boot) in zip(
        planned.partitions, expected, strict=True
    ):
        assert name in (None, ours.name)
        assert partition_table.type_of(ours.partition, layout).lower() == type_id.lower()
        is_last = ours is planned.partitions[-1]
        assert 0 <= ours.size_bytes - size_bytes <= (UNUSED_BY_UPSTREAM if is_last else MIB)
        assert bool(ours.partition.bootable) == boot


def _gpt_table(words):
    """Numbers, names, types and sizes from `-n N:0:+SIZEM -t N:TYPE -c N:NAME` of each."""
    found = []
    for at in range(0, len(words), 6):
        size, kind, name = words[at + 1], words[at + 3], words[at + 5]
        number, _, length = size.split(":")
        guid = GPT_CODES[kind.partition(":")[2].removeprefix("0x")]
        size_bytes = int(length.strip("+M")) * MIB
        found.append((int(number), name.partition(":")[2], guid, size_bytes, False))
    return found


def _mbr_table(entries):
    """The same from sfdisk's reading, the extended partition left out."""
    return [
        (int(one["node"].rpartition("raw")[2]), None, one["type"], one["size"] * 512,
         one.get("bootable", False))
        for one in entries if one["type"] not in ("5", "f")
    ]  # fmt: skip


def test_logical_volumes_have_their_sizes(both):
    devices, theirs = both
    ours = [one for lvm in devices.lvms for one in lvm.logical]
    made = {words[words.index("--name") + 1]: words for words in commands(theirs, "lvcreate")}
    assert {one.name for one in ours} == set(made)
    for one in ours:
        flag = "-L" if one.size.size_bytes is not None else "-l"
        told = made[one.name][made[one.name].index(flag) + 1]
        if flag == "-L":
            assert parse_bytes(told) == one.size.size_bytes // (4 * MIB) * 4 * MIB
        else:
            assert told == f"{float(one.size.share * 100):g}%{one.size.of}"
    groups = [one for lvm in devices.lvms for one in lvm.groups]
    assert [one.name for one in groups] == [words[0] for words in commands(theirs, "vgcreate")]


def test_values_are_known_before_anything_is_made(both):
    devices, theirs = both
    filesystems = {one.name: one for one in devices.filesystems}
    by_point = {one.mount_point: filesystems[one.base] for one in devices.mounts}
    if theirs["values"]["root-label"] is not None:  # it is lost upstream where it is the name
        assert by_point["/"].label == theirs["values"]["root-label"]
    assert by_point["/"].type == theirs["values"]["root-fstype"]
    boot = by_point.get("/boot")
    assert (boot.label if boot else "") == theirs["values"]["boot-label"]
    points = theirs["values"]["mount-points"].split("|")
    assert sorted(one.mount_point for one in devices.mounts) == sorted(points)


def test_a_chosen_uuid_is_that_of_the_file_system():
    devices, _ = read(VOLUMES)
    identity = DiskIdentity("x", chosen_uuids(devices))
    chosen = "6f1f6c58-3d0a-4c0e-8d8a-6b1f5b0b7a52"
    assert identity.filesystem_uuid("vg/lv_rest", "ext4") == chosen
    assert identity.filesystem_uuid("vg/lv_root", "ext4") != chosen


@pytest.mark.parametrize("text", ["1.5 GiB", "2G", "7", "MiB", ".5KiB", "3KB", "0B", "1.TiB", "GB"])
def test_sizes_are_those_that_upstream_reads(text):
    from diskimage_builder.block_device import utils

    assert parse_bytes(text) == utils.parse_abs_size_spec(text)


@pytest.mark.parametrize("text", ["1 gib", "1PiB", "-1", "1e3", "x"])
def test_sizes_that_upstream_refuses_are_refused(text):
    from diskimage_builder.block_device import utils

    with pytest.raises(RuntimeError):
        utils.parse_abs_size_spec(text)
    with pytest.raises(UnitError):
        parse_bytes(text)


BASE = """
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: mbr
    partitions:
      - name: boot
        flags: [primary]
        size: 1GiB
        mkfs:
          type: ext4
          mount: {mount_point: /boot}
      - name: root
        size: 100%
        mkfs:
          name: mkfs_root
          mount:
            mount_point: /
            fstab: {fsck-passno: 1}
"""
BAD = (
    (BASE, "- a\n"),
    (BASE, "- {local_loop: {name: image0}, mkfs: {}}\n"),
    ("local_loop:", "local_lop:"),
    ("    base: image0\n", ""),
    ("base: image0", "base: image1"),
    ("label: mbr", "label: msdos"),
    ("    label: mbr\n", ""),
    ("flags: [primary]", "flags: [active]"),
    ("label: mbr", "label: gpt"),
    ("        size: 1GiB\n", ""),
    ("size: 1GiB", "size: 1gib"),
    ("size: 1GiB", "size: 100GiB"),
    ("size: 1GiB", "size: 1GiB\n        type: linux"),
    ("type: ext4", "label: x"),
    ("type: ext4", "type: ext4\n          label: 01234567890123456"),
    ("type: ext4", "type: xfs\n          label: 0123456789012"),
    ("type: ext4", "type: vfat\n          label: 012345678901"),
    ("type: ext4", "type: ext4\n          label: cloudimg-rootfs"),
    ("mount_point: /boot", "mount_point: /"),
    ("mount: {mount_point: /boot}", "mount: {}"),
    ("- name: boot", "- name: root"),
    ("name: mkfs_root", "name: boot"),
    ("- name: boot\n        flags: [primary]", "- name: boot"),
)


@pytest.mark.parametrize(("old", "new"), BAD, ids=lambda text: text.strip()[-24:])
def test_what_upstream_refuses_late_is_refused_before_the_build(old, new, upstream):
    text = BASE.replace(old, new)
    assert text != BASE
    is_fine_upstream = "error" not in upstream[text]
    devices, found = read(text)
    if not found:
        try:
            plan(to_layout(devices, SIZE), {})
        except LayoutError as e:
            found = [e]
    assert bool(found) != is_fine_upstream, (found, upstream[text])
