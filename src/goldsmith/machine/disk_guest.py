"""The guest as the disk room asks for it: makes arrays and volume groups, fills what it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from goldsmith.disk.guest_assembly import GuestJob
from goldsmith.machine.guest import run_guest
from goldsmith.machine.guest_image import open_guest_image
from goldsmith.machine.guest_protocol import GuestDisk, GuestStep, LineSink


@dataclass(frozen=True, slots=True)
class DiskGuest:
    """Runs jobs of `disk.guest_assembly` in this host's guest, which is made at its first use.

    `directory` is for what lies between host and guest; lines of programs go to `on_line`, and
    `report` is told of the making.
    """

    directory: Path
    on_line: LineSink | None = None
    report: Callable[[str], None] | None = None

    def run(self, job: GuestJob) -> None:
        """Run a job to its end; raises CommandFailed, GuestError, PackageError, HostError."""
        image = open_guest_image(report=self.report)
        step = GuestStep(
            commands=job.commands, timeout_s=job.timeout_s, files=job.files, clock_s=job.clock_s,
            disks=[GuestDisk(path=job.image),
                   *(GuestDisk(path=path, read_only=True) for path in job.inputs)],
        )  # fmt: skip
        result = run_guest(step, directory=self.directory, on_line=self.on_line, image=image)
        result.require_success(step)
