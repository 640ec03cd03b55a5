"""`yamldecode` and `yamlencode`: YAML 1.1 booleans, 1.2 numbers, and every string quoted.

PyYAML reads and writes the events; its own resolver would turn `1:30` into 90 and dates into
objects, so scalars are resolved here by the rules of cty's YAML library.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import yaml

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.convert import ConversionError, convert
from goldsmith.values.numbers import NotANumber, Number
from goldsmith.values.types import ANY, STRING
from goldsmith.values.value import (
    Unknown,
    Value,
    boolean,
    null,
    number,
    object_of,
    string,
    tuple_of,
)

_TAG = "tag:yaml.org,2002:"
_STR, _BOOL, _NULL = _TAG + "str", _TAG + "bool", _TAG + "null"
_INT, _FLOAT, _TIMESTAMP = _TAG + "int", _TAG + "float", _TAG + "timestamp"
_BINARY, _MERGE = _TAG + "binary", _TAG + "merge"
_TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)"
    r"(?:(?:[Tt](\d\d?):(\d\d?):(\d\d?)(?:[.,]\d+)?(Z|[-+]\d\d:\d\d)"
    r"| (\d\d?):(\d\d?):(\d\d?)(?:[.,]\d+)?))?",
    re.ASCII,
)


def _words() -> Iterator[tuple[str, tuple[str, Value]]]:
    for truth, names in ((True, "y yes true on"), (False, "n no false off")):
        for name in names.split():
            for spelling in (name, name.capitalize(), name.upper()):
                yield spelling, (_BOOL, boolean(truth))
    for spelling in ("", "~", "null", "Null", "NULL"):
        yield spelling, (_NULL, null())
    for sign in ("", "+", "-"):
        for spelling in (".inf", ".Inf", ".INF"):
            yield sign + spelling, (_FLOAT, number(Number.infinity(-1 if sign == "-" else 1)))


_WORDS = dict(_words())


def _scalar(event: yaml.ScalarEvent) -> Value:
    """The value of a scalar by its tag, style and text."""
    tag, text = event.tag or "", event.value
    if tag not in ("", _STR, _BOOL, _INT, _FLOAT, _NULL, _TIMESTAMP, _BINARY):
        raise _error(event, f'unsupported tag "{tag}"')
    if tag not in (_STR, _BINARY):
        if event.style in ("'", '"') and (text == "" or text[0] in "yYnNtTfFoO~+-0123456789."):
            return string(text)
        if text in _WORDS and tag in ("", _WORDS[text][0]):
            return _WORDS[text][1]
        if not tag and text in (".nan", ".NaN", ".NAN"):
            raise _error(event, "floating point NaN is not supported")
        if tag in ("", _TIMESTAMP):
            moment = _timestamp(text)
            if moment is not None:
                return string(moment)
        if not tag and text[:1] in tuple("+-.0123456789"):
            found = _plain_number(text)
            if found is not None:
                return number(found)
    if tag in ("", _STR):
        return string(text)
    if tag in (_INT, _FLOAT):
        return _tagged_number(event)
    if tag == _BINARY and _is_base64(text):
        return string(text)
    if tag == _NULL:
        return null()
    raise _error(event, f'cannot parse "{text}" as !!{tag.removeprefix(_TAG)}')


def _plain_number(text: str) -> Number | None:
    """An untagged decimal, with underscores between its digits, or binary; hexadecimal is text."""
    plain = text if text.startswith(".") else text.replace("_", "")
    try:
        return Number.parse(plain)
    except NotANumber:
        pass
    try:
        return Number.of(int(plain, 2)) if plain.startswith(("0b", "-0b")) else None
    except ValueError:
        return None


def _tagged_number(event: yaml.ScalarEvent) -> Value:
    """The number of a scalar with `!!int` or `!!float`."""
    found = _plain_number(event.value)
    try:
        return number(found if found is not None else int(event.value, 0))
    except ValueError:
        tag = (event.tag or "").removeprefix(_TAG)
        raise _error(event, f'cannot parse "{event.value}" as !!{tag}') from None


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _timestamp(text: str) -> str | None:
    """A date or time as RFC 3339, None when the text is neither."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[n] or match[n + 4] or 0) for n in (4, 5, 6))
    zone: timezone = UTC
    if match[7] not in (None, "Z"):
        offset = timedelta(hours=int(match[7][1:3]), minutes=int(match[7][4:]))
        zone = timezone(-offset if match[7][0] == "-" else offset)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
    return moment.isoformat().replace("+00:00", "Z")


