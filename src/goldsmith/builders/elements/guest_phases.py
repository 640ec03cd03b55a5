"""The last phases in the guest, for disks with what this host's kernel cannot mount.

Logical volumes and file systems without a driver are there as they will be on the machine: hooks
find /dev/mapper/GROUP-VOLUME, and a mounted ESP. Hooks on the host still see its files at the same
paths, served to the guest; its network is this host's as well, loopback included.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from goldsmith.builders.elements.guest_scripts import (
    COPY,
    NETWORK,
    PHASE,
    PHASE_ENDED,
    SCRIPTS,
    VARIABLES_FD,
    enter_place,
    given_place,
    joined,
)
from goldsmith.builders.elements.late_phases import LATE_PHASES, LateRun
from goldsmith.builders.elements.volume_mounts import MOUNT_OPTIONS, make_mount_points, short_name
from goldsmith.disk import guest_assembly
from goldsmith.disk.disk_plan import DiskPlan, PlannedLogicalVolume
from goldsmith.elements import environment as snippets
from goldsmith.elements import run_parts
from goldsmith.elements.hook_environment import working_directory
from goldsmith.elements.phase_runner import HookFailed, profile
from goldsmith.elements.phases import Phase, Place
from goldsmith.elements.places import IN_TARGET
from goldsmith.elements.secret_variables import NAMES_VARIABLE, secret_names
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.confined import make_directory
from goldsmith.host.namespaces import step_namespace
from goldsmith.machine.guest import run_guest
from goldsmith.machine.guest_image import open_guest_image
from goldsmith.machine.guest_init import APPLETS
from goldsmith.machine.guest_protocol import GuestDisk, GuestStep
from goldsmith.machine.guest_share import TAG
from goldsmith.units import GIB

TAIL_LINES: Final = 20
_TIMEOUT_S: Final = 24 * 3600.0
"""Hooks have no limit of their own; a user who loses patience ends the build."""
_MEMORY_BYTES: Final = GIB
_HOST: Final = PurePosixPath("/host")
"""Where the guest has this host's files."""
_RUNNING: Final = "dib-run-parts Running "
_SOURCING: Final = "dib-run-parts Sourcing environment file "
_COMPLETED: Final = re.compile(r"dib-run-parts ([^ ]+) completed")
_API_DIRECTORIES: Final = ("/proc", "/sys", "/dev")

Command = tuple[str, ...]


def device_names(plan: DiskPlan) -> dict[str, str]:
    """The devices of a disk in the guest, by the names of the configuration."""
    names = guest_assembly.devices(plan)
    found = {"image0": "/dev/vda"}
    for volume in plan.volumes():
        name = names[volume.name]
        if isinstance(volume, PlannedLogicalVolume):
            # dmsetup(8): a hyphen of a name is doubled, one alone stands between them.
            parts = (volume.group, volume.volume.name)
            name = "/dev/mapper/" + "-".join(part.replace("-", "--") for part in parts)
        found[short_name(volume)] = name
    return found


def has_late_hooks(build: Path) -> bool:
    """Whether a build directory has hooks of the last phases."""
    return any((build / "hooks" / phase.name).is_dir() for phase in LATE_PHASES)


def prepare_tree(tree: Path) -> str:
    """Make the directories that the guest mounts on; returns that of the hooks, relative.

    Never through a link: in the guest it could lead to the files of the host. Raises
    GoldsmithError for a tree where one of them is something else.
    """
    make_mount_points(tree, _API_DIRECTORIES)
    return str(make_directory(tree, IN_TARGET).relative_to(tree))


@dataclass(slots=True)
class _Heard:
    """What the hooks have said so far."""

    run: LateRun
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    hook: str = ""
    snippet: str = ""
    started_s: float = 0.0
    took_s: dict[str, float] = field(default_factory=dict)

    def line(self, stream: str, line: str) -> None:
        """Take a line and hand it on; the last line of a phase is followed by its table."""
        if line.startswith(_RUNNING):
            phase, _, name = line.removeprefix(_RUNNING).rpartition("/")
            self.hook = f"{phase.rpartition('/')[2]}/{name}"
            self.started_s = time.monotonic()
            self.tail.clear()
        elif line.startswith(_SOURCING):
            self.hook, self.snippet = "", line.removeprefix(_SOURCING)
        elif match := _COMPLETED.fullmatch(line):
            self.took_s[match.group(1)] = time.monotonic() - self.started_s
        elif line == PHASE_ENDED:
            for row in profile(self.hook.partition("/")[0], self.took_s):
                self.run.emitter.output(f"dib-run-parts {row}", stream)
            self.took_s.clear()
            return
        else:
            self.tail.append(line)
        self.run.emitter.output(line, stream)

    def failed(self, error: CommandFailed) -> GoldsmithError:
        """The error of the hook that was running when a command of the guest failed."""
        if error.argv[:2] != ("sh", PHASE):
            return error
        if self.hook:
            element = self.run.surroundings.setup.hooks.element_of(self.hook)
            took_s = time.monotonic() - self.started_s
            return HookFailed(
                element, self.hook, error.status, tail=tuple(self.tail), duration_s=took_s
            )
        told = [line for line in self.tail if not line.startswith("+")]
        owners = self.run.surroundings.setup.hooks
        return snippets.snippet_failed(self.snippet, error.status, told, owners)


