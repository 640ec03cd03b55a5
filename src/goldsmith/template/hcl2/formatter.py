"""The canonical form of HCL: spaces between tokens, indentation, aligned `=` and comments.

Only spaces change: every other character of the source stays, and so does its order. A source line
ends at a line end outside of strings, heredocs and comments; what follows is decided line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from goldsmith.template.hcl2.functions.graphemes import graphemes
from goldsmith.template.hcl2.lexer import BYTE_ORDER_MARK, Token, TokenKind, tokenize

_INDENT = 2
_OPENING = ("(", "[", "{")
_CLOSING = (")", "]", "}")
_SEQUENCE_STARTS = (TokenKind.INTERPOLATION, TokenKind.DIRECTIVE)
_TEXTS = (TokenKind.QUOTED_TEXT, TokenKind.PLAIN_TEXT)
_OPERANDS = (
    TokenKind.IDENT, TokenKind.NUMBER, TokenKind.CLOSE_QUOTE, TokenKind.CLOSE_HEREDOC,
    TokenKind.SEQUENCE_END, *_SEQUENCE_STARTS,
)  # fmt: skip
"""After these a minus stands between two operands, or the original thinks so (after `${`)."""


def format_source(source: str) -> str:
    """The source in canonical form; it must be free of syntax errors.

    Spaces at the very end, where no line end follows, stay; a byte order mark goes.
    """
    tokens = tokenize(source.removeprefix(BYTE_ORDER_MARK), "").tokens
    lines = [_Line.of(part) for part in _split(tokens)]
    _indent(lines)
    _align(lines)
    return "".join(line.text() for line in lines)


@dataclass(slots=True)
class _Cell:
    """A token and the number of spaces before it."""

    token: Token
    spaces: int = 0

    @property
    def width(self) -> int:
        """In characters as people see them, the line ends in it included."""
        return self.spaces + len(graphemes(self.token.text))


@dataclass(slots=True)
class _Line:
    """The tokens of a line without its line end, which is `end`.

    `opened` is how many brackets more are opened in it than closed.
    """

    cells: list[_Cell]
    end: str
    opened: int

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> _Line:
        """The line with spaces between its tokens, and none before the first."""
        last = tokens[-1] if tokens else None
        end = ""
        if last is not None and last.kind is TokenKind.NEWLINE:
            end = last.text
        elif len(tokens) > 0 and last is not None and last.kind is TokenKind.SPACE:
            # Nothing but the end of the file follows.
            end = last.text
        kept = [one for one in tokens if one.kind not in (TokenKind.SPACE, TokenKind.NEWLINE)]
        cells = []
        for number, token in enumerate(kept):
            before = kept[number - 1] if number else None
            earlier = kept[number - 2] if number > 1 else None
            cells.append(_Cell(token, int(before is not None and _apart(earlier, before, token))))
        return cls(cells, end, sum(change for _, change in _brackets(kept)))

    def text(self) -> str:
        """The line as it is written, with its end."""
        return "".join(" " * cell.spaces + cell.token.text for cell in self.cells) + self.end

    def width(self, count: int) -> int:
        """How wide the first cells are."""
        return sum(cell.width for cell in self.cells[:count])

    def assignment(self) -> int:
        """The number of the cell of the `=` that aligns with its neighbours; 0 when none does."""
        if self.opened:
            return 0
        depth = 0
        changes = dict(_brackets([cell.token for cell in self.cells]))
        for number, cell in enumerate(self.cells):
            depth += changes.get(number, 0)
            if not depth and _is(cell.token, "="):
                return number
        return 0

    def comment(self) -> int:
        """The number of the cell of a comment behind something else; 0 when there is none."""
        if not self.cells or self.cells[-1].token.kind is not TokenKind.COMMENT:
            return 0
        return 0 if self.cells[-1].token.text.startswith("/*") else len(self.cells) - 1


def _split(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    line: list[Token] = []
    for token in tokens:
        if token.kind is TokenKind.END:
            break
        line.append(token)
        if token.kind is TokenKind.NEWLINE:
            yield line
            line = []
    if line:
        yield line


def _is(token: Token, *texts: str) -> bool:
    return token.kind is TokenKind.OPERATOR and token.text in texts


def _brackets(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The places of brackets and 1 or -1 for each; those in heredocs that begin here are passed."""
    in_heredoc = False
    for number, token in enumerate(tokens):
        if token.kind is TokenKind.OPEN_HEREDOC:
            in_heredoc = True
        elif token.kind is TokenKind.CLOSE_HEREDOC:
            in_heredoc = False
        elif in_heredoc:
            continue
        elif token.kind in _SEQUENCE_STARTS or _is(token, *_OPENING):
            yield number, 1
        elif token.kind is TokenKind.SEQUENCE_END or _is(token, *_CLOSING):
            yield number, -1


