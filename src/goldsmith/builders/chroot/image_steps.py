"""What the `chroot` source puts in the place of a cloud's volume: a copy of an image, attached."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.step import StepContext
from goldsmith.host import loop
from goldsmith.host.sparse import copy_sparse
from goldsmith.host.teardown import Handle, Teardown
from goldsmith.packages.image_file import as_raw, require_image

WHOLE: Final = 0
"""The number that stands for an image without partitions."""


@dataclass(frozen=True, slots=True)
class AttachedImage:
    """A raw image on a loop device; `handle` detaches it."""

    raw: Path
    device: Path
    handle: Handle

    def node(self, number: int) -> Path:
        """The device of a partition, or of the whole image."""
        return Path(f"{self.device}p{number}") if number != WHOLE else self.device

    def flush(self, numbers: Sequence[int]) -> None:
        """Write what was written to the devices to the raw image, so that it can be read there."""
        for number in (WHOLE, *numbers):
            if (node := self.node(number)).exists():
                fd = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)


@dataclass(frozen=True, slots=True)
class PrepareImageStep:
    """Makes the sparse raw image that is changed; the source is only read."""

    source: Path
    raw: Path
    name: str = "prepare-device"

    @property
    def label(self) -> str:
        """Names the source."""
        return f"Copying {self.source.name}"

    def run(self, context: StepContext) -> Path:
        """Copy or unpack; raises PackageError for what is no image, NoSpaceError."""
        require_image(self.source)

        def report(level: str, text: str) -> None:
            context.emitter.output(text, routine=True)

        def progress(done: int, total: int) -> None:
            context.emitter.progress("copying", done, total, unit="B")

        if as_raw(self.source, self.raw, report) != self.raw:
            copy_sparse(self.source, self.raw, on_bytes=progress)
        return self.raw


@dataclass(frozen=True, slots=True)
class AttachImageStep:
    """Attaches a raw image to a loop device, its partitions too."""

    raw: Path
    partitions: Sequence[int]
    """The numbers of its partitions, [0] where it has none."""
    teardown: Teardown
    name: str = "attach"
    label: str = "Attaching the copy to a loop device"

    def run(self, context: StepContext) -> AttachedImage:
        """Attach; raises HostError where the kernel offers no loop devices."""
        guard = loop.attached(self.raw)
        device = guard.__enter__()
        handle = self.teardown.defer(
            f"detach {device.path}", lambda: guard.__exit__(None, None, None)
        )
        if list(self.partitions) != [WHOLE]:
            device.add_partitions()
        return AttachedImage(self.raw, device.path, handle)
