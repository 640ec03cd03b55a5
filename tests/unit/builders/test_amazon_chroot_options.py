"""What is wrong with the options of amazon-chroot, all at once and without any network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from goldsmith.builders.amazon_chroot.builder import AmazonChrootBuilder
from goldsmith.builders.amazon_chroot.devices import (
    attached_name,
    available_device,
    device_prefix,
    find_node,
    is_used,
    mounted_of,
)
from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.builders.amazon_chroot.requests import volume_request
from goldsmith.cli.components import builtin_registry
from goldsmith.cloud.registering import register_request
from goldsmith.core.prepare import prepare
from goldsmith.errors import GoldsmithError, Severity, TemplateError
from goldsmith.host.mounts import MountPoint
from goldsmith.template.load import load
from goldsmith.values.world import LiveWorld

GOOD = {"ami_name": "web-1", "source_ami": "ami-1", "region": "us-east-1"}
SCRATCH = {
    "ami_name": "web-1", "from_scratch": True, "root_volume_size": 4,
    "pre_mount_commands": ("mkfs",), "ami_virtualization_type": "hvm",
    "root_device_name": "/dev/sda1", "ami_block_device_mappings": [{"device_name": "/dev/sda1"}],
}  # fmt: skip
SOURCE: dict[str, Any] = {
    "ImageId": "ami-1", "Architecture": "arm64", "VirtualizationType": "hvm",
    "RootDeviceName": "/dev/xvda", "BootMode": "uefi", "TpmSupport": "v2.0", "EnaSupport": True,
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {
            "SnapshotId": "snap-1", "VolumeSize": 8, "VolumeType": "gp3", "Iops": 4000,
            "Throughput": 200, "Encrypted": False, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 5, "Encrypted": True}},
    ],
}  # fmt: skip


def options(**given: Any) -> AmazonChrootOptions:
    return AmazonChrootOptions.model_validate({**GOOD, **given})


def errors(**given: Any) -> list[str]:
    found = AmazonChrootBuilder(AmazonChrootOptions.model_validate(given), "web").check()
    return [one.message for one in found if one.severity is Severity.ERROR]


def test_good_ones() -> None:
    assert errors(**GOOD) == []
    assert errors(**SCRATCH) == []
    assert errors(**GOOD, tags={"Base": "{{.SourceAMITags.Release}} {{timestamp}}"}) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ami_name": ""}, "ami_name must be specified"),
        ({"ami_name": "ab"}, "between 3 and 128"),
        ({"ami_name": "web*"}, "only contain letters"),
        ({"source_ami": ""}, "source_ami or source_ami_filter is required."),
        ({"source_ami": "", "source_ami_filter": {}}, "source_ami or source_ami_filter"),
        ({"access_key": "a"}, "access_key is given without secret_key"),
        ({"secret_key": "a"}, "secret_key is given without access_key"),
        ({"boot_mode": "bios"}, 'invalid boot mode "bios"'),
        ({"tpm_support": "v1"}, "tpm_support"),
        ({"imds_support": "v1"}, "imds_support"),
        ({"uefi_data": "x"}, "uefi_data needs the boot_mode"),
        ({"uefi_data": "x", "boot_mode": "legacy-bios"}, "uefi_data needs the boot_mode"),
        ({"deprecate_at": "tomorrow"}, "deprecate_at is not a valid time"),
        ({"deprecate_at": "2030-02-30T00:00:00Z"}, "deprecate_at is not a valid time"),
        ({"kms_key_id": "alias/x"}, "kms_key_id needs encrypt_boot"),
        ({"kms_key_id": "nonsense", "encrypt_boot": True}, "not a valid KMS key"),
        ({"region_kms_key_ids": {"eu-west-1": "alias/x"}, "encrypt_boot": True},
         "is in region_kms_key_ids but not in ami_regions"),
        ({"region_kms_key_ids": {"eu-west-1": "alias/x"}, "encrypt_boot": True,
          "ami_regions": ("eu-west-1", "us-west-2")}, "but not in region_kms_key_ids"),
        ({"encrypt_boot": True, "ami_users": ("1",)}, "Cannot share AMI encrypted with default"),
        ({"encrypt_boot": True, "ami_ou_arns": ("1",)}, "Cannot share AMI encrypted"),
        ({"encrypt_boot": True, "snapshot_users": ("1",)}, "Cannot share snapshot encrypted"),
        ({"skip_save_build_region": True}, "would keep no image at all"),
        ({"root_device_name": "/dev/sda1"}, "ami_block_device_mappings must be specified"),
        ({"ami_block_device_mappings": [{"device_name": "x"}]}, "root_device_name must be"),
        ({"ami_block_device_mappings": [{"device_name": "x"}]}, "root_volume_size must be"),
        ({"ami_block_device_mappings": [{}]}, "needs a device_name"),
        ({"ami_block_device_mappings": [{"device_name": "x", "throughput": 9}]}, "125 and 1000"),
        ({"ami_architecture": "z80"}, "ami_architecture is one of"),
        ({"root_volume_kms_key_id": "alias/x", "root_volume_encrypt_boot": False},
         "root_volume_kms_key_id needs"),
        ({"mount_partition": "p1"}, "mount_partition is a number"),
        ({"mount_command": "nice mount", "command_wrapper": "sudo {{.Command}}"},
         "mount_command and command_wrapper exclude each other"),
        ({"unmount_command": "'"}, "unmount_command cannot be read"),
        ({"tag": [{"value": "x"}]}, "tag needs a key"),
        ({"tags": {"a": "{{.Nope}}"}}, "tags a:"),
        ({"ami_description": "{{.Nope}}"}, "ami_description:"),
        ({"mount_path": "/mnt/{{.Nope}}"}, "mount_path:"),
        ({"ena_support": True, "ami_virtualization_type": "paravirtual"}, "ena_support is for"),
        ({"sriov_support": True, "ami_virtualization_type": "paravirtual"}, "sriov_support is for"),
        ({"ami_virtualization_type": "xen"}, "ami_virtualization_type is hvm or paravirtual"),
        ({"ami_name": "n" * 129}, "between 3 and 128"),
        ({"source_ami": "", "source_ami_filter": {"most_recent": True}}, "source_ami_filter is"),
        ({"kms_key_id": "arn:aws:kms:eu-west-1:1:key/x", "encrypt_boot": True}, "not a valid KMS"),
        ({"region_kms_key_ids": {"eu-west-1": "alias/x"}, "ami_regions": ("eu-west-1",)},
         "region_kms_key_ids needs encrypt_boot"),
        ({"region_kms_key_ids": {"eu-west-1": ""}, "ami_regions": ("eu-west-1",),
          "encrypt_boot": True, "ami_users": ("1",)}, "default KMS key in eu-west-1"),
        ({"encrypt_boot": True, "ami_org_arns": ("1",)}, "Cannot share AMI encrypted"),
        ({"root_volume_kms_key_id": "nonsense"}, "not a valid KMS key"),
        ({"snapshot_tag": [{"value": "x"}]}, "snapshot_tag needs a key"),
        ({"root_volume_tag": [{"value": "x"}]}, "root_volume_tag needs a key"),
        ({"tags": {"": "x"}}, "tags has a tag without a key"),
        ({"tags": {"goldsmith:run": "x"}}, 'the tag "goldsmith:run" is one that goldsmith gives'),
        ({"snapshot_tag": [{"key": "AWS:x", "value": "x"}]}, 'the tag "AWS:x" is one that AWS'),
        ({"root_volume_tags": {"k" * 129: "x"}}, "the key of a tag has 129 characters"),
        ({"mount_command": ""}, "mount_command is empty"),
        ({"root_device_name": "/dev/sda1", "root_volume_size": 9,
          "ami_block_device_mappings": [{"device_name": "x"}]}, "is /dev/sda1"),
        ({"vault_aws_engine": {"name": "x"}, "token": "t"}, "exclude each other"),
        ({"assume_role": {}}, "assume_role needs"),
        ({"vault_aws_engine": {}}, "vault_aws_engine needs"),
        ({"custom_endpoint_ec2": "ec2.example"}, "custom_endpoint_ec2 is no URL"),
    ],
)  # fmt: skip
def test_bad_ones(given: dict[str, Any], message: str) -> None:
    found = errors(**{**GOOD, **given})
    assert any(message in one for one in found), found


def test_from_scratch_five_options_are_needed() -> None:
    found = errors(ami_name="web-1", from_scratch=True)
    assert len([one for one in found if "with from_scratch" in one]) == 5
    assert any("io1" in one for one in errors(**SCRATCH, root_volume_type="io1"))
    assert any(".SourceAMI" in one for one in errors(**SCRATCH, tags={"a": "{{.SourceAMI}}"}))


def test_everything_is_told_at_once() -> None:
    assert len(errors(ami_name="a*", boot_mode="x", tpm_support="x", deprecate_at="x")) >= 6


def test_the_volume_is_as_large_fast_and_secret_as_it_has_to_be() -> None:
    assert volume_request(options(), SOURCE, "z") == {
        "AvailabilityZone": "z", "SnapshotId": "snap-1", "VolumeType": "gp3", "Size": 8,
        "Encrypted": False, "Iops": 4000, "Throughput": 200,
    }  # fmt: skip
    given = volume_request(options(root_volume_size=20, root_volume_type="gp2"), SOURCE, "z")
    assert given["Size"] == 20 and not {"Iops", "Throughput"} & set(given)
    with pytest.raises(GoldsmithError, match="io1 needs a source"):
        volume_request(options(root_volume_type="io1"), SOURCE, "z")
    scratch = AmazonChrootOptions.model_validate({**SCRATCH, "root_volume_encrypt_boot": True})
    assert volume_request(scratch, None, "z") == {
        "AvailabilityZone": "z", "Size": 4, "VolumeType": "gp2", "Encrypted": True,
    }  # fmt: skip


def test_the_image_boots_as_its_source_does() -> None:
    request = register_request(options(), SOURCE, "snap-9", 8)
    assert (request["BootMode"], request["TpmSupport"], request["EnaSupport"]) == (
        "uefi", "v2.0", True,
    )  # fmt: skip
    root, data = request["BlockDeviceMappings"]
    assert root["Ebs"]["SnapshotId"] == "snap-9" and "Encrypted" not in root["Ebs"]
    assert data["Ebs"]["Encrypted"] is True
    assert SOURCE["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == "snap-1"
    changed = register_request(options(root_volume_type="gp2", ena_support=False), SOURCE, "s", 30)
    ebs = changed["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["VolumeType"], ebs["VolumeSize"], "Iops" in ebs) == ("gp2", 30, False)
    assert "EnaSupport" not in changed or changed["EnaSupport"] is False


def test_a_source_without_a_snapshot_for_its_root() -> None:
    bare = {**SOURCE, "RootDeviceName": "/dev/sda1"}
    with pytest.raises(GoldsmithError, match="has no snapshot for its root device /dev/sda1"):
        volume_request(options(), bare, "z")


def test_free_names_of_devices(tmp_path: Path) -> None:
    dev, block = tmp_path / "dev", tmp_path / "block"
    dev.mkdir()
    block.mkdir()
    assert device_prefix(block) == "sd"
    (block / "nvme0n1").mkdir()
    (block / "xvda").mkdir()
    assert device_prefix(block) == "xvd"
    assert available_device(dev=dev, sys_block=block) == str(dev / "xvdf")
    (dev / "xvdf").touch()
    (dev / "xvdg1").touch()
    assert available_device(dev=dev, sys_block=block) == str(dev / "xvdh")
    for letter in "hijklmnop":
        (dev / f"xvd{letter}").touch()
    with pytest.raises(GoldsmithError, match="is in use"):
        available_device(dev=dev, sys_block=block)
    assert attached_name("/dev/xvdf") == "/dev/sdf" and attached_name("/dev/sdf") == "/dev/sdf"


def test_the_disk_of_somebody_else_is_not_taken_for_the_volume(tmp_path: Path) -> None:
    """A volume that is attached as sdf may appear as xvdf: no other disk may be called so."""
    dev, block = tmp_path / "dev", tmp_path / "block"
    dev.mkdir()
    (block / "sda").mkdir(parents=True)
    (dev / "xvdf").touch()
    assert available_device(dev=dev, sys_block=block) == str(dev / "sdg")
    assert is_used(str(dev / "sdf")) and not is_used(str(dev / "sdg"))


def test_mounts_of_a_disk_and_of_its_partitions_are_known(tmp_path: Path) -> None:
    disk = tmp_path / "class/nvme1n1"
    (disk / "nvme1n1p2").mkdir(parents=True)
    (disk / "device").mkdir()
    for name, numbers in ((".", "259:0"), ("nvme1n1p2", "259:2"), ("device", "247:0")):
        (disk / name / "dev").write_text(f"{numbers}\n")
    (disk / "nvme1n1p2/partition").write_text("2\n")
    seen = [
        MountPoint("/", "ext4", "/dev/nvme0n1p1", "259:9"),
        MountPoint("/a", "ext4", "/dev/nvme1n1p2", "259:2"),
        MountPoint("/b", "xfs", "/dev/nvme1n1", "259:0"),
        MountPoint("/c", "btrfs", "/dev/nvme1n1p2", "0:44"),
        MountPoint("/d", "tmpfs", "none", "247:0"),
    ]
    for name in ("/dev/nvme1n1", "/dev/nvme1n1p"):
        assert mounted_of(name, seen, sys_class=tmp_path / "class") == ["/a", "/b", "/c"]
    assert mounted_of("/dev/sdf", seen, sys_class=tmp_path / "class") == []


def test_the_node_is_found_by_the_id_of_the_volume(tmp_path: Path) -> None:
    links, block = tmp_path / "by-id", tmp_path / "block"
    device = tmp_path / "sdf"

    def found(given: str = "") -> str | None:
        node = find_node("vol-0abc", str(device), given, by_id=links, sys_block=block)
        return None if node is None else f"{node.disk} {node.partition('1')}"

    assert found() is None
    (tmp_path / "xvdf").touch()
    assert found() == f"{tmp_path}/xvdf {tmp_path}/xvdf1"
    device.touch()
    assert found() == f"{device} {device}1"
    (block / "nvme2n1/device").mkdir(parents=True)
    (block / "nvme2n1/device/serial").write_text("vol0abc \n")
    assert found() == "/dev/nvme2n1 /dev/nvme2n1p1"
    links.mkdir()
    target = tmp_path / "nvme1n1"
    target.touch()
    (links / "nvme-Amazon_Elastic_Block_Store_vol0abc").symlink_to(target)
    assert found() == f"{target} {target}p1"
    # What the template names is taken as it stands.
    assert found("/dev/nvme1n1p") == "/dev/nvme1n1p /dev/nvme1n1p1"


BAD = """
source "amazon-chroot" "web" {
  ami_name            = "a*"
  root_volume_size    = "big"
  chroot_mounts       = [["proc", "proc"]]
  command_wrapper     = "sudo"
  pre_mount_commands  = ["echo {{.Nope}}"]
  post_mount_commands = ["echo {{"]
  copy_files          = ["etc/hosts"]
  mount_options       = ["a b"]
  boot_mode           = "bios"
  tpm_support         = "v1"
  deprecate_at        = "soon"
  kms_key_id          = "nonsense"
  access_key          = "AKIA"
  ami_user            = ["1"]
  tags                = { A = "{{.Nope}}" }
  mount_path          = "/{{.Nope}}"
  ami_architecture    = "z80"
  mount_partition     = "p1"
  max_retries         = -1

  aws_polling {
    delay_seconds = -1
  }
  assume_role {
    duration_seconds = 5
  }
  ami_block_device_mappings {
    throughput = 9
  }
  deregistration_protection {
    with_cooldown = "perhaps"
  }
}
build {
  sources = ["source.amazon-chroot.web"]
}
"""


def test_validate_tells_of_every_mistake_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong kinds of values hide nothing of what is wrong with the others."""

    def refuse(*words: object, **given: object) -> None:
        raise AssertionError("nothing may be asked")

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    file = tmp_path / "t.pkr.hcl"
    file.write_text(BAD)
    registry = builtin_registry()
    template = load(str(file), world=LiveWorld(), registry=registry)
    with pytest.raises(TemplateError) as caught:
        prepare(template, registry, tmp_path, template.builds)
    found = [one for one in caught.value.diagnostics if one.severity is Severity.ERROR]
    for line, words in (
        (3, "between 3 and 128"),
        (3, "only contain"),
        (4, "a number is required"),
        (5, "three texts"),
        (6, "{{.Command}}"),
        (7, ".Nope"),
        (8, "template: "),
        (9, "absolute path"),
        (10, "no option of mount"),
        (11, "invalid boot mode"),
        (12, "tpm_support"),
        (13, "deprecate_at"),
        (14, "needs encrypt_boot"),
        (14, "valid KMS key"),
        (15, "without secret_key"),
        (16, 'mean "ami_users"'),
        (17, "tags A:"),
        (18, "mount_path:"),
        (19, "ami_architecture"),
        (20, "mount_partition"),
        (21, "greater than or equal to 0"),
        (24, "greater than or equal to 0"),
        (27, "greater than or equal to 900"),
        (30, "125 and 1000"),
        (33, "bool"),
    ):
        assert any(words in f"{one.summary} {one.detail}" and one.range is not None
                   and one.range.start.line == line for one in found), (line, words)  # fmt: skip
    # The other half of a pair that is wrong is not missing besides.
    assert not any("root_volume_size must be" in one.summary for one in found)
