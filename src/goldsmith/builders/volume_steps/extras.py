"""What provisioners see besides the volume: further mounts, and files of this host.

Both are shown in the namespaces of each provisioner alone (see `entrance`) and end with it. On the
volume only the places for them are made, and taken away again by the early cleanup.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined
from goldsmith.host.teardown import Handle, Teardown

ALWAYS_THERE: Final = frozenset({
    ("proc", "/proc"), ("sysfs", "/sys"), ("bind", "/dev"), ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"), ("tmpfs", "/run"),
    # Whatever is registered there changes the whole host.
    ("binfmt_misc", "/proc/sys/fs/binfmt_misc"),
})  # fmt: skip
"""Type and path of mounts that a template may name, and that every tree has in a form of ours."""

_OWN: Final = frozenset({"tmpfs", "proc", "sysfs", "mqueue", "devpts"})


@dataclass(frozen=True, slots=True)
class ExtraMount:
    """One further mount; the kind "bind" shows a directory or file of this host."""

    kind: str
    source: str
    path: str

    @property
    def tells_nothing(self) -> bool:
        """Whether what is mounted is the same on every host, so that no key has to hold it."""
        return self.kind in _OWN


def extra_mounts(written: Sequence[Sequence[str]]) -> tuple[ExtraMount, ...]:
    """The mounts of a template without those that every tree has anyway."""
    found = []
    for kind, source, path in written:
        mount = ExtraMount(kind, source, os.path.normpath(path))
        if (mount.kind, mount.path) not in ALWAYS_THERE:
            found.append(mount)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class MountExtraStep:
    """Makes a place on the volume for each further mount."""

    tree: Path
    mounts: Sequence[ExtraMount]
    teardown: Teardown
    name: str = "mount-extra"
    label: str = "Mounting additional paths within the chroot"

    def run(self, context: StepContext) -> Handle:
        """Make the places; raises GoldsmithError where none can be, or a source is absent."""
        places = _Places(self.tree)
        handle = self.teardown.defer("remove the places of extra mounts", places.remove)
        for mount in self.mounts:
            context.emitter.say(f"Mounting: {mount.path}")
            is_file = False
            if mount.kind == "bind":
                if not os.path.exists(mount.source):
                    raise GoldsmithError(f"chroot_mounts: there is no {mount.source} on this host")
                is_file = not os.path.isdir(mount.source)
            if not mount.path.startswith(("/proc/", "/sys/", "/dev/", "/run/")):
                places.make(mount.path, is_file=is_file, whole=True)
        return handle


@dataclass(frozen=True, slots=True)
class CopyFilesStep:
    """Makes a place on the volume for each file of this host that provisioners see."""

    tree: Path
    files: Mapping[str, Path]
    """Files of this host by the path at which they are seen."""
    teardown: Teardown
    told: Sequence[str] | None = None
    """Which of them the user reads of; None for all."""
    name: str = "copy-files"
    label: str = "Copying files from host to chroot"

    def run(self, context: StepContext) -> Handle:
        """Make the places; raises GoldsmithError for a file that is not there."""
        places = _Places(self.tree)
        handle = self.teardown.defer("remove the places of copied files", places.remove)
        for path, host in self.files.items():
            if self.told is None or path in self.told:
                context.emitter.output(path)
            require_copied(str(host))
            places.make(path, is_file=True, whole=False)
        return handle


def require_copied(path: str) -> None:
    """Raise GoldsmithError unless a regular file of this host is there."""
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as e:
        raise GoldsmithError(f"copy_files: {path}: {e.strerror}") from e
    if not is_file:
        raise GoldsmithError(
            f"copy_files: {path} is not a file",
            hint='chroot_mounts with the type "bind" shows directories',
        )


class _Places:
    """Empty files and directories made in a mounted tree, to be taken away again."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._made: list[tuple[Path, bool, int, int]] = []

    def make(self, path: str, *, is_file: bool, whole: bool) -> None:
        """Make a place unless it is there; `whole`: with the directories above it."""
        place = confined(self._tree, path, follow_last=True)
        if whole and place != self._tree / path.strip("/"):
            shown = "/" + str(place.relative_to(self._tree))
            raise GoldsmithError(f"{path} of the image leads to {shown}: nothing is mounted there")
        if os.path.lexists(place):
            if place.is_dir() == is_file:
                what = "a directory" if is_file else "not a directory"
                raise GoldsmithError(f"{path} of the image is {what}: nothing can be shown there")
            return
        if not place.parent.is_dir():
            if not whole:
                raise GoldsmithError(
                    f"{path} has no place in the image: its directory is not there",
                    hint="make it by post_mount_commands, in {{.MountPath}}",
                )
            self.make(os.path.dirname(path), is_file=False, whole=True)
        before_ns = place.parent.stat().st_mtime_ns
        if is_file:
            place.touch(mode=0o644, exist_ok=False)
        else:
            place.mkdir(mode=0o755)
        self._made.append((place, is_file, before_ns, place.parent.stat().st_mtime_ns))

    def remove(self) -> None:
        """Take away what is still as it was made; a directory's times become the old ones."""
        while self._made:
            place, is_file, before_ns, made_ns = self._made.pop()
            with contextlib.suppress(OSError):
                if confined(self._tree, place.relative_to(self._tree)) != place:
                    continue
                status = os.lstat(place)
                if stat.S_ISREG(status.st_mode) != is_file or (is_file and status.st_size):
                    continue
                now = place.parent.stat()
                place.unlink() if is_file else place.rmdir()
                kept_ns = before_ns if now.st_mtime_ns == made_ns else now.st_mtime_ns
                os.utime(place.parent, ns=(now.st_atime_ns, kept_ns))
