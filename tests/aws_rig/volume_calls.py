"""The calls about volumes and snapshots."""

from __future__ import annotations

import datetime
from typing import Any

from aws_rig.cloud import ACCOUNT, Cloud, Params, Snapshot, Volume, matches, tag_list, tags_of
from aws_rig.refusals import Refused

LEAST_IOPS = {"io1": 100, "io2": 100}


class VolumeCalls:
    """One method per action; the first argument is the region of the call."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def create_volume(self, region: str, params: Params) -> dict[str, Any]:
        """CreateVolume."""
        cloud = self.cloud
        key, known = cloud.made_once("CreateVolume", params)
        if known is not None:
            return self._described(known)
        kind = params.get("VolumeType", "gp2")
        iops, origin = params.get("Iops"), params.get("SnapshotId", "")
        if kind in LEAST_IOPS and iops is None:
            raise Refused("MissingParameter", "The parameter iops must be specified")
        if iops is not None and kind in ("gp2", "standard"):
            raise Refused("InvalidParameterCombination",
                          f"The parameter iops is not supported for {kind} volumes.")  # fmt: skip
        size, encrypted, file = params.get("Size"), bool(params.get("Encrypted")), None
        if origin:
            snapshot = cloud.snapshot(origin, region)
            if snapshot.polls > 0:
                raise Refused("IncorrectState", f"Snapshot is in invalid state: {origin}")
            size, file = size or snapshot.size, snapshot.file
            encrypted = encrypted or snapshot.encrypted
            if size < snapshot.size:
                raise Refused("InvalidParameterValue",
                              f"Volume of {size}GiB is smaller than '{origin}'")  # fmt: skip
        elif size is None:
            raise Refused("MissingParameter", "The request must contain the parameter size")
        volume = Volume(
            cloud.fresh_id("vol", ""), region, cloud.polls_of("volume"),
            tags_of(params, "volume"), zone=params["AvailabilityZone"], size=size, kind=kind,
            file=cloud.file(size, file), origin=origin, encrypted=encrypted,
            key=params.get("KmsKeyId"), iops=iops, throughput=params.get("Throughput"),
        )  # fmt: skip
        cloud.volumes[volume.id] = volume
        cloud.remember(key, volume)
        return self._described(volume)

    def describe_volumes(self, region: str, params: Params) -> dict[str, Any]:
        """DescribeVolumes; each look brings what is pending nearer."""
        wanted = params.get("VolumeIds")
        if wanted:
            found = [self.cloud.volume(one, region) for one in wanted]
        else:
            found = [one for one in self.cloud.volumes.values() if one.region == region]
        filters = params.get("Filters", ())
        found = [one for one in found if matches(filters, {}, one.tags)]
        for volume in found:
            self._settle(volume)
        described = [self._described(one) for one in found]
        for volume in found:
            volume.look()
        return {"Volumes": described}

    def _settle(self, volume: Volume) -> None:
        attachment = volume.attachment
        if attachment is None or attachment["State"] == "attached":
            return
        if volume.attach_polls > 0:
            volume.attach_polls -= 1
        elif attachment["State"] == "attaching":
            attachment["State"] = "attached"
        else:
            assert volume.disk is not None
            if self.cloud.disks.is_busy(volume.disk):
                attachment["State"] = "busy"
            else:
                self._let_go(volume)

    def _let_go(self, volume: Volume) -> None:
        assert volume.disk is not None
        self.cloud.disks.detach(volume.disk)
        volume.disk = volume.attachment = None

    def _described(self, volume: Volume) -> dict[str, Any]:
        state = "error" if volume.failed else "available"
        if volume.polls > 0:
            state = "creating"
        elif volume.attachment is not None:
            state = "in-use"
        return {
            "VolumeId": volume.id, "AvailabilityZone": volume.zone, "Size": volume.size,
            "State": state, "VolumeType": volume.kind, "SnapshotId": volume.origin,
            "Encrypted": volume.encrypted, "CreateTime": datetime.datetime.now(datetime.UTC),
            "Tags": tag_list(volume.tags),
            "Attachments": [] if volume.attachment is None else [dict(volume.attachment)],
        }  # fmt: skip

    def attach_volume(self, region: str, params: Params) -> dict[str, Any]:
        """AttachVolume: the volume becomes a disk of this machine."""
        volume = self.cloud.volume(params["VolumeId"], region)
        if volume.attachment is not None:
            raise Refused("VolumeInUse", f"{volume.id} is already attached to an instance")
        if volume.polls > 0:
            raise Refused("IncorrectState", f"{volume.id} is not 'available'.")
        device = params["Device"]
        for other in self.cloud.volumes.values():
            if other.attachment is not None and other.attachment["Device"] == device:
                raise Refused("InvalidParameterValue", f"Invalid value '{device}' for unixDevice. "
                              "Attachment point is already in use")  # fmt: skip
        assert volume.file is not None
        volume.disk = self.cloud.disks.attach(volume.file, device, volume.id)
        volume.attach_polls = self.cloud.polls_of("attachment")
        volume.attachment = {
            "VolumeId": volume.id, "InstanceId": params["InstanceId"], "Device": device,
            "State": "attaching",
        }  # fmt: skip
        return dict(volume.attachment)

    def detach_volume(self, region: str, params: Params) -> dict[str, Any]:
        """DetachVolume; a disk that is mounted is busy until it is not."""
        volume = self.cloud.volume(params["VolumeId"], region)
        if volume.attachment is None:
            raise Refused("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
        volume.attach_polls = self.cloud.polls_of("attachment")
        volume.attachment["State"] = "detaching"
        return dict(volume.attachment)

    def delete_volume(self, region: str, params: Params) -> dict[str, Any]:
        """DeleteVolume."""
        volume = self.cloud.volume(params["VolumeId"], region)
        if volume.attachment is not None:
            raise Refused("VolumeInUse", f"Volume {volume.id} is currently attached")
        del self.cloud.volumes[volume.id]
        if volume.file is not None:
            volume.file.unlink()
        return {}

    def create_snapshot(self, region: str, params: Params) -> dict[str, Any]:
        """CreateSnapshot: the volume's bytes as they are now."""
        cloud = self.cloud
        volume = cloud.volume(params["VolumeId"], region)
        snapshot = Snapshot(
            cloud.fresh_id("snap", ""), region, cloud.polls_of("snapshot"),
            tags_of(params, "snapshot"), size=volume.size,
            file=cloud.file(volume.size, volume.file), encrypted=volume.encrypted,
            key=volume.key, volume=volume.id, description=params.get("Description", ""),
            parent=volume.origin or None,
        )  # fmt: skip
        cloud.snapshots[snapshot.id] = snapshot
        return self._snapshot(snapshot)

    def describe_snapshots(self, region: str, params: Params) -> dict[str, Any]:
        """DescribeSnapshots."""
        wanted = params.get("SnapshotIds")
        if wanted:
            found = [self.cloud.snapshot(one, region) for one in wanted]
        else:
            found = [one for one in self.cloud.snapshots.values() if one.region == region]
        owners = params.get("OwnerIds")
        if owners:
            own = [ACCOUNT if one == "self" else one for one in owners]
            found = [one for one in found if one.owner in own]
        filters = params.get("Filters", ())
        found = [one for one in found if matches(filters, {}, one.tags)]
        described = [self._snapshot(one) for one in found]
        for one in found:
            one.look()
        return {"Snapshots": described}

    def _snapshot(self, snapshot: Snapshot) -> dict[str, Any]:
        state = "error" if snapshot.failed else "pending" if snapshot.polls > 0 else "completed"
        return {
            "SnapshotId": snapshot.id, "VolumeId": snapshot.volume, "VolumeSize": snapshot.size,
            "State": state, "Encrypted": snapshot.encrypted, "OwnerId": snapshot.owner,
            "Description": snapshot.description, "Tags": tag_list(snapshot.tags),
            "StartTime": datetime.datetime.now(datetime.UTC),
        }  # fmt: skip

    def delete_snapshot(self, region: str, params: Params) -> dict[str, Any]:
        """DeleteSnapshot; refused while an image uses it."""
        snapshot = self.cloud.snapshot(params["SnapshotId"], region)
        for image in self.cloud.images.values():
            if snapshot.id in image.snapshots():
                raise Refused("InvalidSnapshot.InUse",
                              f"{snapshot.id} is currently in use by {image.id}")  # fmt: skip
        del self.cloud.snapshots[snapshot.id]
        if snapshot.file is not None:
            snapshot.file.unlink()
        return {}

    def modify_snapshot_attribute(self, region: str, params: Params) -> dict[str, Any]:
        """ModifySnapshotAttribute, permissions only."""
        snapshot = self.cloud.snapshot(params["SnapshotId"], region)
        snapshot.permissions += params.get("CreateVolumePermission", {}).get("Add", [])
        return {}
