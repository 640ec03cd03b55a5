"""The files of an image: its disk is made, written in every format, described and published."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import goldsmith
from goldsmith.builders.image.cache import CHANGED, IMAGE_LABEL, image_step, look_up, reused
from goldsmith.builders.image.disk_steps import FormatsStep
from goldsmith.builders.image.output import Outputs
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import NOT_RECORDED, Results
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.assemble import AssembledImage
from goldsmith.disk.clusters_ahead import ClustersAhead, clusters_ahead
from goldsmith.disk.qcow2_clusters import Packing
from goldsmith.errors import explain_os_error
from goldsmith.host.signals import check_interrupted
from goldsmith.layers.keys import StepKey
from goldsmith.packages.installed import installed_packages, os_release

BUILDER_ID: Final = "goldsmith.image"


@dataclass(frozen=True, slots=True)
class MadeDisk:
    """A raw image in its place: what lies where in it, and what the manifest says of its tree."""

    assembled: AssembledImage
    described: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of one build; `make_disk` writes the raw image, and is told why it has to."""

    recipe: Recipe
    provisioning: TreeProvisioning
    trees: TreeBuild
    context: BuildContext
    firmware: tuple[str, ...]
    make_disk: Callable[[Path, str], MadeDisk]
    ttl_s: float | None = None
    """How long they may be used, where hooks with network write into the disk."""

    def make(self, results: Results, key: str | None) -> Artifact:
        """Make the files that `key` identifies, unless they stand already."""
        outputs = self.recipe.image_outputs(self.context.directory)

        def made(reason: str) -> MadeFiles:
            digests = self._write(outputs, reason)
            artifact = self._artifact(outputs.images, outputs.manifest, digests)
            by_path = {outputs.images[name]: digest for name, digest in digests.items()}
            return MadeFiles(artifact, by_path, outputs.documents)

        return kept_or_made(self.trees, self.context, results, key, made, ttl_s=self.ttl_s)

    def _write(self, outputs: Outputs, reason: str) -> dict[str, str]:
        """Write and publish everything; returns the digest of each format's file."""
        recipe, context = self.recipe, self.context
        with outputs.being_written(context.run) as partial:
            # Without a raw output the raw image is only a stage: it stays in the run directory.
            raw = partial.get("raw", context.work / "disk.raw")
            with self._ahead(raw, partial) as ahead:
                disk = self.make_disk(raw, reason)
                formats = FormatsStep(raw, partial, recipe.options.compression, ahead)
                written = self.provisioning.run(formats)
            manifest = {
                "name": context.name, "image_name": recipe.image_name,
                "goldsmith_version": goldsmith.__version__,
                "inputs_sha256": inputs_digest(self.trees, context, disk=recipe.disk),
                "epoch_s": context.epoch_s,
                "architecture": platform.machine(), "firmware": list(self.firmware),
                **outputs.describe(written), "disk": _describe_disk(disk.assembled),
                **disk.described,
            }  # fmt: skip
            check_interrupted()
            context.commit()
            manifest = context.emitter.redactor.values(manifest)
            text = outputs.manifest_text(manifest)
            outputs.publish(
                partial, {outputs.manifest: text}, context.run, force=context.force
            )  # fmt: skip
        return {name: file.sha256 for name, file in written.files.items()}

    def _ahead(
        self, raw: Path, targets: Mapping[str, Path]
    ) -> AbstractContextManager[ClustersAhead | None]:
        if "qcow2" not in targets:
            return nullcontext()
        packing = Packing(self.recipe.options.compression)
        return clusters_ahead(raw, self.context.work, packing, files=len(targets))

    def _artifact(
        self, files: Mapping[str, Path], manifest: Path, digests: Mapping[str, str]
    ) -> Artifact:
        images = {name: str(path) for name, path in files.items()}
        directory = self.context.directory
        shown = {name: os.path.relpath(path, directory) for name, path in images.items()}
        return Artifact(
            builder_id=BUILDER_ID, id=self.recipe.image_name,
            string=f"Image '{self.recipe.image_name}': {', '.join(shown.values())}",
            files=(*images.values(), str(manifest)),
            state={
                "images": images, "firmware": list(self.firmware),
                "digests": {Path(images[name]).name: digest for name, digest in digests.items()},
            },
            native=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MadeFiles:
    """What a build has written: its files with their SHA-256, and the documents about them."""

    artifact: Artifact
    digests: Mapping[Path, str]
    documents: tuple[Path, ...]


def kept_or_made(
    trees: TreeBuild,
    context: BuildContext,
    results: Results,
    key: str | None,
    make: Callable[[str], MadeFiles],
    *,
    why_changed: Callable[[], str] = str,
    ttl_s: float | None = None,
) -> Artifact:
    """The files that `key` identifies if they stand already, else those of `make`, then kept.

    `make` is told why it has to; `why_changed` may say more of what is not as it was.
    """
    started_s = time.monotonic()
    found, reason = look_up(trees.cache, results, key, ttl_s)
    if found is not None:
        with context.emitter.running("image", IMAGE_LABEL, key=key, cache="hit", reason=reason):
            return reused(found)
    made = make((why_changed() if reason == CHANGED else "") or reason)
    if key is not None:
        try:
            results.keep(
                key, made.artifact.to_wire(), (*made.digests, *made.documents),
                digests=made.digests, duration_s=time.monotonic() - started_s,
                step=image_step(context.name),
            )  # fmt: skip
        except OSError as e:
            # The image is in place, whatever becomes of the record.
            context.emitter.warn(f"{NOT_RECORDED}: {explain_os_error(e)}")
    return made.artifact


def inputs_digest(trees: TreeBuild, context: BuildContext, **more: str) -> str | None:
    """One digest of all that a build was made from; None when a step has no key.

    Nor is there one when a secret was among it: a weak one could be guessed from the digest.
    """
    tables = trees.inputs
    if context.emitter.redactor.secrets or any(table is None for table in tables):
        return None
    inputs = {f"step:{n}": StepKey(table).digest for n, table in enumerate(tables) if table}
    return StepKey({**inputs, **more, "epoch": str(context.epoch_s)}).digest


def describe_tree(tree: Path) -> dict[str, Any]:
    """What a manifest says of a tree: its system and its packages."""
    return {
        "os_release": dict(os_release(tree)),
        "packages": [
            {"name": package.name, "version": package.version, "architecture": package.architecture}
            for package in installed_packages(tree)
        ],
    }


def _describe_disk(assembled: AssembledImage) -> dict[str, Any]:
    return {
        "size_bytes": assembled.size_bytes, "uuid": assembled.disk_uuid,
        "partitions": [
            {
                "number": p.number, "name": p.name, "type": p.type, "mount": p.mount,
                "offset_bytes": p.offset_bytes, "size_bytes": p.size_bytes,
                "partition_uuid": p.partition_uuid, "filesystem": p.filesystem,
                "filesystem_uuid": p.filesystem_uuid, "filesystem_label": p.filesystem_label,
            }
            for p in assembled.partitions
        ],
        "volumes": [asdict(volume) for volume in assembled.volumes],
    }  # fmt: skip
