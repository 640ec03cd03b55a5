"""From the content of a block to the layers of configuration that a plugin's component is given.

HCL2 content becomes one object as the component's schema has it, every attribute in it; content of
a JSON template goes as it is. Packer's own keys come with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.core.foreign import Surroundings
from goldsmith.core.options import Finding, did_you_mean
from goldsmith.plugin.protocols import RawConfig
from goldsmith.plugin.wire.hcl_spec import (
    AttributeSpec,
    BlockListSpec,
    BlockSpec,
    ObjectSpec,
    Spec,
)
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    Type,
)
from goldsmith.values.value import (
    Unknown,
    Value,
    boolean,
    list_of,
    map_of,
    null,
    number,
    object_of,
    set_of,
    string,
    tuple_of,
    unmarked,
)

UNKNOWN_TEXT: Final = "<unknown>"
"""What stands for a text while the running build has not told it."""
PLACEHOLDER_NAMES: Final = (
    "ID", "Host", "Port", "User", "Password", "ConnType", "PackerRunUUID", "PackerHTTPAddr",
    "PackerHTTPIP", "PackerHTTPPort", "SSHPublicKey", "SSHPrivateKey", "WinRMPassword",
)  # fmt: skip
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a command says of its whole run, as plugins are told it."""

    core_version: str
    debug: bool = False
    force: bool = False
    on_error: str = ""
    """As it was given; "" where it was not."""
    secrets: frozenset[str] = frozenset()
    """The texts of the template that are secret."""

    def packer_keys(self, around: Surroundings) -> dict[str, Any]:
        """Packer's own keys; truth values are texts in HCL2, as they are with Packer."""
        in_hcl2 = around.go_names is None
        keys: dict[str, Any] = {
            "packer_build_name": around.source_name,
            "packer_builder_type": around.source_type,
            "packer_core_version": self.core_version,
            "packer_debug": str(self.debug).lower() if in_hcl2 else self.debug,
            "packer_force": str(self.force).lower() if in_hcl2 else self.force,
            "packer_on_error": self.on_error,
        }
        if around.go_names is not None:
            user = dict(around.go_names.user)
            keys |= {
                "packer_template_path": around.template_path,
                "packer_user_variables": user,
                "packer_sensitive_variables": sorted(
                    name for name, text in user.items() if text in self.secrets
                ),
            }
        elif around.kind != "builder":
            keys["packer_sensitive_variables"] = []
        return keys


@dataclass(slots=True)
class Configured:
    """The layers for a component, and what its schema says against the content."""

    layers: Sequence[RawConfig]
    found: list[Finding] = field(default_factory=list)


def configured(
    body: RawBody, around: Surroundings, schema: ObjectSpec | None, settings: RunSettings
) -> Configured:
    """The layers in the order in which Packer gives them, later ones winning.

    `schema` is None in JSON templates, which have no use for one.
    """
    keys = settings.packer_keys(around)
    if schema is None:
        content = {name: _plain(value) for name, value in body.attributes.items()}
        if around.kind == "builder":
            return Configured([content, keys])
        return Configured([content, keys, _placeholders(around.announced)])
    decoded, found = decode(body, schema)
    if around.kind == "data source":
        return Configured([decoded], found)
    if around.kind == "provisioner":
        return Configured([keys, decoded, None], found)
    return Configured([keys, decoded], found)


def decode(body: RawBody, schema: ObjectSpec) -> tuple[Value, list[Finding]]:
    """A block's content as the object that a schema describes, null where it says nothing."""
    reader = _Reader()
    value = reader.read(body, schema, ())
    return value, reader.found


def _placeholders(announced: Iterable[str]) -> dict[str, str]:
    """What `{{build}}` gives before anything runs."""
    note = "To set this dynamically in the Packer template, you must use the `build` function"
    return {name: f"Build_{name}. {note}" for name in (*PLACEHOLDER_NAMES, *announced)}


def _plain(value: Value) -> Any:
    """A JSON template's value as it crosses the wire: every number is a float there."""
    match value.raw:
        case Number():
            return float(value.raw.to_text())
        case tuple():
            return [_plain(item) for item in value.raw]
        case dict():
            return {name: _plain(item) for name, item in value.raw.items()}
        case Unknown():
            return UNKNOWN_TEXT
        case _:
            return value.raw


def settled(value: Value, wanted: Type) -> Value:
    """The value without unknowns, which Packer shows to plugins as empty: 0, false, no elements.

    A text with an unknown part becomes UNKNOWN_TEXT.
    """
    match value.raw:
        case Unknown():
            return _empty(wanted)
        case tuple():
            return tuple_of(settled(item, _inner(wanted, "")) for item in value.raw)
        case dict():
            return object_of({k: settled(v, _inner(wanted, k)) for k, v in value.raw.items()})
        case _:
            return value


