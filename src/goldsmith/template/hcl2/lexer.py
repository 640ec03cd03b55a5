"""From template text to tokens: the one lexer under parsing, formatting and diagnostics.

Nothing is dropped: spaces, comments and newlines are tokens too, so the joined texts of all tokens
are the source again. The lexer never fails. What no language has becomes an INVALID token with a
finding, and a string or heredoc that is never closed ends where that does the least harm.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NamedTuple

from goldsmith.errors import Diagnostic, Position, SourceRange


class TokenKind(enum.Enum):
    """What a token is; operators and punctuation are OPERATOR and known by their text."""

    SPACE = "space"
    NEWLINE = "newline"
    COMMENT = "comment"
    IDENT = "identifier"
    NUMBER = "number"
    OPERATOR = "operator"
    OPEN_QUOTE = "opening quote"
    CLOSE_QUOTE = "closing quote"
    QUOTED_TEXT = "quoted text"
    OPEN_HEREDOC = "heredoc start"
    CLOSE_HEREDOC = "heredoc end"
    PLAIN_TEXT = "template text"
    INTERPOLATION = "${"
    DIRECTIVE = "%{"
    SEQUENCE_END = "}"
    INVALID = "invalid character"
    END = "end of file"


class Token(NamedTuple):
    """A stretch of the source; `text` is exactly what stands there."""

    kind: TokenKind
    text: str
    range: SourceRange


@dataclass(frozen=True, slots=True)
class Lexed:
    """All tokens of a text, the last of kind END, and what the lexer found wrong.

    `cut_short` says that an unclosed construct swallowed the rest, so that an early end of the
    file is no further finding.
    """

    tokens: tuple[Token, ...]
    diagnostics: tuple[Diagnostic, ...]
    cut_short: bool


_LITERAL_DOLLARS = r"\$\$+\{|%%+\{|\$+(?![{$])|%+(?![{%])"
_QUOTED_TEXT = re.compile(
    rf'(?:[^"\\$%\n\r]+|\\[^\n\r]|\\(?=[\n\r]|\Z)|\r(?!\n)|{_LITERAL_DOLLARS})+'
)
_PLAIN_LINE = re.compile(rf"(?:[^$%\n]+|{_LITERAL_DOLLARS})*\n?")
_NEWLINE = re.compile(r"\r?\n")
# The tokens of code that mean the same everywhere, found in one go; groups are names of kinds.
_COMMON = re.compile(
    r"(?P<SPACE>[ \t]+)|(?P<NEWLINE>\r?\n)"
    r"|(?P<IDENT>[A-Za-z_][A-Za-z0-9_-]*(?![A-Za-z0-9_-]|[^\x00-\x7f]))"
    r"|(?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<COMMENT>/\*(?s:.*?)\*/|(?:#|//)(?:[^\n\r]|\r(?!\n))*)"
)
_ASCII_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OPERATOR = re.compile(r"\.\.\.|=>|==|!=|<=|>=|&&|\|\||[{}\[\]().,:=?!<>+\-*/%]")
_SEQUENCE_OPEN = re.compile(r"[$%]\{~?")
_HEREDOC_OPEN = re.compile(r"<<-?")
BYTE_ORDER_MARK = "\ufeff"
UNTERMINATED_STRING = "Unterminated template string"

_ADVICE = {
    "'": 'Single quotes are not valid. Use double quotes (") to enclose strings.',
    ";": "Use newlines to separate arguments and blocks, and commas to separate items in "
    "collection values.",
    "`": 'Backticks are not valid. Use double quotes (") or a heredoc (<<EOT) for text.',
    "&": 'Bitwise operators are not supported. Did you mean boolean AND ("&&")?',
    "|": 'Bitwise operators are not supported. Did you mean boolean OR ("||")?',
    "~": "A tilde is valid only in a template sequence, as in ${~ or ~}.",
}


def is_identifier(text: str) -> bool:
    """Whether a text can be the name of a variable or an argument."""
    return bool(text) and _identifier_end(text, 0) == len(text)


def _identifier_end(text: str, start: int) -> int:
    """Where the identifier ends that begins at `start`; `start` itself when none does."""
    match = _ASCII_IDENT.match(text, start)
    if match:
        end = match.end()
    elif start < len(text) and text[start].isidentifier():
        end = start + 1
    else:
        return start
    while end < len(text) and (text[end] == "-" or ("_" + text[end]).isidentifier()):
        end += 1
    return end


def tokenize(
    source: str, filename: str, *, as_template: bool = False, start: Position | None = None
) -> Lexed:
    """Split a text into tokens; `as_template` reads it as the inside of a string, not as a body.

    `start` is where the text begins in its file, for the ranges.
    """
    return _Lexer(source, filename, as_template, start or Position(1, 1, 0)).run()


class _Mode(enum.Enum):
    CODE = 0
    SEQUENCE = 1
    QUOTED = 2
    HEREDOC = 3
    TEMPLATE = 4


@dataclass(slots=True)
class _Level:
    """What surrounds the current position; `depth` counts open braces of a sequence."""

    mode: _Mode
    opening: SourceRange | None = None
    depth: int = 0
    marker: str = ""
    at_line_start: bool = True


class _Lexer:
    def __init__(self, source: str, filename: str, as_template: bool, start: Position) -> None:
        self.source = source
        self.filename = filename
        self.index = 0
        self.position = start
        self.tokens: list[Token] = []
        self.found: list[Diagnostic] = []
        self.levels = [_Level(_Mode.TEMPLATE if as_template else _Mode.CODE)]
        self.last_complaint = (0, "")
        self.cut_short = False

    def run(self) -> Lexed:
        if self.source.startswith(BYTE_ORDER_MARK):
            self._emit(TokenKind.SPACE, 1)
        while self.index < len(self.source):
            level = self.levels[-1]
            match level.mode:
                case _Mode.CODE | _Mode.SEQUENCE:
                    self._code(level)
                case _Mode.QUOTED:
                    self._quoted(level)
                case _Mode.HEREDOC:
                    self._heredoc(level)
                case _Mode.TEMPLATE:
                    self._template_text(level)
        self._end()
        self._emit(TokenKind.END, self.index)
        return Lexed(tuple(self.tokens), tuple(self.found), self.cut_short)

    def _emit(self, kind: TokenKind, end: int) -> Token:
        text = self.source[self.index : end]
        first = self.position
        length = len(text)
        size = length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if lines := text.count("\n"):
            column = length - text.rindex("\n")
        else:
            column = first.column + length - (text == BYTE_ORDER_MARK)
        self.position = Position(first.line + lines, column, first.byte + size)
        token = Token(kind, text, SourceRange(self.filename, first, self.position))
        self.tokens.append(token)
        self.index = end
        return token

    def _complain(self, summary: str, detail: str, range: SourceRange) -> None:
        self.found.append(Diagnostic(summary, detail, range))

    def _end(self) -> None:
        for level in self.levels:
            if level.mode is _Mode.QUOTED and level.opening:
                self._unterminated_string(level.opening)
                self.cut_short = True
                return
            if level.mode is _Mode.HEREDOC and level.opening and not self._closes(level):
                detail = (
                    f"This heredoc is never closed: a line with nothing but {level.marker} is "
                    f"expected after its text, and the file ends at line {self.position.line}."
                )
                self._complain("Invalid expression", detail, level.opening)
                self.cut_short = True
                return

    def _closes(self, level: _Level) -> bool:
        """Whether the last line of the file, without a newline, is the end of a heredoc."""
        last = self.tokens[-1]
        on_own_line = last.kind is TokenKind.PLAIN_TEXT and last.range.start.column == 1
        if level is not self.levels[-1] or not on_own_line or last.text.strip() != level.marker:
            return False
        self.tokens[-1] = Token(TokenKind.CLOSE_HEREDOC, last.text, last.range)
        return True

    def _unterminated_string(self, opening: SourceRange) -> None:
        detail = "No closing quote was found for the string on its line."
        self._complain(UNTERMINATED_STRING, detail, opening)

    def _code(self, level: _Level) -> None:
        source, index = self.source, self.index
        if match := _COMMON.match(source, index):
            self._emit(TokenKind[match.lastgroup or ""], match.end())
        elif (end := _identifier_end(source, index)) > index:
            self._emit(TokenKind.IDENT, end)
        elif source[index] == '"':
            quote = self._emit(TokenKind.OPEN_QUOTE, index + 1)
            self.levels.append(_Level(_Mode.QUOTED, quote.range))
        elif not self._open_heredoc() and not self._close_sequence(level):
            self._operator(level)

    def _open_heredoc(self) -> bool:
        match = _HEREDOC_OPEN.match(self.source, self.index)
        if match is None:
            return False
        end = _identifier_end(self.source, match.end())
        newline = _NEWLINE.match(self.source, end)
        if end == match.end() or newline is None:
            return False
        marker = self.source[match.end() : end]
        opening = self._emit(TokenKind.OPEN_HEREDOC, newline.end())
        self.levels.append(_Level(_Mode.HEREDOC, opening.range, marker=marker))
        return True

    def _close_sequence(self, level: _Level) -> bool:
        if level.mode is not _Mode.SEQUENCE or level.depth:
            return False
        for closing in ("}", "~}"):
            if self.source.startswith(closing, self.index):
                self._emit(TokenKind.SEQUENCE_END, self.index + len(closing))
                self.levels.pop()
                return True
        return False

    def _operator(self, level: _Level) -> None:
        if self.source.startswith("/*", self.index):
            token = self._emit(TokenKind.INVALID, len(self.source))
            self._complain("Invalid comment", 'This comment is never closed by "*/".', token.range)
            self.cut_short = True
            return
        if match := _OPERATOR.match(self.source, self.index):
            token = self._emit(TokenKind.OPERATOR, match.end())
            level.depth += (token.text == "{") - (token.text == "}")
            return
        token = self._emit(TokenKind.INVALID, self.index + 1)
        complaint = (token.range.start.line, token.text)
        if complaint != self.last_complaint:
            advice = _ADVICE.get(token.text, "This character is not used within the language.")
            self._complain("Invalid character", advice, token.range)
        self.last_complaint = complaint

    def _open_sequence(self) -> bool:
        match = _SEQUENCE_OPEN.match(self.source, self.index)
        if match is None:
            return False
        dollar = match.group().startswith("$")
        kind = TokenKind.INTERPOLATION if dollar else TokenKind.DIRECTIVE
        opening = self._emit(kind, match.end())
        self.levels.append(_Level(_Mode.SEQUENCE, opening.range))
        return True

    def _quoted(self, level: _Level) -> None:
        if self.source[self.index] == '"':
            self._emit(TokenKind.CLOSE_QUOTE, self.index + 1)
            self.levels.pop()
        elif match := _QUOTED_TEXT.match(self.source, self.index):
            self._emit(TokenKind.QUOTED_TEXT, match.end())
        elif not self._open_sequence():
            # A newline: the quote was forgotten, and the next line is code again.
            if level.opening:
                self._unterminated_string(level.opening)
            self.levels.pop()

    def _heredoc(self, level: _Level) -> None:
        if level.at_line_start:
            end = self.source.find("\n", self.index)
            line = self.source[self.index : end] if end >= 0 else ""
            if end >= 0 and line.strip() == level.marker:
                self._emit(TokenKind.CLOSE_HEREDOC, end - line.endswith("\r"))
                self.levels.pop()
                return
        self._template_text(level)

    def _template_text(self, level: _Level) -> None:
        match = _PLAIN_LINE.match(self.source, self.index)
        if match and match.end() > self.index:
            token = self._emit(TokenKind.PLAIN_TEXT, match.end())
            level.at_line_start = token.text.endswith("\n")
            return
        level.at_line_start = False
        self._open_sequence()
