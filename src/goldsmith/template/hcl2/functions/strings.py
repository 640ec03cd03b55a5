"""Functions on text: case, trimming, cutting, joining."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from goldsmith.template.hcl2.functions.graphemes import graphemes
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.values.bounds import check_text
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType
from goldsmith.values.value import Value, boolean, list_of, string

_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    chr(code) for code in range(0x2000, 0x200B)
)
"""Go's `unicode.IsSpace`; Python's strip() would also take U+001C to U+001F."""


def _upper_rune(character: str) -> str:
    """One character for one: `ß` stays, because Go maps runes, not strings."""
    for mapped in (character.upper(), character.title()):
        if len(mapped) == 1:
            return mapped
    return character


def _title_rune(character: str) -> str:
    mapped = character.title()
    return mapped if len(mapped) == 1 else _upper_rune(character)


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(_upper_rune, text))


def _lower(text: str) -> str:
    # Character by character, for Python lowers a final sigma by its context; U+0130 becomes "i".
    return text.lower() if text.isascii() else "".join(one.lower()[:1] for one in text)


def _is_separator(character: str) -> bool:
    if character.isascii():
        return not (character.isalnum() or character == "_")
    return not (character.isalpha() or character.isdecimal()) and character in _GO_SPACE


def _title(text: str) -> str:
    before, titled = " ", []
    for character in text:
        titled.append(_title_rune(character) if _is_separator(before) else character)
        before = character
    return "".join(titled)


def _reversed(text: str) -> str:
    return "".join(reversed(graphemes(text)))


def _indent(_: CallContext, args: Sequence[Value]) -> Value:
    spaces = whole_number(args, 0)
    if spaces < 0:
        raise FunctionError("the number of spaces must not be negative", 0)
    text = args[1].text
    check_text(len(text) + spaces * text.count("\n"))
    return string(text.replace("\n", "\n" + " " * spaces))


def _join(_: CallContext, args: Sequence[Value]) -> Value:
    if len(args) < 2:
        raise FunctionError("at least one list is required")
    parts: list[str] = []
    for index, words in enumerate(args[1:], start=1):
        for place, word in enumerate(words.elements):
            if word.is_null:
                reason = f"element {place} is null; cannot concatenate null values"
                raise FunctionError(reason, index)
            parts.append(word.text)
    check_text(sum(map(len, parts)) + len(args[0].text) * len(parts))
    return string(args[0].text.join(parts))


def _split(_: CallContext, args: Sequence[Value]) -> Value:
    separator, text = args[0].text, args[1].text
    # An empty separator cuts between code points, not between visible characters.
    parts = text.split(separator) if separator else list(text)
    return list_of(STRING, [string(part) for part in parts])


def _substr(_: CallContext, args: Sequence[Value]) -> Value:
    characters = graphemes(args[0].text)
    offset, length = whole_number(args, 1), whole_number(args, 2)
    start = max(0, offset + len(characters)) if offset < 0 else offset
    end = len(characters) if length < 0 else start + length
    return string("".join(characters[start:end]))


def _replace(_: CallContext, args: Sequence[Value]) -> Value:
    text, sought, replacement = (arg.text for arg in args)
    check_text(len(text) + text.count(sought) * len(replacement))
    return string(text.replace(sought, replacement))


def _on_text(name: str, change: Callable[[str], str]) -> Function:
    """A function of one text."""

    def call(_: CallContext, args: Sequence[Value]) -> Value:
        return string(change(args[0].text))

    return Function(name, (Param("str", STRING),), None, call, STRING)


def _on_two(name: str, second: str, change: Callable[[str, str], str]) -> Function:
    """A function of two texts."""

    def call(_: CallContext, args: Sequence[Value]) -> Value:
        return string(change(args[0].text, args[1].text))

    return Function(name, (Param("str", STRING), Param(second, STRING)), None, call, STRING)


def _test(name: str, second: str, holds: Callable[[str, str], bool]) -> Function:
    """A question about two texts."""

    def call(_: CallContext, args: Sequence[Value]) -> Value:
        return boolean(holds(args[0].text, args[1].text))

    return Function(name, (Param("str", STRING), Param(second, STRING)), None, call, BOOL)


FUNCTIONS = (
    _on_text("upper", _upper),
    _on_text("lower", _lower),
    _on_text("title", _title),
    _on_text("strrev", _reversed),
    _on_text("chomp", lambda text: text.rstrip("\r\n")),
    _on_text("trimspace", lambda text: text.strip(_GO_SPACE)),
    _on_two("trim", "cutset", lambda text, cutset: text.strip(cutset) if cutset else text),
    _on_two("trimprefix", "prefix", str.removeprefix),
    _on_two("trimsuffix", "suffix", str.removesuffix),
    _test("startswith", "prefix", str.startswith),
    _test("endswith", "suffix", str.endswith),
    _test("strcontains", "substr", lambda text, part: part in text),
    Function(
        "replace",
        (Param("str", STRING), Param("substr", STRING), Param("replace", STRING)),
        None,
        _replace,
        STRING,
    ),
    Function("indent", (Param("spaces", NUMBER), Param("str", STRING)), None, _indent, STRING),
    Function(
        "join", (Param("separator", STRING),), Param("lists", ListType(STRING)), _join, STRING
    ),
    Function(
        "split",
        (Param("separator", STRING), Param("str", STRING)),
        None,
        _split,
        ListType(STRING),
    ),
    Function(
        "substr",
        (Param("str", STRING), Param("offset", NUMBER), Param("length", NUMBER)),
        None,
        _substr,
        STRING,
    ),
)
