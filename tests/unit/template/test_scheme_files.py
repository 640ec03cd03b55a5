"""Scheme files: both languages mean the same, and what is wrong is said with its place."""

import pytest

from goldsmith.deploy.disks import FoundPartition, HostDisk
from goldsmith.deploy.scheme_check import check_scheme
from goldsmith.errors import GoldsmithError, LayoutError, TemplateError, UsageError
from goldsmith.template.scheme.places import devices_of, to_deployment
from goldsmith.template.scheme.reading import parse_scheme, read_scheme
from goldsmith.units import GIB, MIB

HCL = """
disk "a" {
  device      = "/dev/sda"
  boot_loader = true
  partition "esp" {
    type       = "esp"
    size       = "64MiB"
    filesystem = "vfat"
    mount      = "/boot/efi"
  }
  partition "bios" {
    type = "bios-boot"
    size = "1MiB"
  }
  partition "raid" {
    type = "data"
  }
}
disk "b" {
  boot_loader = true
  partition "bios" {
    type = "bios-boot"
    size = "1MiB"
  }
  partition "raid" {
    type = "data"
    size = "100%"
  }
}
raid "md0" {
  level   = "1"
  members = ["a.raid", "b.raid"]
}
volume_group "os" {
  physical_volumes = ["md0"]
}
logical_volume "root" {
  volume_group  = "os"
  size          = "50%"
  filesystem    = "ext4"
  label         = "root"
  mount         = "/"
  mount_options = ["noatime"]
}
logical_volume "swap" {
  volume_group = "os"
  size         = "512MiB"
  filesystem   = "swap"
}
firmware       = ["bios", "uefi"]
kernel_cmdline = "console=ttyS0"
hostname       = "machine"
cloud_init {
  ssh_keys = ["ssh-ed25519 AAAA"]
}
"""
YAML = """
disk:
- name: a
  device: /dev/sda
  boot_loader: true
  partition:
  - {name: esp, type: esp, size: 64MiB, filesystem: vfat, mount: /boot/efi}
  - {name: bios, type: bios-boot, size: 1MiB}
  - {name: raid, type: data}
- name: b
  boot_loader: true
  partition:
  - {name: bios, type: bios-boot, size: 1MiB}
  - {name: raid, type: data, size: 100%}
raid:
- {name: md0, level: 1, members: [a.raid, b.raid]}
volume_group:
- {name: os, physical_volumes: [md0]}
logical_volume:
- name: root
  volume_group: os
  size: 50%
  filesystem: ext4
  label: root
  mount: /
  mount_options: [noatime]
- {name: swap, volume_group: os, size: 512MiB, filesystem: swap}
firmware: [bios, uefi]
kernel_cmdline: console=ttyS0
hostname: machine
cloud_init: {ssh_keys: [ssh-ed25519 AAAA]}
"""


def host(device, **fields):
    name = device.rpartition("/")[2]
    return HostDisk(device, device, name, fields.pop("size_bytes", 8 * GIB), **fields)


DISKS = {"a": host("/dev/sda"), "b": host("/dev/nvme0n1")}


