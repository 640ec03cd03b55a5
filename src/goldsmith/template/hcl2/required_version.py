"""`required_version = ">= 1.7, < 2"`: version constraints by the rules of Go's go-version."""

from __future__ import annotations

import re
from collections.abc import Callable

from goldsmith.errors import GoldsmithError

_VERSION = r"v?(\d+(?:\.\d+)*)(-[0-9A-Za-z.~-]+)?(?:\+[0-9A-Za-z.~-]+)?"
_CONSTRAINT = re.compile(rf"\s*(=|!=|>|<|>=|<=|~>|)\s*({_VERSION})\s*")
_Key = tuple[tuple[int, ...], bool, str]


class MalformedConstraint(GoldsmithError):
    """A text is not a version constraint."""


def satisfies(version: str, constraints: str) -> bool:
    """Whether a released version fulfils every constraint of a comma-separated list.

    Raises MalformedConstraint.
    """
    key = _key(version, None)
    return all([_one(key, constraint) for constraint in constraints.split(",")])


def _one(version: _Key, constraint: str) -> bool:
    match = _CONSTRAINT.fullmatch(constraint)
    if match is None:
        raise MalformedConstraint(
            f"Malformed constraint: {constraint.strip()!r}",
            hint='write for example ">= 1.7.0" or "~> 1.8"',
        )
    operator, wanted = match.group(1) or "=", _key(match.group(3), match.group(4))
    return _COMPARISONS[operator](version, wanted) and (
        operator != "~>" or _same_series(version, match.group(3))
    )


def _key(segments: str, prerelease: str | None) -> _Key:
    """A sort key: three segments or more, releases after their pre-releases."""
    numbers = [int(segment) for segment in segments.split(".")]
    padded = tuple(numbers + [0] * (3 - len(numbers)))
    return padded, prerelease is None, prerelease or ""


def _same_series(version: _Key, wanted: str) -> bool:
    """`~> 1.2.3` allows the last given segment only to grow."""
    fixed = [int(segment) for segment in wanted.split(".")][:-1]
    return list(version[0][: len(fixed)]) == fixed


_COMPARISONS: dict[str, Callable[[_Key, _Key], bool]] = {
    "=": lambda version, wanted: version == wanted,
    "!=": lambda version, wanted: version != wanted,
    ">": lambda version, wanted: version > wanted,
    "<": lambda version, wanted: version < wanted,
    ">=": lambda version, wanted: version >= wanted,
    "<=": lambda version, wanted: version <= wanted,
    "~>": lambda version, wanted: version >= wanted,
}
