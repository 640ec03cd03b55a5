"""Quoted strings, heredocs and template files: text with `${ }` and `%{ }` sequences in it.

First everything becomes a flat list of pieces, on which whitespace is stripped (`~`) and heredocs
lose their common indent; then the directives nest the pieces into a tree.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from goldsmith.errors import Position, SourceRange
from goldsmith.template.hcl2.ast import (
    Expression,
    Literal,
    Template,
    TemplateFor,
    TemplateIf,
    TemplateWrap,
)
from goldsmith.template.hcl2.cursor import Cursor
from goldsmith.template.hcl2.lexer import Token, TokenKind
from goldsmith.values.value import string

_TEXT_KINDS = (TokenKind.QUOTED_TEXT, TokenKind.PLAIN_TEXT)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class ExpressionSource(Protocol):
    """What reads the expressions inside sequences: the expression parser."""

    cursor: Cursor

    def expression(self) -> Expression:
        """Read one expression."""
        ...

    def for_names(self) -> tuple[str | None, str]:
        """Read `key, value in` or `value in`."""
        ...


@dataclass(slots=True)
class _Text:
    text: str
    range: SourceRange


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A `${ }` (keyword "") or a directive; the expression of `else` and the ends is None."""

    keyword: str
    range: SourceRange
    expression: Expression | None = None
    names: tuple[str | None, str] = (None, "")


_Piece = _Text | _Sequence


def parse_template(source: ExpressionSource, closing: TokenKind, *, flush: bool) -> Expression:
    """Read up to the closing token, the opening one being taken; `flush` removes common indent.

    An unterminated string, which the lexer has reported, ends without its closing token.
    """
    cursor = source.cursor
    start = cursor.peek().range
    pieces = _pieces(source)
    end = start if not pieces else pieces[-1].range
    if cursor.at_kind(closing):
        cursor.take()
    whole = SourceRange(start.filename, start.start, max(start.start, end.end))
    if flush:
        _remove_common_indent(pieces)
    pieces = _joined(pieces)
    only = pieces[0] if len(pieces) == 1 else None
    if isinstance(only, _Sequence) and only.keyword == "" and only.expression is not None:
        return TemplateWrap(whole, only.expression)
    if all(isinstance(piece, _Text) for piece in pieces):
        text = pieces[0].text if pieces and isinstance(pieces[0], _Text) else ""
        return Literal(whole, string(text).at(whole))
    return _TreeBuilder(cursor, pieces, whole).build()


def _pieces(source: ExpressionSource) -> list[_Piece]:
    cursor = source.cursor
    pieces: list[_Piece] = []
    strip_next = False
    while True:
        token = cursor.peek()
        if token.kind in _TEXT_KINDS:
            text = unescaped(cursor, cursor.take())
            pieces.append(_Text(text.lstrip() if strip_next else text, token.range))
            strip_next = False
        elif token.kind in (TokenKind.INTERPOLATION, TokenKind.DIRECTIVE):
            cursor.take()
            if token.text.endswith("~") and pieces and isinstance(last := pieces[-1], _Text):
                last.text = last.text.rstrip()
            with cursor.newlines(False):
                piece, strip_next = _sequence(source, token)
            pieces.append(piece)
        else:
            return pieces


def _sequence(source: ExpressionSource, opening: Token) -> tuple[_Sequence, bool]:
    """Read a sequence to its end; also whether it strips the whitespace behind it."""
    cursor = source.cursor
    keyword = ""
    names: tuple[str | None, str] = (None, "")
    expression: Expression | None = None
    if opening.kind is TokenKind.INTERPOLATION:
        expression = source.expression()
    else:
        word = cursor.peek()
        if word.kind is not TokenKind.IDENT:
            detail = 'A template directive keyword ("if", "for", …) is expected after "%{".'
            raise cursor.fail("Invalid template directive", detail)
        cursor.take()
        keyword = word.text
        if keyword == "if":
            expression = source.expression()
        elif keyword == "for":
            names = source.for_names()
            expression = source.expression()
        elif keyword not in ("else", "endif", "endfor"):
            detail = f'"{keyword}" is not a valid template directive keyword.'
            raise cursor.fail("Invalid template directive", detail, word)
    closing = cursor.peek()
    if closing.kind is not TokenKind.SEQUENCE_END:
        raise _unclosed(cursor, opening, keyword)
    cursor.take()
    where = opening.range.through(closing.range)
    return _Sequence(keyword, where, expression, names), closing.text.startswith("~")


def _unclosed(cursor: Cursor, opening: Token, keyword: str) -> Exception:
    if cursor.at_kind(TokenKind.END, TokenKind.CLOSE_QUOTE, TokenKind.OPEN_QUOTE):
        detail = "There is no closing brace for this sequence before the end of the template."
        return cursor.fail("Unclosed template interpolation sequence", detail, opening)
    if keyword:
        detail = f'Expected a closing brace to end the "{keyword}" directive.'
        return cursor.fail("Extra characters in template directive", detail)
    detail = (
        "Expected a closing brace to end the interpolation expression, but found extra "
        'characters. If "${" belongs to another language, write "$${" instead.'
    )
    return cursor.fail("Extra characters after interpolation expression", detail)


