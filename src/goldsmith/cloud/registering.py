"""What an image is registered with; nothing is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from goldsmith.cloud.device_options import DeviceMapping, DeviceOptions
from goldsmith.errors import GoldsmithError

_WITH_IOPS: Final = frozenset({"io1", "io2", "gp3"})

Image = Mapping[str, Any]
"""An image as DescribeImages tells of it."""


def source_root(image: Image) -> Mapping[str, Any]:
    """The volume (`Ebs`) of the root device of an image; raises GoldsmithError without one."""
    name = image.get("RootDeviceName")
    for mapping in image.get("BlockDeviceMappings", ()):
        if mapping.get("DeviceName") == name and mapping.get("Ebs", {}).get("SnapshotId"):
            found: Mapping[str, Any] = mapping["Ebs"]
            return found
    raise GoldsmithError(
        f"the source {image['ImageId']} has no snapshot for its root device {name}",
        hint="choose another image: its root has to be an EBS volume",
    )


def speed(kind: str, iops: int | None, throughput: int | None) -> dict[str, int]:
    """How fast a volume of a kind is asked to be, as far as one can ask."""
    wanted = {"Iops": iops if kind in _WITH_IOPS else None,
              "Throughput": throughput if kind == "gp3" else None}  # fmt: skip
    return {name: value for name, value in wanted.items() if value}


def register_request(
    options: DeviceOptions, source: Image | None, snapshot_id: str, size: int
) -> dict[str, Any]:
    """The parameters of RegisterImage, without tags; `size` is the volume's, in GiB."""
    if source is None:
        root_name = options.root_device_name
        request: dict[str, Any] = {
            "Architecture": options.ami_architecture,
            "VirtualizationType": options.ami_virtualization_type,
        }
        request |= _features(options, {})
    else:
        root_name = options.root_device_name or source["RootDeviceName"]
        request = {"Architecture": source["Architecture"],
                   "VirtualizationType": source["VirtualizationType"]}  # fmt: skip
        request |= _features(options, source)
        if options.ami_virtualization_type != "hvm":
            request |= {name: source[name] for name in ("KernelId", "RamdiskId")
                        if source.get(name)}  # fmt: skip
    if options.ami_block_device_mappings:
        mappings = [_from_template(one) for one in options.ami_block_device_mappings]
    else:
        assert source is not None, "checked before: from scratch there are mappings"
        mappings = [_from_source(one) for one in source.get("BlockDeviceMappings", ())]
    for mapping in mappings:
        if mapping["DeviceName"] == root_name:
            _make_root(mapping, options, snapshot_id, size)
    return {
        "Name": options.ami_name, "RootDeviceName": root_name, "BlockDeviceMappings": mappings,
        **request,
    }  # fmt: skip


def _features(options: DeviceOptions, source: Image) -> dict[str, Any]:
    """What machines of the image can do: as the template says, else as with the source."""
    ena = source.get("EnaSupport") if options.ena_support is None else options.ena_support
    sriov = "simple" if options.sriov_support else source.get("SriovNetSupport")
    found = {
        "EnaSupport": ena or options.ena_support, "SriovNetSupport": sriov,
        "BootMode": options.boot_mode or source.get("BootMode"),
        "TpmSupport": options.tpm_support or source.get("TpmSupport"),
        "UefiData": options.uefi_data, "ImdsSupport": source.get("ImdsSupport"),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value not in (None, "")}


def _from_source(mapping: Mapping[str, Any]) -> dict[str, Any]:
    copied = dict(mapping)
    if ebs := mapping.get("Ebs"):
        copied["Ebs"] = dict(ebs)
        if ebs.get("SnapshotId"):
            # Its snapshot decides, and both together are refused.
            for name in ("Encrypted", "KmsKeyId"):
                copied["Ebs"].pop(name, None)
    return copied


def _from_template(one: DeviceMapping) -> dict[str, Any]:
    if one.no_device:
        return {"DeviceName": one.device_name, "NoDevice": ""}
    if one.virtual_name.startswith("ephemeral"):
        return {"DeviceName": one.device_name, "VirtualName": one.virtual_name}
    ebs: dict[str, Any] = {"DeleteOnTermination": one.delete_on_termination}
    given = {
        "SnapshotId": one.snapshot_id, "VolumeType": one.volume_type, "VolumeSize": one.volume_size,
        **speed(one.volume_type, one.iops, one.throughput),
    }  # fmt: skip
    if not one.snapshot_id:
        given |= {"Encrypted": one.encrypted or None, "KmsKeyId": one.kms_key_id}
    ebs |= {name: value for name, value in given.items() if value}
    return {"DeviceName": one.device_name, "Ebs": ebs}


def _make_root(
    mapping: dict[str, Any], options: DeviceOptions, snapshot_id: str, size: int
) -> None:
    ebs = mapping.setdefault("Ebs", {"DeleteOnTermination": False})
    for name in ("Encrypted", "KmsKeyId"):
        ebs.pop(name, None)
    ebs |= {"SnapshotId": snapshot_id, "VolumeSize": max(size, ebs.get("VolumeSize", 0))}
    kind = options.root_volume_type
    if kind and ebs.get("VolumeType") != kind and not options.ami_block_device_mappings:
        ebs["VolumeType"] = kind
        for name in ("Iops", "Throughput"):
            ebs.pop(name, None)
    elif kind and not ebs.get("VolumeType"):
        ebs["VolumeType"] = kind
