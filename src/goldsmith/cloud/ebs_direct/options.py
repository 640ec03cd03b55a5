"""What templates say about an image that is uploaded block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from goldsmith.cloud.access_options import AccessOptions, endpoint_findings
from goldsmith.cloud.device_options import DeviceOptions
from goldsmith.cloud.ebs_direct.connections import CONNECTIONS
from goldsmith.core.options import Finding

_KEY_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")


class DirectOptions(AccessOptions, DeviceOptions):
    """Options of everything that makes an image by EBS direct."""

    custom_endpoint_ebs: str = Field("", description="The URL of EBS direct for every call to it.")
    snapshot_encrypted: bool | None = Field(
        None,
        description="Whether the snapshot is encrypted; by default as its parent, else as the "
        "account has it.",
    )
    snapshot_kms_key_arn: str = Field(
        "", description="The ARN of its key; needs `snapshot_encrypted`."
    )
    blocks: Literal["needed", "all"] = Field(
        "needed",
        description="needed leaves out blocks that are holes of the image and free in its file "
        "systems; all sends every block.",
    )
    connections: int = Field(
        CONNECTIONS, ge=1, le=CONNECTIONS, description="How many blocks are on their way at once."
    )
    upload_timeout_minutes: int = Field(
        60, ge=10, le=4320,
        description="After so many minutes without a block AWS gives the upload up.",
    )  # fmt: skip
    verify_upload: bool = Field(
        False, description="Read the whole snapshot back and compare it with the image."
    )

    def direct_findings(self) -> Iterator[Finding]:
        """What is wrong with any option of theirs, all at once."""
        yield from self.access_findings()
        yield from self.image_findings(self.ami_architecture)
        yield from self.device_findings()
        yield from self.upload_findings()

    def upload_findings(self) -> Iterator[Finding]:
        """What is wrong with those of the upload alone."""
        key = self.snapshot_kms_key_arn
        if key and self.snapshot_encrypted is not True:
            yield Finding("snapshot_kms_key_arn needs snapshot_encrypted = true",
                          ("snapshot_kms_key_arn",))  # fmt: skip
        if key and not _KEY_ARN.fullmatch(key):
            yield Finding(f'"{key}" is not the ARN of a key', ("snapshot_kms_key_arn",),
                          "EBS direct wants arn:aws:kms:REGION:ACCOUNT:key/ID")  # fmt: skip
        if key and self.region and f":{self.region}:" not in key:
            yield Finding(f"the key {key} is not one of {self.region}", ("snapshot_kms_key_arn",))
        yield from endpoint_findings("custom_endpoint_ebs", self.custom_endpoint_ebs)
