"""`bootstrap { method = "elements" }`: what is refused, where, and what a disk block becomes."""

import pytest
from pydantic import ValidationError

from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.builder import ImageBuilder
from goldsmith.builders.image.element_disk import block_devices_text, disk_findings
from goldsmith.builders.image.options import Disk, ImageOptions
from goldsmith.disk.block_devices.checking import check_block_devices
from goldsmith.disk.block_devices.layouts import to_layout
from goldsmith.disk.block_devices.reading import read_block_devices
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import REST, ExactSize, ShareSize
from goldsmith.errors import Diagnostics, Severity
from goldsmith.units import GIB, MIB

ROOT = {"name": "root", "type": "root", "filesystem": "ext4", "mount": "/"}
ESP = {"name": "esp", "type": "esp", "size": "64MiB", "filesystem": "vfat", "mount": "/boot/efi"}
BIOS = {"name": "bsp", "type": "bios-boot", "size": "1MiB"}


def bootstrap(**more):
    return {"method": "elements", "elements": ["vm", "debian-minimal"], **more}


def builder(*, disk=None, options=None, **more):
    given = {"bootstrap": bootstrap(**more), **(options or {})}
    if disk is not None:
        given["disk"] = disk
    return ImageBuilder(ImageOptions.model_validate(given), "debian")


def findings(**more):
    return [(one.path, one.message, one.severity) for one in builder(**more).check()]


def refused(**given):
    with pytest.raises(ValidationError) as caught:
        Bootstrap.model_validate(given)
    return caught.value.errors()[0]["msg"]


def test_elements_need_no_disk_and_other_methods_do():
    assert builder().check() == ()
    with pytest.raises(ValidationError) as caught:
        ImageOptions.model_validate({"bootstrap": {"method": "apt", "suite": "stable"}})
    assert [(e["type"], e["loc"]) for e in caught.value.errors()] == [("missing", ("disk",))]


@pytest.mark.parametrize(
    ("method", "missing"),
    [("apt", [("disk",)]), ("elephant", [("disk",)]), ("elements", []), ("element", [])],
)
def test_a_mistake_in_the_bootstrap_does_not_hide_that_the_disk_is_missing(method, missing):
    given = {"bootstrap": {"method": method, "suite": 7}}
    with pytest.raises(ValidationError) as caught:
        ImageOptions.model_validate(given)
    found = caught.value.errors()
    assert any(e["loc"][0] == "bootstrap" for e in found)
    assert [e["loc"] for e in found if e["type"] == "missing"] == missing


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "elements"}, "needs elements"),
        (bootstrap(source="x"), "source belongs to"),
        (bootstrap(suite="stable"), "belong to others"),
        (bootstrap(keep_build_sources=True), "belong to others"),
        (bootstrap(elements=["a/b"]), "not the name of an element"),
        (bootstrap(environment={"A B": "x"}), "cannot be the name of a variable"),
        (bootstrap(environment={"ELEMENTS_PATH": "x"}), "elements_path names"),
        (bootstrap(environment={"break": "x"}), "goldsmith shell"),
        (bootstrap(elements_path=["a:b"]), "one directory"),
        ({"method": "apt", "suite": "stable", "elements": ["vm"]}, 'the method "elements"'),
        ({"method": "tar", "source": "x", "skip_base": True}, 'the method "elements"'),
    ],
)  # fmt: skip
def test_options_that_do_not_belong_together(given, said):
    assert said in refused(**given)


def test_an_element_may_be_where_a_misspelled_option_leads():
    [one] = builder(elements=["debian-minimal", "mine"]).check()
    assert one.path == ("bootstrap", "elements", 1)
    assert ("bootstrap", "elements_path") in one.rests_on