def _apart(earlier: Token | None, left: Token, right: Token) -> bool:
    """Whether a space stands between two tokens; `earlier` stands before the left one."""
    if left.kind in _TEXTS or right.kind in _TEXTS:
        return False
    if left.kind is TokenKind.OPEN_QUOTE or right.kind is TokenKind.CLOSE_QUOTE:
        return False
    if left.kind is TokenKind.OPEN_HEREDOC or right.kind is TokenKind.CLOSE_HEREDOC:
        return False
    if left.kind in _SEQUENCE_STARTS or right.kind is TokenKind.SEQUENCE_END:
        return False
    if left.kind is TokenKind.SEQUENCE_END:
        # More of the template: an operator would stand inside of it.
        return False
    if _is(right, ",", "...", ".") or _is(left, ".", "!"):
        return False
    if _is(left, "{") or _is(right, "}"):
        return not (_is(left, "{") and _is(right, "}"))
    if TokenKind.COMMENT in (left.kind, right.kind):
        return not _is(left, "(", "[") and not _is(right, ")", "]")
    if _is(left, ","):
        return True
    if _is(left, "(", "[") or _is(right, ")", "]"):
        return False
    if _is(left, "-"):
        return not _is_sign(earlier)
    if _is(right, "("):
        return left.kind is not TokenKind.IDENT
    if _is(right, "["):
        return not _is_indexed(earlier, left)
    return True


def _is_sign(before: Token | None) -> bool:
    """Whether a minus behind that token is the sign of a number."""
    return before is None or not (before.kind in _OPERANDS or _is(before, ")", "]", "}", "=>"))


def _is_indexed(earlier: Token | None, left: Token) -> bool:
    """Whether a bracket behind the left token is its index, not the start of a list."""
    if left.kind is TokenKind.IDENT:
        keyword = left.text == "in" and earlier is not None and earlier.kind is TokenKind.IDENT
        return not keyword
    if _is(left, "*"):
        return earlier is not None and _is(earlier, ".")
    return left.kind is TokenKind.NUMBER or _is(left, ")", "]", "}")


def _indent(lines: Sequence[_Line]) -> None:
    """Indent by the lines that opened brackets: those opened on one line count once."""
    levels: list[int] = []
    for line in lines:
        if line.opened < 0:
            _close(levels, -line.opened)
        if line.cells and line.cells[0].token.kind not in (
            *_TEXTS, TokenKind.CLOSE_HEREDOC, TokenKind.CLOSE_QUOTE
        ):  # fmt: skip
            line.cells[0].spaces = _INDENT * len(levels)
        if line.opened > 0:
            levels.append(line.opened)


def _close(levels: list[int], count: int) -> None:
    while levels and count:
        if levels[-1] > count:
            levels[-1] -= count
            return
        count -= levels.pop()


def _align(lines: Sequence[_Line]) -> None:
    """Put `=` and then comments of neighbouring lines below one another."""
    for chain in _chains(lines, [line.assignment() for line in lines]):
        _pad(chain)
    for chain in _chains(lines, [line.comment() for line in lines]):
        _pad(chain)


def _chains(lines: Sequence[_Line], places: Sequence[int]) -> Iterator[list[tuple[_Line, int]]]:
    """Runs of lines that have a place to align, each with that place."""
    chain: list[tuple[_Line, int]] = []
    for line, place in zip(lines, places, strict=True):
        if place:
            chain.append((line, place))
        elif chain:
            yield chain
            chain = []
    if chain:
        yield chain


def _pad(chain: Sequence[tuple[_Line, int]]) -> None:
    column = max(line.width(place) for line, place in chain) + 1
    for line, place in chain:
        line.cells[place].spaces = column - line.width(place)
