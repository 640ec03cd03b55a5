"""`dynamic` blocks: one block for each element of a collection, made before anything else looks.

Expressions of such a block are bound to the element that it was made for, so nobody who reads the
blocks of a body needs to know where they came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from goldsmith.errors import Diagnostics, TemplateError
from goldsmith.template.hcl2 import access
from goldsmith.template.hcl2.ast import (
    Attribute,
    Block,
    Body,
    Bound,
    Expression,
    Label,
    Literal,
    Variable,
)
from goldsmith.template.hcl2.blocks import DYNAMIC, checked
from goldsmith.template.hcl2.evaluator import evaluate
from goldsmith.template.hcl2.lexer import is_identifier
from goldsmith.template.hcl2.scope import Scope, failure
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.types import ANY, STRING, ListType, friendly_name
from goldsmith.values.value import Value, object_of, unknown

MOST_BLOCKS = 10_000
"""Blocks that one `dynamic` block may make: more is a mistake, and would not fit into memory."""
_BLOCK = "dynamic"


def expanded(body: Body, scope: Scope, found: Diagnostics) -> Body:
    """The body with the blocks that its `dynamic` blocks stand for, in their places."""
    if not any(item.type == _BLOCK for item in body.blocks):
        return body
    items: list[Attribute | Block] = []
    for item in body.items:
        if isinstance(item, Block) and item.type == _BLOCK:
            try:
                items += _blocks(item, scope, found)
            except TemplateError as error:
                found.extend(
                    one if one.subject else replace(one, subject=item.header)
                    for one in error.diagnostics
                )
        else:
            items.append(item)
    return Body(tuple(items), body.range, body.from_json)


@dataclass(frozen=True, slots=True)
class _Written:
    """A `dynamic` block whose arguments are sound."""

    block: Block
    for_each: Expression
    labels: Expression | None
    iterator: str
    content: Body


def _blocks(block: Block, scope: Scope, found: Diagnostics) -> list[Block]:
    """The blocks of one dynamic block. Raises TemplateError."""
    written = _written(block, found)
    if written is None:
        return []
    made = []
    for key, value in _elements(written.for_each, scope):
        names = {written.iterator: object_of({"key": key, "value": value})}
        body = replace(bound(written.content, names), range=written.content.range)
        labels = _labels(written.labels, scope.child(names))
        kind = block.labels[0]
        made.append(Block(kind.text, kind.range, labels, body, block.range))
    return made


def _written(block: Block, found: Diagnostics) -> _Written | None:
    errors_before = len(found.errors)
    attributes, contents = checked(block.body, DYNAMIC, found, block)
    if len(block.labels) != 1:
        detail = 'Write dynamic "TYPE" { … } with the type of the blocks to make.'
        found.error("Wrong labels of a dynamic block", detail, block.range, block.header)
    elif len(contents) != 1:
        detail = 'A dynamic block has exactly one block "content", which every block is made of.'
        where = contents[1].range if contents else block.range
        found.error("Missing content block" if not contents else "Duplicate content block",
                    detail, where, block.header)  # fmt: skip
    if len(found.errors) > errors_before:
        return None
    iterator = block.labels[0].text
    if "iterator" in attributes:
        iterator = _iterator(attributes["iterator"].expression)
    labels = attributes["labels"].expression if "labels" in attributes else None
    return _Written(block, attributes["for_each"].expression, labels, iterator, contents[0].body)


def _iterator(expression: Expression) -> str:
    match expression:
        case Variable(_, name):
            return name
        case Literal(_, value) if isinstance(value.raw, str) and is_identifier(value.raw):
            return value.raw  # in JSON syntax there are only texts
        case Bound(_, _, inner):
            return _iterator(inner)
        case _:
            detail = "The iterator is a name of your choice: iterator = each."
            raise failure("Invalid iterator name", detail, expression.range)


def _elements(expression: Expression, scope: Scope) -> list[tuple[Value, Value]]:
    """Key and value for each block; one unknown pair where the collection is not known yet."""
    collection, where = evaluate(expression, scope), expression.range
    if collection.is_null:
        raise failure("Invalid dynamic for_each value", "for_each must not be null.", where)
    if collection.type == ANY or not collection.is_known:
        return [(unknown(), unknown())]
    pairs = access.pairs(collection)
    if pairs is None:
        kind = friendly_name(collection.type)
        detail = f"for_each takes a list, a set, a map or an object; this is a {kind}."
        raise failure("Invalid dynamic for_each value", detail, where)
    if len(pairs) > MOST_BLOCKS:
        detail = f"A dynamic block can make {MOST_BLOCKS} blocks; these are {len(pairs)}."
        raise failure("Too many dynamic blocks", detail, where)
    return [
        (key.with_marks(collection.marks), value.with_marks(collection.marks))
        for key, value in pairs
    ]


def _labels(expression: Expression | None, scope: Scope) -> tuple[Label, ...]:
    if expression is None:
        return ()
    where = expression.range
    try:
        value = convert(evaluate(expression, scope), ListType(STRING))
    except ConversionError as error:
        detail = f"labels takes a list of texts: {error.message}."
        raise failure("Invalid dynamic labels", detail, where) from error
    if value.is_null or not value.is_wholly_known or any(one.is_null for one in value.elements):
        detail = "The labels of a block must be known before anything runs, and not null."
        raise failure("Invalid dynamic labels", detail, where)
    return tuple(Label(one.text, where) for one in value.elements)


def bound(body: Body, names: Mapping[str, Value]) -> Body:
    """The body with every expression in it bound to these names."""
    items: list[Attribute | Block] = []
    for item in body.items:
        if isinstance(item, Attribute):
            inner = Bound(item.expression.range, names, item.expression)
            items.append(replace(item, expression=inner))
        else:
            items.append(replace(item, body=bound(item.body, names)))
    return Body(tuple(items), body.range, body.from_json)
