"""The steps of the `image` source that make a disk of the finished tree, and files of the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from goldsmith.core.step import StepContext
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk import formats
from goldsmith.disk.assemble import AssembledImage, assemble
from goldsmith.disk.bootloader import grub
from goldsmith.disk.clusters_ahead import ClustersAhead
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import Layout
from goldsmith.disk.packing import packed_trees
from goldsmith.disk.planner import plan
from goldsmith.disk.usage import measure
from goldsmith.disk.ways import needs_guest
from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined
from goldsmith.host.mounts import bound, is_directory
from goldsmith.host.teardown import Teardown
from goldsmith.layers.overlay import copy_root_attributes
from goldsmith.machine.disk_guest import DiskGuest


@dataclass(frozen=True, slots=True)
class AssembleStep:
    """Plans the disk by the tree's real size and fills it, in the guest what has to be."""

    trees: TreeBuild
    layout: Layout
    identity: DiskIdentity
    firmware: tuple[str, ...]
    image: Path
    name: str = "assemble"
    label: str = "Assembling the disk"

    def run(self, context: StepContext) -> AssembledImage:
        """Write the raw image, which `FormatsStep` syncs where it is kept; raises LayoutError."""
        with self.trees.view() as tree:
            usage = measure(tree, self.layout.by_mount())
            boot_loader = self._boot_loader(tree)
            with (
                split_contents(tree, sorted(self.layout.by_mount()), context.scratch) as contents,
                packed_trees(
                    self.layout, contents, identity=self.identity, epoch_s=context.epoch_s,
                    scratch=context.scratch, on_file=context.emitter.progress,
                ) as packed,
            ):  # fmt: skip
                disk_plan = plan(self.layout, usage, packed_bytes=packed.sizes_bytes)
                return assemble(
                    disk_plan, contents, self.image, identity=self.identity,
                    epoch_s=context.epoch_s, boot_loader=boot_loader, scratch=context.scratch,
                    packed_files=packed.files, on_stage=context.emitter.progress,
                    guest=guest_for(self.layout, context), is_kept=False,
                )  # fmt: skip

    def _boot_loader(self, tree: Path) -> grub.BootLoader | None:
        if not self.firmware:
            return None
        mounts = self.layout.by_mount()
        holder = mounts.get("/boot", mounts["/"])
        kind = holder.filesystem.type if holder.filesystem is not None else "ext4"
        with self.trees.entered(tree, network=False, enters=True) as access:
            return grub.make_boot_loader(
                tree, access.run_in_tree, firmware=self.firmware,
                filesystem_uuid=self.identity.filesystem_uuid(holder.name, kind),
                own_boot="/boot" in mounts,
            )  # fmt: skip


def guest_for(layout: Layout, context: StepContext) -> DiskGuest | None:
    """The guest that fills what this host cannot; None for a layout that does not need it."""
    if not needs_guest(layout):
        return None

    def show(stream: str, line: str) -> None:
        context.emitter.output(line, stream, routine=True)

    return DiskGuest(context.scratch, on_line=show, report=context.emitter.say)


@contextmanager
def split_contents(
    tree: Path, mount_points: list[str], scratch: Path
) -> Iterator[Mapping[str, Path]]:
    """The directory to fill each file system from, what belongs to another one hidden from it.

    Below a mount point the contents are bound to a place of their own and an empty directory with
    the same attributes is bound over them.
    """
    contents = {"/": tree}
    with Teardown() as teardown:
        for number, mount in enumerate(mount for mount in mount_points if mount != "/"):
            above = max((m for m in contents if _is_below(mount, m)), key=len)
            place = confined(contents[above], mount[len(above.rstrip("/")) :])
            if not is_directory(str(place)):
                # A mount follows links as this host sees them, out of the tree.
                raise GoldsmithError(f"{mount} of the tree is not a directory: it cannot be split")
            own, cover = scratch / f"contents-{number}", scratch / f"cover-{number}"
            for directory in (own, cover):
                directory.mkdir(parents=True)
                teardown.defer(f"remove {directory}", directory.rmdir)
            copy_root_attributes(place, cover)
            teardown.enter(f"unmount {own}", bound(place, own))
            teardown.enter(f"unmount {place}", bound(cover, place))
            contents[mount] = own
        yield contents


def _is_below(mount: str, other: str) -> bool:
    return other == "/" or mount.startswith(f"{other}/")


@dataclass(frozen=True, slots=True)
class FormatsStep:
    """Makes every format of the raw image at once and hashes it; `targets` are temporary names.

    `compression` is that of qcow2: zstd, or zlib for old readers. Clusters of it may be `ahead`.
    """

    image: Path
    targets: Mapping[str, Path]
    compression: str = "zstd"
    ahead: ClustersAhead | None = None
    name: str = "formats"

    @property
    def label(self) -> str:
        """Names the formats."""
        return "Writing " + ", ".join(self.targets)

    def run(self, context: StepContext) -> formats.WrittenFormats:
        """Write and fsync every target; the first error ends the others and removes their files."""
        shown: dict[str, int] = {}

        def on_percent(name: str, percent: float) -> None:
            if name in self.targets and shown.get(name) != round(percent):
                shown[name] = round(percent)
                context.emitter.progress(name, shown[name], 100, part=name, unit="%")

        return formats.write_all(
            self.image, self.targets, epoch_s=context.epoch_s, compression=self.compression,
            on_percent=on_percent, ahead=self.ahead,
        )  # fmt: skip
