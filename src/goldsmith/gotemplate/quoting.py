"""Go's strings in Python's: bytes, quoting, unquoting.

Go strings are bytes. Bytes that are no UTF-8 (from `"\\xff"`, or from a slice through a character)
live in a Python str as the surrogates of the "surrogateescape" error handler.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
}  # fmt: skip
_SHORT_FORMS = {text: "\\" + letter for letter, text in _SIMPLE_ESCAPES.items()}
_ESCAPE = re.compile(
    r"""\\(?:(?P<simple>[abfnrtv\\"'])|(?P<octal>[0-7]{3})
        |x(?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))""",
    re.VERBOSE,
)
_MAX_RUNE = 0x10FFFF


def to_bytes(text: str) -> bytes:
    """The bytes of a Go string; surrogates that stand for no byte become U+FFFD, as in Go."""
    return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    """The str of a Go string."""
    return data.decode("utf-8", "surrogateescape")


def join(parts: list[str]) -> str:
    """Concatenate Go strings: bytes that were apart may form a character now."""
    text = "".join(parts)
    return from_bytes(to_bytes(text)) if _ESCAPED_BYTE.search(text) else text


def is_printable(character: str) -> bool:
    """What `strconv.IsPrint` says: letters, marks, numbers, punctuation, symbols, ASCII space."""
    return character == " " or unicodedata.category(character)[0] in "LMNPS"


def describe_character(character: str) -> str:
    """A character as Go's `%#U` shows it: `U+0040 '@'`."""
    shown = f" '{character}'" if is_printable(character) else ""
    return f"U+{ord(character):04X}{shown}"


def _escape(character: str, quote_mark: str, ascii_only: bool) -> str:
    code = ord(character)
    if character in (quote_mark, "\\"):
        return "\\" + character
    if _ESCAPED_BYTE.match(character):
        return f"\\x{code - 0xDC00:02x}"
    if is_printable(character) and not (ascii_only and code > 0x7E):
        return character
    if character in _SHORT_FORMS:
        return _SHORT_FORMS[character]
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """A Go string literal (`%q`), or with `mark="'"` a character literal."""
    return mark + "".join(_escape(c, mark, ascii_only) for c in text) + mark


def can_backquote(text: str) -> bool:
    """Whether the text fits unchanged between backquotes."""
    return not re.search("[`\x7f\ufeff\udc80-\udcff]|[\x00-\x08\x0a-\x1f]", text)


def _decode_escape(text: str, at: int, mark: str) -> tuple[bytes | int, int]:
    """The byte(s) or the code point of the escape at this place, and the place after it."""
    match = _ESCAPE.match(text, at)
    if match is None:
        raise ValueError("invalid syntax")
    if simple := match["simple"]:
        if simple in "\"'" and simple != mark:
            raise ValueError("invalid syntax")
        return ord(_SIMPLE_ESCAPES.get(simple, simple)), match.end()
    if match["octal"] or match["byte"]:
        value = int(match["octal"], 8) if match["octal"] else int(match["byte"], 16)
        if value > 0xFF:
            raise ValueError("invalid syntax")
        return bytes([value]), match.end()
    code = int(match["short"] or match["long"], 16)
    if code > _MAX_RUNE or 0xD800 <= code < 0xE000:
        raise ValueError("invalid syntax")
    return code, match.end()


def unquote(literal: str) -> str:
    """The text of a string literal in double quotes or backquotes.

    Raises ValueError with Go's words for a bad escape.
    """
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        backslash = body.find("\\", at)
        if backslash < 0:
            backslash = len(body)
        pieces.append(to_bytes(body[at:backslash]))
        at = backslash
        if at < len(body):
            value, at = _decode_escape(body, at, '"')
            pieces.append(value if isinstance(value, bytes) else chr(value).encode())
    return from_bytes(b"".join(pieces))


def unquote_character(literal: str) -> int:
    """The code point of a character literal in single quotes.

    Raises ValueError with Go's words when it is not exactly one character.
    """
    body = literal[1:-1]
    if not body:
        raise ValueError("invalid syntax")
    if body[0] != "\\":
        value: bytes | int = ord(body[0])
        end = 1
    else:
        value, end = _decode_escape(body, 0, "'")
    if end != len(body):
        raise ValueError(f"malformed character constant: {literal}")
    return value if isinstance(value, int) else value[0]
