"""What `inspect` shows of a JSON template: its outline, in Packer's lines or records."""

from __future__ import annotations

from collections.abc import Callable

from goldsmith.redact import MASK
from goldsmith.template.legacy_json.outline import Entry, Outline
from goldsmith.ui.machine import MachineRenderer
from goldsmith.ui.terminal import write_line

Record = Callable[..., None]


def show_outline(outline: Outline, *, machine_readable: bool) -> None:
    """Print an outline; with `machine_readable` as records, each also with its line for people."""
    machine = MachineRenderer()
    tell = machine.line if machine_readable else write_line

    def record(kind: str, *data: str) -> None:
        if machine_readable:
            machine.record("", kind, *data)

    tell("Packer Inspect: JSON mode")
    if outline.description:
        tell("Description:\n")
        tell(outline.description + "\n")
    _variables(outline, tell, record)
    tell("")
    _builders(outline.builders, tell, record)
    tell("")
    tell("Provisioners:\n")
    for entry in outline.provisioners:
        record("template-provisioner", entry.type)
        tell(f"  {entry.type}")
    if not outline.provisioners:
        tell("  <No provisioners>")


def _variables(outline: Outline, tell: Callable[[str], None], record: Record) -> None:
    variables = sorted(outline.variables.values(), key=lambda one: one.name)
    if not variables:
        tell("Variables:\n")
        tell("  <No variables>")
        return
    required = [one for one in variables if one.default is None]
    if required:
        tell("Required variables:\n")
        for one in required:
            record("template-variable", one.name, "", "1")
            tell(f"  {one.name}")
        tell("")
    tell("Optional variables and their defaults:\n")
    width = max(len(one.name) for one in variables)
    for one in variables:
        if one.default is not None:
            shown = MASK if one.name in outline.sensitive else one.default
            record("template-variable", one.name, shown, "0")
            tell(f"  {one.name:<{width}} = {shown}")


def _builders(builders: list[Entry], tell: Callable[[str], None], record: Record) -> None:
    tell("Builders:\n")
    named = sorted((_name(entry), entry.type) for entry in builders)
    width = max((len(name) for name, _ in named), default=0)
    for name, kind in named:
        record("template-builder", name, kind)
        tell(f"  {name:<{width}}" + ("" if name == kind else f" ({kind})"))
    if not named:
        tell("  <No builders>")


def _name(entry: Entry) -> str:
    member = entry.own.get("name")
    given = member.node.content if member else None
    return given if isinstance(given, str) and given else entry.type
