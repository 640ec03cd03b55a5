"""The root of a volume, mounted in the worker's own namespace, and let go of before the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.step import StepContext
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host import mounts
from goldsmith.host.process import run
from goldsmith.host.teardown import Handle, Teardown

MOUNT_TIMEOUT_S: Final = 600.0
_QUIET: Final = ("nosuid", "nodev", "noexec", "noatime")
"""Nothing is run from where the root is mounted: programs enter by mounts of their own."""


@dataclass(frozen=True, slots=True)
class MountCommands:
    """The programs that mount and unmount, with their first arguments.

    By default no helper program and no table of mounts on this host has a part in it.
    """

    mount: Sequence[str] = ("mount", "--no-mtab", "--internal-only")
    unmount: Sequence[str] = ()


OWN_COMMANDS: Final = MountCommands()


@dataclass(frozen=True, slots=True)
class MountedDevice:
    """A mounted file system and what unmounts it."""

    path: Path
    handle: Handle


@dataclass(frozen=True, slots=True)
class MountDeviceStep:
    """Mounts the root of a volume; `kind` is its file system, "" for what mount(8) finds."""

    device: Path
    place: Path
    teardown: Teardown
    kind: str = ""
    options: Sequence[str] = ()
    runs_programs: bool = False
    """Whether provisioners run in this very mount: then programs and devices in it work."""
    commands: MountCommands = OWN_COMMANDS
    name: str = "mount-device"
    label: str = "Mounting the root device"

    def run(self, context: StepContext) -> MountedDevice:
        """Mount; raises GoldsmithError with the words of mount(8)."""
        self.place.mkdir(mode=0o755, parents=True, exist_ok=True)
        options = (*(() if self.runs_programs else _QUIET), *self.options)
        return enter_mount(
            self.teardown, self.device, self.place, self.kind, options, self.commands
        )


def enter_mount(
    teardown: Teardown,
    device: Path,
    place: Path,
    kind: str,
    options: Sequence[str],
    commands: MountCommands = OWN_COMMANDS,
) -> MountedDevice:
    """Mount a device and give its unmounting to the teardown; raises GoldsmithError."""
    guard = mounted(device, place, kind, options, commands)
    guard.__enter__()
    handle = teardown.defer(f"unmount {place}", lambda: guard.__exit__(None, None, None))
    return MountedDevice(place, handle)


@contextmanager
def mounted(
    device: Path,
    place: Path,
    kind: str,
    options: Sequence[str],
    commands: MountCommands = OWN_COMMANDS,
) -> Iterator[Path]:
    """Mount a device for the length of a block, by mount(8), which knows every option."""
    argv = [*commands.mount]
    argv += ["--types", kind] if kind else []
    argv += ["--options", ",".join(options)] if options else []
    try:
        run([*argv, "--", device, place], timeout_s=MOUNT_TIMEOUT_S)
    except CommandFailed as e:
        said = "; ".join(line.strip() for line in e.tail if line.strip())
        raise GoldsmithError(
            f"{device} cannot be mounted" + (f" as {kind}" if kind else "") + f": {said}",
            hint="is it damaged, or are the mount_options wrong? the kernel's log says more",
        ) from e
    try:
        yield place
    finally:
        if commands.unmount:
            run([*commands.unmount, str(place)], timeout_s=MOUNT_TIMEOUT_S)
        else:
            mounts.umount(place)
