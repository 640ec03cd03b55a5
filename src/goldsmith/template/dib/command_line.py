"""The command line of `disk-image-create` in the place of a template's path: one word, quoted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

PROGRAMS: Final = ("disk-image-create", "ramdisk-image-create")


def is_command_line(path: str) -> bool:
    """Whether a template's path is the command line of one of the programs."""
    return path.split(" ", 1)[0] in PROGRAMS and " " in path


def as_path(words: Sequence[str]) -> str:
    """A command line in the form in which it stands for a template's path."""
    return shlex.join(words)
