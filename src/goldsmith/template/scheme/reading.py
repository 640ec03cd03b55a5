"""Reads a scheme file: HCL2 (`.hcl`), its JSON (`.hcl.json`), YAML or JSON, all by one model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.core.options import Options, build_options, nested_options, option_fields
from goldsmith.disk.block_devices.yaml_text import Item, read_yaml
from goldsmith.errors import (
    Diagnostic,
    Diagnostics,
    GoldsmithError,
    Position,
    SourceRange,
    TemplateError,
    explain_os_error,
    in_order,
)
from goldsmith.template.hcl2.config import raw_body
from goldsmith.template.hcl2.json_syntax import parse_json_file
from goldsmith.template.hcl2.parser import parse_file
from goldsmith.template.hcl2.scope import Scope
from goldsmith.template.scheme.options import SchemeOptions
from goldsmith.values.value import Value, from_python
from goldsmith.values.world import LiveWorld

LARGEST_BYTES: Final = 4 << 20
HCL_ENDING, HCL_JSON_ENDING = ".hcl", ".hcl.json"


def read_scheme(path: str) -> SchemeOptions:
    """Read a file; raises TemplateError with every finding and its place, GoldsmithError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_BYTES + 1)
    except UnicodeDecodeError as e:
        raise GoldsmithError(f"{path} is not a text in UTF-8: {e}") from e
    except OSError as e:
        raise explain_os_error(e) from e
    if len(text) > LARGEST_BYTES:
        raise GoldsmithError(f"{path} is larger than 4 MiB: it is no scheme")
    return parse_scheme(text, path)


def parse_scheme(text: str, path: str) -> SchemeOptions:
    """Read the text of a file, whose name says the language; raises TemplateError."""
    if path.endswith((HCL_ENDING, HCL_JSON_ENDING)):
        body, found = _from_hcl(text, path)
    else:
        body, found = _from_yaml(text, path)
    options = None
    if not found:
        options, found = build_options(SchemeOptions, body)
    if options is None or found:
        raise TemplateError(in_order(found, [path]), {path: text})
    return options


def _whole(path: str) -> SourceRange:
    start = Position(1, 1, 0)
    return SourceRange(path, start, start)


def _from_hcl(text: str, path: str) -> tuple[RawBody, list[Diagnostic]]:
    parse = parse_json_file if path.endswith(HCL_JSON_ENDING) else parse_file
    parsed = parse(text, path)
    found = list(parsed.diagnostics)
    scope = Scope(LiveWorld(), base_directory=str(Path(os.path.dirname(path) or ".")))
    return raw_body(parsed.body, scope, _whole(path), found), found


def _from_yaml(text: str, path: str) -> tuple[RawBody, list[Diagnostic]]:
    findings = Diagnostics()
    root = read_yaml(text, path, findings)
    if root is None or findings.errors:
        return RawBody(range=_whole(path)), findings.found
    if not isinstance(root.value, dict):
        findings.error("a scheme is a map", "its keys are disk, raid, volume_group and so on",
                       root.place)  # fmt: skip
        return RawBody(range=_whole(path)), findings.found
    return _body(SchemeOptions, root, findings), findings.found


def _body(model: type[Options], item: Item, findings: Diagnostics) -> RawBody:
    """A map as the body of a block: lists of maps are repeated blocks, labels are keys of them."""
    attributes: dict[str, Value] = {}
    names: dict[str, SourceRange] = {}
    blocks: list[RawBlock] = []
    fields = option_fields(model)
    for name, one in item.entries.items():
        nested = nested_options(fields[name].annotation) if name in fields else None
        if nested is None:
            attributes[name], names[name] = _value(one), one.place
            continue
        inner, is_repeated = nested
        maps = one.value if is_repeated and isinstance(one.value, list) else [one]
        for entry in maps:
            if not isinstance(entry.value, dict):
                many = "a list of maps" if is_repeated else "a map"
                findings.error(f"{name} is {many}", "", entry.place)
                continue
            blocks.append(_block(name, inner, entry, findings))
    return RawBody(attributes, names, tuple(blocks), item.place)


def _block(name: str, model: type[Options], item: Item, findings: Diagnostics) -> RawBlock:
    labels: list[str] = []
    rest: Mapping[str, Item] = dict(item.entries)
    for label in model.labels:
        given = item.entries.get(label)
        if given is None or not isinstance(given.value, str | int) or not given.written:
            findings.error(f"{name} needs {label}, a text", "", item.place)
        else:
            labels.append(given.written)
        rest = {key: one for key, one in rest.items() if key != label}
    body = _body(model, Item(rest, item.place), findings)
    return RawBlock(name, tuple(labels), body, item.place)


def _value(item: Item) -> Value:
    def plain(one: Item) -> object:
        if isinstance(one.value, dict):
            return {name: plain(inner) for name, inner in one.value.items()}
        return [plain(inner) for inner in one.value] if isinstance(one.value, list) else one.value

    return from_python(plain(item)).at(item.place)
