"""Templates in JSON syntax (`.pkr.json`): the same tree as from HCL's own syntax.

JSON does not tell blocks from arguments and texts from expressions. Which properties are blocks,
and with how many labels, is in the table below; in the body of a component, whose options are not
known here, everything is an argument. Every text is a template: "${var.x}" is an expression. A key
may be repeated where it makes blocks or is their label, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from goldsmith.errors import Diagnostic, Diagnostics, Position, SourceRange, TemplateError
from goldsmith.template.hcl2.ast import (
    Attribute,
    Block,
    Body,
    Expression,
    Label,
    Literal,
    ObjectExpression,
    ObjectItem,
    TupleExpression,
)
from goldsmith.template.hcl2.parser import ParsedFile, parse_expression, parse_template_text
from goldsmith.template.legacy_json.document import (
    Member,
    Node,
    read_document,
    report_repeated,
)
from goldsmith.values.numbers import Number
from goldsmith.values.value import boolean, null, number, string

COMMENT_KEY = "//"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A block in JSON: how many levels of labels it has, and what is in it.

    With `blocks` None the block is a component's: only `dynamic` is a block in it. `expressions`
    are arguments whose text is an expression as it stands: types, and names of iterators.
    """

    labels: int = 0
    blocks: Mapping[str, _Kind] = field(default_factory=dict)
    expressions: frozenset[str] = frozenset()
    component: bool = False


_COMPONENT = _Kind(1, component=True)
_PLAIN = _Kind()
_CHAIN = _Kind(blocks={"post-processor": _COMPONENT})
_IN_BUILD: Mapping[str, _Kind] = {
    "source": _COMPONENT,
    "provisioner": _COMPONENT,
    "error-cleanup-provisioner": _COMPONENT,
    "post-processor": _COMPONENT,
    "post-processors": _CHAIN,
    "hcp_packer_registry": _PLAIN,
}
_TOP_LEVEL: Mapping[str, _Kind] = {
    "packer": _Kind(blocks={"required_plugins": _PLAIN}),
    "variable": _Kind(1, {"validation": _PLAIN}, frozenset({"type"})),
    "variables": _PLAIN,
    "locals": _PLAIN,
    "local": _Kind(1),
    "data": _Kind(2, component=True),
    "source": _Kind(2, component=True),
    "communicator": _Kind(2, component=True),
    "build": _Kind(blocks=_IN_BUILD),
    "hcp_packer_registry": _PLAIN,
}


def parse_json_file(source: str, filename: str) -> ParsedFile:
    """Parse a template in JSON syntax; never raises."""
    found = Diagnostics()
    start = Position(1, 1, 0)
    body = Body((), SourceRange(filename, start, start), from_json=True)
    try:
        root = read_document(source, filename, found=found, repeated="kept")
        if isinstance(root.content, dict):
            body = _Reader(source, found).body(root, _Kind(blocks=_TOP_LEVEL), top=True)
        else:
            detail = f"A template in JSON syntax is an object, {{ … }}; this is {root.kind}."
            found.error("Invalid template", detail, root.range)
    except TemplateError as error:
        found.extend(error.diagnostics)
    except RecursionError:
        found.error("Invalid JSON", "This is nested too deeply.", body.range)
    return ParsedFile(body, tuple(found.found))


