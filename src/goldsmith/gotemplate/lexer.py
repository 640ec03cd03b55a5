"""Cuts the text of a template into tokens, lazily, as Go's lexer does.

A fault is a token too (ERROR, its text is the message): the parser reports what comes first.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from goldsmith.gotemplate.quoting import describe_character, quote, to_bytes

LEFT, RIGHT = "{{", "}}"
SPACES = " \t\r\n"
_LEFT_TRIM = re.compile(r"-[ \t\r\n]")
_RIGHT_END = re.compile(r"([ \t\r\n]-)?\}\}")
_SPACE_RUN = re.compile(r"[ \t\r\n]+")
_NUMBER = re.compile(
    r"""[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?
        |0[oO][0-7_]*(?:\.[0-7_]*)?
        |0[bB][01_]*(?:\.[01_]*)?
        |[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?""",
    re.VERBOSE,
)
_QUOTED = re.compile(r'"(?:\\[^\n]|[^\\"\n])*"')
_CHARACTER = re.compile(r"'(?:\\[^\n]|[^\\'\n])*'")
_DIGITS = "0123456789"


class Kind(enum.Enum):
    """What a token is."""

    ERROR = enum.auto()
    EOF = enum.auto()
    TEXT = enum.auto()
    LEFT_DELIMITER = enum.auto()
    RIGHT_DELIMITER = enum.auto()
    SPACE = enum.auto()
    BOOL = enum.auto()
    CHARACTER = enum.auto()
    COMPLEX = enum.auto()
    NUMBER = enum.auto()
    STRING = enum.auto()
    IDENTIFIER = enum.auto()
    FIELD = enum.auto()
    VARIABLE = enum.auto()
    DOT = enum.auto()
    KEYWORD = enum.auto()
    ASSIGN = enum.auto()
    DECLARE = enum.auto()
    PIPE = enum.auto()
    LEFT_PAREN = enum.auto()
    RIGHT_PAREN = enum.auto()
    PUNCTUATION = enum.auto()
    """Another printable ASCII character, the comma among them."""


KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template",
     "with"}
)  # fmt: skip
_SINGLE = {
    "=": Kind.ASSIGN, "|": Kind.PIPE, "(": Kind.LEFT_PAREN, ")": Kind.RIGHT_PAREN,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the template; `offset` is where it starts, in characters."""

    kind: Kind
    text: str
    offset: int

    def __str__(self) -> str:
        """As Go names the token in its messages."""
        if self.kind is Kind.EOF:
            return "EOF"
        if self.kind is Kind.ERROR:
            return self.text
        if self.kind in (Kind.KEYWORD, Kind.DOT):
            return f"<{self.text}>"
        if len(to_bytes(self.text)) > 10:
            return quote(self.text[:10]) + "..."
        return quote(self.text)


def is_word_character(character: str) -> bool:
    """Whether the character may stand in a name."""
    return character == "_" or character.isalpha() or character.isdecimal()


def lex(text: str) -> Iterator[Token]:
    """The tokens of the template; the last one is EOF or ERROR."""
    return _Lexer(text).tokens()


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._parens = 0

    def tokens(self) -> Iterator[Token]:
        while True:
            start, action = self._at, self._text.find(LEFT, self._at)
            literal = self._text[start:] if action < 0 else self._text[start:action]
            if action >= 0 and _LEFT_TRIM.match(self._text, action + len(LEFT)):
                literal = literal.rstrip(SPACES)
            if literal:
                yield Token(Kind.TEXT, literal, start)
            if action < 0:
                yield Token(Kind.EOF, "", len(self._text))
                return
            inside = action + len(LEFT)
            if _LEFT_TRIM.match(self._text, inside):
                inside += 2
            self._at = inside
            if self._text.startswith("/*", inside):
                if fault := self._skip_comment():
                    yield fault
                    return
                continue
            yield Token(Kind.LEFT_DELIMITER, LEFT, action)
            token = None
            for token in self._action():
                yield token
            if token is None or token.kind is Kind.ERROR:
                return

    def _skip_comment(self) -> Token | None:
        start = self._at
        end = self._text.find("*/", start + 2)
        if end < 0:
            return Token(Kind.ERROR, "unclosed comment", start)
        self._at = end + 2
        close = _RIGHT_END.match(self._text, self._at)
        if close is None:
            return Token(Kind.ERROR, "comment ends before closing delimiter", start)
        self._leave(close)
        return None

    def _leave(self, close: re.Match[str]) -> None:
        """Go behind a right delimiter, and behind the space that its trim marker removes."""
        self._at = close.end()
        if close.group(1) and (space := _SPACE_RUN.match(self._text, self._at)):
            self._at = space.end()

    def _action(self) -> Iterator[Token]:
        self._parens = 0
        while True:
            close = _RIGHT_END.match(self._text, self._at)
            if close is None:
                token = self._next()
                self._at = token.offset + len(token.text)
                yield token
                if token.kind is Kind.ERROR:
                    return
            elif self._parens:
                yield Token(Kind.ERROR, "unclosed left paren", self._at)
                return
            else:
                self._leave(close)
                yield Token(Kind.RIGHT_DELIMITER, RIGHT, close.end() - len(RIGHT))
                return

    def _next(self) -> Token:
        at, text = self._at, self._text
        if at == len(text):
            return self._error("unclosed action")
        character = text[at]
        if space := _SPACE_RUN.match(text, at):
            # The last space before "-}}" belongs to the trim marker.
            end = space.end() - text.startswith("-" + RIGHT, space.end())
            return Token(Kind.SPACE, text[at:end], at)
        if character in "\"'`":
            return self._quoted(character)
        if character == ":":
            if not text.startswith(":=", at):
                return self._error("expected :=")
            return Token(Kind.DECLARE, ":=", at)
        if character == "$" or (character == "." and self._starts_field()):
            return self._name(Kind.VARIABLE if character == "$" else Kind.FIELD, at + 1)
        if character in ".+-" or character in _DIGITS:
            return self._number()
        if is_word_character(character):
            return self._name(Kind.IDENTIFIER, at)
        if character in "()":
            self._parens += 1 if character == "(" else -1
            if self._parens < 0:
                return self._error("unexpected right paren")
        if " " < character <= "~":
            return Token(_SINGLE.get(character, Kind.PUNCTUATION), character, at)
        return self._error(f"unrecognized character in action: {describe_character(character)}")

    def _error(self, message: str) -> Token:
        return Token(Kind.ERROR, message, self._at)

    def _starts_field(self) -> bool:
        """A dot before a digit starts a number; so does one at the very end, in Go's lexer."""
        following = self._text[self._at + 1 : self._at + 2]
        return bool(following) and following not in _DIGITS

    def _quoted(self, mark: str) -> Token:
        if mark == "`":
            end = self._text.find("`", self._at + 1)
            if end < 0:
                return self._error("unterminated raw quoted string")
            return Token(Kind.STRING, self._text[self._at : end + 1], self._at)
        pattern, kind, name = (
            (_QUOTED, Kind.STRING, "quoted string")
            if mark == '"'
            else (_CHARACTER, Kind.CHARACTER, "character constant")
        )
        match = pattern.match(self._text, self._at)
        if match is None:
            return self._error(f"unterminated {name}")
        return Token(kind, match.group(), self._at)

    def _name(self, kind: Kind, start: int) -> Token:
        """An identifier, a field or a variable, whose letters begin at `start`."""
        end = start
        while end < len(self._text) and is_word_character(self._text[end]):
            end += 1
        if end < len(self._text) and not self._terminates(end):
            return self._error(f"bad character {describe_character(self._text[end])}")
        word = self._text[self._at : end]
        if kind is Kind.FIELD and word == ".":
            kind = Kind.DOT
        elif word in KEYWORDS:
            kind = Kind.KEYWORD
        elif word in ("true", "false"):
            kind = Kind.BOOL
        return Token(kind, word, self._at)

    def _terminates(self, at: int) -> bool:
        return self._text[at] in SPACES + ".,|:()" or self._text.startswith(RIGHT, at)

    def _number(self) -> Token:
        end, good = self._scan_number(self._at)
        kind = Kind.NUMBER
        if good and self._text[end : end + 1] in ("+", "-"):
            kind = Kind.COMPLEX
            end, good = self._scan_number(end)
            good = good and self._text[end - 1] == "i"
        word = self._text[self._at : end]
        if not good:
            return self._error(f"bad number syntax: {quote(word)}")
        return Token(kind, word, self._at)

    def _scan_number(self, at: int) -> tuple[int, bool]:
        match = _NUMBER.match(self._text, at)
        end = match.end() if match else at
        following = self._text[end : end + 1]
        if following and is_word_character(following):
            return end + 1, False
        return end, True
