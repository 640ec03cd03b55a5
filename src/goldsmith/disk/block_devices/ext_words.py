"""The words for mke2fs that change how much a file system holds: they are planned with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from goldsmith.errors import LayoutError

_QUIET: Final = ("-q", "-F", "-v")
_WITH_VALUE: Final = ("-i", "-J")
_JOURNAL_MIB: Final = range(1, 1 << 20)


@dataclass(frozen=True, slots=True)
class ExtWords:
    """What the words of ext2, ext3 and ext4 say; `others` go to mke2fs as they are."""

    bytes_per_inode: int | None = None
    journal_mib: int | None = None
    others: tuple[str, ...] = ()


def read_ext_words(words: Sequence[str]) -> ExtWords:
    """Read them; of a word that stands twice the last one counts. Raises LayoutError."""
    bytes_per_inode = journal_mib = None
    others: list[str] = []
    for word, value in _pairs(words):
        if word == "-i":
            bytes_per_inode = _number(word, value)
        elif word == "-J":
            for part in value.split(","):
                key, _, text = part.partition("=")
                if key != "size":
                    raise LayoutError(
                        [f'mkfs option "-J {value}": only its size can be chosen'],
                        hint="write -J size=MEBIBYTES",
                    )
                journal_mib = _number("-J size=", text)
                if journal_mib not in _JOURNAL_MIB:
                    raise LayoutError([f"a journal cannot have {journal_mib} MiB"])
        elif word not in _QUIET:
            others.append(word)
    return ExtWords(bytes_per_inode, journal_mib, tuple(others))


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word, and the value of those that are read here: attached to it, or the next one."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            yield word, next(rest, "")
        elif word[:2] in _WITH_VALUE:
            yield word[:2], word[2:]
        else:
            yield word, ""


def _number(word: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise LayoutError([f'mkfs option "{word} {text}": {text!r} is not a number'])
    return int(text)
