"""What a template can say in `source "amazon-ebsdirect"`; the manual is made from this model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from goldsmith.builders.amazon_chroot.options import SourceFilter
from goldsmith.builders.amazon_chroot.texts import Texts, sample_data
from goldsmith.builders.volume_steps.options import VolumeOptions
from goldsmith.cloud.ebs_direct.options import DirectOptions
from goldsmith.core.options import Finding
from goldsmith.errors import GoldsmithError, Severity


class AmazonEbsdirectOptions(VolumeOptions, DirectOptions):
    """Options of the `amazon-ebsdirect` source."""

    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = VolumeOptions.verbatim | {
        "ami_description", "tags", "tag", "snapshot_tags", "snapshot_tag",
    }  # fmt: skip

    source_ami: str = Field("", description="The image to start from.")
    source_ami_filter: SourceFilter | None = None
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

    @property
    def delayed_texts(self) -> dict[str, str]:
        """Texts that are rendered when the source is known, by where they stand."""
        groups = (("tags", self.all_tags), ("snapshot_tags", self.all_snapshot_tags))
        found = {f"{name} {key}": value for name, tags in groups for key, value in tags.items()}
        return {"ami_description": self.ami_description, **found}

    def findings(self, texts: Texts) -> Iterator[Finding]:
        """What is wrong with options that belong together, all of it."""
        yield from self.direct_findings()
        one = self.source_ami_filter
        if not self.source_ami and (one is None or not (one.filters or one.owners)):
            yield Finding("source_ami or source_ami_filter is required.", ("source_ami",))
        yield from self._mapping_findings()
        named = [name for name in ("root_label", "root_uuid", "mount_partition")
                 if getattr(self, name) is not None]  # fmt: skip
        if len(named) > 1:
            yield Finding(f"{' and '.join(named)} exclude each other: name the root by one",
                          (named[0],))  # fmt: skip
        if self.snapshot_encrypted and "use_parent" in self.model_fields_set and self.use_parent:
            yield Finding("an encrypted snapshot has a parent only if the source is encrypted too",
                          ("use_parent",), "", Severity.WARNING)  # fmt: skip
        for name, text in self.delayed_texts.items():
            try:
                texts.render(text, sample_data(from_scratch=False))
            except GoldsmithError as e:
                yield Finding(f"{name}: {e}", (name.partition(" ")[0],))

    def _mapping_findings(self) -> Iterator[Finding]:
        names = [one.device_name for one in self.ami_block_device_mappings]
        if names and not self.root_device_name:
            yield Finding("If ami_block_device_mappings is specified, root_device_name must be "
                          "specified", ("root_device_name",))  # fmt: skip
        if self.root_device_name and not names:
            yield Finding("If root_device_name is specified, ami_block_device_mappings must be "
                          "specified", ("ami_block_device_mappings",))  # fmt: skip
        if "ami_architecture" in self.model_fields_set:
            yield Finding("ami_architecture has no effect: it is that of the source",
                          ("ami_architecture",), "", Severity.WARNING)  # fmt: skip
