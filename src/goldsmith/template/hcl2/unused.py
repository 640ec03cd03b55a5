"""Names that a template declares and never uses: `-strict` takes them for mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from goldsmith.errors import Diagnostic, Diagnostics
from goldsmith.template.hcl2.ast import Block, Body, Expression, Literal, TupleExpression
from goldsmith.template.hcl2.references import references, source_name

_EVERYTHING = "*"


def unused_names(blocks: Iterable[Block]) -> list[Diagnostic]:
    """A finding for each variable, local, data source and source that nothing refers to."""
    blocks = list(blocks)
    used = set(_used(blocks))
    found = Diagnostics()
    for block in blocks:
        labels = [label.text for label in block.labels]
        match block.type:
            case "variable" | "local" if labels:
                root = "var" if block.type == "variable" else "local"
                names = [(root, labels[0], block.labels[0].range)]
            case "variables" | "locals":
                root = "var" if block.type == "variables" else "local"
                names = [
                    (root, name, one.name_range) for name, one in block.body.attributes.items()
                ]
            case "source" | "data" if len(labels) == 2:
                names = [(block.type, ".".join(labels), block.range)]
            case _:
                continue
        for root, name, where in names:
            if not {(root, name), (root, _EVERYTHING)} & used:
                detail = f"{root}.{name} is declared, and nothing in the template refers to it."
                found.error("Unused name", detail, where, block.header)
    return found.found


def _used(blocks: Iterable[Block]) -> Iterator[tuple[str, str]]:
    for block in blocks:
        # What validates a variable is no use of it.
        if block.type not in ("variable", "variables"):
            for expression in _expressions(block.body):
                yield from _referred(expression)
        if block.type == "build":
            yield from _sources(block)


def _referred(expression: Expression) -> Iterator[tuple[str, str]]:
    for one in references(expression):
        if one.root == "data":
            # Only the type of a data source is near at hand: all of that type count.
            yield "data", _EVERYTHING
        yield one.root, _EVERYTHING if one.name is None else one.name


def _expressions(body: Body) -> Iterator[Expression]:
    for attribute in body.attributes.values():
        yield attribute.expression
    for block in body.blocks:
        yield from _expressions(block.body)


def _sources(build: Block) -> Iterator[tuple[str, str]]:
    """The sources that a build names; all of them where that cannot be read off."""
    listed = build.body.attributes.get("sources")
    if listed is not None:
        whole = listed.expression
        items = whole.elements if isinstance(whole, TupleExpression) else (whole,)
        for item in items:
            text = item.value.raw if isinstance(item, Literal) else None
            yield "source", source_name(text) if isinstance(text, str) else _EVERYTHING
    for block in build.body.blocks:
        if block.type == "source" and block.labels:
            yield "source", source_name(block.labels[0].text)
        elif block.type == "dynamic":
            yield "source", _EVERYTHING
