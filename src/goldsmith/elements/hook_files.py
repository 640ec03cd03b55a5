"""What files of elements name: every word that could be a variable of the environment."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Final

MOST_READ_BYTES: Final = 4 << 20
"""Larger files of elements are data in which names of variables stand by chance only."""
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_NOT_READING: Final = re.compile(
    rb"^[ \t]*#[^$`\n]*$|(?:['\"])[ \t]+(?:not[ \t]+)?in[ \t]+(?:os\.)?environ\b(?!\.)",
    re.MULTILINE,
)
"""Comments, and questions whether a variable is there that is named.

A line in which something is expanded may stand in a here-document: then it is no comment.
"""
_ONE_LINE: Final = re.compile(rb"\\\n|\r(?=\n)")
_OF_A_PROGRAM: Final = b"\x7fELF"
"""How a compiled program begins: its words say little about what it reads."""
_ENDS: Final = rb"[ \t]*(?:$|[ \t]#|\d?[<>]|[|;&)`}'\"])"
_BEFORE_COMMANDS: Final = rb"\b(?:if|then|do|else|elif|while|until|command|builtin)[ \t]"
_NAME: Final = rb"[ \t\n]*(?:'\w+'|\"\w+\")[ \t\n]*"
_ALL_VARIABLES: Final = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        # The commands of a shell that print variables, without the name of one.
        rb"(?<![\w.-])env(?:[ \t]+(?:-[uC][ \t]+[^-\s|]\S*|-[^ \t\n|]+|"
        rb"[A-Za-z_]\w*=(?:'[^'\n]*'|\"[^\"\n]*\"|[^ \t\n|'\"])*(?!['\"])))*" + _ENDS,
        rb"\bprintenv\b(?![ \t]+[A-Za-z_])",
        rb"\b(?:compgen|envsubst)\b",
        rb"\b(?:declare|export|readonly|typeset)(?:[ \t]+-\w+)*" + _ENDS,
        rb"\b(?:declare|export|readonly|typeset)[ \t]+-\w*p\w*[ \t]+[^A-Za-z_\s]",
        rb"(?:^|[;&|({`!]|-c[ \t]*['\"]?|" + _BEFORE_COMMANDS + rb")[ \t]*set" + _ENDS,
        # By a name that is made: references of bash, what eval expands twice.
        rb"\$\{!\w+(?!\w|\[[@*]\])",
        rb"\b(?:declare|local|typeset)[ \t]+-\w*n",
        rb"\beval\b.*(?:\\\$|\$['\"])",
        rb"(?:\[|\btest)[ \t]+(?:![ \t]+)?-v[ \t]+['\"]?\$",
        # In other languages, and the kernel's own copy.
        rb"\b(?:environ|Environ)b?\b(?!\.(?:get|pop|setdefault)\(" + _NAME + rb"[,)])"
        rb"(?!\[" + _NAME + rb"\])",
        rb"\bgetenv\b(?!\(" + _NAME + rb"[,)])",
        rb"\bexpandvars\b|\bprocess\.env\b(?!\.\w|\[" + _NAME + rb"\])",
        rb"\bENVIRON\b(?!\[" + _NAME + rb"\])|%ENV\b|\bENV\.|\bENV\[(?!" + _NAME + rb"\])",
        rb"\$ENV\{(?!\w+\}|" + _NAME + rb"\})",
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


def any_has(files: tuple[Path, ...], pattern: re.Pattern[bytes]) -> bool:
    """Whether something is found in one of these files; large ones are not read."""
    return any(_has(*_state(file), pattern) for file in files)


@functools.lru_cache(maxsize=4096)
def _has(file: Path, changed_ns: int, pattern: re.Pattern[bytes]) -> bool:
    return changed_ns >= 0 and pattern.search(file.read_bytes()) is not None


def reads_all(files: tuple[Path, ...]) -> bool:
    """Whether one of these files seems to read all variables, or one whose name it makes itself.

    What is not sure counts as reading them, a program that is compiled or large too.
    """
    return any(_is_large_program(file) or _reads_all(*_state(file)) for file in files)


def seems_to_read_all(text: str) -> bool:
    """The same of a command that stands in a variable."""
    return _has_pattern(text.encode(errors="surrogateescape"))


def _is_large_program(file: Path) -> bool:
    is_large = file.is_file() and file.stat().st_size > MOST_READ_BYTES
    return is_large and os.access(file, os.X_OK)


@functools.lru_cache(maxsize=4096)
def _reads_all(file: Path, changed_ns: int) -> bool:
    if changed_ns < 0:
        return False
    content = file.read_bytes()
    return content.startswith(_OF_A_PROGRAM) or _has_pattern(content)


def _has_pattern(content: bytes) -> bool:
    looked_at = _NOT_READING.sub(b"", _ONE_LINE.sub(b" ", content))
    return any(pattern.search(looked_at) for pattern in _ALL_VARIABLES)
