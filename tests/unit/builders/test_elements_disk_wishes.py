"""What is wanted of the disk of an element image: which layout, which sizes, what is wrong."""

from pathlib import Path

import pytest

from goldsmith.builders.elements.disk_size import plan_disk, wanted_size
from goldsmith.builders.elements.disk_wishes import disk_variables, read_wishes
from goldsmith.disk.model import ExactSize
from goldsmith.disk.usage import TreeUsage
from goldsmith.elements.catalog import Element, upstream_package
from goldsmith.errors import GoldsmithError, LayoutError, TemplateError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BARE = """
- local_loop:
    name: image0
    mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {options: defaults}}}
"""


def element(path: Path, name: str, **files: str) -> Element:
    directory = path / name
    directory.mkdir()
    for file, text in files.items():
        (directory / f"block-device-{file}.yaml").write_text(text)
    return Element(name, directory)


def upstream(name):
    package = upstream_package()
    assert package is not None
    return Element(name, package / "elements" / name)


def usage(kib):
    return {"/": TreeUsage(inodes=100, data_blocks=kib // 4)}


def test_the_environment_comes_before_elements(tmp_path):
    mine = element(tmp_path, "a", default=BARE.replace("mkfs_root", "other, type: xfs"))
    given = {"DIB_BLOCK_DEVICE_CONFIG": BARE}
    assert read_wishes(given, [mine]).root.name == "mkfs_root"
    assert read_wishes({}, [mine]).root.name == "other"
    (tmp_path / "c.yaml").write_text(BARE)
    given = {"DIB_BLOCK_DEVICE_CONFIG": f"file://{tmp_path}/c.yaml"}
    assert read_wishes(given, [mine]).config.place == f"{tmp_path}/c.yaml"


def test_the_first_element_in_our_order_decides_and_its_architecture_comes_first(tmp_path):
    first = element(tmp_path, "a", default=BARE, ppc64el=BARE.replace("/,", "/, name: ppc,"))
    second = element(tmp_path, "b", default=BARE.replace("/,", "/, name: second,"))
    assert read_wishes({}, [first, second]).devices.mounts[0].name == "mount_mkfs_root"
    assert read_wishes({}, [first, second], "ppc64el").devices.mounts[0].name == "ppc"
    assert read_wishes({}, [second, first]).devices.mounts[0].name == "second"


def test_without_any_it_is_one_bare_file_system():
    wishes = read_wishes({}, [])
    assert wishes.layout(GIB).label == "none"
    assert disk_variables(wishes) == {
        "DIB_ROOT_LABEL": "cloudimg-rootfs", "DIB_ROOT_FSTYPE": "ext4", "DIB_BOOT_LABEL": "",
        "DIB_MOUNTPOINTS": "/",
    }  # fmt: skip


def test_an_xfs_root_has_a_label_that_fits_and_no_words_of_ext4():
    wishes = read_wishes({"FS_TYPE": "xfs"}, [upstream("block-device-mbr")])
    assert (wishes.root.label, wishes.root.options) == ("img-rootfs", ())
    with pytest.raises(TemplateError, match="longer than the 12 bytes"):
        read_wishes({"FS_TYPE": "xfs", "ROOT_LABEL": "cloudimg-rootfs"}, [])


TABLE = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: LABEL
    partitions:
      - {name: a, FLAGS, size: 8MiB}
      - {name: b, FLAGS, size: 8MiB}
      - {name: c, FLAGS, size: 8MiB}
      - {name: d, FLAGS, size: 8MiB}
      - {name: root, FLAGS, size: 100%, mkfs: {type: ext4, mount: {mount_point: /}}}
"""


def test_what_the_model_of_a_disk_refuses_has_a_line_too():
    """And the hint is of this language, not of templates."""
    text = TABLE.replace("LABEL", "mbr").replace("FLAGS", "flags: [primary]")
    (told,) = findings_of({"DIB_BLOCK_DEVICE_CONFIG": text})
    assert told.startswith("DIB_BLOCK_DEVICE_CONFIG:4:5: an mbr has 4 entries, 5 are wanted")
    assert told.endswith('write "label: gpt"')
    text = TABLE.replace("LABEL", "gpt").replace("c, FLAGS", "c, type: ZZ").replace("FLAGS, ", "")
    (told,) = findings_of({"DIB_BLOCK_DEVICE_CONFIG": text})
    assert told.startswith('DIB_BLOCK_DEVICE_CONFIG:9:9: c: "ZZ" is not one of the types')
    text = BARE.replace("options: defaults", "options: a b")
    (told,) = findings_of({"DIB_BLOCK_DEVICE_CONFIG": text})
    assert "DIB_BLOCK_DEVICE_CONFIG:3:" in told
    assert "cannot stand in fstab" in told


def test_words_for_mkfs_have_upstreams_order():
    given = {"MKFS_OPTS": "-m 2", "MAX_ONLINE_RESIZE": "1000", "DIB_RELEASE": "trusty",
             "DIB_JOURNAL_SIZE": "16"}  # fmt: skip
    words = "-E resize=1000 -O ^metadata_csum -i 4096 -J size=16 -m 2"
    assert read_wishes(given, []).root.options == tuple(words.split())
    filesystem = read_wishes(given, []).layout(GIB).partitions[0].filesystem
    assert filesystem is not None
    assert (filesystem.bytes_per_inode, filesystem.journal_mib) == (4096, 16)


@pytest.mark.parametrize(
    ("given", "elements", "kib", "expected"),
    [
        # 43 012 KiB are what du says of the tree of the measured build.
        ({}, [], 43012, 140_574_720),
        ({"DIB_IMAGE_SIZE": "1"}, [], 43012, GIB),
        ({"DIB_IMAGE_SIZE": "1.5"}, ["block-device-efi"], 43012, 3 * GIB // 2),
        ({"DIB_IMAGE_EXTRA_SIZE": "100"}, [], 43012, (43012 + 102400 + 65536 + 60) * KIB),
        ({"DIB_JOURNAL_SIZE": "8"}, [], 60000, (100000 + 8192 + 32) * KIB),
        ({"FS_TYPE": "xfs"}, [], 60000, (100000 + 32) * KIB),
        ({}, ["block-device-efi"], 60000, (100000 + 65536 + 537600 + 32) * KIB),
    ],
)  # fmt: skip
def test_sizes_follow_upstreams_arithmetic(given, elements, kib, expected):
    wishes = read_wishes(given, [upstream(name) for name in elements])
    assert wanted_size(wishes, usage(kib)) == expected


def test_a_disk_of_computed_size_grows_to_what_its_partitions_need():
    wishes = read_wishes({}, [upstream("block-device-efi-lvm")])
    assert plan_disk(wishes, usage(60000)).size_bytes > 39_998_980_096
    with pytest.raises(TemplateError, match=r"the disk has 2 GiB: make DIB_IMAGE_SIZE .* larger"):
        read_wishes({"DIB_IMAGE_SIZE": "2"}, [upstream("block-device-efi-lvm")])
    with pytest.raises(LayoutError, match="needs") as caught:
        plan_disk(read_wishes({"DIB_IMAGE_SIZE": "0.1"}, []), usage(600_000))
    assert "DIB_IMAGE_SIZE" in (caught.value.hint or "")


def test_a_small_root_does_without_the_large_journal_that_nobody_asked_for():
    planned = plan_disk(read_wishes({}, [upstream("block-device-mbr")]), usage(400))
    filesystem = planned.partitions[0].filesystem
    assert filesystem is not None
    assert filesystem.journal_mib is None
    planned = plan_disk(read_wishes({}, [upstream("block-device-mbr")]), usage(100_000))
    filesystem = planned.partitions[0].filesystem
    assert filesystem is not None
    assert filesystem.journal_mib == 64


def test_blocks_can_be_large():
    wishes = read_wishes({"DIB_BLOCK_SIZE": "4096"}, [upstream("block-device-gpt")])
    assert plan_disk(wishes, usage(60000)).sector_bytes == 4096
    assert read_wishes({}, [upstream("block-device-efi-4k")]).disk.block_size_bytes == 4096


def findings_of(environment):
    with pytest.raises(TemplateError) as caught:
        read_wishes(environment, [])
    return [str(diagnostic) for diagnostic in caught.value.diagnostics]


@pytest.mark.parametrize(
    "size",
    ["0", "-1", "much", "nan", "inf", "sNaN", "1e30", "1e999999", "1e-999999"],
)
def test_sizes_that_are_none_are_refused(size):
    assert findings_of({"DIB_IMAGE_SIZE": size}) == [
        f"DIB_IMAGE_SIZE={size}: it is not a size: write a number, as 2 or 0.5"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- local_loop", "an entry is a map with one key"),
        ("- local_loop: {name: image0}\n- loop: {}", '"loop" is not a plugin'),
        (BARE.replace("image0", "disk"), 'no disk is called "image0"'),
        (BARE.replace("/,", "/srv,"), "nothing is mounted at /"),
        (BARE.replace("name: mkfs_root", 'name: mkfs_root, label: "a label that is too long"'),
         "longer than the 16 bytes"),
        (BARE.replace("name: mkfs_root", "name: r, type: ext5"), "ext5"),
        (BARE.replace("name: mkfs_root", "name: r, type: ext4, opts: -b 1024"), "-b"),
    ],
)  # fmt: skip
def test_everything_is_found_before_the_build(text, said):
    found = findings_of({"DIB_BLOCK_DEVICE_CONFIG": text})
    assert any(said in finding for finding in found), found


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(GoldsmithError, match=r"/no/such\.yaml, the block device configuration of"):
        read_wishes({"DIB_BLOCK_DEVICE_CONFIG": "file:///no/such.yaml"}, [])


@pytest.mark.parametrize("name", ["mbr", "gpt", "efi", "efi-4k", "efi-lvm"])
def test_upstreams_own_layouts_have_no_findings(name):
    assert "/" in read_wishes({}, [upstream(f"block-device-{name}")]).mount_points


def test_partitions_keep_their_sizes():
    layout = read_wishes({}, [upstream("block-device-efi")]).layout(2 * GIB)
    assert [p.size for p in layout.partitions[:2]] == [ExactSize(550 * MIB), ExactSize(8 * MIB)]
