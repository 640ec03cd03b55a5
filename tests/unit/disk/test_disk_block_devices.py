"""Block device configurations: both notations, every kind of mistake, and the layout they mean."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.disk.block_devices.checking import check_block_devices
from goldsmith.disk.block_devices.layouts import fstab_text, to_layout
from goldsmith.disk.block_devices.reading import RootDefaults, read_block_devices
from goldsmith.disk.block_devices.sizes import parse_bytes, parse_extent
from goldsmith.disk.layout import check
from goldsmith.disk.model import REST, ExactSize, ShareSize
from goldsmith.errors import Diagnostics, LayoutError
from goldsmith.units import GIB, MIB, UnitError

TREE = """
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: mbr
    partitions:
      - name: root
        flags: [ boot, primary ]
        size: 100%
        mkfs:
          mount:
            mount_point: /
            fstab:
              options: "rw,relatime"
              fsck-passno: 1
"""
GRAPH = """
- mount: {name: mount_mkfs_root, base: mkfs_root, mount_point: /}
- fstab: {base: mount_mkfs_root, name: fstab_mount_mkfs_root, options: "rw,relatime",
          fsck-passno: 1}
- mkfs: {name: mkfs_root, base: root}
- partitioning:
    name: partitioning_image0
    base: image0
    label: mbr
    partitions: [{name: root, flags: [boot, primary], size: 100%}]
- local_loop: {name: image0}
"""


def read(text, **options):
    findings = Diagnostics()
    devices = read_block_devices(text, "c.yaml", findings, environment={}, **options)
    return devices, findings.found


def problems(text):
    devices, found = read(text)
    return [*found, *([] if found else check_block_devices(devices))]


def test_both_notations_say_the_same():
    (tree, first), (graph, second) = read(TREE), read(GRAPH)
    assert first == second == []
    assert tree == graph
    assert check_block_devices(tree) == []


def test_the_node_of_the_root_takes_what_the_command_line_says():
    devices, _ = read(TREE, root=RootDefaults("xfs", "img-rootfs", ("-K",)))
    (one,) = devices.filesystems
    assert (one.type, one.label, one.options) == ("xfs", "img-rootfs", ("-K",))
    devices, _ = read(TREE.replace("mkfs:", "mkfs:\n          type: ext3\n          opts: -q -F"))
    (one,) = devices.filesystems
    assert (one.type, one.label, one.options) == ("ext3", "cloudimg-rootfs", ("-q", "-F"))


def test_the_layout_is_a_good_one():
    layout = to_layout(read(TREE)[0], 2 * GIB)
    assert (layout.label, layout.size_bytes) == ("mbr", 2 * GIB)
    (root,) = layout.partitions
    assert (root.type, root.size, root.mount, root.bootable) == ("root", REST, "/", True)
    assert root.mount_options == ("rw", "relatime")
    assert check(layout) == []


def test_fstab_has_upstreams_lines():
    swap = "- mkfs: {name: sw, base: extra, type: swap, mount: {mount_point: swap, fstab: {}}}\n"
    text = TREE.replace("size: 100%", "size: 1GiB").replace(
        "- name: root", "- {name: extra, size: 1GiB}\n      - name: root"
    )
    devices, found = read(text + swap)
    assert found == check_block_devices(devices) == []
    assert fstab_text(devices) == (
        "LABEL=cloudimg-rootfs / ext4 rw,relatime 0 1\nLABEL=sw none swap sw 0 0\n"
    )


def test_a_disk_without_a_table_is_one_bare_file_system():
    text = """
- local_loop: {name: image0, size: 1GiB, mkfs: {name: mkfs_root, mount: {mount_point: /}}}
"""
    layout = to_layout(read(text)[0], 5 * GIB)
    assert (layout.label, layout.size_bytes) == ("none", GIB)
    assert check(layout) == []


LVM = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}}
      - {name: BSP, type: EF02, size: 8MiB}
      - {name: pv_part, size: 100%, type: 8E00}
- lvm:
    name: lvm
    pvs: [{name: pv, base: pv_part, options: [--force]}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: lv_root, base: vg, extents: 60%VG}
      - {name: lv_var, base: vg, size: 1GiB, mkfs: {type: xfs, mount: {mount_point: /var}}}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /}}
"""


def test_volume_groups_become_those_of_the_layout():
    devices, found = read(LVM)
    assert found == check_block_devices(devices) == []
    layout = to_layout(devices, 8 * GIB)
    (group,) = layout.volume_groups
    assert group.physical_volumes == ("pv_part",)
    assert [one.size for one in group.logical_volumes] == [
        ShareSize(Fraction(60)), ExactSize(GIB)
    ]  # fmt: skip
    assert [one.type for one in layout.partitions] == ["esp", "bios-boot", "data"]
    assert devices.filesystems[0].label == "MKFS_ESP"
    assert check(layout, ["uefi", "bios"]) == []


