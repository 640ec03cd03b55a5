"""The values behind the names of an expression that failed, as lines for its finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from goldsmith.errors import TemplateError
from goldsmith.redact import MASK
from goldsmith.template.hcl2.ast import (
    AttributeAccess,
    Expression,
    IndexAccess,
    Literal,
    Variable,
    children,
)
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.json_form import quote
from goldsmith.values.marks import Sensitive
from goldsmith.values.numbers import Number
from goldsmith.values.types import friendly_name
from goldsmith.values.value import Value, all_marks

_MOST_LINES = 6
_LONGEST_TEXT = 60


def with_values(error: TemplateError, node: Expression, scope: Scope) -> TemplateError:
    """The error, each of its findings with the values of the names in `node`, the operation that
    failed; findings that have passed an operation already stay as they are.
    """
    if all(one.values is not None for one in error.diagnostics):
        return error
    if isinstance(node, Literal):
        return error
    named_alone = isinstance(node, Variable) or (
        isinstance(node, AttributeAccess) and isinstance(node.target, Variable)
    )
    lines = () if named_alone else tuple(_lines(node, scope))
    found = (replace(one, values=lines) if one.values is None else one for one in error.diagnostics)
    return TemplateError(found, error.sources)


def _lines(node: Expression, scope: Scope) -> list[str]:
    lines: dict[str, None] = {}
    for name, value in _named(node, scope):
        lines[f"{name} is {shown(value)}"] = None
        if len(lines) == _MOST_LINES:
            break
    return list(lines)


def _named(node: Expression, scope: Scope) -> Iterator[tuple[str, Value]]:
    """The longest names in an expression that have a value, from left to right."""
    found = _resolved(node, scope)
    if found is not None:
        yield found
        return
    for child in children(node):
        yield from _named(child, scope)


def _resolved(node: Expression, scope: Scope) -> tuple[str, Value] | None:
    """`root.name[key]` with its value; None for anything else, and for a root alone."""
    match node:
        case Variable(_, name):
            value = scope.lookup(name)
            # Everything below `var` or `local` would be too much to tell.
            return None if value is None or name in ("var", "local") else (name, value)
        case AttributeAccess(_, Variable(_, root), name):
            outer = scope.lookup(root)
            path = f"{root}.{name}"
        case AttributeAccess(_, target, name):
            found = _resolved(target, scope)
            if found is None:
                return None
            path, outer = f"{found[0]}.{name}", found[1]
        case IndexAccess(_, target, Literal(_, key)):
            found = _resolved(target, scope)
            if found is None:
                return None
            return _element(found, key) or found
        case _:
            return None
    if outer is None:
        return None
    if isinstance(outer.raw, dict) and name in outer.raw:
        return path, outer.raw[name].with_marks(outer.marks)
    return None


def _element(outer: tuple[str, Value], key: Value) -> tuple[str, Value] | None:
    name, value = outer
    if isinstance(value.raw, dict) and isinstance(key.raw, str) and key.raw in value.raw:
        return f"{name}[{quote(key.raw)}]", value.raw[key.raw].with_marks(value.marks)
    if isinstance(value.raw, tuple) and isinstance(key.raw, Number) and key.raw.is_integer:
        place = key.raw.to_int()
        if 0 <= place < len(value.raw):
            return f"{name}[{place}]", value.raw[place].with_marks(value.marks)
    return None


def shown(value: Value) -> str:
    """A value in a few words: plain ones as they are written, the others by type and size."""
    if any(isinstance(mark, Sensitive) for mark in all_marks(value)):
        return MASK
    kind = friendly_name(value.type)
    match value.raw:
        case None:
            return "null"
        case bool():
            return "true" if value.raw else "false"
        case Number():
            return value.raw.to_text() if value.raw.is_short else "a number with many digits"
        case str() if len(value.raw) > _LONGEST_TEXT:
            # A part of it could be a part of a secret, which nothing would mask.
            return f"a string of {len(value.raw)} characters"
        case str():
            return quote(value.raw)
        case tuple():
            return f"a {kind} with {_count(len(value.raw), 'element')}"
        case dict():
            a = "an" if kind.startswith("o") else "a"
            return f"{a} {kind} with {_count(len(value.raw), 'attribute')}"
        case _:
            return "not known yet"


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"
