"""The calls about images, and CreateTags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_rig.cloud import ACCOUNT, Cloud, Image, Params, Snapshot, matches, tag_list, tags_of
from aws_rig.refusals import Refused

KEPT = (
    "Architecture", "RootDeviceName", "VirtualizationType", "EnaSupport", "SriovNetSupport",
    "BootMode", "TpmSupport", "UefiData", "ImdsSupport", "KernelId", "RamdiskId",
)  # fmt: skip


class ImageCalls:
    """One method per action; the first argument is the region of the call."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def describe_images(self, region: str, params: Params) -> dict[str, Any]:
        """DescribeImages."""
        wanted = params.get("ImageIds")
        if wanted:
            found = [self.cloud.image(one, region) for one in wanted]
        else:
            found = [one for one in self.cloud.images.values() if one.region == region]
        if owners := params.get("Owners"):
            own = [ACCOUNT if one == "self" else one for one in owners]
            found = [one for one in found if one.owner in own]
        found = [one for one in found if self._passes(one, params.get("Filters", ()))]
        described = [self._described(one) for one in found]
        for one in found:
            one.look()
        return {"Images": described}

    def _passes(self, image: Image, filters: Any) -> bool:
        values = {
            "name": image.name, "image-id": image.id, "state": self._state(image),
            "architecture": image.fields.get("Architecture", ""), "root-device-type": "ebs",
            "virtualization-type": image.fields.get("VirtualizationType", ""),
        }  # fmt: skip
        return matches(filters, values, image.tags)

    def _state(self, image: Image) -> str:
        return "failed" if image.failed else "pending" if image.polls > 0 else "available"

    def _described(self, image: Image) -> dict[str, Any]:
        described = {
            "ImageId": image.id, "Name": image.name, "OwnerId": image.owner,
            "State": self._state(image), "CreationDate": image.created, "RootDeviceType": "ebs",
            "BlockDeviceMappings": image.mappings, "Tags": tag_list(image.tags),
            "Description": image.description, **image.fields,
        }  # fmt: skip
        return {name: value for name, value in described.items() if value not in (None, "")}

    def register_image(self, region: str, params: Params) -> dict[str, Any]:
        """RegisterImage; keeps all that it is given."""
        cloud = self.cloud
        if any(one.name == params["Name"] and one.owner == ACCOUNT and one.region == region
               for one in cloud.images.values()):  # fmt: skip
            raise Refused("InvalidAMIName.Duplicate",
                          f"AMI name {params['Name']} is already in use by AMI")  # fmt: skip
        mappings = [self._mapping(one, region) for one in params.get("BlockDeviceMappings", ())]
        if params.get("RootDeviceName") not in [one.get("DeviceName") for one in mappings]:
            raise Refused("InvalidBlockDeviceMapping", "No root snapshot specified")
        if params.get("DryRun"):
            raise Refused("DryRunOperation", "Request would have succeeded", 412)
        image = Image(
            cloud.fresh_id("ami", "ami-new"), region, cloud.polls_of("image"),
            tags_of(params, "image"), name=params["Name"], mappings=mappings,
            fields={name: params[name] for name in KEPT if params.get(name) is not None},
            description=params.get("Description", ""),
        )  # fmt: skip
        cloud.images[image.id] = image
        return {"ImageId": image.id}

    def _mapping(self, given: Mapping[str, Any], region: str) -> dict[str, Any]:
        mapping = dict(given)
        ebs = mapping.get("Ebs")
        if ebs is None or not ebs.get("SnapshotId"):
            return mapping
        snapshot = self.cloud.snapshot(ebs["SnapshotId"], region)
        if snapshot.polls > 0:
            raise Refused("InvalidSnapshot.NotFound", f"{snapshot.id} is not completed")
        if "Encrypted" in ebs:
            raise Refused("InvalidParameterCombination",
                          "the parameter encrypted is not allowed with snapshotId")  # fmt: skip
        if ebs.get("VolumeSize", snapshot.size) < snapshot.size:
            raise Refused("InvalidBlockDeviceMapping",
                          f"Volume of {ebs['VolumeSize']}GiB is smaller than snapshot")  # fmt: skip
        mapping["Ebs"] = {**ebs, "VolumeSize": ebs.get("VolumeSize", snapshot.size),
                          "Encrypted": snapshot.encrypted}  # fmt: skip
        return mapping

    def copy_image(self, region: str, params: Params) -> dict[str, Any]:
        """CopyImage: snapshots are copied with their bytes."""
        cloud = self.cloud
        key, known = cloud.made_once("CopyImage", params)
        if known is not None:
            return {"ImageId": known.id}
        source = cloud.image(params["SourceImageId"], params["SourceRegion"])
        if source.polls > 0:
            raise Refused("InvalidRequest", f"Image {source.id} is not available for copying")
        mappings = []
        for mapping in source.mappings:
            ebs = mapping.get("Ebs", {})
            if ebs.get("SnapshotId"):
                copy = self._copied(ebs["SnapshotId"], source.region, region, params)
                ebs = {**ebs, "SnapshotId": copy.id, "Encrypted": copy.encrypted}
            mappings.append({**mapping, **({"Ebs": ebs} if ebs else {})})
        tags, own = dict(source.tags), tags_of(params, "image")
        if not params.get("CopyImageTags"):
            tags = {}
        if both := sorted(tags.keys() & own):
            # What the service does then is written nowhere: other calls refuse a key given twice.
            raise Refused("InvalidParameterValue", f"Duplicate tag key '{both[0]}' specified.")
        image = Image(
            cloud.fresh_id("ami", f"ami-copy-{region}"), region, cloud.polls_of("image"),
            tags | own, name=params["Name"], mappings=mappings,
            fields=dict(source.fields), description=params.get("Description", ""),
        )  # fmt: skip
        cloud.images[image.id] = image
        cloud.remember(key, image)
        return {"ImageId": image.id}

    def _copied(self, origin: str, source: str, region: str, params: Params) -> Snapshot:
        cloud = self.cloud
        old = cloud.snapshot(origin, source)
        encrypted = old.encrypted or bool(params.get("Encrypted"))
        copy = Snapshot(
            cloud.fresh_id("snap", f"snap-copy-{region}"), region,
            tags=tags_of(params, "snapshot"), size=old.size, encrypted=encrypted,
            key=(params.get("KmsKeyId") or None) if encrypted else None,
            file=cloud.file(old.size, old.file), present=old.present and set(old.present),
        )  # fmt: skip
        cloud.snapshots[copy.id] = copy
        return copy

    def deregister_image(self, region: str, params: Params) -> dict[str, Any]:
        """DeregisterImage; its snapshots stay."""
        image = self.cloud.image(params["ImageId"], region)
        if image.protection:
            raise Refused("OperationNotPermitted", f"{image.id} is protected from deregistration")
        del self.cloud.images[image.id]
        return {}

    def modify_image_attribute(self, region: str, params: Params) -> dict[str, Any]:
        """ModifyImageAttribute."""
        image = self.cloud.image(params["ImageId"], region)
        image.permissions += params.get("LaunchPermission", {}).get("Add", [])
        image.product_codes += params.get("ProductCodes", [])
        if "Description" in params:
            image.description = params["Description"].get("Value", "")
        if "ImdsSupport" in params:
            image.fields["ImdsSupport"] = params["ImdsSupport"]["Value"]
        return {}

    def enable_image_deprecation(self, region: str, params: Params) -> dict[str, Any]:
        """EnableImageDeprecation."""
        at = params["DeprecateAt"]
        shown = at if isinstance(at, str) else at.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.cloud.image(params["ImageId"], region).deprecate_at = shown
        return {"Return": True}

    def enable_image_deregistration_protection(
        self, region: str, params: Params
    ) -> dict[str, Any]:  # fmt: skip
        """EnableImageDeregistrationProtection."""
        kind = "cooldown" if params.get("WithCooldown") else "enabled"
        self.cloud.image(params["ImageId"], region).protection = kind
        return {"Return": "true"}

    def disable_image_deregistration_protection(
        self, region: str, params: Params
    ) -> dict[str, Any]:  # fmt: skip
        """DisableImageDeregistrationProtection."""
        self.cloud.image(params["ImageId"], region).protection = None
        return {"Return": "true"}

    def create_tags(self, region: str, params: Params) -> dict[str, Any]:
        """CreateTags, on what the rig keeps."""
        cloud = self.cloud
        found: list[Any] = []
        for one in params["Resources"]:
            if one.startswith("ami-"):
                found.append(cloud.image(one, region))
            elif one.startswith("snap-"):
                found.append(cloud.snapshot(one, region))
            else:
                found.append(cloud.volume(one, region))
        for resource in found:
            resource.tags |= {tag["Key"]: tag.get("Value", "") for tag in params["Tags"]}
        return {}
