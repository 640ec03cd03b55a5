"""What files of elements name: every word that could be a variable of the environment."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

MOST_READ_BYTES: Final = 4 << 20
"""Larger files of elements are data in which names of variables stand by chance only."""
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_NOT_READING: Final = re.compile(
    rb"^[ \t]*#.*|(?:['\"])[ \t]+(?:not[ \t]+)?in[ \t]+(?:os\.)?environ\b(?!\.)", re.MULTILINE
)
"""Comments, and questions whether a variable is there that is named."""
_ENDS: Final = rb"[ \t]*(?:$|[|;&<>)`}])"
_ALL_VARIABLES: Final = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        # The commands of a shell that print variables, without the name of one.
        rb"(?<![\w.-])env(?:[ \t]+(?:-[^ \t\n|]+|[A-Za-z_]\w*=[^ \t\n|]*))*" + _ENDS,
        rb"\bprintenv\b(?![ \t]+[A-Za-z_])",
        rb"\b(?:compgen|envsubst)\b",
        rb"\b(?:declare|export|readonly|typeset)(?:[ \t]+-\w+)*" + _ENDS,
        rb"\b(?:declare|export|readonly|typeset)[ \t]+-\w*p\w*[ \t]+[^A-Za-z_\s]",
        rb"(?:^|[;&|({`])[ \t]*set" + _ENDS,
        # By a name that is made: references of bash, what eval expands twice.
        rb"\$\{!\w+(?!\w|\[[@*]\])",
        rb"\b(?:declare|local|typeset)[ \t]+-\w*n",
        rb"\beval\b.*\\\$",
        # In other languages, and the kernel's own copy.
        rb"\benviron\b(?!\.(?:get|pop|setdefault)\([ \t\n]*['\"]|\[[ \t]*['\"])",
        rb"\bgetenv\b(?!\([ \t\n]*['\"])",
        rb"\bENVIRON\b(?!\[\")|%ENV\b|\$ENV\{[^\w'\"]|\bENV\.|\bENV\[[^'\"]",
    )
)
"""How programs come to variables that they do not name."""


def words_of(files: tuple[Path, ...]) -> frozenset[str]:
    """Every word in these files; large ones are not read."""
    return frozenset().union(*(_words_in(*_state(file)) for file in files))


def _state(file: Path) -> tuple[Path, int]:
    """A file with the time of its last change, -1 for one that is not to be read."""
    if not file.is_file():
        return file, -1
    status = file.stat()
    return file, status.st_mtime_ns if status.st_size <= MOST_READ_BYTES else -1


@functools.lru_cache(maxsize=4096)
def _words_in(file: Path, changed_ns: int) -> frozenset[str]:
    found = _WORD.findall(file.read_bytes()) if changed_ns >= 0 else ()
    return frozenset(word.decode() for word in found)


def reads_all(files: tuple[Path, ...]) -> bool:
    """Whether one of these files seems to read all variables, or one whose name it makes itself.

    What is not sure counts as reading them.
    """
    return any(_reads_all(*_state(file)) for file in files)


@functools.lru_cache(maxsize=4096)
def _reads_all(file: Path, changed_ns: int) -> bool:
    if changed_ns < 0:
        return False
    content = _NOT_READING.sub(b"", file.read_bytes())
    return any(pattern.search(content) for pattern in _ALL_VARIABLES)
