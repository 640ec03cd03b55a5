"""What templates say in every source that makes an image of EC2 of another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from goldsmith.builders.amazon.texts import Texts, sample_data
from goldsmith.builders.volume_steps.options import VolumeOptions
from goldsmith.cloud.access_options import AccessOptions
from goldsmith.cloud.device_options import DeviceOptions
from goldsmith.core.options import Finding, Options
from goldsmith.errors import GoldsmithError


class SourceFilter(Options):
    """Which image is the source, where no id says it."""

    filters: dict[str, str] = Field({}, description="Filters of DescribeImages by their names.")
    owners: tuple[str, ...] = Field((), description="Accounts, or self, amazon, aws-marketplace.")
    most_recent: bool = Field(False, description="Of several take the newest.")
    include_deprecated: bool = Field(False, description="Look at deprecated images too.")


class AmazonOptions(VolumeOptions, AccessOptions, DeviceOptions):
    """Options of the source, of what provisioners run on, and of the image that comes out."""

    go_templates: ClassVar[bool] = True
    verbatim: ClassVar[frozenset[str]] = VolumeOptions.verbatim | {
        "ami_description", "tags", "tag", "snapshot_tags", "snapshot_tag",
    }  # fmt: skip

    source_ami: str = Field("", description="The image to start from.")
    source_ami_filter: SourceFilter | None = None

    @property
    def names_source(self) -> bool:
        """Whether anything says which image is the source."""
        one = self.source_ami_filter
        return bool(self.source_ami) or (one is not None and bool(one.filters or one.owners))

    @property
    def has_source(self) -> bool:
        """Whether there is an image to start from."""
        return True

    @property
    def shown_files(self) -> tuple[str, ...]:
        """The files of this host that provisioners see."""
        return self.copy_files

    @property
    def delayed_tags(self) -> Mapping[str, Mapping[str, str]]:
        """Tags that are rendered when the source is known, by the option that gives them."""
        return {"tags": self.all_tags, "snapshot_tags": self.all_snapshot_tags}

    def findings(self, texts: Texts) -> Iterator[Finding]:
        """What is wrong with options that belong together, all of it."""
        yield from self.access_findings()
        yield from self.image_findings(self.ami_architecture)
        yield from self.device_findings()
        if self.has_source and not self.names_source:
            yield Finding("source_ami or source_ami_filter is required.", ("source_ami",))
        yield from self.mapping_findings()
        yield from self._text_findings(texts, sample_data(from_scratch=not self.has_source))

    def _text_findings(self, texts: Texts, data: Mapping[str, Any]) -> Iterator[Finding]:
        delayed = {"ami_description": self.ami_description}
        for name, tags in self.delayed_tags.items():
            delayed |= {f"{name} {key}": value for key, value in tags.items()}
        for name, text in delayed.items():
            try:
                texts.render(text, data)
            except GoldsmithError as e:
                yield Finding(f"{name}: {e}", (name.partition(" ")[0],))

    def mapping_findings(self) -> Iterator[Finding]:
        """Mappings without the name of the root's device, and the other way round."""
        names = [one.device_name for one in self.ami_block_device_mappings]
        if names and not self.root_device_name:
            yield Finding("If ami_block_device_mappings is specified, root_device_name must be "
                          "specified", ("root_device_name",))  # fmt: skip
        if self.root_device_name and not names:
            yield Finding("If root_device_name is specified, ami_block_device_mappings must be "
                          "specified", ("ami_block_device_mappings",))  # fmt: skip
