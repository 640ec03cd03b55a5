"""A copy of the source in the account that builds: public snapshots are copied, but not read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goldsmith.cloud.images import Publishing, take_back, temporary_name, wait_for_image
from goldsmith.core.step import StepContext


@dataclass(frozen=True, slots=True)
class CopySourceStep:
    """Copies the source for as long as the build runs; nobody else sees the copy."""

    publishing: Publishing
    image_id: str
    name: str = "StepCopySource"

    @property
    def label(self) -> str:
        """Names the source."""
        return f"Copying the source AMI ({self.image_id}) into this account"

    def run(self, context: StepContext) -> Mapping[str, Any]:
        """Copy it and return the copy, as DescribeImages tells of it; it goes at the end."""
        publishing = self.publishing
        ec2 = publishing.account.ec2()
        claim = publishing.ledger.claim("image", ec2.region)
        with claim.settled_if_refused():
            made = ec2.call(
                "copy_image", SourceRegion=ec2.region, SourceImageId=self.image_id,
                Name=temporary_name(), ClientToken=secrets.token_hex(16),
                TagSpecifications=claim.tags("image", "snapshot"),
            )  # fmt: skip
        image_id = str(made["ImageId"])
        publishing.teardown.defer(
            f"deregister {image_id}", take_back(ec2, image_id, claim, copy=True)
        )
        context.emitter.say(f"The copy is {image_id}, until the build has ended")
        return wait_for_image(ec2, publishing.waiting, image_id)
