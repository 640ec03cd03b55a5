"""Functions on files and paths. What they see comes through the context's world.

Relative paths start at the template's directory, `~` is the user's home; only `abspath` starts at
the working directory.
"""

from __future__ import annotations

import base64
import itertools
import posixpath
from collections.abc import Iterator, Sequence

from goldsmith.template.hcl2.functions.patterns import compile_pattern
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
)
from goldsmith.values.json_form import quote
from goldsmith.values.marks import Impure, Mark
from goldsmith.values.types import BOOL, STRING, SetType
from goldsmith.values.value import Value, boolean, set_of, string

_MOST_DIRECTORIES = 100_000
"""Where a `**` pattern gives up: links can make a tree endless."""


def _cleaned(path: str) -> str:
    """Go's `filepath.Clean`."""
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


def _expanded(ctx: CallContext, path: str) -> str:
    """The path with a leading `~` replaced. Raises FunctionError for another user's home."""
    if not path.startswith("~"):
        return path
    if path[1:2] not in ("", "/"):
        raise FunctionError(f"cannot expand the home directory of another user: {path}", 0)
    return posixpath.join(ctx.world.home(), path[1:].lstrip("/")).rstrip("/")


def resolved_path(ctx: CallContext, path: str) -> str:
    """Where a template's path leads: `~` expanded, relative ones below the template's directory."""
    return _cleaned(posixpath.join(ctx.base_directory, _expanded(ctx, path)))


def _impure(function: str, *arguments: str) -> set[Mark]:
    return {Impure("file", f"{function}({', '.join(map(quote, arguments))})")}


def read_template_file(ctx: CallContext, path: str) -> bytes:
    """A file's content. Raises FunctionError that names the path."""
    where = resolved_path(ctx, path)
    try:
        return ctx.world.read_file(where)
    except FileNotFoundError:
        raise FunctionError(f"no file exists at {where}", 0) from None
    except OSError as error:
        raise FunctionError(f"failed to read {where}: {error.strerror}", 0) from None


def _file(ctx: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    try:
        text = read_template_file(ctx, path).decode()
    except UnicodeDecodeError:
        raise FunctionError(
            f"contents of {path} are not valid UTF-8; use the filebase64 function to get them", 0
        ) from None
    return string(text).with_marks(_impure("file", path))


def _file_base64(ctx: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    encoded = base64.b64encode(read_template_file(ctx, path)).decode()
    return string(encoded).with_marks(_impure("filebase64", path))


def _file_exists(ctx: CallContext, args: Sequence[Value]) -> Value:
    where = resolved_path(ctx, args[0].text)
    kind = ctx.world.path_kind(where)
    if kind == "directory":
        raise FunctionError(f"{where} is not a regular file, but a directory", 0)
    return boolean(kind == "file").with_marks(_impure("fileexists", args[0].text))


def _file_set(ctx: CallContext, args: Sequence[Value]) -> Value:
    base = posixpath.join(ctx.base_directory, args[0].text)
    found: set[str] = set()
    for pattern in _without_braces(_cleaned(args[1].text)):
        parts = [part for part in pattern.split("/") if part]
        found.update(_Search(ctx, _cleaned(base)).matches(parts))
    marks = _impure("fileset", args[0].text, args[1].text)
    return set_of(STRING, [string(path) for path in found]).with_marks(marks)


def _without_braces(pattern: str) -> list[str]:
    """The patterns that `{a,b}` stands for."""
    start = pattern.find("{")
    if start < 0:
        return [pattern]
    depth, cuts = 0, [start]
    for place in range(start, len(pattern)):
        character = pattern[place]
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 1:
            cuts.append(place)
        if depth == 0:
            cuts.append(place)
            break
    else:
        raise FunctionError(f'syntax error in pattern "{pattern}": a brace is not closed', 1)
    choices = [pattern[a + 1 : b] for a, b in itertools.pairwise(cuts)]
    tail = pattern[cuts[-1] + 1 :]
    return [
        whole for choice in choices for whole in _without_braces(pattern[:start] + choice + tail)
    ]


class _Search:
    """Looks below one directory for files that match a pattern."""

    def __init__(self, ctx: CallContext, base: str) -> None:
        self._ctx = ctx
        self._base = base
        self._listed = 0

    def matches(self, parts: list[str], below: str = "") -> Iterator[str]:
        """The paths, relative to the base, of regular files that match the pattern's parts."""
        part, rest = parts[0], parts[1:]
        if part == "**":
            if rest:
                yield from self.matches(rest, below)
            for name in self._names(below):
                path = posixpath.join(below, name)
                kind = self._kind(path)
                if kind == "directory":
                    yield from self.matches(parts, path)
                elif kind == "file" and not rest:
                    yield path
            return
        compiled = compile_pattern(_expression(part), 1)
        for name in self._names(below):
            if compiled.fullmatch(name):
                path = posixpath.join(below, name)
                kind = self._kind(path)
                if rest and kind == "directory":
                    yield from self.matches(rest, path)
                elif not rest and kind == "file":
                    yield path

    def _kind(self, path: str) -> str:
        return self._ctx.world.path_kind(posixpath.join(self._base, path))

    def _names(self, below: str) -> list[str]:
        self._listed += 1
        if self._listed > _MOST_DIRECTORIES:
            raise FunctionError(f"more than {_MOST_DIRECTORIES} directories to look through", 1)
        try:
            return self._ctx.world.list_directory(posixpath.join(self._base, below).rstrip("/"))
        except OSError:
            return []


def _expression(part: str) -> str:
    """One path component of a glob pattern as a regular expression."""
    out: list[str] = []
    place = 0
    while place < len(part):
        character = part[place]
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            end = part.find("]", place + 2)
            if end < 0:
                raise FunctionError(f'syntax error in pattern "{part}": a class is not closed', 1)
            body = part[place + 1 : end]
            negated = body[:1] in ("!", "^")
            out.append(("[^" if negated else "[") + body[negated:].replace("[", "\\[") + "]")
            place = end
        elif character == "\\" and place + 1 < len(part):
            place += 1
            out.append(_literal(part[place]))
        else:
            out.append(_literal(character))
        place += 1
    return "(?s)" + "".join(out)


def _literal(character: str) -> str:
    return character if character.isalnum() or not character.isascii() else "\\" + character


def _base_name(_: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    return string(posixpath.basename(path.rstrip("/")) or ("/" if path else "."))


def _directory_name(_: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    return string(_cleaned(path[: path.rfind("/") + 1]))


def _absolute_path(ctx: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    if path.startswith("/"):
        return string(_cleaned(path))
    whole = _cleaned(posixpath.join(ctx.world.cwd(), path))
    return string(whole).with_marks({Impure("environment", f"abspath({quote(path)})")})


def _path_expand(ctx: CallContext, args: Sequence[Value]) -> Value:
    path = args[0].text
    if not path.startswith("~"):
        return string(path)
    mark = Impure("environment", f"pathexpand({quote(path)})")
    return string(_expanded(ctx, path)).with_marks({mark})


_PATH = (Param("path", STRING),)

FUNCTIONS = (
    Function("file", _PATH, None, _file, STRING),
    Function("filebase64", _PATH, None, _file_base64, STRING),
    Function("fileexists", _PATH, None, _file_exists, BOOL),
    Function("fileset", (*_PATH, Param("pattern", STRING)), None, _file_set, SetType(STRING)),
    Function("basename", _PATH, None, _base_name, STRING),
    Function("dirname", _PATH, None, _directory_name, STRING),
    Function("abspath", _PATH, None, _absolute_path, STRING),
    Function("pathexpand", _PATH, None, _path_expand, STRING),
)