@dataclass(frozen=True, slots=True)
class GuestPhases:
    """The last phases of one disk; `run.place.final` is not used, the guest mounts the disk."""

    run: LateRun
    plan: DiskPlan
    image: Path
    block_bytes: int
    scratch: Path
    hooks_place: str
    """Where `prepare_tree` has made room for the hooks."""
    reasons: Sequence[str]
    """Why they cannot run on this host."""
    copies: Mapping[str, Path] = field(default_factory=dict)
    """Mount points, and the empty directories that get what the hooks have left there."""

    def run_all(self) -> None:
        """Run the phases; raises HookFailed, ElementError, GuestError.

        Must be called from the main thread of a worker.
        """
        emitter, heard = self.run.emitter, _Heard(self.run)
        kept = open_guest_image(report=emitter.say)
        emitter.say(f"The last phases run in the guest: {'; '.join(self.reasons)}")
        files = dict(SCRIPTS)
        for phase in LATE_PHASES:
            files[given_place(phase.name)] = self._given(phase)
            files[enter_place(phase.name)] = joined(self._entering(phase))
        with step_namespace(self.run.place.set_up) as namespace:
            step = GuestStep(
                commands=tuple(self._commands()), timeout_s=_TIMEOUT_S, network=True, files=files,
                disks=[GuestDisk(path=self.image, block_bytes=self.block_bytes)],
                memory_bytes=_MEMORY_BYTES, shares=namespace.entering,
            )  # fmt: skip
            result = run_guest(step, directory=self.scratch, on_line=heard.line, image=kept)
            try:
                result.require_success(step)
            except CommandFailed as e:
                if self.run.surroundings.description.breaks.after_error:
                    emitter.warn("break=after-error: no shell is opened in the guest")
                raise heard.failed(e) from e

    def _commands(self) -> Iterator[Command]:
        yield ("sh", NETWORK)
        # Nothing makes /dev/loop-control before its driver is there.
        yield ("modprobe", "loop")
        yield ("mkdir", str(_HOST))
        yield ("mount", "-t", "virtiofs", TAG, str(_HOST))
        yield from _api(_HOST, read_only=False)
        yield from self._mounts()
        yield from _api(self._tree, read_only=True)
        yield ("mount", "--bind", "/dev/null", f"{self._tree}/proc/cmdline")
        hooks, shown = _below(self.run.place.places.hooks), f"{self._tree}/{self.hooks_place}"
        for phase in LATE_PHASES:
            outside = phase.place is Place.OUTSIDE
            if not outside:
                yield ("mount", "--bind", str(hooks), shown)
                yield ("mount", "-o", "remount,ro,bind", shown)
            seen = self.run.place.places.hooks if outside else IN_TARGET
            names = self.run.environment.get("RUN_PARTS_REGEX") or run_parts.DEFAULT_NAMES
            yield ("sh", PHASE, phase.name, str(hooks), str(seen), names,
                   *snippets.sourcing_argv(VARIABLES_FD, ()))  # fmt: skip
            if not outside:
                yield ("umount", "--lazy", shown)
        yield ("rmdir", shown)
        for mount, directory in self.copies.items():
            yield ("sh", COPY, f"{self._tree}{mount}", str(_below(directory)))

    @property
    def _tree(self) -> PurePosixPath:
        return _below(self.run.place.places.mount)

    def _mounts(self) -> Iterator[Command]:
        names = device_names(self.plan)
        for group in self.plan.groups:
            yield ("vgchange", "--activate", "y", group.name)
        for mount, volume in sorted(self.plan.by_mount().items()):
            filesystem = volume.filesystem
            if filesystem is None or filesystem.type == "swap":
                continue
            options = MOUNT_OPTIONS.get(filesystem.type)
            words = ("-o", options) if options else ()
            yield ("mount", "-t", filesystem.type, *words, names[short_name(volume)],
                   f"{self._tree}/{mount.lstrip('/')}".rstrip("/"))  # fmt: skip

    def _entering(self, phase: Phase) -> list[str]:
        """The words that run a program where the phase's hooks run."""
        chroot = f"{APPLETS}/chroot"
        if phase.place is Place.IN_TREE:
            return [chroot, str(self._tree)]
        start = working_directory(self.run.place.places)
        return [chroot, str(_HOST), "/usr/bin/env", f"--chdir={start}"]

    def _given(self, phase: Phase) -> bytes:
        """What hooks are given; what snippets will make of it is looked at for its secrets."""
        names = device_names(self.plan)
        array = "".join(f" [{name}]={device} " for name, device in names.items())
        given = {**self.run.given(phase), "IMAGE_BLOCK_DEVICE": names["image0"],
                 "IMAGE_BLOCK_DEVICES": array}  # fmt: skip
        if phase.place is Place.OUTSIDE:
            hooks = self.run.place.build / "hooks"
            redactor = self.run.emitter.redactor
            owners = self.run.surroundings.setup.hooks
            sourced = snippets.sourced(hooks, given, on_secrets=redactor.add, owners=owners)
            given[NAMES_VARIABLE] = " ".join(secret_names(sourced))
        return joined(f"{name}={value}" for name, value in given.items())


def _below(path: Path) -> PurePosixPath:
    """Where the guest has a path of this host."""
    return _HOST / path.relative_to("/")


def _api(root: PurePosixPath, *, read_only: bool) -> Iterator[Command]:
    yield ("mount", "-t", "proc", "proc", f"{root}/proc")
    yield ("mount", "--bind", "/dev", f"{root}/dev")
    yield ("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620,gid=5", "devpts",
           f"{root}/dev/pts")  # fmt: skip
    options: Sequence[str] = ("-o", "ro") if read_only else ()
    yield ("mount", "-t", "sysfs", *options, "sysfs", f"{root}/sys")
