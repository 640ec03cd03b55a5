"""What the working volume is made as; nothing is called."""

from __future__ import annotations

from typing import Any

from goldsmith.builders.amazon_chroot.options import AmazonChrootOptions
from goldsmith.cloud.registering import Image, source_root, speed
from goldsmith.errors import GoldsmithError


def volume_request(options: AmazonChrootOptions, source: Image | None, zone: str) -> dict[str, Any]:
    """The parameters of CreateVolume, without tags."""
    request: dict[str, Any] = {"AvailabilityZone": zone}
    if source is None:
        kind = options.root_volume_type or "gp2"
        request |= {"Size": options.root_volume_size, "VolumeType": kind}
        if options.root_volume_encrypt_boot is not None:
            request["Encrypted"] = options.root_volume_encrypt_boot
        if options.root_volume_kms_key_id:
            request["KmsKeyId"] = options.root_volume_kms_key_id
        return request | _speed_of_mapping(options, kind)
    root = source_root(source)
    kind = options.root_volume_type or root.get("VolumeType", "gp2")
    if options.root_volume_type == "io1" and root.get("VolumeType") != "io1":
        raise GoldsmithError(
            "root_volume_type io1 needs a source that has it: there is no option for its iops",
            hint="choose gp3 or io2, or a source with io1",
        )
    encrypted = options.root_volume_encrypt_boot
    request |= {
        "SnapshotId": root["SnapshotId"], "VolumeType": kind,
        "Size": max(options.root_volume_size, root.get("VolumeSize", 0)),
        "Encrypted": bool(root.get("Encrypted")) if encrypted is None else encrypted,
    }  # fmt: skip
    key = options.root_volume_kms_key_id or root.get("KmsKeyId")
    if key and request["Encrypted"]:
        request["KmsKeyId"] = key
    if kind == root.get("VolumeType"):
        request |= speed(kind, root.get("Iops"), root.get("Throughput"))
    return request | _speed_of_mapping(options, kind)


def _speed_of_mapping(options: AmazonChrootOptions, kind: str) -> dict[str, int]:
    """How fast the template wants the root: the working volume is as fast where it can be."""
    for one in options.ami_block_device_mappings:
        if one.device_name == options.root_device_name and (one.volume_type or kind) == kind:
            return speed(kind, one.iops, one.throughput)
    return {}
