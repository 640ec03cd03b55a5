"""Which names an expression refers to, without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from goldsmith.errors import SourceRange
from goldsmith.template.hcl2.ast import (
    AttributeAccess,
    Expression,
    ForExpression,
    IndexAccess,
    Literal,
    TemplateFor,
    Variable,
    children,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """`root.name` or `root["name"]`; `name` is None where all of `root` is meant.

    `member` is the third name of `data.TYPE.NAME`, None where all of a type are meant.
    """

    root: str
    name: str | None
    range: SourceRange
    member: str | None = None


def source_name(reference: str) -> str:
    """The `TYPE.NAME` of a source that a build names: a word in front, as in `source.`, goes."""
    parts = reference.split(".")
    return ".".join(parts[1:]) if len(parts) == 3 else reference


def references(expression: Expression) -> Iterator[Reference]:
    """Every reference to a name from outside the expression: names of its own loops are none."""
    pending: list[tuple[Expression, frozenset[str]]] = [(expression, frozenset())]
    while pending:
        node, bound = pending.pop()
        found = _reference(node)
        if found is not None:
            if found.root not in bound:
                yield found
            continue
        inside = bound
        if isinstance(node, ForExpression | TemplateFor):
            pending.append((node.collection, bound))
            inside = bound | {node.value_name, node.key_name or node.value_name}
        collection = getattr(node, "collection", None)
        pending.extend((child, inside) for child in children(node) if child is not collection)


def _reference(node: Expression) -> Reference | None:
    match node:
        case AttributeAccess(where, AttributeAccess(_, Variable(_, "data"), kind), name):
            return Reference("data", kind, where, name)
        case AttributeAccess(where, Variable(_, root), name):
            return Reference(root, name, where)
        case IndexAccess(where, Variable(_, root), Literal(_, key)) if isinstance(key.raw, str):
            return Reference(root, key.raw, where)
        case Variable(where, root):
            return Reference(root, None, where)
        case _:
            return None
