"""The syntax tree of the template language: what was written, each part with its place.

Nodes are immutable and know nothing of evaluation; `children` lets walkers go through them without
a case for each kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from goldsmith.errors import SourceRange
from goldsmith.values.value import Value


@dataclass(frozen=True, slots=True)
class Expression:
    """The root of all expressions."""

    range: SourceRange


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A number, bool, null, or text without any sequence in it."""

    value: Value


@dataclass(frozen=True, slots=True)
class Variable(Expression):
    """The first name of a reference: the `var` of `var.x`."""

    name: str


@dataclass(frozen=True, slots=True)
class AttributeAccess(Expression):
    """`target.name`."""

    target: Expression
    name: str
    name_range: SourceRange


@dataclass(frozen=True, slots=True)
class IndexAccess(Expression):
    """`target[key]`, and the old form `target.0`."""

    target: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class SplatItem(Expression):
    """Stands in the `each` of a splat for one element."""


@dataclass(frozen=True, slots=True)
class Splat(Expression):
    """`target[*]…` and `target.*…`: `each` is evaluated for every element."""

    target: Expression
    each: Expression


@dataclass(frozen=True, slots=True)
class FunctionCall(Expression):
    """`name(arguments)`; with `expand_last` the last argument is a list of further ones."""

    name: str
    name_range: SourceRange
    arguments: tuple[Expression, ...]
    expand_last: bool


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """`-operand` or `!operand`."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional(Expression):
    """`condition ? if_true : if_false`."""

    condition: Expression
    if_true: Expression
    if_false: Expression


@dataclass(frozen=True, slots=True)
class Parentheses(Expression):
    """`(inner)`; kept because `(name) = …` in an object is an expression, not a name."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class TupleExpression(Expression):
    """`[a, b]`."""

    elements: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class ObjectItem(Expression):
    """`key = value` in an object; a bare name is a Literal already."""

    key: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class ObjectExpression(Expression):
    """`{a = 1}`."""

    items: tuple[ObjectItem, ...]


@dataclass(frozen=True, slots=True)
class ForExpression(Expression):
    """`[for … : value]` when `key` is None, else `{for … : key => value}`.

    With `group` equal keys collect their values.
    """

    key_name: str | None
    value_name: str
    collection: Expression
    key: Expression | None
    value: Expression
    condition: Expression | None
    group: bool


@dataclass(frozen=True, slots=True)
class Template(Expression):
    """Text with sequences in it; `parts` are joined as text."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class TemplateWrap(Expression):
    """`"${inner}"` with nothing beside it: keeps the type of its content."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class TemplateIf(Expression):
    """`%{ if condition }…%{ else }…%{ endif }`."""

    condition: Expression
    if_true: Template
    if_false: Template


@dataclass(frozen=True, slots=True)
class TemplateFor(Expression):
    """`%{ for key, value in collection }…%{ endfor }`."""

    key_name: str | None
    value_name: str
    collection: Expression
    content: Template


@dataclass(frozen=True, slots=True)
class Bound(Expression):
    """An expression of a `dynamic` block, with the iterators that it sees."""

    names: Mapping[str, Value]
    inner: Expression


@dataclass(frozen=True, slots=True)
class Attribute:
    """`name = expression` in a body; `range` covers all of it."""

    name: str
    name_range: SourceRange
    expression: Expression
    range: SourceRange


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a block, without its quotes; `range` includes them."""

    text: str
    range: SourceRange


@dataclass(frozen=True, slots=True)
class Block:
    """`type "label" { … }`; `range` is the header: type and labels."""

    type: str
    type_range: SourceRange
    labels: tuple[Label, ...]
    body: Body
    range: SourceRange

    @property
    def header(self) -> str:
        """The block as messages name it: `source "image" "debian"`."""
        return " ".join([self.type, *(f'"{label.text}"' for label in self.labels)])


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a file or of a block, in the order of writing.

    In JSON syntax (`from_json`) only a schema tells blocks from arguments.
    """

    items: tuple[Attribute | Block, ...]
    range: SourceRange
    from_json: bool = False

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The arguments by name."""
        return {item.name: item for item in self.items if isinstance(item, Attribute)}

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The nested blocks."""
        return tuple(item for item in self.items if isinstance(item, Block))


def children(expression: Expression) -> Iterator[Expression]:
    """The expressions directly inside an expression."""
    for field in fields(expression):
        value = getattr(expression, field.name)
        if isinstance(value, Expression):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Expression))


def walk(expression: Expression) -> Iterator[Expression]:
    """An expression and everything inside it, outermost first."""
    pending = [expression]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(list(children(current))))