def _error(event: yaml.Event, reason: str) -> FunctionError:
    mark = event.start_mark
    where = f"on line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return FunctionError(where + reason, 0)


class _Reader:
    """One document, read from its events into a value."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._anchors: dict[str, Value | None] = {}

    def document(self) -> Value:
        """The only document of the text."""
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise FunctionError("expecting value but found end of stream", 0)
        value = self._value(next(self._events))
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _error(after, "only a single document is allowed")
        return value

    def _value(self, event: Any) -> Value:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor = event.anchor
        if anchor:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event)
        else:
            value = self._mapping(event)
        if anchor:
            self._anchors[anchor] = value
        return value

    def _alias(self, event: yaml.AliasEvent) -> Value:
        name = event.anchor or ""
        value = self._anchors.get(name)
        if value is None:
            inside = name in self._anchors
            reason = "from inside its own definition" if inside else "that is not defined"
            raise _error(event, f'cannot refer to anchor "{name}" {reason}')
        return value

    def _sequence(self, start: yaml.SequenceStartEvent) -> Value:
        if start.tag not in (None, _TAG + "seq"):
            raise _error(start, f"can't interpret sequence as {start.tag}")
        items: list[Value] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event))
        return tuple_of(items)

    def _mapping(self, start: yaml.MappingStartEvent) -> Value:
        if start.tag not in (None, _TAG + "map"):
            raise _error(start, f"can't interpret mapping as {start.tag}")
        items: dict[str, Value] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise _error(event, "only strings are allowed as mapping keys")
            if event.tag == _MERGE or (not event.tag and event.value == "<<"):
                self._merge_into(items, self._value(next(self._events)), event)
                continue
            items[_key(event)] = self._value(next(self._events))
        return object_of(items)

    def _merge_into(self, items: dict[str, Value], merged: Value, event: yaml.Event) -> None:
        sources = merged.raw if isinstance(merged.raw, tuple) else (merged,)
        for source in sources:
            if not isinstance(source.raw, dict):
                raise _error(event, "only mappings can be merged into a mapping")
            items.update(source.raw)


def _key(event: yaml.ScalarEvent) -> str:
    try:
        key = convert(_scalar(event), STRING)
    except ConversionError:
        raise _error(event, "only strings are allowed as mapping keys") from None
    if key.is_null:
        raise _error(event, "a mapping key cannot be null")
    return key.text


def _events(value: Value) -> Iterator[yaml.Event]:
    """The emitter's events for a value."""
    match value.raw:
        case tuple():
            yield yaml.SequenceStartEvent(None, None, True, flow_style=False)
            for item in value.raw:
                yield from _events(item)
            yield yaml.SequenceEndEvent()
        case dict():
            yield yaml.MappingStartEvent(None, None, True, flow_style=False)
            for key, item in value.raw.items():
                yield from _events(string(key))
                yield from _events(item)
            yield yaml.MappingEndEvent()
        case str():
            style = "|" if "\n" in value.raw else '"'
            yield yaml.ScalarEvent(None, None, (True, True), value.raw, style=style)
        case _:
            yield yaml.ScalarEvent(None, None, (True, True), _plain(value))


def _plain(value: Value) -> str:
    if value.is_null or isinstance(value.raw, Unknown):
        return "null"
    return convert(value, STRING).text


def _yaml_decode(_: CallContext, args: Sequence[Value]) -> Value:
    try:
        return _Reader(args[0].text).document()
    except yaml.YAMLError as error:
        raise FunctionError(" ".join(str(error).split()), 0) from None
    except RecursionError:
        raise FunctionError("the document is nested too deeply", 0) from None


def _yaml_encode(_: CallContext, args: Sequence[Value]) -> Value:
    if args[0].raw == "":
        # PyYAML takes a document that is one empty scalar for an empty one and writes `--- ""`.
        return string('""\n')
    document = [
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        *_events(args[0]),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    ]
    return string(yaml.emit(document, width=sys.maxsize, allow_unicode=True))


FUNCTIONS = (
    Function("yamldecode", (Param("src", STRING),), None, _yaml_decode, ANY),
    Function("yamlencode", (Param("value", ANY, allow_null=True),), None, _yaml_encode, STRING),
)
