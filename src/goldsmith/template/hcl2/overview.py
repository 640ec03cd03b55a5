"""What a template is made of, for `inspect`: components need not exist, nor variables have values.

What cannot be evaluated is left out or unknown here; only what cannot be read is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from goldsmith.errors import Diagnostic, Diagnostics, TemplateError
from goldsmith.template.hcl2.ast import Attribute, Block
from goldsmith.template.hcl2.dynamic import expanded
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.references import source_name
from goldsmith.template.hcl2.scope import Scope
from goldsmith.template.hcl2.variable_values import UNSET_SUMMARY
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import STRING, ListType, Type
from goldsmith.values.value import Value, unknown


@dataclass(frozen=True, slots=True)
class BuildOverview:
    """A build block; components are named `TYPE` or `TYPE.NAME`, sources `TYPE.NAME`."""

    name: str
    description: str
    sources: tuple[str, ...]
    provisioners: tuple[str, ...]
    chains: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """A template; variables and locals are sorted by name, builds in their order.

    `secrets` are the texts that must not be shown, wherever they stand; `sources` are the texts of
    the files for the `warnings`.
    """

    variables: Mapping[str, Value]
    local_values: Mapping[str, Value]
    builds: tuple[BuildOverview, ...]
    secrets: frozenset[str]
    warnings: tuple[Diagnostic, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


def hinders(finding: Diagnostic) -> bool:
    """Whether a template with this finding cannot be inspected."""
    return not finding.summary.startswith(UNSET_SUMMARY)


def build_overview(block: Block, scope: Scope) -> BuildOverview:
    """What a build block names."""
    body = expanded(block.body, scope, Diagnostics())
    attributes, blocks = body.attributes, body.blocks
    chains = [
        _names(
            [one] if one.type == "post-processor" else _links(one, scope), "post-processor", scope
        )
        for one in blocks
        if one.type in ("post-processor", "post-processors")
    ]
    return BuildOverview(
        name=_text(attributes.get("name"), scope),
        description=_text(attributes.get("description"), scope),
        sources=(*_listed(attributes.get("sources"), scope), *_nested_sources(blocks, scope)),
        provisioners=_names(blocks, "provisioner", scope),
        chains=tuple(chains),
    )


def _links(chain: Block, scope: Scope) -> Iterable[Block]:
    return expanded(chain.body, scope, Diagnostics()).blocks


def _value(attribute: Attribute | None, wanted: Type, scope: Scope) -> Value:
    """The value of an argument; unknown where it has none that can be had."""
    if attribute is None:
        return unknown()
    try:
        return convert(evaluate(attribute.expression, scope), wanted)
    except (TemplateError, ConversionError):
        return unknown()


def _text(attribute: Attribute | None, scope: Scope) -> str:
    value = _value(attribute, STRING, scope)
    return value.raw if isinstance(value.raw, str) else ""


def _listed(attribute: Attribute | None, scope: Scope) -> Iterable[str]:
    for item in _value(attribute, ListType(STRING), scope).items():
        if isinstance(item.raw, str):
            yield source_name(item.raw)


def _nested_sources(blocks: Iterable[Block], scope: Scope) -> Iterable[str]:
    """The sources of `source` blocks in the build, under the names that they have there."""
    for block in blocks:
        if block.type == "source" and block.labels:
            kind, _, name = source_name(block.labels[0].text).partition(".")
            yield f"{kind}.{_text(block.body.attributes.get('name'), scope) or name}"


def _names(blocks: Iterable[Block], kind: str, scope: Scope) -> tuple[str, ...]:
    names = []
    for block in blocks:
        if block.type == kind and block.labels:
            name = _text(block.body.attributes.get("name"), scope)
            names.append(block.labels[0].text + (f".{name}" if name else ""))
    return tuple(names)
