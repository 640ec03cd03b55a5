"""Variables that hooks are given although they make no other tree, with exceptions.

They say where things lie on this host, or what becomes of the finished tree. Most hooks look at
none of them, so a result is found again although they differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from goldsmith.elements.hook_files import reads_all, seems_to_read_all, words_of
from goldsmith.elements.setup import OWN_ELEMENTS, Setup

PATHS: Final = frozenset({
    "BASH_FUNC_get_image_element_array%%", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_PYTHON_EXEC",
    "ELEMENTS_PATH", "GOLDSMITH_CACHE_DIR", "GOLDSMITH_PASSING", "GOLDSMITH_PYTHON", "HOME",
    "IMAGE_ELEMENT_YAML", "PATH", "SHELL", "TERM", "TMPDIR", "TMP_BUILD_DIR", "TMP_DIR",
    "TMP_HOOKS_PATH", "TMP_IMAGE_DIR", "TMP_MOUNT_PATH", "_BASE_ELEMENT_DIR", "_LIB",
})  # fmt: skip
"""Where things lie on this host, or what is the same in every build."""
OF_OUTPUTS: Final = frozenset({
    "ACI_MANIFEST", "COMPRESS_IMAGE", "DIB_ARGS", "DIB_BLOCK_DEVICE_CONFIG",
    "DIB_BLOCK_DEVICE_PARAMS_YAML", "DIB_BLOCK_SIZE", "DIB_BOOT_LABEL", "DIB_CHECKSUM", "DIB_ENV",
    "DIB_GZIP_BIN", "DIB_IMAGE_EXTRA_SIZE", "DIB_IMAGE_SIZE", "DIB_JOURNAL_SIZE",
    "DIB_MANIFEST_SAVE_DIR", "DIB_MIN_TMPFS", "DIB_MOUNTPOINTS", "DIB_NO_TIMESTAMP",
    "DIB_NO_TMPFS", "DIB_QUIET", "DIB_ROOT_FSTYPE", "DIB_ROOT_LABEL", "DIB_SHOW_IMAGE_USAGE",
    "DIB_SHOW_IMAGE_USAGE_FULL", "FS_TYPE", "IMAGE_BLOCK_DEVICE", "IMAGE_BLOCK_DEVICES",
    "IMAGE_NAME", "IMAGE_TYPE", "OUT_IMAGE_PATH", "OVERWRITE_OLD_IMAGE", "break", "break_cmd",
    "break_outside_target",
})  # fmt: skip
"""What becomes of the tree: its disk and its files."""
_OF_THE_USER: Final = frozenset({"LOGNAME", "USER"})
COUNTED_IF_NAMED: Final = OF_OUTPUTS | _OF_THE_USER | {"IMAGE_ELEMENT"}
"""What counts for the phases that name it: in a hook, or in what hooks can read and run."""
NOT_STORED: Final = OF_OUTPUTS | _OF_THE_USER | PATHS
"""What is not to be stored in what outlives a build, since it is no part of every key."""

_EXPANDED: Final = re.compile(r"\$\{?!?([A-Za-z_][A-Za-z0-9_]*)")
_ASSIGNED: Final = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)\+?=")
_OF_THE_SHELL: Final = frozenset({
    "break", "case", "continue", "declare", "do", "done", "echo", "elif", "else", "esac", "eval",
    "exit", "export", "false", "fi", "for", "function", "if", "in", "local", "printf", "readonly",
    "return", "select", "set", "shift", "test", "then", "true", "typeset", "unset", "while",
})  # fmt: skip
"""Words of every script: that two of them have one in common says nothing."""


def counted(
    files: tuple[Path, ...], setup: Setup, environment: Mapping[str, str]
) -> frozenset[str]:
    """The variables that count for a phase whose hooks can read or run these files.

    All of them, where one reads its environment as a whole, or by names that it makes. What
    upstream's hooks read so is of other variables, and our own leave these out. What other
    variables say may be run by a hook as well, or expanded once more.
    """
    others = tuple(file for file in files if not is_known(file, setup))
    values = [value for name, value in environment.items()
              if name not in COUNTED_IF_NAMED and name not in PATHS]  # fmt: skip
    if reads_all(others) or any(map(seems_to_read_all, values)):
        return COUNTED_IF_NAMED
    expanded = {name for value in values for name in _EXPANDED.findall(value)}
    return named_by(words_of(files) | expanded, COUNTED_IF_NAMED, setup)


def is_known(file: Path, setup: Setup) -> bool:
    """Whether it is of upstream's elements or of ours."""
    # Asked of every file for every phase: `is_relative_to` takes ten times as long.
    return str(file).startswith((f"{setup.package}/", f"{OWN_ELEMENTS}/"))


def named_by(words: frozenset[str], names: frozenset[str], setup: Setup) -> frozenset[str]:
    """Those of these names that hooks with these words name.

    A hook names one also by what a snippet of `environment.d` has made of it.
    """
    snippets = tuple(file.source for place, file in setup.hooks.files.items()
                     if place.startswith("environment.d/"))  # fmt: skip
    return frozenset(
        name
        for name in names
        if name in words or not words.isdisjoint(_made_of(name, snippets, setup.package))
    )


@functools.lru_cache(maxsize=256)
def _made_of(name: str, snippets: tuple[Path, ...], package: Path) -> frozenset[str]:
    """What snippets may have made of a variable, and of what was made of it."""
    found: frozenset[str] = frozenset()
    while True:
        more = found.union(*(_assigned(one, found | {name}, package) for one in snippets))
        if more == found:
            return found - {name}
        found = more


def _assigned(snippet: Path, names: frozenset[str], package: Path) -> frozenset[str]:
    """What a snippet may assign that names one of these: in upstream's what its lines say."""
    words = words_of((snippet,))
    if snippet.is_relative_to(package):
        if words.isdisjoint(names):
            return frozenset()
        lines = snippet.read_text(errors="replace").splitlines()
        return frozenset(word for line in lines if any(name in line for name in names)
                         for word in _ASSIGNED.findall(line))  # fmt: skip
    named = not words.isdisjoint(names) or reads_all((snippet,))
    return words - _OF_THE_SHELL if named else frozenset()
