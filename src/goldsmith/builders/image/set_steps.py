"""The step that makes an image set of the finished tree: every file system filled, shrunk, packed.

Each file is read once, whatever its container: from that one reading come the digests of the raw
image and of the container, the block map and the compressed bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from goldsmith.builders.image.disk_steps import guest_for, split_contents
from goldsmith.builders.image.set_options import ImageSetOptions
from goldsmith.builders.image.set_options import SetImage as SetImageOptions
from goldsmith.builders.image.set_output import block_map_name
from goldsmith.core.step import StepContext
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.assemble import assemble
from goldsmith.disk.block_map import render_bmap
from goldsmith.disk.containers import RawContents, describe, pack
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.image_set import SetImage
from goldsmith.disk.model import Headroom
from goldsmith.disk.packing import packed_trees
from goldsmith.disk.planner import plan
from goldsmith.disk.shrink import SHRINKABLE, shrink
from goldsmith.disk.usage import BLOCK_BYTES, TreeUsage, measure
from goldsmith.host.signals import check_interrupted
from goldsmith.host.sparse import full_file_system_named
from goldsmith.units import MIB

_SPARE_SHARE: Final = Fraction(1, 20)
_SPARE_BYTES: Final = 16 * MIB
"""A file system is made with so much room beyond what it keeps, and shrunk by it."""


@dataclass(frozen=True, slots=True)
class AssembleSetStep:
    """Makes the images; `targets` are temporary names of images and block maps by their own."""

    trees: TreeBuild
    image_set: ImageSetOptions
    image_name: str
    identity: DiskIdentity
    targets: Mapping[str, Path]
    name: str = "assemble"

    @property
    def label(self) -> str:
        """Says how many images."""
        count = len(self.image_set.image)
        return f"Making the set of {count} image{'' if count == 1 else 's'}"

    def run(self, context: StepContext) -> tuple[SetImage, ...]:
        """Write every image with its block map, fsynced; raises LayoutError, NoSpaceError."""
        layout = self.image_set.to_layout()
        mounts = sorted(layout.by_mount())
        made = []
        with self.trees.view() as tree:
            usage = measure(tree, mounts)
            with split_contents(tree, mounts, context.scratch) as contents:
                for number, image in enumerate(self.image_set.image):
                    made.append(self._make(image, number, contents, usage, context))
        return tuple(made)

    def _make(
        self,
        image: SetImageOptions,
        number: int,
        contents: Mapping[str, Path],
        usage: Mapping[str, TreeUsage],
        context: StepContext,
    ) -> SetImage:
        name = image.file_name(self.image_name, self.image_set)
        container = image.container_in(self.image_set)
        packed = container != "raw"
        raw = context.scratch / f"image-{number}" if packed else self.targets[name]
        try:
            self._fill(raw, image, contents[image.mount], usage[image.mount], context)
            check_interrupted()

            def on_bytes(done: int, total: int) -> None:
                context.emitter.progress(f"packing {name}", done, total, part=name, unit="B")

            if packed:
                written = pack(raw, self.targets[name], container, on_bytes=on_bytes,
                               with_md5=True)  # fmt: skip
                contents_of_raw = written.raw
                own = (written.size_bytes, written.md5, written.sha256)
            else:
                contents_of_raw = describe(raw, on_bytes=on_bytes, with_md5=True)
                own = (contents_of_raw.size_bytes, contents_of_raw.md5, contents_of_raw.sha256)
        finally:
            if packed:
                raw.unlink(missing_ok=True)
        digest = self._write_block_map(name, contents_of_raw)
        return SetImage(
            name, container, image.filesystem, contents_of_raw.size_bytes, contents_of_raw.md5,
            contents_of_raw.sha256, *own, image.mount, self._uuid(image), image.label,
            block_map_name(name), digest, contents_of_raw.block_map.contents_sha256,
        )  # fmt: skip

    def _fill(
        self, raw: Path, image: SetImageOptions, tree: Path, usage: TreeUsage, context: StepContext
    ) -> None:
        """Fill a file system that is larger than it need be, then shrink it, which syncs it."""
        mount, kept = image.mount, image.headroom_in(self.image_set)
        kept_bytes = kept.of(usage.blocks * BLOCK_BYTES)
        shrinks = image.filesystem in SHRINKABLE
        layout = image.to_layout(_with_spare(kept) if shrinks else kept)
        context.emitter.progress(f"filling {mount}", 0)
        with packed_trees(
            layout, {mount: tree}, identity=self.identity, epoch_s=context.epoch_s,
            scratch=context.scratch,
        ) as packed:  # fmt: skip
            assemble(
                plan(layout, {mount: usage}, packed_bytes=packed.sizes_bytes), {mount: tree}, raw,
                identity=self.identity, epoch_s=context.epoch_s, scratch=context.scratch,
                packed_files=packed.files, guest=guest_for(layout, context),
                is_kept=not shrinks and image.container_in(self.image_set) == "raw",
            )  # fmt: skip
        if shrinks:
            context.emitter.progress(f"shrinking {mount}", 0)
            shrink(raw, image.filesystem, headroom_bytes=kept_bytes, epoch_s=context.epoch_s)

    def _write_block_map(self, name: str, raw: RawContents) -> str:
        """Write the map beside the image, fsynced; returns its SHA-256."""
        text = render_bmap(raw.block_map).encode()
        target = self.targets[block_map_name(name)]
        with full_file_system_named(target), open(target, "xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return hashlib.sha256(text).hexdigest()

    def _uuid(self, image: SetImageOptions) -> str | None:
        if image.filesystem == "squashfs":
            return None
        return self.identity.filesystem_uuid(image.mount, image.filesystem)


def _with_spare(kept: Headroom) -> Headroom:
    return Headroom(kept.share + _SPARE_SHARE, kept.minimum_bytes + _SPARE_BYTES)
