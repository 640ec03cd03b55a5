"""Bodies of template files, and the entry points of parsing: text in, syntax tree and findings out.

After an error the parser goes on with the next item, so one run reports every syntax error of a
file once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from goldsmith.errors import Diagnostic, Position
from goldsmith.template.hcl2.ast import Attribute, Block, Body, Expression, Label
from goldsmith.template.hcl2.cursor import Cursor, SyntaxFailure
from goldsmith.template.hcl2.expression_parser import ExpressionParser
from goldsmith.template.hcl2.lexer import Token, TokenKind, tokenize
from goldsmith.template.hcl2.template_parser import parse_template, unescaped

TOO_DEEP = ("Expression nested too deeply", "Split it into several locals.")


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What could be read of a file, and what was wrong with the rest."""

    body: Body
    diagnostics: tuple[Diagnostic, ...]


def parse_file(source: str, filename: str) -> ParsedFile:
    """Parse a template or variables file; never raises."""
    parser = _BodyParser(Cursor(tokenize(source, filename)))
    body = parser.file()
    return ParsedFile(body, tuple(parser.cursor.found))


def parse_expression(
    source: str, filename: str = "<expression>", start: Position | None = None
) -> tuple[Expression | None, tuple[Diagnostic, ...]]:
    """Parse a text that is one expression; None when it is not."""
    cursor = Cursor(tokenize(source, filename, start=start))

    def read() -> Expression:
        with cursor.newlines(False):
            expression = ExpressionParser(cursor).expression()
            if not cursor.at_kind(TokenKind.END):
                detail = "Extra characters were found after the expression."
                raise cursor.fail("Extra characters after expression", detail)
        return expression

    return _guarded(cursor, read)


def parse_template_text(
    source: str, filename: str, start: Position | None = None
) -> tuple[Expression | None, tuple[Diagnostic, ...]]:
    """Parse the text of a template file, as `templatefile` reads it; None when it is wrong.

    `start` is where the text begins in its file.
    """
    cursor = Cursor(tokenize(source, filename, as_template=True, start=start))
    return _guarded(
        cursor, lambda: parse_template(ExpressionParser(cursor), TokenKind.END, flush=False)
    )


def _guarded(
    cursor: Cursor, read: Callable[[], Expression]
) -> tuple[Expression | None, tuple[Diagnostic, ...]]:
    start = cursor.peek().range
    expression: Expression | None = None
    try:
        expression = read()
    except SyntaxFailure:
        pass  # the finding is recorded
    except RecursionError:
        cursor.error(*TOO_DEEP, start)
    found = tuple(cursor.found)
    return (None if found else expression), found


