"""`hcp_packer_registry`: checked as Packer checks it, and said to have no effect here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from goldsmith.errors import Diagnostics, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block
from goldsmith.template.hcl2.blocks import REGISTRY, checked
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.value import Value

_BUCKET: Final = re.compile(r"[a-zA-Z0-9-]{3,36}")
_LONGEST_DESCRIPTION: Final = 255


def check_registry(
    top_level: Sequence[Block], builds: Sequence[Block], scope: Scope, found: Diagnostics
) -> None:
    """Check the block of a template, at the top level or in a build; more than one is an error."""
    inside = [
        block
        for build in builds
        for block in build.body.blocks
        if block.type == "hcp_packer_registry"
    ]
    blocks = [*top_level, *inside]
    for extra in blocks[1:]:
        detail = f"There is one already at {blocks[0].range}; a template has only one."
        found.error("Duplicate hcp_packer_registry", detail, extra.range, extra.header)
    for block in blocks[:1]:
        attributes, _ = checked(block.body, REGISTRY, found, block)
        _check_texts(block, attributes, scope, found)
        detail = "goldsmith sends nothing to HCP Packer: this block has no effect."
        found.warn("HCP Packer is not supported", detail, block.range, block.header)


def _check_texts(
    block: Block, attributes: dict[str, Attribute], scope: Scope, found: Diagnostics
) -> None:
    def text(name: str) -> Value | None:
        attribute = attributes.get(name)
        if attribute is None:
            return None
        try:
            return evaluate(attribute.expression, scope)
        except TemplateError as error:
            found.extend(error.diagnostics)
            return None

    bucket, description = text("bucket_name"), text("description")
    if bucket is not None and isinstance(bucket.raw, str) and not _BUCKET.fullmatch(bucket.raw):
        detail = "bucket_name has 3 to 36 letters, digits and hyphens."
        found.error("Invalid bucket_name", detail, bucket.range, block.header)
    long = description is not None and isinstance(description.raw, str)
    if description is not None and long and len(description.text) > _LONGEST_DESCRIPTION:
        detail = f"description has at most {_LONGEST_DESCRIPTION} characters."
        found.error("Invalid description", detail, description.range, block.header)
    for name in ("bucket_labels", "labels", "build_labels", "channels"):
        text(name)
