"""Volumes: made in the zone of an instance, attached to it, detached, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goldsmith.cloud.calls import Service
from goldsmith.cloud.journal import Claim, Ledger, detach, gone
from goldsmith.cloud.polling import ATTACHMENT, VOLUME, Waiting
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of this build."""

    id: str
    ec2: Service
    waiting: Waiting
    claim: Claim

    def wait_until_available(self) -> None:
        """Wait until it can be attached."""

        def look() -> tuple[str, bool]:
            volume = self.ec2.one("describe_volumes", VolumeIds=[self.id])
            state = str(volume["State"])
            if state in ("error", "deleting", "deleted"):
                raise GoldsmithError(
                    f"volume {self.id} became {state}",
                    hint="may this account use the key of its snapshot?",
                )
            return state, state == "available"

        self.waiting.until(VOLUME, f"volume {self.id}", look)

    def attach(self, instance_id: str, device: str) -> None:
        """Attach it and wait until AWS says so; its node may come a moment later."""

        def look() -> tuple[str, bool]:
            volume = self.ec2.one("describe_volumes", VolumeIds=[self.id])
            states = [str(one["State"]) for one in volume["Attachments"]]
            return ", ".join(states) or "not attached", bool(states) and set(states) == {"attached"}

        try:
            self.ec2.call("attach_volume", InstanceId=instance_id, VolumeId=self.id, Device=device)
        except AwsError as e:
            # The answer to an earlier try was lost; a volume of ours is attached by nobody else.
            if e.code != "VolumeInUse":
                raise
        self.waiting.until(ATTACHMENT, f"the attachment of {self.id}", look)

    def detach(self) -> None:
        """Detach it and wait until it is."""
        detach(self.ec2, self.waiting, self.id)

    def delete(self) -> None:
        """Delete it; one that is gone already does not matter."""
        gone(self.ec2, "delete_volume", VolumeId=self.id)
        self.claim.settle()


def create_volume(
    ec2: Service, waiting: Waiting, ledger: Ledger, request: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Volume:  # fmt: skip
    """Ask for a volume; it is journalled and tagged from the first moment on."""
    claim = ledger.claim("volume", ec2.region)
    with claim.settled_if_refused():
        answer = ec2.call(
            "create_volume", **request, TagSpecifications=claim.tags("volume", own=tags),
            ClientToken=secrets.token_hex(16),
        )  # fmt: skip
    return Volume(answer["VolumeId"], ec2, waiting, claim)