@dataclass(slots=True)
class _Reader:
    source: str
    found: Diagnostics
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = self.source.split("\n")

    def body(self, node: Node, kind: _Kind, *, top: bool = False) -> Body:
        """The body of a block that a JSON object stands for; a list of objects is joined."""
        items: list[Attribute | Block] = []
        for one in node.elements() if isinstance(node.content, list) else [node]:
            if not isinstance(one.content, dict):
                detail = f"A block is an object in JSON, {{ … }}; this is {one.kind}."
                self.found.error("Invalid block", detail, one.range)
            if one.repeated:
                self._refuse_repeated(one, kind)
            for key, member in one.all_members():
                items += self._items(key, member, kind, top=top)
        return Body(tuple(items), node.range, from_json=True)

    def _refuse_repeated(self, node: Node, kind: _Kind | None = None) -> None:
        """Keys that stand twice in an object though they are no blocks."""
        seen: dict[str, SourceRange] = {}
        for key, member in node.all_members():
            if kind is not None and (key in kind.blocks or key in ("dynamic", COMMENT_KEY)):
                continue
            if key in seen:
                report_repeated(key, seen[key], member.key_range, self.found)
            seen[key] = member.key_range

    def _items(
        self, key: str, member: Member, kind: _Kind, *, top: bool
    ) -> Iterator[Attribute | Block]:
        if key == COMMENT_KEY:
            return
        if key == "dynamic":
            yield from self._blocks(key, member, self._dynamic(kind))
        elif key in kind.blocks:
            yield from self._blocks(key, member, kind.blocks[key])
        elif top:
            # Nothing but blocks stands here: the check of the outline says what is wrong.
            yield Block(key, member.key_range, (), Body((), member.node.range), member.key_range)
        else:
            where = SourceRange(
                member.key_range.filename, member.key_range.start, member.node.range.end
            )
            expression = self._argument(key, member.node, kind)
            yield Attribute(key, member.key_range, expression, where)

    @staticmethod
    def _dynamic(kind: _Kind) -> _Kind:
        """A dynamic block: the kind of its content follows from its label."""
        inner = dict(kind.blocks) if not kind.component else {}
        return _Kind(1, inner, frozenset({"iterator"}), kind.component)

    def _argument(self, key: str, node: Node, kind: _Kind) -> Expression:
        if key in kind.expressions and isinstance(node.content, str):
            expression, found = parse_expression(
                node.content, node.range.filename, self._inside(node.range)
            )
            self.found.extend(found)
            return expression or Literal(node.range, null())
        return self.expression(node)

    def _blocks(self, key: str, member: Member, kind: _Kind) -> Iterator[Block]:
        yield from self._labelled(key, member, member.node, kind, ())

    def _labelled(
        self, key: str, member: Member, node: Node, kind: _Kind, labels: tuple[Label, ...]
    ) -> Iterator[Block]:
        """The blocks below a property, one level of keys for each label."""
        if isinstance(node.content, list):
            for element in node.elements():
                yield from self._labelled(key, member, element, kind, labels)
        elif node.content is None and not labels:
            return
        elif len(labels) == kind.labels:
            header = labels[-1].range if labels else member.key_range
            yield Block(
                key, member.key_range, labels, self._content(key, labels, node, kind), header
            )
        elif isinstance(node.content, dict):
            for name, inner in node.all_members():
                if name != COMMENT_KEY:
                    label = Label(name, inner.key_range)
                    yield from self._labelled(key, member, inner.node, kind, (*labels, label))
        else:
            detail = f'"{key}" takes an object whose keys are labels; this is {node.kind}.'
            self.found.error("Invalid block", detail, node.range)

    def _content(self, key: str, labels: tuple[Label, ...], node: Node, kind: _Kind) -> Body:
        if key != "dynamic":
            return self.body(node, kind)
        made = kind.blocks.get(labels[0].text, _Kind(component=True))
        content = _Kind(0, made.blocks, made.expressions, made.component)
        return self.body(node, _Kind(0, {"content": content}, kind.expressions))

    def expression(self, node: Node) -> Expression:
        """A JSON value as an expression."""
        where = node.range
        match node.content:
            case str():
                return self._text(node.content, where)
            case dict():
                if node.repeated:
                    self._refuse_repeated(node)
                items = [
                    ObjectItem(
                        SourceRange(where.filename, one.key_range.start, one.node.range.end),
                        self._text(key, one.key_range),
                        self.expression(one.node),
                    )
                    for key, one in node.members()
                ]
                return ObjectExpression(where, tuple(items))
            case list():
                return TupleExpression(
                    where, tuple(self.expression(one) for one in node.elements())
                )
            case bool():
                return Literal(where, boolean(node.content).at(where))
            case Number():
                return Literal(where, number(node.content).at(where))
            case _:
                return Literal(where, null().at(where))

    def _text(self, text: str, where: SourceRange) -> Expression:
        if "${" not in text and "%{" not in text:
            return Literal(where, string(text).at(where))
        expression, found = self._template(text, where)
        self.found.extend(found)
        return expression or Literal(where, null())

    def _template(
        self, text: str, where: SourceRange
    ) -> tuple[Expression | None, tuple[Diagnostic, ...]]:
        """A text with sequences; its places are exact unless the JSON text has escapes."""
        if self._written(where) == text:
            return parse_template_text(text, where.filename, self._inside(where))
        expression, found = parse_template_text(text, where.filename)
        moved = tuple(replace(one, range=where) for one in found)
        return (None if expression is None else relocated(expression, where)), moved

    def _written(self, where: SourceRange) -> str:
        """What stands between the quotes of a text, escapes and all."""
        line = self.lines[where.start.line - 1]
        return line[where.start.column : where.end.column - 2]

    @staticmethod
    def _inside(where: SourceRange) -> Position:
        start = where.start
        return Position(start.line, start.column + 1, start.byte + 1)


def relocated(expression: Expression, where: SourceRange) -> Expression:
    """The expression with every part of it at one place."""

    def moved(value: Any) -> Any:
        if isinstance(value, Expression):
            return relocated(value, where)
        if isinstance(value, tuple):
            return tuple(moved(item) for item in value)
        if isinstance(value, SourceRange):
            return where
        return value

    return replace(
        expression, **{one.name: moved(getattr(expression, one.name)) for one in fields(expression)}
    )
