"""What the cloud holds: volumes, snapshots and images of every region, and their calls.

Each call takes the parameters in boto3's form and returns the answer in boto3's form.
"""

from __future__ import annotations

import datetime
import fnmatch
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aws_rig.disks import Attached, Disks
from aws_rig.refusals import Refused

ACCOUNT = "123456789012"
Params = Mapping[str, Any]


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the form of the API."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(params: Params, kind: str) -> dict[str, str]:
    """The tags that a call wants on what it makes."""
    found: dict[str, str] = {}
    for one in params.get("TagSpecifications", ()):
        if one.get("ResourceType") == kind:
            found |= {tag["Key"]: tag.get("Value", "") for tag in one.get("Tags", ())}
    return found


@dataclass
class Resource:
    """What is not ready before it was asked for so many times."""

    id: str
    region: str
    polls: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    def look(self) -> None:
        """Come nearer to being ready: somebody has looked at it as it was."""
        self.polls = max(0, self.polls - 1)


@dataclass
class Volume(Resource):
    """A volume, its file, and what it is attached to."""

    zone: str = ""
    size: int = 0
    kind: str = "gp2"
    file: Path | None = None
    origin: str = ""
    encrypted: bool = False
    key: str | None = None
    iops: int | None = None
    throughput: int | None = None
    attachment: dict[str, Any] | None = None
    disk: Attached | None = None
    attach_polls: int = 0


@dataclass
class Snapshot(Resource):
    """A snapshot; None for a file of holes alone."""

    size: int = 0
    file: Path | None = None
    encrypted: bool = False
    key: str | None = None
    owner: str = ACCOUNT
    volume: str = ""
    description: str = ""
    permissions: list[dict[str, str]] = field(default_factory=list)
    parent: str | None = None
    present: set[int] | None = None
    """The blocks that EBS direct knows of; None where nobody has asked yet."""


@dataclass
class Image(Resource):
    """An image with all that it was registered with, in the form of the API."""

    name: str = ""
    owner: str = ACCOUNT
    created: datetime.datetime = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    )
    mappings: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    permissions: list[dict[str, str]] = field(default_factory=list)
    product_codes: list[str] = field(default_factory=list)
    deprecate_at: str | None = None
    protection: str | None = None

    def snapshots(self) -> list[str]:
        """Those of its devices."""
        ebs = (mapping.get("Ebs", {}) for mapping in self.mappings)
        return [one["SnapshotId"] for one in ebs if one.get("SnapshotId")]


class Cloud:
    """The state, and one method per action of EC2 that the rig answers itself."""

    def __init__(self, disks: Disks, *, polls: int = 0, never_ready: Iterable[str] = ()) -> None:
        self.disks = disks
        self.polls = polls
        self.never_ready = frozenset(never_ready)
        self.volumes: dict[str, Volume] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.images: dict[str, Image] = {}
        self.asked: dict[str, dict[str, Any]] = {}
        """What StartSnapshot was given for each snapshot that it made."""
        self._numbers = {kind: itertools.count(1) for kind in ("vol", "snap", "ami", "file")}
        self._made: dict[tuple[str, str], Any] = {}
        """What was made by a call with a token, so that the same call makes it only once."""

    def polls_of(self, kind: str) -> int:
        """How often something of this kind is asked for before it is ready."""
        return 10**9 if kind in self.never_ready else self.polls

    def fresh_id(self, kind: str, wanted: str) -> str:
        """An id that nothing has; ids are those of the golden data where these have some."""
        known = {*self.volumes, *self.snapshots, *self.images}
        if wanted and wanted not in known:
            return wanted
        numbered = (f"{wanted or kind}-{n}" for n in self._numbers[kind])
        return next(one for one in numbered if one not in known)

    def file(self, size: int, origin: Path | None) -> Path:
        """A new file of so many GiB."""
        return self.disks.make(f"disk-{next(self._numbers['file'])}", size, origin)

    def volume(self, volume_id: str, region: str) -> Volume:
        """One volume."""
        found = self.volumes.get(volume_id)
        if found is None or found.region != region:
            raise Refused("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")
        return found

    def snapshot(self, snapshot_id: str, region: str) -> Snapshot:
        """One snapshot."""
        found = self.snapshots.get(snapshot_id)
        if found is None or found.region != region:
            raise Refused("InvalidSnapshot.NotFound",
                          f"The snapshot '{snapshot_id}' does not exist.")  # fmt: skip
        return found

    def image(self, image_id: str, region: str) -> Image:
        """One image."""
        found = self.images.get(image_id)
        if found is None or found.region != region:
            raise Refused("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        return found

    def made_once(self, action: str, params: Params) -> tuple[tuple[str, str] | None, Any]:
        """The key of a call's token, and what an earlier call with it has made."""
        token = params.get("ClientToken")
        if not token:
            return None, None
        return (action, token), self._made.get((action, token))

    def remember(self, key: tuple[str, str] | None, made: Any) -> None:
        """Keep what a call with a token has made."""
        if key is not None:
            self._made[key] = made


def matches(filters: Iterable[Mapping[str, Any]], values: Mapping[str, str],
            tags: Mapping[str, str]) -> bool:  # fmt: skip
    """Whether something passes all filters; raises Refused for one that the rig does not know."""
    for one in filters:
        name, wanted = one["Name"], one.get("Values", [])
        if name.startswith("tag:"):
            value = tags.get(name.removeprefix("tag:"))
        elif name in values:
            value = values[name]
        else:
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")
        if value is None or not any(fnmatch.fnmatchcase(value, pattern) for pattern in wanted):
            return False
    return True
