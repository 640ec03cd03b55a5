"""Which image of an artifact is uploaded, and how it becomes a sparse raw one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.artifact import Artifact
from goldsmith.core.step import StepContext
from goldsmith.disk.container_reader import find_container, open_container
from goldsmith.errors import GoldsmithError
from goldsmith.host.sparse import full_file_system_named
from goldsmith.packages.image_file import as_raw, require_image

# What takes the least work first.
PREFERRED: Final = ("raw", "qcow2", "raw.zst", "raw.gz", "vhdx", "vpc", "vmdk", "vdi")
_ENDINGS: Final = {
    ".raw": "raw", ".img": "raw", ".qcow2": "qcow2", ".raw.zst": "raw.zst", ".img.zst": "raw.zst",
    ".raw.gz": "raw.gz", ".img.gz": "raw.gz", ".vhdx": "vhdx", ".vhd": "vpc", ".vpc": "vpc",
    ".vmdk": "vmdk", ".vdi": "vdi",
}  # fmt: skip
CONVERTED: Final = frozenset({"qcow2", "vhdx", "vpc", "vmdk", "vdi"})
"""Formats that qemu-img reads."""
_PIECE_BYTES: Final = 4096


def preferred(formats: Sequence[str]) -> str | None:
    """Which of some formats is uploaded; None for none."""
    return next((one for one in PREFERRED if one in formats), None)


def find_image(artifact: Artifact, directory: Path) -> tuple[str, Path]:
    """The format and the file of the image of an artifact; raises GoldsmithError for none.

    An artifact that does not say which of its files are images is told by their endings.
    """
    images: Mapping[str, str] = artifact.images or _by_ending(artifact.files)
    kind = preferred(list(images))
    if kind is None:
        listed = ", ".join(artifact.files) or "no file"
        raise GoldsmithError(
            f"amazon-ebsdirect found no image of a disk among {listed}",
            hint=f"it uploads {', '.join(PREFERRED)}: add one of them to `formats`",
        )
    return kind, directory / images[kind]


def _by_ending(files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files:
        for ending, kind in _ENDINGS.items():
            if not name.endswith(ending):
                continue
            if kind in found:
                raise GoldsmithError(f"{found[kind]} and {name} are both images of a disk")
            found[kind] = name
    return found


@dataclass(frozen=True, slots=True)
class UnpackStep:
    """Makes a sparse raw image of one in whatever format; a raw one is taken as it is."""

    kind: str
    image: Path
    raw: Path
    name: str = "StepUnpackImage"

    @property
    def label(self) -> str:
        """Names the image."""
        return f"Reading {self.image.name}"

    def run(self, context: StepContext) -> Path:
        """Return the raw image; raises GoldsmithError for what is none, NoSpaceError."""
        if not self.image.is_file():
            raise GoldsmithError(f"there is no image {self.image}")
        if self.kind in ("raw.gz", "raw.zst") or find_container(self.image) is not None:
            self._unpack(context)
            return self.raw
        require_image(self.image)

        def report(level: str, text: str) -> None:
            context.emitter.output(text, routine=True)

        return as_raw(self.image, self.raw, report)

    def _unpack(self, context: StepContext) -> None:
        """Write what is no zeros; a container is believed only once it was read to its end."""
        at = 0
        with full_file_system_named(self.raw), open(self.raw, "xb", buffering=0) as file:
            for piece in open_container(self.image, size_bytes=None):
                for start in range(0, len(piece), _PIECE_BYTES):
                    part = piece[start : start + _PIECE_BYTES]
                    if part.count(0) != len(part):
                        os.pwrite(file.fileno(), part, at + start)
                at += len(piece)
                context.emitter.progress("unpacking", at, unit="B")
            file.truncate(at)
