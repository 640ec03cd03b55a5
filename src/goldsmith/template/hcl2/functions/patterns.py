"""Regular expressions with Go's syntax and meaning: RE2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import re2

from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.types import ANY, STRING, ListType, ObjectType, TupleType, Type
from goldsmith.values.value import Value, list_of, null, object_of, string, tuple_of

_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def compile_pattern(pattern: str, argument_index: int) -> Any:
    """A compiled RE2 pattern. Raises FunctionError, whose message has the pattern."""
    options = re2.Options()
    # RE2 would write to stderr what it also raises.
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "syntax error"
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise FunctionError(
            f'invalid regexp pattern "{pattern}": {reason}', argument_index
        ) from None


def _group_names(compiled: Any) -> list[str | None]:
    """The name of every group, None for those without; FunctionError when some have one."""
    by_index = {index: name for name, index in compiled.groupindex.items()}
    names = [by_index.get(index) for index in range(1, compiled.groups + 1)]
    if any(name is None for name in names) and any(name is not None for name in names):
        raise FunctionError("cannot mix both named and unnamed capture groups", 0)
    return names


def _result_type(names: list[str | None]) -> Type:
    if not names:
        return STRING
    if names[0] is None:
        return TupleType((STRING,) * len(names))
    return ObjectType({name: STRING for name in names if name is not None})


def _captured(match: Any, names: list[str | None]) -> Value:
    """Text, a tuple or an object, as the pattern has no, unnamed or named groups."""
    if not names:
        return string(match.group(0))
    groups = [null(STRING) if group is None else string(group) for group in match.groups()]
    if names[0] is None:
        return tuple_of(groups)
    return object_of(
        {name: group for name, group in zip(names, groups, strict=True) if name is not None}
    )


def _regex(_: CallContext, args: Sequence[Value]) -> Value:
    compiled = compile_pattern(args[0].text, 0)
    names = _group_names(compiled)
    match = compiled.search(args[1].text)
    if match is None:
        raise FunctionError("pattern did not match any part of the given string")
    return _captured(match, names)


def _matches(compiled: Any, text: str) -> list[Any]:
    """Every match as Go finds them: an empty one right after another match does not count."""
    found: list[Any] = []
    last_end = -1
    for match in compiled.finditer(text):
        if match.start() == match.end() == last_end:
            continue
        last_end = match.end()
        found.append(match)
    return found


def _regex_all(_: CallContext, args: Sequence[Value]) -> Value:
    compiled = compile_pattern(args[0].text, 0)
    names = _group_names(compiled)
    found = [_captured(match, names) for match in _matches(compiled, args[1].text)]
    return list_of(_result_type(names), found)


def _regex_replace(_: CallContext, args: Sequence[Value]) -> Value:
    text, template = args[0].text, args[2].text
    compiled = compile_pattern(args[1].text, 1)
    out: list[str] = []
    position = 0
    for match in _matches(compiled, text):
        out += [text[position : match.start()], _expanded(template, match, compiled.groupindex)]
        position = match.end()
    out.append(text[position:])
    return string("".join(out))


def _expanded(template: str, match: Any, named: dict[str, int]) -> str:
    """Go's `$1`, `${name}` and `$$`; `$1_` means the group `1_`, unknown groups are empty."""

    def value_of(reference: re.Match[str]) -> str:
        name = reference.group(1) or reference.group(2)
        if name is None:
            return "$"
        if name.isascii() and name.isdecimal():
            index = int(name)
            return (match.group(index) or "") if index <= match.re.groups else ""
        return (match.group(named[name]) or "") if name in named else ""

    return _REFERENCE.sub(value_of, template)


FUNCTIONS = (
    Function("regex", (Param("pattern", STRING), Param("string", STRING)), None, _regex, ANY),
    Function(
        "regexall",
        (Param("pattern", STRING), Param("string", STRING)),
        None,
        _regex_all,
        ListType(ANY),
    ),
    Function(
        "regex_replace",
        (Param("str", STRING), Param("pattern", STRING), Param("replace", STRING)),
        None,
        _regex_replace,
        STRING,
    ),
)
