"""Texts of a template that are rendered when the source is known: tags, the description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.data import LenientMap
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.values.world import LiveWorld

_OF_SOURCE = (
    "SourceAMI", "SourceAMICreationDate", "SourceAMIName", "SourceAMIOwner", "SourceAMIOwnerName",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Texts:
    """What such texts know besides the source: Packer's functions."""

    build_name: str
    build_type: str
    template: str = ""
    epoch_s: int | None = None

    def render(self, text: str, data: Mapping[str, Any]) -> str:
        """Render one; raises GoldsmithError."""
        if "{{" not in text:
            return text
        now = None if self.epoch_s is None else datetime.fromtimestamp(self.epoch_s, UTC)
        context = PackerContext(
            build_name=self.build_name, build_type=self.build_type, template_path=self.template
        )
        try:
            functions = packer_functions(LiveWorld(now=now), context)
            return Template.parse(text, functions).render(dict(data))
        except GoTemplateError as e:
            raise GoldsmithError(str(e), hint=e.hint) from e

    def render_all(self, tags: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, str]:
        """Render the values of tags, sorted by key."""
        return {key: self.render(tags[key], data) for key in sorted(tags)}


def source_data(image: Mapping[str, Any] | None, region: str) -> dict[str, Any]:
    """What texts know of the source, in the form of DescribeImages; None from scratch."""
    if image is None:
        return {"BuildRegion": region}
    tags = {tag["Key"]: tag.get("Value", "") for tag in image.get("Tags", ())}
    return {
        "BuildRegion": region, "SourceAMI": image["ImageId"],
        "SourceAMICreationDate": image.get("CreationDate", ""),
        "SourceAMIName": image.get("Name", ""), "SourceAMIOwner": image.get("OwnerId", ""),
        "SourceAMIOwnerName": image.get("ImageOwnerAlias", ""), "SourceAMITags": LenientMap(tags),
    }  # fmt: skip


def sample_data(*, from_scratch: bool) -> dict[str, Any]:
    """The same names before anything is known."""
    if from_scratch:
        return {"BuildRegion": "region"}
    named = dict.fromkeys(("BuildRegion", *_OF_SOURCE), "x")
    return {**named, "SourceAMITags": LenientMap({})}


def run_values(data: Mapping[str, Any]) -> dict[str, str]:
    """What of it `build.*` says."""
    return {name: str(value) for name, value in data.items() if isinstance(value, str)}
