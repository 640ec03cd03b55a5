"""Patterns over names, as `-only` and `-except` take them: those of Packer's glob library (gobwas).

`*` and `**` stand for any text, `?` for a character, `[a-z]`, `[abc]` and `[!abc]` for one of some,
`{a,b}` for one of several patterns, and a backslash takes the meaning away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from goldsmith.errors import GoldsmithError


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns; raises GoldsmithError for one that is none."""
    return any(_compiled(pattern).fullmatch(name) for pattern in patterns)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = depth = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        elif character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[":
            end = pattern.find("]", at + (pattern[at : at + 1] == "!") + 1)
            if end < 0:
                raise _malformed(pattern, "the [ is never closed")
            parts.append(_one_of(pattern[at:end]))
            at = end + 1
        elif character == "{":
            parts.append("(?:")
            depth += 1
        elif depth and character in ",}":
            parts.append("|" if character == "," else ")")
            depth -= character == "}"
        else:
            parts.append(re.escape(character))
    # The comma that separates patterns may have cut one between its braces; Packer takes it so.
    parts += [")"] * depth
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as e:
        raise _malformed(pattern, e.msg) from e


def _one_of(written: str) -> str:
    negated = written.startswith("!")
    inside = written[negated:].replace("\\", r"\\").replace("^", r"\^").replace("[", r"\[")
    return f"[{'^' if negated else ''}{inside}]"


def _malformed(pattern: str, why: str) -> GoldsmithError:
    return GoldsmithError(
        f"the pattern {pattern!r} is malformed: {why}",
        hint="a * stands for any text; put a backslash before a character that is meant itself",
    )
