"""JSON with the place of every key and value, because every error of a template has one.

Python's own reader knows no places and lets repeated keys pass.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from goldsmith.errors import Diagnostic, Diagnostics, Position, SourceRange, TemplateError
from goldsmith.values.numbers import Number
from goldsmith.values.value import Value, boolean, null, number, object_of, string, tuple_of

DEEPEST = 200
"""Levels of nesting; no template has twenty, and Go's reader ends somewhere, too."""
LONGEST_NUMBER = 400
"""Digits: the largest number of 64-bit floats, which is all that Packer's reader takes, has 309."""

Repeated = Literal["refused", "last", "kept"]
"""What a key means that an object has already: a finding, the value that counts, or one more."""

_BLANK = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"true|false|null")
_WORDS = {"true": True, "false": False, "null": None}
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and where it stands: objects are dicts of members, arrays are lists of nodes."""

    content: dict[str, Member] | list[Node] | str | Number | bool | None
    range: SourceRange
    repeated: tuple[tuple[str, Member], ...] = ()
    """The earlier members of an object under keys that it has again, where those are kept."""

    @property
    def kind(self) -> str:
        """What JSON calls it, for messages."""
        match self.content:
            case dict():
                return "an object"
            case list():
                return "an array"
            case str():
                return "a text"
            case bool():
                return "true or false"
            case None:
                return "null"
            case _:
                return "a number"

    def members(self) -> Iterator[tuple[str, Member]]:
        """Keys and members of an object; nothing for any other value."""
        if isinstance(self.content, dict):
            yield from self.content.items()

    def all_members(self) -> Iterator[tuple[str, Member]]:
        """Every member as written, those with the same key among them."""
        if not self.repeated:
            return self.members()
        whole = [*self.repeated, *self.members()]
        return iter(sorted(whole, key=lambda one: one[1].key_range.start.byte))

    def elements(self) -> list[Node]:
        """The elements of an array; nothing for any other value."""
        return self.content if isinstance(self.content, list) else []

    def value(self) -> Value:
        """As a value of the languages of templates, with its place."""
        match self.content:
            case dict():
                made = object_of({key: one.node.value() for key, one in self.content.items()})
            case list():
                made = tuple_of(one.value() for one in self.content)
            case str():
                made = string(self.content)
            case bool():
                made = boolean(self.content)
            case None:
                made = null()
            case _:
                made = number(self.content)
        return made.at(self.range)


@dataclass(frozen=True, slots=True)
class Member:
    """A value of an object with the place of its key."""

    key_range: SourceRange
    node: Node


@dataclass(slots=True)
class Places:
    """From offsets in a text to places."""

    text: str
    filename: str
    _starts: list[int] = field(default_factory=list)
    _bytes: array[int] | None = None
    """Bytes before each character; None where that is the number of characters."""

    def __post_init__(self) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        if not self.text.isascii():
            sizes = (len(one.encode("utf-8", "surrogatepass")) for one in self.text)
            self._bytes = array("Q", accumulate(sizes, initial=0))

    def position(self, offset: int) -> Position:
        """The place of a character, or of the one behind the last."""
        line = bisect_right(self._starts, offset) - 1
        before = offset if self._bytes is None else self._bytes[min(offset, len(self.text))]
        return Position(line + 1, offset - self._starts[line] + 1, before)

    def range(self, start: int, end: int) -> SourceRange:
        """The stretch between two characters."""
        return SourceRange(self.filename, self.position(start), self.position(end))


def read_document(
    text: str, filename: str, *, found: Diagnostics, repeated: Repeated = "refused"
) -> Node:
    """Read one JSON document; repeated keys that are refused are added to `found`.

    Raises TemplateError at the first character that is no JSON.
    """
    return _Reader(text, Places(text, filename), found, repeated).document()


@dataclass(slots=True)
class _Reader:
    text: str
    places: Places
    found: Diagnostics
    repeated: Repeated
    at: int = 0
    opened: list[tuple[str, int]] = field(default_factory=list)

    def document(self) -> Node:
        self._skip()
        if self.at == len(self.text):
            raise self._error("The template is empty", "A JSON template is an object: { … }.")
        node = self._value()
        self._skip()
        if self.at < len(self.text):
            detail = f"Nothing may follow the template, but {self._here()} does."
            raise self._error("Invalid JSON", detail)
        return node

    def _skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at

    def _here(self) -> str:
        found = self.text[self.at : self.at + 1]
        return f"'{found}'" if found else "the end of the file"

    def _error(self, summary: str, detail: str, at: int | None = None) -> TemplateError:
        start = self.at if at is None else at
        where = self.places.range(start, start + 1)
        return TemplateError(
            [*self.found.found, Diagnostic(summary, detail, where)],
            {self.places.filename: self.text},
        )

    def _unexpected(self, wanted: str) -> TemplateError:
        """What stands here is not what JSON has here."""
        if self.at == len(self.text) and self.opened:
            opening, at = self.opened[-1]
            closing = {"{": "}", "[": "]"}[opening]
            detail = f"This '{opening}' is never closed: the file ends before its '{closing}'."
            return self._error("Invalid JSON", detail, at)
        detail = f"Expected {wanted}, found {self._here()}."
        if self.text.startswith(("//", "/*", "#"), self.at):
            detail += ' JSON has no comments: write a root key such as "_comment": "text".'
        return self._error("Invalid JSON", detail)

    def _value(self) -> Node:
        start = self.at
        character = self.text[start : start + 1]
        content: dict[str, Member] | list[Node] | str | Number | bool | None
        earlier: list[tuple[str, Member]] = []
        if character == "{":
            content = self._object(earlier)
        elif character == "[":
            content = self._array()
        elif character == '"':
            content = self._string()
        elif match := _WORD.match(self.text, start):
            self.at = match.end()
            content = _WORDS[match.group()]
        elif match := _NUMBER.match(self.text, start):
            self.at = match.end()
            content = self._number(match.group(), start)
        else:
            raise self._unexpected("a value")
        return Node(content, self.places.range(start, self.at), tuple(earlier))

    def _number(self, text: str, start: int) -> Number:
        exponent = re.split("[eE]", text)[1:]
        if len(text) > LONGEST_NUMBER or (exponent and abs(int(exponent[0])) > LONGEST_NUMBER):
            raise self._error("Invalid JSON", "This number is too large.", start)
        return Number.parse(text)

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise self._bad_string()
        self.at = match.end()
        text = match.group(1)
        if "\\" in text:
            text = _ESCAPE.sub(_unescaped, text)
        if not text.isascii() and _LONE_SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _bad_string(self) -> TemplateError:
        sound = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
        match = sound.match(self.text, self.at)
        end = match.end() if match else self.at
        fault = self.text[end : end + 1]
        if fault == "\\":
            detail = f"JSON has no escape {self.text[end : end + 2]!r} in texts."
            return self._error("Invalid JSON", detail, end)
        if fault in ("", "\n", "\r"):
            detail = 'This text is not closed by a " on its line; \\n is a line end in a text.'
            return self._error("Invalid JSON", detail)
        detail = f"The character {fault!r} must be written as \\u{ord(fault):04x} in texts."
        return self._error("Invalid JSON", detail, end)

    def _open(self, opening: str) -> None:
        if len(self.opened) == DEEPEST:
            raise self._error("Invalid JSON", f"This is nested deeper than {DEEPEST} levels.")
        self.opened.append((opening, self.at))
        self.at += 1
        self._skip()

    def _close(self) -> None:
        self.opened.pop()
        self.at += 1

    def _object(self, earlier: list[tuple[str, Member]]) -> dict[str, Member]:
        self._open("{")
        members: dict[str, Member] = {}
        while not self.text.startswith("}", self.at):
            self._member(members, earlier)
            self._next("}")
        self._close()
        return members

    def _member(self, members: dict[str, Member], earlier: list[tuple[str, Member]]) -> None:
        if not self.text.startswith('"', self.at):
            raise self._unexpected("a key in double quotes")
        start = self.at
        key = self._string()
        where = self.places.range(start, self.at)
        self._skip()
        if not self.text.startswith(":", self.at):
            raise self._unexpected(f'":" after the key "{key}"')
        self.at += 1
        self._skip()
        node = self._value()
        if key in members:
            if self.repeated == "refused":
                report_repeated(key, members[key].key_range, where, self.found)
            elif self.repeated == "kept":
                earlier.append((key, members[key]))
        members[key] = Member(where, node)

    def _array(self) -> list[Node]:
        self._open("[")
        elements: list[Node] = []
        while not self.text.startswith("]", self.at):
            elements.append(self._value())
            self._next("]")
        self._close()
        return elements

    def _next(self, closing: str) -> None:
        """Go behind the comma before the next item, or stop before the closing bracket."""
        self._skip()
        if self.text.startswith(closing, self.at):
            return
        if not self.text.startswith(",", self.at):
            raise self._unexpected(f"',' or '{closing}'")
        comma = self.at
        self.at += 1
        self._skip()
        if self.text.startswith(closing, self.at):
            detail = f"No comma may stand before '{closing}' in JSON."
            raise self._error("Invalid JSON", detail, comma)


def report_repeated(key: str, first: SourceRange, where: SourceRange, found: Diagnostics) -> None:
    """Add the finding that a key stands in its object already."""
    detail = f'The key "{key}" was already given in this object, at {first}.'
    found.error("Duplicate key", detail, where)


def _unescaped(match: re.Match[str]) -> str:
    if match.group(1):
        return chr(int(match.group(1), 16))
    return _SIMPLE.get(match.group(2), match.group(2))