def test_every_absent_element_and_directory_is_told_at_its_place(tmp_path):
    found = findings(elements=["vmm", "vm", "debian-minima"])
    assert [path for path, _, _ in found] == [
        ("bootstrap", "elements", 0), ("bootstrap", "elements", 2)
    ]  # fmt: skip
    assert found[0][1] == "Element 'vmm' not found"
    found = findings(elements_path=[str(tmp_path), str(tmp_path / "none")])
    assert [path for path, _, _ in found] == [("bootstrap", "elements_path", 1)]


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (["vm"], "Please include an operating system element"),
        (["vm", "debian-minimal", "ubuntu-minimal"], "operating-system: already provided"),
    ],
)  # fmt: skip
def test_elements_that_do_not_fit_together(elements, said):
    ((path, message, severity),) = findings(elements=elements)
    assert (path, severity) == (("bootstrap", "elements"), Severity.ERROR)
    assert message.startswith(said)


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        (["debian-minimal"], ()),
        (["vm", "debian-minimal"], ("bios",)),
        (["vm", "debian-minimal", "block-device-gpt"], ("bios",)),
        (["vm", "debian-minimal", "block-device-efi"], ("bios", "uefi")),
    ],
)  # fmt: skip
def test_the_firmware_is_what_the_elements_install_a_boot_loader_for(elements, wanted):
    made = builder(elements=elements, environment={"ARCH": "amd64"})
    assert made.expected.firmware == wanted


def test_a_firmware_that_the_elements_do_not_serve_is_refused():
    made = builder(options={"firmware": ["uefi"]}, environment={"ARCH": "amd64"})
    assert [one.path for one in made.check()] == [("firmware",)]


def test_a_disk_block_wins_with_a_warning():
    disk = {"label": "mbr", "partition": [ROOT]}
    found = findings(
        elements=["vm", "block-device-efi", "debian-minimal"], disk=disk,
        environment={"DIB_BLOCK_DEVICE_CONFIG": "- bogus: 1"},
    )  # fmt: skip
    assert [(path, severity) for path, _, severity in found] == [
        (("bootstrap", "elements", 1), Severity.WARNING),
        (("bootstrap", "environment", "DIB_BLOCK_DEVICE_CONFIG"), Severity.WARNING),
    ]
    source = builder(disk=disk, elements=["vm", "block-device-efi", "debian-minimal"])._source(
        "/nowhere"
    )
    # The boot loader of the elements is told what kind of disk it is.
    assert "block-device-mbr" in source.recipe.description.elements
    assert "block-device-efi" not in source.recipe.description.elements
    assert "DIB_BLOCK_DEVICE_CONFIG" not in source.recipe.description.environment


def test_a_layout_of_the_environment_is_checked_at_its_place():
    ((path, message, _),) = findings(environment={"DIB_BLOCK_DEVICE_CONFIG": "- bogus: 1"})
    assert path == ("bootstrap", "environment")
    assert '"bogus" is not a plugin' in message


def test_the_environment_of_hooks_is_the_template_alone(monkeypatch):
    monkeypatch.setenv("DIB_RELEASE", "trixie")
    source = builder(environment={"DIB_X": "1"}, options={"kernel_cmdline": "quiet"})._source(
        "/nowhere", {"http_proxy": "http://proxy"}
    )
    given = source.recipe.description.environment
    assert given["DIB_X"] == "1"
    assert given["http_proxy"] == "http://proxy"
    assert given["DIB_BOOTLOADER_DEFAULT_CMDLINE"] == "quiet"
    assert "DIB_RELEASE" not in given


# ---- a disk block as a configuration of block devices


def layouts(size_bytes=4 * GIB, **given):
    """The layout of a disk block, and of the configuration that is made of it."""
    disk = Disk.model_validate(given)
    assert list(disk_findings(disk)) == []
    findings = Diagnostics()
    text = block_devices_text(disk, DiskIdentity("x"))
    devices = read_block_devices(text, "x", findings, environment={})
    assert (findings.errors, check_block_devices(devices)) == ([], [])
    return disk.to_layout(), to_layout(devices, size_bytes), devices


def shown(layout):
    return [
        (p.name, p.type, p.mount, p.filesystem and p.filesystem.type, p.mount_options)
        for p in layout.partitions
    ]