@pytest.mark.parametrize(("text", "path"), [(HCL, "s.hcl"), (YAML, "s.yaml")])
def test_a_scheme_over_two_disks(text, path):
    options = parse_scheme(text, path)
    assert devices_of(options, {"b": "/dev/nvme0n1"}) == {"a": "/dev/sda", "b": "/dev/nvme0n1"}
    deployment = to_deployment(options, DISKS)
    scheme = deployment.scheme
    places = [(p.node, p.begin_bytes // MIB, p.size_bytes // MIB, p.type, p.label)
              for p in scheme.partitions()]  # fmt: skip
    assert places == [
        ("/dev/sda1", 1, 64, "esp", "esp"), ("/dev/sda2", 65, 1, "bios-boot", "bios"),
        ("/dev/sda3", 66, 8125, "raid", "raid"), ("/dev/nvme0n1p1", 1, 1, "bios-boot", "bios"),
        ("/dev/nvme0n1p2", 2, 8189, "raid", "raid"),
    ]  # fmt: skip
    assert scheme.arrays[0].members == ("/dev/sda3", "/dev/nvme0n1p2")
    assert scheme.groups[0].physical_volumes == ("/dev/md0",)
    root, swap = scheme.volumes
    assert (root.node, swap.size_bytes) == ("/dev/mapper/os-root", 512 * MIB)
    assert 3700 * MIB < root.size_bytes < 3850 * MIB
    assert [(fs.node, fs.mount, fs.type) for fs in scheme.filesystems] == [
        ("/dev/sda1", "/boot/efi", "vfat"), ("/dev/mapper/os-root", "/", "ext4"),
        ("/dev/mapper/os-swap", "swap", "swap"),
    ]  # fmt: skip
    assert scheme.root().mount_options == ("noatime",)
    assert deployment.seed and deployment.config_drive.ssh_auth_keys == ("ssh-ed25519 AAAA",)
    assert (deployment.firmware, deployment.hostname) == (("bios", "uefi"), "machine")
    assert check_scheme(deployment) == []


def test_both_languages_mean_the_same():
    assert parse_scheme(HCL, "s.hcl") == parse_scheme(YAML, "s.yml")


def test_an_mbr_with_logical_partitions():
    parts = "".join(f'partition "p{n}" {{\n type = "data"\n size = "10MiB"\n}}\n' for n in range(5))
    options = parse_scheme(f'disk "a" {{\n device = "/x"\n label = "mbr"\n{parts}}}\n', "s.hcl")
    scheme = to_deployment(options, {"a": host("/dev/sda")}).scheme
    assert [(p.number, p.type) for p in scheme.partitions()] == [
        (1, "data"), (2, "data"), (3, "data"), (5, "data"), (6, "data"), (4, "extended"),
    ]  # fmt: skip
    assert check_scheme(to_deployment(options, {"a": host("/dev/sda")})) == []


def test_a_disk_that_is_kept_has_the_places_of_its_table():
    text = ('disk "a" {\n policy = "keep"\n partition "x" {\n type = "data"\n number = 7\n'
            ' keep_data = true\n size = "5MiB"\n}\n}\n')  # fmt: skip
    found = FoundPartition(7, 30 * MIB, 90 * MIB, "83", "x")
    options = parse_scheme(text, "s.hcl")
    (made,) = to_deployment(options, {"a": host("/dev/sda", partitions=(found,))}).scheme.disks
    (one,) = made.partitions
    assert (one.node, one.begin_bytes, one.size_bytes) == ("/dev/sda7", 30 * MIB, 90 * MIB)


@pytest.mark.parametrize(
    ("text", "path", "place", "words"),
    [
        ('disk "a" {\n  polcy = "keep"\n}\n', "s.hcl", (2, 3), 'Did you mean "policy"?'),
        ('disk "a" {\n  label = "bsd"\n}\n', "s.hcl", (2, 11), "'gpt', 'mbr' or 'none'"),
        ("disk {\n}\n", "s.hcl", (1, 1), 'Write disk "NAME"'),
        ('disk "a" {\n', "s.hcl", (1, 1), "brace"),
        ("disk:\n- {name: a, polcy: keep}\n", "s.yaml", (2, 20), 'Did you mean "policy"?'),
        ("disk:\n- {device: a}\n", "s.yaml", (2, 3), "disk needs name"),
        ("disk: 5\n", "s.yaml", (1, 7), "disk is a list of maps"),
        ("- x\n", "s.yaml", (1, 1), "a scheme is a map"),
        ("a: [\n", "s.yaml", (2, 1), "no valid YAML"),
        ('disk:\n- {name: a, partition: [{name: b, type: data, size: 5X}]}\n', "s.yaml", (2, 53),
         "not a partition size"),
        ("firmware: [coreboot]\n", "s.yaml", (1, 11), "'bios' or 'uefi'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text, path, place, words):
    with pytest.raises(TemplateError) as caught:
        parse_scheme(text, path)
    first = caught.value.diagnostics[0]
    assert words.replace("'", "") in str(caught.value).replace("'", "")
    assert (first.range.start.line, first.range.start.column) == place


def test_every_finding_comes_at_once():
    text = 'disk "a" {\n  x = 1\n  partition "b" {\n    type = "data"\n    y = 2\n  }\n}\nz = 3\n'
    with pytest.raises(TemplateError) as caught:
        parse_scheme(text, "s.hcl")
    assert [d.range.start.line for d in caught.value.diagnostics] == [2, 5, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('disk "a" {\n partition "x" {\n type = "data"\n size = "9GiB"\n}\n}\n', "the disk has"),
        ('disk "a" {\n partition "x" {\n type = "data"\n size = "auto"\n}\n}\n', "no automatic"),
        ('disk "a" {\n policy = "keep"\n partition "x" {\n type = "data"\n}\n}\n', "needs number"),
        ('disk "a" {\n label = "none"\n partition "x" {\n type = "data"\n}\n}\n', "remove"),
        ('disk "a" {\n}\nraid "m" {\n level = "1"\n members = ["a.x"]\n}\n', "no partitions"),
        ('disk "a" {\n partition "x" {\n type = "data"\n}\n}\n'
         'volume_group "g" {\n physical_volumes = ["a.y"]\n}\n', 'there is no "a.y"'),
        ('disk "a" {\n partition "x" {\n type = "data"\n}\n}\n'
         'logical_volume "v" {\n volume_group = "g"\n}\n', 'there is no volume group "g"'),
    ],
)  # fmt: skip
def test_a_scheme_that_the_disks_cannot_have(text, words):
    with pytest.raises(LayoutError) as caught:
        to_deployment(parse_scheme(text, "s.hcl"), {"a": host("/dev/sda")})
    assert words in str(caught.value)
    # A disk that is there has no size that could be chosen.
    assert 'size = "auto"' not in (caught.value.hint or "")


def test_every_disk_needs_a_device():
    options = parse_scheme('disk "a" {\n}\n', "s.hcl")
    with pytest.raises(UsageError, match='which disk "a" is'):
        devices_of(options, {})
    with pytest.raises(UsageError, match='no disk "b"'):
        devices_of(options, {"b": "/dev/sdb", "a": "/dev/sda"})


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "bytes.hcl").write_bytes(b"\xff\xfe")
    for name, words in (("none.hcl", "No such file"), ("bytes.hcl", "UTF-8")):
        with pytest.raises(GoldsmithError, match=words):
            read_scheme(str(tmp_path / name))
