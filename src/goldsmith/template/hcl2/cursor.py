"""The parser's place in the tokens: looking ahead, taking, and finding the way after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from goldsmith.errors import Diagnostic, SourceRange
from goldsmith.template.hcl2.lexer import UNTERMINATED_STRING, Lexed, Token, TokenKind

_OPENING = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_OPENING.values())


class SyntaxFailure(Exception):
    """The current item cannot be read further; its finding is recorded already."""


class Cursor:
    """Walks over the tokens that matter; newlines matter only where they end something."""

    def __init__(self, lexed: Lexed) -> None:
        skipped = (TokenKind.SPACE, TokenKind.COMMENT)
        self.tokens = [token for token in lexed.tokens if token.kind not in skipped]
        self.cut_short = lexed.cut_short
        self.found: list[Diagnostic] = list(lexed.diagnostics)
        self.index = 0
        self.newlines_matter = True
        self.early_close: tuple[SourceRange, SourceRange] | None = None
        """The first brace whose closing one stands further left than its line: opening, closing."""
        self.item_line = 1
        """Where the innermost item of a body begins that is being read."""
        self._broken_lines = frozenset(
            one.range.start.line
            for one in lexed.diagnostics
            if one.summary == UNTERMINATED_STRING and one.range
        )

    def _next_index(self) -> int:
        index = self.index
        if not self.newlines_matter:
            while self.tokens[index].kind is TokenKind.NEWLINE:
                index += 1
        return index

    def peek(self) -> Token:
        """The next token, not taken; at the end of the file the END token again and again."""
        return self.tokens[self._next_index()]

    def take(self) -> Token:
        """The next token, taken."""
        index = self._next_index()
        token = self.tokens[index]
        self.index = index + (token.kind is not TokenKind.END)
        return token

    def following(self, count: int = 1) -> Token:
        """The token `count` places behind the next one, newlines included."""
        return self.tokens[min(self._next_index() + count, len(self.tokens) - 1)]

    def at(self, *operators: str) -> bool:
        """Whether one of these operators comes next."""
        token = self.peek()
        return token.kind is TokenKind.OPERATOR and token.text in operators

    def at_kind(self, *kinds: TokenKind) -> bool:
        """Whether a token of one of these kinds comes next."""
        return self.peek().kind in kinds

    def accept(self, operator: str) -> Token | None:
        """Take this operator if it comes next."""
        return self.take() if self.at(operator) else None

    def skip_newlines(self) -> None:
        """Take all newlines that come next."""
        while self.tokens[self.index].kind is TokenKind.NEWLINE:
            self.index += 1

    @contextmanager
    def newlines(self, matter: bool) -> Iterator[None]:
        """Within the block, whether newlines are tokens or nothing."""
        before = self.newlines_matter
        self.newlines_matter = matter
        try:
            yield
        finally:
            self.newlines_matter = before

    def error(self, summary: str, detail: str, range: SourceRange) -> None:
        """Record a finding and go on."""
        self.found.append(Diagnostic(summary, detail, range))

    def fail(
        self, summary: str, detail: str, at: Token | SourceRange | None = None
    ) -> SyntaxFailure:
        """Record a finding, unless it only follows from one of the lexer; return what to raise."""
        token = self.peek()
        known = token.kind is TokenKind.INVALID
        known |= token.kind is TokenKind.END and self.cut_short
        # A string without its closing quote swallowed what would have completed the item.
        lines = range(self.item_line, token.range.start.line + 1)
        known |= any(line in lines for line in self._broken_lines)
        if not known:
            where = at.range if isinstance(at, Token) else at
            self.error(summary, detail, where or token.range)
        return SyntaxFailure()

    def at_unclosed_end(self) -> bool:
        """Whether what comes next shows that a bracket was never closed.

        That is the end of the file, the end of a block, or a line that begins another item.
        """
        index = self._next_index()
        if self.tokens[index].kind is TokenKind.END or self.at("}"):
            return True
        return self.tokens[index - 1].kind is TokenKind.NEWLINE and self._begins_item(index)

    def note_closing(self, opening_index: int) -> None:
        """Remember a brace, the token at that index, whose closing one, taken just now, stands
        further left than the line that opens it: it closes something else, by its indentation.
        """
        opening, closing = self.tokens[opening_index], self.tokens[self.index - 1]
        if self.early_close is None and self._line_start(self.index - 1) is closing:
            start = self._line_start(opening_index).range.start
            if closing.range.start.column < start.column and closing.range.start.line > start.line:
                self.early_close = opening.range, closing.range

    def _line_start(self, index: int) -> Token:
        """The first token of the line of the token at an index."""
        while index and self.tokens[index - 1].kind is not TokenKind.NEWLINE:
            index -= 1
        return self.tokens[index]

    def skip_item(self, start: int) -> None:
        """After a failure, go to the end of the body item that began at token `start`.

        That is the newline on which all brackets opened since are closed again, or, when a bracket
        was never closed, a line that can only begin another item.
        """
        open_brackets: list[str] = []
        index = start
        while (token := self.tokens[index]).kind is not TokenKind.END:
            if token.kind is TokenKind.OPERATOR:
                if token.text in _OPENING:
                    open_brackets.append(token.text)
                elif token.text in _CLOSING:
                    closed = _close(open_brackets, token.text)
                    if not closed and token.text == "}":
                        break
            elif token.kind is TokenKind.NEWLINE and index >= self.index:
                if not open_brackets:
                    break
                if open_brackets[-1] != "{" and self._begins_item(index + 1):
                    break
            index += 1
        self.index = index

    def _begins_item(self, index: int) -> bool:
        """Whether the line at `index` reads `name = …`, `name {` or `name "label"…{`."""
        if self.tokens[index].kind is not TokenKind.IDENT:
            return False
        index += 1
        first = self.tokens[index]
        if first.kind is TokenKind.OPERATOR and first.text in ("=", "{"):
            return True
        labels = (
            TokenKind.OPEN_QUOTE, TokenKind.QUOTED_TEXT, TokenKind.CLOSE_QUOTE, TokenKind.IDENT,
        )  # fmt: skip
        while self.tokens[index].kind in labels:
            index += 1
        return self.tokens[index].text == "{"


def _close(open_brackets: list[str], closing: str) -> bool:
    """Close the innermost bracket of that kind and what was left open in it; False if none is."""
    for position in range(len(open_brackets) - 1, -1, -1):
        if _OPENING[open_brackets[position]] == closing:
            del open_brackets[position:]
            return True
    return False