def test_partitions_of_a_gpt():
    swap = {"name": "swap", "type": "swap", "size": "25%"}
    root = {**ROOT, "label": "myroot", "mount_options": ["noatime"],
            "filesystem_options": ["-m", "1"]}  # fmt: skip
    given, made, devices = layouts(partition=[ESP, BIOS, swap, root])
    assert [one[:4] for one in shown(made)] == [one[:4] for one in shown(given)]
    assert made.partitions[3].mount_options == ("noatime",)
    esp, bios, share, rest = (one.size for one in made.partitions)
    assert (esp, bios, rest) == (ExactSize(64 * MIB), ExactSize(MIB), REST)
    assert share == ExactSize((4 * GIB - 67 * MIB) // 4 // MIB * MIB)
    (one,) = (fs for fs in devices.filesystems if fs.base == "root")
    assert (one.label, one.options) == ("myroot", ("-m", "1"))
    assert one.uuid == DiskIdentity("x").filesystem_uuid("root", "ext4")
    fstab = {line.base: (line.options, line.fsck_passno) for line in devices.fstab}
    assert fstab == {
        "mount_esp": ("umask=0077", 2), "mount_swap": ("sw", 0), "mount_root": ("noatime", 1),
    }  # fmt: skip


def test_partitions_of_an_mbr():
    data = [{"name": f"d{n}", "type": "data", "size": "10MiB"} for n in range(4)]
    given, made, _ = layouts(label="mbr", size="1GiB", partition=[{**ROOT, "size": "50MiB"}, *data])
    assert made.size_bytes == GIB
    assert made.label == "mbr"
    assert [one.bootable for one in made.partitions] == [True, None, None, None, None]
    assert [one.logical for one in made.partitions] == [False, False, False, True, True]
    assert shown(made)[0][:4] == shown(given)[0][:4]


def test_one_bare_file_system():
    _, made, _ = layouts(label="none", partition=[{**ROOT, "filesystem": "xfs"}])
    assert made.label == "none"
    assert made.partitions[0].mount == "/"
    assert made.partitions[0].filesystem.type == "xfs"


def test_logical_volumes():
    _, made, _ = layouts(
        partition=[{"name": "pv", "type": "data", "size": "rest"}],
        volume_group=[{"name": "vg", "physical_volumes": ["pv"]}],
        logical_volume=[
            {"name": "lv", "volume_group": "vg", "size": "1GiB", "filesystem": "ext4",
             "mount": "/"},
            {"name": "var", "volume_group": "vg", "size": "40%", "filesystem": "ext4",
             "mount": "/var"},
            {"name": "rest", "volume_group": "vg", "size": "rest", "filesystem": "ext4",
             "mount": "/srv"},
        ],
    )  # fmt: skip
    (group,) = made.volume_groups
    assert group.physical_volumes == ("pv",)
    assert [one.size for one in group.logical_volumes] == [ExactSize(GIB), ShareSize(40), REST]
    assert [one.mount for one in group.logical_volumes] == ["/", "/var", "/srv"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"partition": [ROOT, {"name": "d", "type": "data", "size": "rest"}]},
         ("disk", "partition", 0, "size")),
        ({"partition": [{**ROOT, "size": "20%"}, {"name": "d", "type": "data", "size": "1MiB"}]},
         ("disk", "partition", 1, "size")),
        ({"partition": [{**ROOT, "filesystem": "erofs"}]}, ("disk", "partition", 0, "filesystem")),
        ({"headroom": "20%"}, ("disk", "headroom")),
        ({"raid": [{"name": "m", "level": "1", "members": ["a"]}]}, ("disk", "raid", 0)),
        ({"logical_volume": [{"name": "a", "volume_group": "g"}]},
         ("disk", "logical_volume", 0, "size")),
    ],
)  # fmt: skip
def test_what_a_configuration_cannot_say_is_refused_at_its_option(given, path):
    assert [one.path for one in disk_findings(Disk.model_validate(given))] == [path]
