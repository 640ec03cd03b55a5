"""Variables that hooks are given although they make no other tree, with exceptions.

They say where things lie on this host, or what becomes of the finished tree. Most hooks look at
none of them, so a result is found again although they differ.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

from goldsmith.elements.hook_files import words_of
from goldsmith.elements.setup import Setup

PATHS: Final = frozenset({
    "BASH_FUNC_get_image_element_array%%", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_PYTHON_EXEC",
    "ELEMENTS_PATH", "GOLDSMITH_CACHE_DIR", "GOLDSMITH_PASSING", "GOLDSMITH_PYTHON", "HOME",
    "IMAGE_ELEMENT_YAML", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TMP_BUILD_DIR", "TMP_DIR",
    "TMP_HOOKS_PATH", "TMP_IMAGE_DIR", "TMP_MOUNT_PATH", "USER", "_BASE_ELEMENT_DIR", "_LIB",
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
COUNTED_IF_NAMED: Final = OF_OUTPUTS | {"IMAGE_ELEMENT"}
"""What counts for the phases that name it, in a hook or in a program of an element."""

_ASSIGNED: Final = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)=")


def counted(words: frozenset[str], setup: Setup) -> frozenset[str]:
    """The variables that count for hooks with these words."""
    return named_by(words, COUNTED_IF_NAMED, setup)


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
    """What snippets assign that name a variable: on its lines in upstream's, anywhere in others."""
    found: set[str] = set()
    for snippet in snippets:
        if name not in words_of((snippet,)):
            continue
        text = snippet.read_text(errors="replace")
        if snippet.is_relative_to(package):
            text = "\n".join(line for line in text.splitlines() if name in line)
        found.update(_ASSIGNED.findall(text))
    return frozenset(found)
