"""Makes a new image of an old one, in the order of `builders.volume_steps`."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import goldsmith
from goldsmith.builders.chroot.apply_steps import ApplyStep, WriteBackStep
from goldsmith.builders.chroot.image_steps import AttachedImage, AttachImageStep, PrepareImageStep
from goldsmith.builders.chroot.recipe import ChrootRecipe
from goldsmith.builders.chroot.root import MountedImage, MountImageStep, numbers_of
from goldsmith.builders.chroot.tree_steps import SourceTreeStep, provision_step
from goldsmith.builders.image.cache import (
    IMAGE_LABEL,
    image_step,
    look_up,
    open_cache,
    open_results,
    reused,
)
from goldsmith.builders.image.disk_steps import FormatsStep
from goldsmith.builders.image.image_files import describe_tree, inputs_digest
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.builders.volume_steps.cleanup import EarlyCleanupStep
from goldsmith.builders.volume_steps.commands import POST_MOUNT, PRE_MOUNT, HostCommandsStep
from goldsmith.builders.volume_steps.entrance import VolumeEntrance, asks_for_policy
from goldsmith.builders.volume_steps.extras import CopyFilesStep, MountExtraStep
from goldsmith.builders.volume_steps.locking import EarlyUnlockStep, LockStep
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import NOT_RECORDED, Results
from goldsmith.core.tree_build import TreeBuild
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host.signals import check_interrupted
from goldsmith.host.teardown import Handle, Teardown
from goldsmith.layers.content import describe, scan
from goldsmith.layers.method import choose_method
from goldsmith.packages.image_file import ImagePartition, read_partitions
from goldsmith.packages.policy import POLICY, POLICY_FILE
from goldsmith.units import MIB

BUILDER_ID: Final = "goldsmith.chroot"


def change_image(recipe: ChrootRecipe, builder_type: str, context: BuildContext) -> Artifact:
    """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
    context.work.mkdir(mode=0o700)
    method = choose_method(context.work)
    cache = open_cache(
        context.state, context.policy, None, context.emitter.redactor, method.name, context.name
    )
    policy = context.work / Path(POLICY_FILE).name
    policy.write_bytes(POLICY)
    policy.chmod(0o755)
    entrance = VolumeEntrance(recipe.mounts, recipe.copied_files, policy)
    with (
        TreeBuild(
            directory=context.work, method=method, emitter=context.emitter, cache=cache,
            entrance=entrance, environment=context.environment, epoch_s=context.epoch_s,
            ask=context.ask, on_error=context.on_error, template=context.template,
            epoch_is_given="SOURCE_DATE_EPOCH" in context.environment,
        ) as trees,
        Teardown() as teardown,
    ):  # fmt: skip
        steps = TreeProvisioning(
            builder_type, trees, context,
            functools.partial(provision_step, recipe),
        )  # fmt: skip
        changing = _Changing(recipe, steps, trees, context, teardown, policy)
        return changing.run(open_results(context.state, cache.store))


