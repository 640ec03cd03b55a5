"""What a check of a layout finds: a sentence, where it is about, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = {"logical_volume": "logical volume", "volume_group": "volume group"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a layout cannot be.

    `partition` is the name of what it is about, of whatever `kind`: "partition", "raid",
    "volume_group", "logical_volume" (named "group/volume").
    """

    message: str
    partition: str | None = None
    field: str | None = None
    hint: str | None = None
    kind: str = "partition"

    def __str__(self) -> str:
        if self.partition is None:
            return self.message
        return f'{_SHOWN.get(self.kind, self.kind)} "{self.partition}": {self.message}'


def unknown(word: str, known: Sequence[str]) -> str:
    """The hint for a word that is none of the known ones."""
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(known)}"
