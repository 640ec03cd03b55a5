"""Functions between text and its encoded forms: base64, URL, JSON, CSV."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import urllib.parse
from collections.abc import Sequence

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values import json_form
from goldsmith.values.types import ANY, STRING, ListType, ObjectType
from goldsmith.values.value import Value, list_of, object_of, string

_NOT_IANA = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf_8_sig", "undefined"}
)
"""Codecs that Python offers under names that are no character sets."""


def decoded_base64(text: str, argument_index: int) -> bytes:
    """Standard base64 with padding; line ends are skipped. Raises FunctionError."""
    try:
        return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise FunctionError(f'failed to decode base64 data "{text}"', argument_index) from None


def _base64_decode(_: CallContext, args: Sequence[Value]) -> Value:
    try:
        return string(decoded_base64(args[0].text, 0).decode())
    except UnicodeDecodeError:
        reason = "the result of decoding the provided string is not valid UTF-8"
        raise FunctionError(reason, 0) from None


def _base64_encode(_: CallContext, args: Sequence[Value]) -> Value:
    return string(base64.b64encode(args[0].text.encode()).decode())


def _base64_gzip(_: CallContext, args: Sequence[Value]) -> Value:
    # No time of the run in the header: the same text gives the same bytes.
    return string(base64.b64encode(gzip.compress(args[0].text.encode(), mtime=0)).decode())


def _codec(name: str, argument_index: int) -> codecs.CodecInfo:
    """The character set of an IANA name. Raises FunctionError."""
    try:
        found = codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        found = None
    if found is None or found.name.replace("-", "_") in _NOT_IANA:
        reason = f'"{name}" is not a supported IANA encoding name or alias'
        raise FunctionError(reason, argument_index)
    return found


def _text_encode(_: CallContext, args: Sequence[Value]) -> Value:
    codec = _codec(args[1].text, 1)
    # Without a byte order in its name, UTF-16 is big endian with a mark, on every host.
    name, mark = ("utf-16-be", "\ufeff") if codec.name == "utf-16" else (codec.name, "")
    try:
        encoded = (mark + args[0].text).encode(name)
    except UnicodeEncodeError:
        reason = f"the given string contains characters that cannot be represented in {name}"
        raise FunctionError(reason, 0) from None
    return string(base64.b64encode(encoded).decode())


def _text_decode(_: CallContext, args: Sequence[Value]) -> Value:
    data, codec = decoded_base64(args[0].text, 0), _codec(args[1].text, 1)
    if codec.name == "utf-16" and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        codec = codecs.lookup("utf-16-be")
    try:
        return string(data.decode(codec.name))
    except UnicodeDecodeError:
        reason = f"the given string contains symbols that are not defined for {codec.name}"
        raise FunctionError(reason, 0) from None


def _url_encode(_: CallContext, args: Sequence[Value]) -> Value:
    return string(urllib.parse.quote_plus(args[0].text, safe="~"))


def _json_decode(_: CallContext, args: Sequence[Value]) -> Value:
    try:
        return json_form.decode(args[0].text)
    except json_form.JsonError as error:
        raise FunctionError(error.message) from None


def _json_encode(_: CallContext, args: Sequence[Value]) -> Value:
    try:
        return string(json_form.encode(args[0]))
    except json_form.JsonError as error:
        raise FunctionError(error.message) from None


def _csv_decode(_: CallContext, args: Sequence[Value]) -> Value:
    records = _csv_records(args[0].text.replace("\r\n", "\n"))
    if not records:
        raise FunctionError("missing header line")
    names = records[0][1]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise FunctionError(f'duplicate column name "{name}"')
    rows: list[Value] = []
    for line, fields in records[1:]:
        if len(fields) != len(names):
            raise FunctionError(
                f"record on line {line} has {len(fields)} fields, but the header has {len(names)}"
            )
        pairs = zip(names, map(string, fields), strict=True)
        rows.append(object_of({string(name).text: field for name, field in pairs}))
    return list_of(ObjectType({string(name).text: STRING for name in names}), rows)


def _csv_records(text: str) -> list[tuple[int, list[str]]]:
    """Line number and fields of each record, by RFC 4180 as strictly as Go reads it.

    Python's csv module accepts quotes in the middle of a field and an open quote at the end.
    """
    records: list[tuple[int, list[str]]] = []
    position, line = 0, 1
    text = text.removesuffix("\r")
    while position < len(text):
        if text[position] == "\n":
            position, line = position + 1, line + 1
            continue
        first_line, fields = line, []
        while True:
            field, position, line = _csv_field(text, position, line)
            fields.append(field)
            if text[position : position + 1] != ",":
                break
            position += 1
        records.append((first_line, fields))
        position, line = position + 1, line + 1
    return records


def _csv_field(text: str, position: int, line: int) -> tuple[str, int, int]:
    """One field and where it ends: at a comma, a line end or the end of the text."""
    if text[position : position + 1] != '"':
        ends = [end for end in (text.find(",", position), text.find("\n", position)) if end >= 0]
        end = min(ends, default=len(text))
        if '"' in text[position:end]:
            raise FunctionError(f'bare " in a field that is not quoted, on line {line}')
        return text[position:end], end, line
    parts: list[str] = []
    while True:
        end = text.find('"', position + 1)
        if end < 0:
            raise FunctionError(f'missing closing " of the field on line {line}')
        parts.append(text[position + 1 : end])
        line += parts[-1].count("\n")
        position = end + 1
        following = text[position : position + 1]
        if following in (",", "\n", ""):
            return '"'.join(parts), position, line
        if following != '"':
            raise FunctionError(f'text after the closing " of a field, on line {line}')


_TEXT = (Param("str", STRING),)
_TEXT_AND_ENCODING = (Param("string", STRING), Param("encoding", STRING))

FUNCTIONS = (
    Function("base64decode", _TEXT, None, _base64_decode, STRING),
    Function("base64encode", _TEXT, None, _base64_encode, STRING),
    Function("base64gzip", _TEXT, None, _base64_gzip, STRING),
    Function("textencodebase64", _TEXT_AND_ENCODING, None, _text_encode, STRING),
    Function("textdecodebase64", _TEXT_AND_ENCODING, None, _text_decode, STRING),
    Function("urlencode", _TEXT, None, _url_encode, STRING),
    Function("jsondecode", _TEXT, None, _json_decode, ANY),
    Function("jsonencode", (Param("val", ANY, allow_null=True),), None, _json_encode, STRING),
    Function("csvdecode", _TEXT, None, _csv_decode, ListType(ANY)),
)
