"""Which partition is the root, and the mounting of it with what its own fstab names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from goldsmith.builders.chroot.image_steps import WHOLE, AttachedImage
from goldsmith.builders.volume_steps.mounting import (
    MountDeviceStep,
    enter_mount,
    mounted,
)
from goldsmith.core.step import StepContext
from goldsmith.disk.filesystems.stretch import Stretch
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.confined import confined
from goldsmith.host.teardown import Handle, Teardown
from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import FstabLine, ImagePartition, fstab_lines
from goldsmith.packages.image_tree import (
    READ_ONLY_OPTIONS,
    choose_root,
    numbered,
    require_root,
    what_it_is,
)

WRITABLE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})
HINT: Final = "name the root by mount_partition, root_label or root_uuid"
_SUBVOLUME_HINT: Final = 'is it in a subvolume? mount_options = ["subvol=NAME"] says which'
_QUIET: Final = ("nosuid", "nodev", "noexec", "noatime")


class RootOptions(Protocol):
    """What templates say about the root."""

    @property
    def mount_partition(self) -> int | None:
        """Its number."""

    @property
    def root_label(self) -> str | None:
        """The label of its file system."""

    @property
    def root_uuid(self) -> str | None:
        """The UUID of its file system."""

    @property
    def mount_options(self) -> tuple[str, ...]:
        """How it is mounted."""


@dataclass(frozen=True, slots=True)
class MountedImage:
    """The mounted file systems of an image; paths are relative to `tree`."""

    tree: Path
    root: ImagePartition
    mount_points: tuple[str, ...]
    offered: dict[str, Stretch]
    """File systems that are not mounted, but whose files are taken out and put back."""
    handles: tuple[Handle, ...]
    failed: tuple[str, ...] = ()
    """Places of the fstab where this host could not mount what other hosts may be able to."""


def named_root(
    image: Path, partitions: Sequence[ImagePartition], options: RootOptions
) -> ImagePartition | None:
    """The root that a template names; None where it names none.

    Raises PackageError, which lists what there is, for one that is not there or is ambiguous.
    """
    if options.mount_partition is not None:
        return numbered(image, partitions, options.mount_partition)
    tag, wanted = "LABEL", options.root_label
    if options.root_uuid is not None:
        tag, wanted = "UUID", options.root_uuid.lower()
    if wanted is None:
        return None
    known = [(part, part.probed.get(tag, "")) for part in partitions]
    found = [part for part, value in known
             if (value.lower() if tag == "UUID" else value) == wanted]  # fmt: skip
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"{part.name} is {what_it_is(part)}, {tag} {value or 'none'}"
                       for part, value in known)  # fmt: skip
    if found:
        names = ", ".join(part.name for part in found)
        raise PackageError(f"several file systems of {image} have the {tag} {wanted}: {names}",
                           hint="name the root by mount_partition")  # fmt: skip
    raise PackageError(f"no file system of {image} has the {tag} {wanted}\n{listed}")


def require_writable_root(part: ImagePartition, image: Path) -> None:
    """Raise PackageError for a root that nothing can be written into."""
    if part.filesystem not in WRITABLE:
        raise PackageError(
            f"{part.name} of {image} is {what_it_is(part)}: it cannot be changed in place",
            hint='the "image" source makes a new disk of it: method = "image"',
        )


@dataclass(frozen=True, slots=True)
class MountImageStep:
    """Finds the root, mounts it and the file systems of its fstab that this kernel knows."""

    image: Path
    attached: AttachedImage
    partitions: Sequence[ImagePartition]
    options: RootOptions
    place: Path
    teardown: Teardown
    runs_programs: bool = False
    """Whether provisioners run in these very mounts: then programs and devices in them work."""
    name: str = "mount-device"
    label: str = "Mounting the root device"

    def run(self, context: StepContext) -> MountedImage:
        """Mount; raises GoldsmithError where there is no one root, or it cannot be mounted."""
        root = named_root(self.image, self.partitions, self.options)
        if root is None:
            opened = partial(self._opened, place=self.place)
            root = choose_root(self.image, self.partitions, opened, hint=HINT)
        require_writable_root(root, self.image)
        context.emitter.say(f"The root is {root.name} ({root.filesystem}) of {self.image.name}")
        top = MountDeviceStep(
            self.attached.node(root.number), self.place, self.teardown, root.filesystem,
            (*_own_options(root.filesystem), *self.options.mount_options),
            runs_programs=self.runs_programs,
        ).run(context)  # fmt: skip
        hint = HINT if root.filesystem != "btrfs" else _SUBVOLUME_HINT
        require_root(top.path, root, self.image, hint=hint)
        handles = [top.handle]
        offered: dict[str, Stretch] = {}
        points: set[str] = set()
        failed: list[str] = []
        for line in sorted(fstab_lines(top.path), key=lambda line: line.place.count("/")):
            part = next((p for p in self.partitions if p.answers_to(line.device)), None)
            skipped = self._why_skipped(part, line, root, points, offered)
            point = line.place.strip("/")
            if skipped is None and part is not None:
                if part.filesystem == "vfat":
                    offered[point] = Stretch(self.attached.raw, part.offset_bytes, part.size_bytes)
                else:
                    skipped = self._mount(part, line, handles)
                    if skipped is not None:
                        failed.append(line.place)
            if skipped is None:
                points.add(point)
            elif skipped:
                context.emitter.warn(
                    f"{line.place} of the image ({line.device}) is not mounted: {skipped}"
                )
        return MountedImage(top.path, root, tuple(sorted(points)), offered, tuple(handles),
                            tuple(failed))  # fmt: skip

    def _why_skipped(
        self, part: ImagePartition | None, line: FstabLine, root: ImagePartition, done: set[str],
        offered: Collection[str],
    ) -> str | None:  # fmt: skip
        """Why a line is passed over, "" where nobody misses it; None where it is not."""
        if part is None:
            return "no file system of the image has that name"
        if part.filesystem == "swap":
            return ""
        if part.filesystem != "vfat" and part.filesystem not in READ_ONLY_OPTIONS:
            return f"it is {what_it_is(part)}, which this host cannot mount"
        relative = line.place.strip("/")
        if relative in done:
            return "something is mounted there already"
        if any(relative.startswith(f"{point}/") for point in offered):
            return "it lies in a vfat of the image, which is not mounted itself"
        try:
            place = confined(self.place, relative, follow_last=True)
        except GoldsmithError as e:
            return str(e)
        if place != self.place / relative or not place.is_dir():
            return "it is not a directory of the image, or a link leads elsewhere"
        if part.number == root.number and part.filesystem != "btrfs":
            return "it is the root"
        return None

    def _mount(self, part: ImagePartition, line: FstabLine, handles: list[Handle]) -> str | None:
        """Mount a file system of the fstab; returns why it cannot be, None when it is."""
        kind = part.filesystem
        # Options of strangers are not believed, but for the part of a file system that is meant.
        chosen = [option for option in line.options
                  if kind == "btrfs" and option.startswith(("subvol=", "subvolid="))]  # fmt: skip
        writable = () if kind in WRITABLE else ("ro",)
        quiet = ("noatime",) if self.runs_programs else _QUIET
        options = (*quiet, *_own_options(kind), *writable, *chosen)
        place = self.place / line.place.strip("/")
        node = self.attached.node(part.number)
        try:
            handles.append(enter_mount(self.teardown, node, place, kind, options).handle)
        except Interrupted:
            raise
        except GoldsmithError as e:
            return str(e)
        return None

    @contextmanager
    def _opened(self, part: ImagePartition, *, place: Path) -> Iterator[Path]:
        """Mount a file system read-only, to look into it."""
        kind = part.filesystem
        place.mkdir(mode=0o755, exist_ok=True)
        # Of btrfs they say which of its subvolumes is the root.
        chosen = self.options.mount_options if kind == "btrfs" else ()
        own = [option for option in READ_ONLY_OPTIONS[kind].split(",") if option]
        options = (*_QUIET, "ro", *own, *chosen)
        try:
            guard = mounted(self.attached.node(part.number), place, kind, options)
            tree = guard.__enter__()
        except Interrupted:
            raise
        except GoldsmithError as e:
            raise PackageError(f"the {kind} in {part.name} of {self.image} cannot be read: {e}",
                               hint=e.hint) from e  # fmt: skip
        try:
            yield tree
        finally:
            guard.__exit__(None, None, None)


def _own_options(kind: str) -> tuple[str, ...]:
    # The source, or an image made of it, may be mounted on this host: it has the same UUID.
    return ("nouuid",) if kind == "xfs" else ()


def numbers_of(partitions: Sequence[ImagePartition]) -> list[int]:
    """The numbers of partitions, [0] for an image without any."""
    return [part.number for part in partitions] or [WHOLE]