@dataclass(slots=True)
class _Changing:
    """One build of a changed image."""

    recipe: ChrootRecipe
    steps: TreeProvisioning
    trees: TreeBuild
    context: BuildContext
    teardown: Teardown
    policy: Path
    """A program that forbids services."""
    handles: list[Handle] = field(default_factory=list)
    """What the early cleanup lets go of, in the order of acquisition."""
    partitions: list[ImagePartition] = field(default_factory=list)

    def run(self, results: Results) -> Artifact:
        """The steps in their order."""
        started_s = time.monotonic()
        recipe, context, trees = self.recipe, self.context, self.trees
        digest = recipe.source_digest(context.directory)
        attached = self._attach()
        # What is kept of the tree is kept as made from this content.
        self._require_unchanged(digest)
        self._commands(PRE_MOUNT, recipe.options.pre_mount_commands, attached, {})
        mounted = self._mount(attached)
        self._commands(POST_MOUNT, recipe.options.post_mount_commands, attached,
                       {"MountPath": str(mounted.tree)})  # fmt: skip
        self._extras(mounted)
        source = SourceTreeStep(recipe, context.directory, mounted,
                                self._content(mounted), digest)  # fmt: skip
        trees.run(source)
        (before,) = trees.stack.lowers()
        self.steps.provision()
        trees.tell_unknown_refreshes()
        trees.require_no_secrets()
        outputs = recipe.outputs(context.directory)
        key = recipe.result_key(
            results, trees.tree_id, digest, outputs, context.environment, context.name
        )
        found, reason = look_up(trees.cache, results, key)
        if found is not None:
            with context.emitter.running("image", IMAGE_LABEL, key=key, cache="hit", reason=reason):
                return reused(found)
        with trees.view() as after:
            described = describe_tree(after)
            self.steps.run(ApplyStep(before, after, mounted), reason=reason)
            self.steps.run(EarlyCleanupStep(self.handles))
            if mounted.offered:
                self.steps.run(WriteBackStep(before, after, mounted))
        self._require_unchanged(digest)
        artifact, digests = self._write(attached.raw, mounted, described)
        if key is not None:
            made = {outputs.images[name]: value for name, value in digests.items()}
            try:
                results.keep(
                    key, artifact.to_wire(), (*made, outputs.manifest), digests=made,
                    duration_s=time.monotonic() - started_s, step=image_step(context.name),
                )  # fmt: skip
            except OSError as e:
                # The image is in place, whatever becomes of the record.
                context.emitter.warn(f"{NOT_RECORDED}: {explain_os_error(e)}")
        return artifact

    def _attach(self) -> AttachedImage:
        """Lock, prepare the device, attach it, unlock."""
        context, run = self.context, self.steps.run
        source = self.recipe.source(context.directory)
        raw = run(PrepareImageStep(source, context.work / "disk.raw"))
        lock = self.steps.run_untold(LockStep(context.state / "attach.lock", self.teardown))
        self.partitions = read_partitions(raw, source)
        attached = run(AttachImageStep(raw, numbers_of(self.partitions), self.teardown))
        self.steps.run_untold(EarlyUnlockStep(lock))
        self.handles.append(attached.handle)
        return attached

    def _commands(
        self, which: tuple[str, str], commands: tuple[str, ...], attached: AttachedImage,
        data: Mapping[str, str],
    ) -> None:  # fmt: skip
        """Run the user's commands on this host, and look again at what they left of the disk."""
        if not commands:
            return
        wrapper = self.recipe.options.command_wrapper
        known = {"Device": str(attached.device), **data}
        self.steps.run(HostCommandsStep(*which, commands, wrapper, known))
        attached.flush(numbers_of(self.partitions))
        if which == PRE_MOUNT:
            source = self.recipe.source(self.context.directory)
            self.partitions = read_partitions(attached.raw, source)

    def _mount(self, attached: AttachedImage) -> MountedImage:
        context = self.context
        source = self.recipe.source(context.directory)
        step = MountImageStep(source, attached, self.partitions, self.recipe.options,
                              context.work / "volume", self.teardown)  # fmt: skip
        mounted = self.steps.run(step)
        self.handles += mounted.handles
        return mounted

    def _extras(self, mounted: MountedImage) -> None:
        """Make places for further mounts and for files of this host."""
        mounts, files = self.recipe.mounts, self.recipe.copied_files
        if mounts:
            self.handles.append(self.steps.run(MountExtraStep(mounted.tree, mounts, self.teardown)))
        if files:
            self.handles.append(self.steps.run(CopyFilesStep(mounted.tree, files, self.teardown)))
        if asks_for_policy(mounted.tree):
            shown = CopyFilesStep(mounted.tree, {POLICY_FILE: self.policy}, self.teardown)
            self.handles.append(self.steps.run_untold(shown))

    def _content(self, mounted: MountedImage) -> str | None:
        """The digest of what is mounted and offered, where commands may have changed it."""
        if not self.recipe.changes_on_host:
            return None
        digest = hashlib.sha256(describe(mounted.tree, scan(mounted.tree)).content.encode())
        for stretch in mounted.offered.values():
            with stretch.image.open("rb") as file:
                file.seek(stretch.offset_bytes)
                for _ in range(0, stretch.size_bytes, MIB):
                    digest.update(file.read(MIB))
        return digest.hexdigest()

    def _require_unchanged(self, digest: str) -> None:
        if self.recipe.source_digest(self.context.directory) != digest:
            raise GoldsmithError(
                f"{self.recipe.options.source} was changed while it was built from",
                hint="build again when nothing writes to it: is a machine running on it?",
            )

    def _write(
        self, raw: Path, mounted: MountedImage, described: Mapping[str, Any]
    ) -> tuple[Artifact, dict[str, str]]:
        """Write every format and publish them; returns the digests of the files by format."""
        recipe, context = self.recipe, self.context
        outputs = recipe.outputs(context.directory)
        with outputs.being_written(context.run) as partial:
            written = self.steps.run(FormatsStep(raw, partial, recipe.options.compression))
            manifest = {
                "name": context.name, "image_name": recipe.image_name,
                "goldsmith_version": goldsmith.__version__,
                "inputs_sha256": inputs_digest(self.trees, context), "epoch_s": context.epoch_s,
                "architecture": platform.machine(), "firmware": list(recipe.options.firmware),
                **outputs.describe(written),
                "disk": _describe_disk(written.raw.size_bytes, self.partitions, mounted),
                **described,
            }  # fmt: skip
            check_interrupted()
            context.commit()
            text = outputs.manifest_text(manifest)
            outputs.publish(
                partial, {outputs.manifest: text}, context.run, force=context.force
            )  # fmt: skip
        digests = {name: file.sha256 for name, file in written.files.items()}
        images = {name: str(path) for name, path in outputs.images.items()}
        shown = [os.path.relpath(path, context.directory) for path in images.values()]
        artifact = Artifact(
            builder_id=BUILDER_ID, id=recipe.image_name,
            string=f"Image '{recipe.image_name}': {', '.join(shown)}",
            files=(*images.values(), str(outputs.manifest)),
            state={
                "images": images, "firmware": list(recipe.options.firmware),
                "digests": {Path(images[name]).name: value for name, value in digests.items()},
            },
            native=True,
        )  # fmt: skip
        return artifact, digests


def _describe_disk(
    size_bytes: int, partitions: list[ImagePartition], mounted: MountedImage
) -> dict[str, Any]:
    return {
        "size_bytes": size_bytes, "root_partition": mounted.root.number,
        "partitions": [
            {
                "number": part.number, "name": part.label, "type": part.type,
                "mount": "/" if part.number == mounted.root.number else None,
                "offset_bytes": part.offset_bytes, "size_bytes": part.size_bytes,
                "partition_uuid": part.uuid, "filesystem": part.filesystem or None,
                "filesystem_uuid": part.probed.get("UUID"),
                "filesystem_label": part.probed.get("LABEL"),
            }
            for part in partitions
        ],
    }  # fmt: skip
