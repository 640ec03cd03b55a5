"""Which arguments and blocks may stand where, checked with a finding for everything else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics
from goldsmith.template.hcl2.ast import Attribute, Block, Body

NOT_YET_SUMMARY = "Not available in goldsmith yet"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a body may contain: arguments, blocks with the names of their labels.

    `attributes` None allows any argument.
    """

    attributes: frozenset[str] | None = frozenset()
    required: frozenset[str] = frozenset()
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


TOP_LEVEL = Schema(
    blocks={
        "packer": (),
        "variable": ("name",),
        "variables": (),
        "locals": (),
        "local": ("name",),
        "data": ("type", "name"),
        "source": ("type", "name"),
        "build": (),
        "dynamic": ("type",),
        "communicator": ("type", "name"),
        "hcp_packer_registry": (),
    },
)
REPEATABLE = replace(
    TOP_LEVEL, blocks={name: labels for name, labels in TOP_LEVEL.blocks.items()
                       if name != "dynamic"},
)  # fmt: skip
"""What may stand there once the dynamic blocks have become what they stand for."""
PACKER = Schema(attributes=frozenset({"required_version"}), blocks={"required_plugins": ()})
VARIABLE = Schema(
    attributes=frozenset({"type", "default", "description", "sensitive"}),
    blocks={"validation": ()},
)
VALIDATION = Schema(
    attributes=frozenset({"condition", "error_message"}),
    required=frozenset({"condition", "error_message"}),
)
ANY_ATTRIBUTES = Schema(attributes=None)
LOCAL = Schema(
    attributes=frozenset({"expression", "sensitive"}), required=frozenset({"expression"})
)
BUILD = Schema(
    attributes=frozenset({"name", "description", "sources"}),
    blocks={
        "source": ("reference",),
        "provisioner": ("type",),
        "post-processor": ("type",),
        "post-processors": (),
        "error-cleanup-provisioner": ("type",),
        "hook": ("name",),
        "hcp_packer_registry": (),
    },
)
CHAIN = Schema(blocks={"post-processor": ("type",)})
DYNAMIC = Schema(
    attributes=frozenset({"for_each", "iterator", "labels"}),
    required=frozenset({"for_each"}),
    blocks={"content": ()},
)
REGISTRY = Schema(
    attributes=frozenset(
        {"bucket_name", "description", "bucket_labels", "labels", "build_labels", "channels"}
    )
)


def checked(
    body: Body, schema: Schema, found: Diagnostics, owner: Block | None = None
) -> tuple[dict[str, Attribute], list[Block]]:
    """The arguments and blocks of a body that its schema allows; everything else is a finding.

    A block whose type is misspelled is returned with the type that was meant, so that what it
    declares is not missed elsewhere.
    """
    subject = owner.header if owner else ""
    attributes = {
        name: attribute
        for name, attribute in body.attributes.items()
        if _attribute_allowed(attribute, schema, found, subject)
    }
    for name in sorted(schema.required - body.attributes.keys()):
        detail = f'The argument "{name}" is required, but no definition was found.'
        where = owner.range if owner else body.range
        found.error("Missing required argument", detail, where, subject)
    blocks = [_with_known_type(block, schema, found, subject) for block in body.blocks]
    return attributes, [block for block in blocks if _block_allowed(block, schema, found, subject)]


def _attribute_allowed(
    attribute: Attribute, schema: Schema, found: Diagnostics, subject: str
) -> bool:
    name = attribute.name
    if schema.attributes is None or name in schema.attributes:
        return True
    detail = f'An argument named "{name}" is not expected here.'
    if name in schema.blocks:
        detail += f' Did you mean to define a block of type "{name}"?'
    else:
        detail += did_you_mean(name, schema.attributes)
    found.error("Unsupported argument", detail, attribute.name_range, subject)
    return False


def _with_known_type(block: Block, schema: Schema, found: Diagnostics, subject: str) -> Block:
    kind, known = block.type, list(schema.blocks)
    if kind in known:
        return block
    detail = f'Blocks of type "{kind}" are not expected here.'
    if schema.attributes and kind in schema.attributes:
        detail += f' Did you mean to set the argument "{kind} = …"?'
    else:
        detail += did_you_mean(kind, known)
    found.error("Unsupported block type", detail, block.type_range, subject)
    near = difflib.get_close_matches(kind, list(schema.blocks), n=1)
    return replace(block, type=near[0]) if near else block


def _block_allowed(block: Block, schema: Schema, found: Diagnostics, subject: str) -> bool:
    kind = block.type
    if kind not in schema.blocks:
        return False
    labels = schema.blocks[kind]
    if len(block.labels) < len(labels):
        missing = labels[len(block.labels)]
        detail = f"A {kind} block needs {_labels_text(labels)}: {missing} is missing."
        found.error(f"Missing {missing} for {kind}", detail, block.range, subject)
        return False
    if len(block.labels) > len(labels):
        extra = block.labels[len(labels)]
        wanted = f"exactly {_labels_text(labels)}" if labels else "no labels"
        detail = f'A {kind} block takes {wanted}; "{extra.text}" is one too many.'
        found.error(f"Extraneous label for {kind}", detail, extra.range, subject)
        return False
    return True


def _labels_text(labels: tuple[str, ...]) -> str:
    return f"{len(labels)} label{'s' if len(labels) > 1 else ''} ({', '.join(labels)})"