class _BodyParser:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.expressions = ExpressionParser(cursor)

    def file(self) -> Body:
        start = self.cursor.peek().range
        items = self._items(in_block=False)
        return Body(tuple(items), start.through(self.cursor.peek().range))

    def _items(self, *, in_block: bool) -> list[Attribute | Block]:
        """Items up to the closing brace (not taken) or the end of the file."""
        cursor = self.cursor
        items: list[Attribute | Block] = []
        seen: dict[str, Attribute] = {}
        while True:
            cursor.skip_newlines()
            if cursor.at_kind(TokenKind.END) or (in_block and cursor.at("}")):
                return items
            start = cursor.index
            cursor.item_line = cursor.peek().range.start.line
            item: Attribute | Block | None = None
            try:
                item = self._item()
                self._end_of_item(item)
            except SyntaxFailure:
                self._recover(start)
            except RecursionError:
                cursor.error(*TOO_DEEP, cursor.tokens[start].range)
                self._recover(start)
            if isinstance(item, Attribute):
                if earlier := seen.get(item.name):
                    self._duplicate(item, earlier)
                    continue
                seen[item.name] = item
            if item is not None:
                items.append(item)

    def _recover(self, start: int) -> None:
        self.cursor.newlines_matter = True
        self.cursor.skip_item(start)
        if self.cursor.index == start:
            self.cursor.take()

    def _duplicate(self, item: Attribute, earlier: Attribute) -> None:
        detail = (
            f'The argument "{item.name}" was already set at {earlier.name_range}. '
            "Each argument may be set only once."
        )
        self.cursor.error("Duplicate argument", detail, item.name_range)

    def _end_of_item(self, item: Attribute | Block) -> None:
        cursor = self.cursor
        if cursor.at_kind(TokenKind.NEWLINE, TokenKind.END):
            return
        if isinstance(item, Attribute):
            if cursor.at("}"):
                detail = "A closing brace must stand on its own line after the last argument."
            else:
                detail = "An argument definition must end with a newline."
            raise cursor.fail("Missing newline after argument", detail)
        detail = "A block definition must end with a newline."
        raise cursor.fail("Missing newline after block definition", detail)

    def _item(self) -> Attribute | Block:
        cursor = self.cursor
        name = cursor.peek()
        if name.kind is not TokenKind.IDENT:
            if cursor.at("}") and cursor.found:
                raise SyntaxFailure  # its opening brace went with an earlier error
            if name.kind is TokenKind.OPEN_QUOTE:
                detail = "Argument and block names must not be quoted."
                raise cursor.fail("Invalid argument name", detail)
            detail = "An argument or block definition is required here."
            raise cursor.fail("Argument or block definition required", detail)
        cursor.take()
        if cursor.at("="):
            return self._attribute(name)
        if cursor.at("{") or cursor.at_kind(TokenKind.OPEN_QUOTE, TokenKind.IDENT):
            return self._block(name)
        detail = (
            f'To set the argument "{name.text}", use the equals sign "=" to introduce its value; '
            f"to define a block, write {name.text} {{ … }}."
        )
        raise cursor.fail("Argument or block definition required", detail)

    def _attribute(self, name: Token) -> Attribute:
        self.cursor.take()
        expression = self.expressions.expression()
        whole = name.range.through(expression.range)
        return Attribute(name.text, name.range, expression, whole)

    def _block(self, name: Token) -> Block:
        cursor = self.cursor
        labels: list[Label] = []
        while not cursor.at("{"):
            labels.append(self._label())
        header = name.range.through(labels[-1].range) if labels else name.range
        opening = cursor.take()
        opening_index = cursor.index - 1
        if cursor.at_kind(TokenKind.NEWLINE) or cursor.at("}"):
            items = self._items(in_block=True)
        else:
            items = self._single_line()
        closing = cursor.accept("}")
        if closing is None:
            detail = "There is no closing brace for this block before the end of the file."
            if cursor.early_close is not None and header.start < cursor.early_close[0].start:
                header, early = cursor.early_close
                detail = (
                    "There is no closing brace for this one: by its indentation, the one in line "
                    f"{early.start.line} closes a block around it."
                )
            raise cursor.fail("Unclosed configuration block", detail, header)
        cursor.note_closing(opening_index)
        body = Body(tuple(items), opening.range.through(closing.range))
        return Block(name.text, name.range, tuple(labels), body, header)

    def _single_line(self) -> list[Attribute | Block]:
        """The one argument of `name { argument = value }`."""
        cursor = self.cursor
        token = cursor.peek()
        if token.kind is TokenKind.IDENT and cursor.following().text == "=":
            cursor.take()
            attribute = self._attribute(token)
            if cursor.at("}"):
                return [attribute]
        detail = (
            "A single-line block definition can contain only a single argument. To define more, "
            "place each argument or nested block on its own line."
        )
        raise cursor.fail("Invalid single-argument block definition", detail)

    def _label(self) -> Label:
        cursor = self.cursor
        token = cursor.peek()
        if token.kind is TokenKind.IDENT:
            cursor.take()
            return Label(token.text, token.range)
        if token.kind is not TokenKind.OPEN_QUOTE:
            detail = "Either a quoted string block label or an opening brace is expected here."
            raise cursor.fail("Invalid block definition", detail)
        cursor.take()
        text = ""
        if cursor.at_kind(TokenKind.QUOTED_TEXT):
            text = unescaped(cursor, cursor.take())
        if cursor.at_kind(TokenKind.INTERPOLATION, TokenKind.DIRECTIVE):
            detail = "A block label is plain text: sequences such as ${ } are not allowed in it."
            raise cursor.fail("Invalid block label", detail)
        closing = cursor.peek()
        if closing.kind is not TokenKind.CLOSE_QUOTE:
            raise SyntaxFailure  # an unterminated string, which the lexer has reported
        cursor.take()
        return Label(text, token.range.through(closing.range))