def test_what_the_model_cannot_say_is_refused():
    thin = LVM.replace("extents: 60%VG", "size: 1G, type: thin-pool")
    with pytest.raises(LayoutError, match="thin-pool volumes are not made"):
        to_layout(read(thin)[0], GIB)
    with pytest.raises(LayoutError, match="types of a GPT"):
        to_layout(read(LVM.replace("8E00", "9F9F"))[0], GIB)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (TREE, "a: b\n", "not a list of entries"),
        (TREE, "- a\n", "an entry is a map with one key"),
        (TREE, "- {a: 1, b: 2}\n", "an entry is a map with one key"),
        ("local_loop:", "local_lop:", '"local_lop" is not a plugin'),
        (TREE, "- local_loop: [a]\n", "local_loop is not a map"),
        ("name: image0\n-", "x: y\n-", "local_loop needs a name"),
        ("base: image0", "base: image1", 'there is no "image1"'),
        ("base: image0", "base: mkfs_root", '"mkfs_root" is a mkfs'),
        ("    base: image0\n", "", "it needs base"),
        ("label: mbr", "label: msdos", '"msdos" is not a label'),
        ("    label: mbr\n", "", "it needs label"),
        ("label: mbr", "label: gpt", "only an mbr has primary partitions"),
        ("flags: [ boot, primary ]", "flags: [ boots ]", '"boots" is not a flag'),
        ("size: 100%", "size: 100PB", "'100PB' is not a size"),
        ("size: 100%", "size: 140%", "not a share between 0 and 100"),
        ("        size: 100%\n", "", "it needs size"),
        ("- name: root", "- nam: root", 'there is no key "nam"'),
        ("mount_point: /\n", "mount_point: var\n", "not an absolute path"),
        ("mount_point: /\n", "mount_point: /var\n", "nothing is mounted at /"),
        ("mount_point: /\n", "mountpoint: /\n", "it needs mount_point"),
        ("fsck-passno: 1", "fsck-passno: one", "not a whole number"),
        ("mkfs:\n", "mkfs:\n          label: 01234567890123456\n", "longer than the 16 bytes"),
        ("mkfs:\n", "mkfs:\n          uuid: abc\n", '"abc" is not a UUID'),
        ("mkfs:\n", "mkfs:\n          type: xfs\n          uuid: random\n", "is not a UUID"),
        ("name: image0", "name: image1", 'no disk is called "image0"'),
        ("name: image0\n", "name: image0\n    block_size: 1024\n", "512 or 4096"),
        ("- local_loop", "- local_loop: {name: root}\n- local_loop", 'is called "root" too'),
        ("label: mbr", "label: mbr\n    label: gpt", '"label" stands twice'),
        ("label: mbr", "label: [mbr", "it is no valid YAML"),
    ],
)
def test_each_mistake_is_found_with_its_place(old, new, told):
    found = problems(TREE.replace(old, new))
    assert any(told in str(one) for one in found), found
    assert all(one.range is not None for one in found if "nothing is mounted" not in one.summary)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("base: [pv]", "base: [pw]", 'there is no physical volume "pw"'),
        ("base: vg, extents", "base: vh, extents", 'there is no "vh"'),
        ("extents: 60%VG", "extents: 60%VG, size: 1G", "either size or extents"),
        ("{name: lv_root, base: vg, extents: 60%VG}", "{name: lv_root, base: vg}", "either size"),
        ("extents: 60%VG", "extents: 60%VG, type: slim", '"slim" is not a type'),
        ("extents: 60%VG", "extents: 60%VG, type: thin", "needs thin-pool"),
        ("extents: 60%VG", "extents: 1%VG, type: thin, thin-pool: x", 'no thin pool "x"'),
        ("vgs: [", "vgs: [{name: wg, base: [pv]}, ", 'belongs to "wg" already'),
        ("base: pv_part, ", "", "it needs base"),
        ("base: lv_root, mount", "base: BSP, label: mkfs_lv_var, mount", "the label"),
    ],
)
def test_mistakes_of_volume_groups_are_found(old, new, told):
    text = LVM.replace(old, new)
    assert text != LVM
    assert any(told in str(one) for one in problems(text)), problems(text)


def test_all_mistakes_come_at_once():
    text = TREE.replace("label: mbr", "label: x").replace("size: 100%", "size: y")
    assert len(problems(text)) == 2


@pytest.mark.parametrize("text", ["- &a [*a]\n", "- " * 40 + "a\n", "", "- {? [a] : b}\n"])
def test_documents_that_would_not_end_are_findings(text):
    assert problems(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1GiB", GIB), ("1.5 GiB", GIB + 512 * MIB), ("2G", 2 * 10**9), ("7", 7), ("MiB", MIB),
     (".5KiB", 512), ("3KB", 3000), ("0B", 0)],
)  # fmt: skip
def test_sizes_are_upstreams(text, size_bytes):
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "1 gib", "-1", "1e3", ".", "9" * 40, "101%", "0%"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UnitError):
        parse_extent(text)


@given(st.text(alphabet="-:[]{}&*#!|>\"' \nabcsizename%0129", max_size=80))
def test_no_text_is_more_than_a_finding(text):
    devices, found = read(text)
    if not found:
        check_block_devices(devices)


@given(st.data())
def test_a_changed_configuration_is_no_more_than_findings(data):
    lines = LVM.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(["", f"{lines[at]} x", lines[at][2:], "- a: {b: c}"]))
    devices, found = read("\n".join(lines))
    if not found and not check_block_devices(devices):
        to_layout(devices, GIB)