def _inner(wanted: Type, name: str) -> Type:
    match wanted:
        case ListType() | SetType() | MapType():
            return wanted.element
        case ObjectType():
            return wanted.attributes.get(name, ANY)
        case _:
            return ANY


def _empty(wanted: Type) -> Value:
    match wanted:
        case ListType():
            return list_of(wanted.element, ())
        case SetType():
            return set_of(wanted.element, ())
        case MapType():
            return map_of(wanted.element, {})
        case _ if wanted in (STRING, ANY):
            return string(UNKNOWN_TEXT)
        case _ if wanted == NUMBER:
            return number(0)
        case _ if wanted == BOOL:
            return boolean(False)
        case _:
            return null(wanted)


class _Reader:
    """Walks a body beside its schema."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, summary: str, detail: str, path: Path) -> None:
        self.found.append(Finding(summary, path, detail))

    def read(self, body: RawBody, schema: ObjectSpec, path: Path) -> Value:
        attributes = {
            spec.name: (key, spec)
            for key, spec in schema.entries.items()
            if isinstance(spec, AttributeSpec)
        }
        blocks = {
            spec.name: (key, spec)
            for key, spec in schema.entries.items()
            if not isinstance(spec, AttributeSpec)
        }
        self._refuse_unknown(body, attributes, blocks, path)
        given: dict[str, Value] = {}
        for name, (key, attribute) in attributes.items():
            given[key] = self._attribute(body, name, attribute, path)
        for name, (key, block) in blocks.items():
            given[key] = self._blocks(body, name, block, path)
        return object_of(given)

    def _refuse_unknown(
        self, body: RawBody, attributes: Mapping[str, Any], blocks: Mapping[str, Any], path: Path
    ) -> None:
        for name in body.attributes:
            if name in attributes or (name in blocks and body.objects_as_blocks):
                continue
            if name in blocks:
                detail = f'"{name}" is a block: write {name} {{ … }} without the equals sign.'
            else:
                known = [*attributes, *sorted(body.common)]
                detail = f'An argument named "{name}" is not expected here.'
                detail += did_you_mean(name, known)
            self.add("Unsupported argument", detail, (*path, name))
        for block in body.blocks:
            if block.type in attributes:
                detail = (
                    f'"{block.type}" is an argument: write {block.type} = … with an equals sign.'
                )
                self.add("Unsupported block type", detail, (*path, block.type))
            elif block.type not in blocks:
                detail = f'Blocks of type "{block.type}" are not expected here.'
                detail += did_you_mean(block.type, blocks)
                self.add("Unsupported block type", detail, (*path, block.type))
            elif block.labels:
                detail = f"Write {block.type} {{ … }}."
                self.add("Wrong block labels", detail, (*path, block.type))

    def _attribute(self, body: RawBody, name: str, spec: AttributeSpec, path: Path) -> Value:
        value = body.attributes.get(name)
        if value is None or value.is_null:
            if spec.required:
                detail = f'The argument "{name}" is required, but no definition was found.'
                self.add("Missing required argument", detail, path)
            return null(spec.type)
        try:
            return convert(settled(unmarked(value), spec.type), spec.type)
        except ConversionError as error:
            detail = f'Inappropriate value for attribute "{name}": {error}.'
            self.add("Incorrect attribute value", detail, (*path, name))
            return null(spec.type)

    def _blocks(self, body: RawBody, name: str, spec: Spec, path: Path) -> Value:
        written = [block for block in body.blocks if block.type == name]
        if body.objects_as_blocks and name in body.attributes:
            written += _blocks_in(name, body.attributes[name])
        assert isinstance(spec, BlockSpec | BlockListSpec)
        nested = spec.nested
        if isinstance(spec, BlockListSpec):
            if len(written) < spec.least or (spec.most and len(written) > spec.most):
                most = f" and at most {spec.most}" if spec.most else ""
                detail = f'At least {spec.least}{most} "{name}" blocks are needed.'
                self.add("Wrong number of blocks", detail, path)
            items = [
                self.read(block.body, nested, (*path, name, at)) for at, block in enumerate(written)
            ]
            return list_of(nested.type, [convert(item, nested.type) for item in items])
        if len(written) > 1:
            self.add("Duplicate block", f'Only one "{name}" block is allowed.', (*path, name))
        if not written:
            if spec.required:
                self.add("Missing required block", f'A "{name}" block is required.', path)
            return null(nested.type)
        return self.read(written[0].body, nested, (*path, name))


def _blocks_in(name: str, value: Value) -> list[RawBlock]:
    """The blocks that objects in JSON syntax stand for."""
    items = value.raw if isinstance(value.raw, tuple) else (value,)
    return [
        RawBlock(name, (), RawBody(item.raw, {}, (), item.range, objects_as_blocks=True))
        for item in items
        if isinstance(item.raw, dict)
    ]
