"""What a template can say in `source "amazon-ebsdirect"`; the manual is made from this model."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from goldsmith.builders.amazon.options import AmazonOptions
from goldsmith.builders.amazon.texts import Texts
from goldsmith.cloud.ebs_direct.options import DirectOptions
from goldsmith.core.options import Finding
from goldsmith.errors import Severity


class AmazonEbsdirectOptions(AmazonOptions, DirectOptions):
    """Options of the `amazon-ebsdirect` source."""

    copy_source: bool = Field(
        False,
        description="Copy the source into this account first, for as long as the build runs: the "
        "snapshots of public images cannot be read.",
    )
    use_parent: bool = Field(
        True,
        description="Make the new snapshot one after the source's, so that only the blocks that "
        "differ are sent.",
    )
    root_label: str | None = Field(
        None, min_length=1, description="The label of the root's file system."
    )
    root_uuid: str | None = Field(
        None, min_length=1, description="The UUID of the root's file system."
    )
    mount_partition: int | None = Field(
        None, ge=0,
        description="The number of the root's partition, 0 for a volume without partitions; "
        "without any of the three the one partition with a system in it.",
    )  # fmt: skip

    def findings(self, texts: Texts) -> Iterator[Finding]:
        """What is wrong with options that belong together, all of it."""
        yield from super().findings(texts)
        yield from self.upload_findings()
        named = [name for name in ("root_label", "root_uuid", "mount_partition")
                 if getattr(self, name) is not None]  # fmt: skip
        if len(named) > 1:
            yield Finding(f"{' and '.join(named)} exclude each other: name the root by one",
                          (named[0],))  # fmt: skip
        if self.snapshot_encrypted and "use_parent" in self.model_fields_set and self.use_parent:
            yield Finding("an encrypted snapshot has a parent only if the source is encrypted too",
                          ("use_parent",), "", Severity.WARNING)  # fmt: skip
        if "ami_architecture" in self.model_fields_set:
            yield Finding("ami_architecture has no effect: it is that of the source",
                          ("ami_architecture",), "", Severity.WARNING)  # fmt: skip
