"""Paths there, as words of a command line."""

from __future__ import annotations

import re
import shlex
from typing import Final

_HOME: Final = re.compile(r"~[A-Za-z0-9._-]*(?:/|$)")
PATTERN_LETTERS: Final = "*?["


def quoted(path: str) -> str:
    """The path as one word of a shell, in which a leading `~` or `~user` means a home directory."""
    home = _HOME.match(path)
    if home is None:
        return shlex.quote(path)
    rest = path[home.end() :]
    return home.group() + (shlex.quote(rest) if rest else "")