def unescaped(cursor: Cursor, token: Token) -> str:
    """The text that a literal token stands for; wrong escapes become findings of the cursor."""
    text = token.text
    if token.kind is TokenKind.PLAIN_TEXT or "\\" not in text:
        return _without_doubled_signs(text)
    out: list[str] = []
    index = 0
    while (slash := text.find("\\", index)) >= 0:
        out.append(_without_doubled_signs(text[index:slash]))
        selector = text[slash + 1 : slash + 2]
        length = {"u": 4, "U": 8}.get(selector, 0)
        digits = text[slash + 2 : slash + 2 + length]
        index = slash + 2 + len(digits)
        if selector in _ESCAPES:
            out.append(_ESCAPES[selector])
        elif length and (character := _character(digits, length)):
            out.append(character)
        else:
            _wrong_escape(cursor, token, slash, length, selector)
            index = slash + 2
    out.append(_without_doubled_signs(text[index:]))
    return "".join(out)


def _without_doubled_signs(text: str) -> str:
    return text.replace("$${", "${").replace("%%{", "%{") if "{" in text else text


def _character(digits: str, length: int) -> str:
    """The character with that hexadecimal number, "" when there is none."""
    hexadecimal = len(digits) == length and all(c in "0123456789abcdefABCDEF" for c in digits)
    code = int(digits, 16) if hexadecimal else 0x110000
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else ""


def _wrong_escape(cursor: Cursor, token: Token, slash: int, length: int, selector: str) -> None:
    first = token.range.start
    prefix = len(token.text[:slash].encode("utf-8", "surrogatepass"))
    start = Position(first.line, first.column + slash, first.byte + prefix)
    end = Position(first.line, start.column + 2, start.byte + 1 + len(selector.encode()))
    detail = (
        f'"\\{selector}" must be followed by the {length} hexadecimal digits of a character.'
        if length
        else f'The symbol "{selector}" is not a valid escape sequence selector. '
        "Write a backslash itself as two of them."
    )
    cursor.error("Invalid escape sequence", detail, SourceRange(token.range.filename, start, end))


def _remove_common_indent(pieces: Sequence[_Piece]) -> None:
    """Take from each line what the least indented one has; blank lines do not count."""
    fewest: int | None = None
    indented: list[_Text] = []
    line_start = True
    for piece in pieces:
        if line_start:
            line_start = False
            spaces = 0
            if isinstance(piece, _Text):
                body = piece.text.lstrip()
                spaces = len(piece.text) - len(body)
                if not body and piece.text.endswith("\n"):
                    line_start = True
                    continue
                indented.append(piece)
            fewest = spaces if fewest is None else min(fewest, spaces)
        if isinstance(piece, _Text) and piece.text.endswith("\n"):
            line_start = True
    for line in indented:
        line.text = line.text[fewest or 0 :]


def _joined(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Pieces of text that follow one another become one, in NFC as all text of a template."""
    joined: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, _Text) and joined and isinstance(last := joined[-1], _Text):
            joined[-1] = _Text(last.text + piece.text, last.range.through(piece.range))
        else:
            joined.append(piece)
    for piece in joined:
        if isinstance(piece, _Text):
            piece.text = unicodedata.normalize("NFC", piece.text)
    return joined


class _TreeBuilder:
    """Nests pieces: what stands between `if` or `for` and its end belongs to it."""

    def __init__(self, cursor: Cursor, pieces: Sequence[_Piece], whole: SourceRange) -> None:
        self.cursor = cursor
        self.pieces = pieces
        self.whole = whole
        self.index = 0

    def build(self) -> Template:
        parts, end = self._until(None, ())
        if end is not None:
            detail = "The control directives within this template are unbalanced."
            raise self.cursor.fail(f"Unexpected {end.keyword} directive", detail, end.range)
        return Template(self.whole, parts)

    def _until(
        self, opening: _Sequence | None, ends: Sequence[str]
    ) -> tuple[tuple[Expression, ...], _Sequence | None]:
        """The parts up to one of these directives, which is taken and returned."""
        parts: list[Expression] = []
        while self.index < len(self.pieces):
            piece = self.pieces[self.index]
            self.index += 1
            if isinstance(piece, _Text):
                parts.append(Literal(piece.range, string(piece.text).at(piece.range)))
            elif piece.keyword == "if":
                parts.append(self._if(piece))
            elif piece.keyword == "for":
                parts.append(self._for(piece))
            elif piece.keyword == "" and piece.expression is not None:
                parts.append(piece.expression)
            elif opening is None or piece.keyword in ends:
                return tuple(parts), piece
            else:
                detail = f'Expecting an "{ends[-1]}" directive for the one at {opening.range}.'
                raise self.cursor.fail(f"Unexpected {piece.keyword} directive", detail, piece.range)
        if opening is not None:
            detail = f'This "{opening.keyword}" directive is missing its "{ends[-1]}" directive.'
            raise self.cursor.fail("Unexpected end of template", detail, opening.range)
        return tuple(parts), None

    def _if(self, opening: _Sequence) -> Expression:
        if_true, end = self._until(opening, ("else", "endif"))
        if_false: tuple[Expression, ...] = ()
        if end is not None and end.keyword == "else":
            if_false, end = self._until(opening, ("endif",))
        where = opening.range.through(end.range) if end else opening.range
        condition = opening.expression or Literal(opening.range, string(""))
        return TemplateIf(where, condition, Template(where, if_true), Template(where, if_false))

    def _for(self, opening: _Sequence) -> Expression:
        content, end = self._until(opening, ("endfor",))
        where = opening.range.through(end.range) if end else opening.range
        collection = opening.expression or Literal(opening.range, string(""))
        key_name, value_name = opening.names
        return TemplateFor(where, key_name, value_name, collection, Template(where, content))
