"""The words for mkfs that a layout may not give, because goldsmith sets them or counts on them.

Every size is planned before a file system is made; a word that changes what fits, where it lies
or which identifiers it has would make the plan, or fstab, a lie.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

_EXT: Final = ("-b", "-C", "-d", "-F", "-G", "-g", "-I", "-i", "-J", "-L", "-N", "-n", "-q", "-S",
               "-T", "-t", "-U", "-V", "-v")  # fmt: skip
_REFUSED_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "vfat": ("-C", "-F", "-i", "-n", "-s", "-S", "--offset", "--invariant"),
    "xfs": ("-b", "-c", "-f", "-K", "-L", "-l", "-N", "-p", "-q", "-r", "-s"),
    "btrfs": ("-b", "--byte-count", "-f", "-L", "--label", "-n", "--nodesize", "-r", "--rootdir",
              "-s", "--sectorsize", "--shrink", "-U", "--uuid", "--csum", "--checksum"),
    "squashfs": ("-offset", "-o", "-noappend", "-mkfs-time", "-fstime", "-all-time",
                 "-not-reproducible", "-root-becomes"),
    "erofs": ("-T", "-U", "--ignore-mtime", "--preserve-mtime", "--blobdev", "--quiet"),
    "swap": ("-L", "--label", "-o", "--offset", "-p", "--pagesize", "-U", "--uuid"),
}  # fmt: skip
# Their layout is not the one that ext4_geometry computes and ext4_inodes reads.
_REFUSED_FEATURES: Final = frozenset(
    {"bigalloc", "journal_dev", "meta_bg", "sparse_super2", "^sparse_super", "^extra_isize"}
)
_REFUSED_EXTENDED: Final = frozenset({"offset", "hash_seed", "root_owner", "discard"})
_REFUSED_XFS: Final = frozenset({"file", "name", "size", "uuid", "agsize", "agcount"})


def refused_words(type: str, options: Sequence[str]) -> list[str]:
    """The words among a layout's mkfs options that this type does not take from it."""
    # squashfs has long words with a single dash, the others letters with their value attached.
    names = _is if type == "squashfs" else _begins_with
    found = [word for word in options if names(word, _REFUSED_WORDS.get(type, ()))]
    found += [word for word in options if not word or "\0" in word]
    if type.startswith("ext"):
        found += [f"-O {name}" for name in values_of(options, "-O") if name in _REFUSED_FEATURES]
        found += [f"-E {name}" for name in values_of(options, "-E")
                  if name.partition("=")[0] in _REFUSED_EXTENDED]  # fmt: skip
    if type == "xfs":
        found += [f"{word} {name}" for word in ("-d", "-m") for name in values_of(options, word)
                  if name.partition("=")[0] in _REFUSED_XFS]  # fmt: skip
    return found


def _is(word: str, refused: Collection[str]) -> bool:
    return word in refused


def _begins_with(word: str, refused: Collection[str]) -> bool:
    if word.startswith("--"):
        return word.partition("=")[0] in refused
    return word[:2] in refused


def values_of(options: Sequence[str], word: str) -> list[str]:
    """The comma-separated values of every use of an option, "-O a,b" and "-Oa,b" alike."""
    return [value for text in _arguments(options, word) for value in text.split(",") if value]


def without(options: Sequence[str], word: str) -> list[str]:
    """The options without one of them and its values."""
    kept, words = [], iter(options)
    for given in words:
        if given == word:
            next(words, None)
        elif not given.startswith(word):
            kept.append(given)
    return kept


def _arguments(options: Sequence[str], word: str) -> Iterator[str]:
    words = iter(options)
    for given in words:
        if given == word:
            yield next(words, "")
        elif given.startswith(word) and not given.startswith("--"):
            yield given[len(word) :]
