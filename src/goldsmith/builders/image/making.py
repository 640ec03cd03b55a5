"""Makes an image: the steps of its tree, its disk, the files of the disk."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import goldsmith
from goldsmith.builders.image.cache import (
    CHANGED,
    IMAGE_LABEL,
    MADE_ANEW,
    STANDS,
    image_step,
    open_cache,
    open_results,
    reused,
)
from goldsmith.builders.image.disk_steps import AssembleStep, FormatsStep
from goldsmith.builders.image.preflight import require_packages
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.image.tree_steps import ConfigureStep, base_steps
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.communicators.chroot import ChrootEntrance
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import NOT_RECORDED, Results
from goldsmith.core.step_cache import NO_CACHE
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.assemble import AssembledImage
from goldsmith.errors import explain_os_error
from goldsmith.host import user_namespace
from goldsmith.host.journal import doorway, state_directory
from goldsmith.host.signals import check_interrupted
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.layers.method import choose_method
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.build_files import PRIVATE_NETRC_FILE, PRIVATE_SETTINGS_FILE
from goldsmith.packages.installed import installed_packages, os_release
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.release_files import ReleaseState

BUILDER_ID = "goldsmith.image"
R = TypeVar("R")


def make_image(recipe: Recipe, builder_type: str, context: BuildContext) -> Artifact:
    """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
    context.work.mkdir(mode=0o700)
    context = replace(context, policy=recipe.policy(context.policy))
    redactor = context.emitter.redactor
    settings = recipe.apt_settings(redactor)
    request = recipe.request(settings, redactor, context.directory)
    packages = PackageStore(context.state / "packages")
    if request is not None:
        request = replace(request, store=packages.directory)
    method = choose_method(context.work)
    cache = open_cache(context.state, context.policy, request, redactor, method.name, context.name)
    clock, context = context, _dated(context, cache.releases)
    epoch_is_given = context is not clock or "SOURCE_DATE_EPOCH" in context.environment
    with TreeBuild(
        directory=context.work, method=method, emitter=context.emitter, cache=cache,
        entrance=ChrootEntrance(_private_files(settings, context.work)),
        environment=context.environment, epoch_s=context.epoch_s, ask=context.ask,
        on_error=context.on_error, template=context.template, doorway=_doorway(),
        packages=packages, epoch_is_given=epoch_is_given,
    ) as trees:  # fmt: skip
        provisioning = TreeProvisioning(builder_type, trees, context)
        making = _Making(recipe, provisioning, trees, context)
        making.tree(request)
        return making.image(open_results(context.state, cache.store))


@dataclass(frozen=True, slots=True)
class _Making:
    """One build of an image."""

    recipe: Recipe
    provisioning: TreeProvisioning
    trees: TreeBuild
    context: BuildContext

    def tree(self, request: AptRequest | None) -> None:
        """Run the steps of the tree."""
        recipe, trees, context = self.recipe, self.trees, self.context
        base = base_steps(recipe.options.bootstrap, request, context.directory)
        finish = recipe.finish_step(context.directory)
        require_packages(
            context.provisioners({"PackerRunUUID": context.run_uuid}), recipe.options.bootstrap,
            request, context.directory, context.work,
        )  # fmt: skip
        for step in base:
            trees.run(step)
        trees.run(ConfigureStep(recipe.options.hostname))
        self.provisioning.provision()
        trees.run(finish)
        trees.tell_unknown_refreshes()
        trees.require_no_secrets()

    def image(self, results: Results) -> Artifact:
        """Make the disk and its files, unless they stand already."""
        started_s = time.monotonic()
        recipe, context = self.recipe, self.context
        outputs = recipe.outputs(context.directory)
        key = recipe.result_key(
            results, self.trees.tree_id, outputs, context.environment, context.name, context.policy
        )
        if context.policy.use and key is not None and (found := results.find(key)) is not None:
            with context.emitter.running(
                "image", IMAGE_LABEL, key=key, cache="hit", reason=STANDS
            ):  # fmt: skip
                return reused(found)
        reason = NO_CACHE if not context.policy.use else MADE_ANEW if key is None else CHANGED
        layout, firmware = recipe.options.disk.to_layout(), recipe.options.firmware
        with outputs.being_written(context.run) as partial:
            # Without a raw output the raw image is only a stage: it stays in the run directory.
            raw = partial.get("raw", context.work / "disk.raw")
            assemble = AssembleStep(self.trees, layout, recipe.identity, firmware, raw)
            assembled = self.provisioning.run(assemble, reason=reason)
            with self.trees.view() as tree:
                described = describe_tree(tree)
            formats = FormatsStep(raw, partial, recipe.options.compression)
            written = self.provisioning.run(formats)
            manifest = {
                "name": context.name, "image_name": recipe.image_name,
                "goldsmith_version": goldsmith.__version__,
                "inputs_sha256": inputs_digest(self.trees, context, disk=self._disk()),
                "epoch_s": context.epoch_s,
                "architecture": platform.machine(), "firmware": list(firmware),
                **outputs.describe(written), "disk": _describe_disk(assembled), **described,
            }  # fmt: skip
            check_interrupted()
            context.commit()
            manifest = context.emitter.redactor.values(manifest)
            outputs.publish(partial, manifest, context.run, force=context.force)
        digests = {name: file.sha256 for name, file in written.files.items()}
        artifact = self._artifact(outputs.images, outputs.manifest, digests)
        if key is not None:
            made = {outputs.images[name]: digest for name, digest in digests.items()}
            try:
                results.keep(
                    key, artifact.to_wire(), (*made, outputs.manifest), digests=made,
                    duration_s=time.monotonic() - started_s, step=image_step(context.name),
                )  # fmt: skip
            except OSError as e:
                # The image is in place, whatever becomes of the record.
                context.emitter.warn(f"{NOT_RECORDED}: {explain_os_error(e)}")
        return artifact

    def _disk(self) -> str:
        return canonical(self.recipe.options.disk.model_dump(mode="json"))

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
                "images": images, "firmware": list(self.recipe.options.firmware),
                "digests": {Path(images[name]).name: digest for name, digest in digests.items()},
            },
            native=True,
        )  # fmt: skip


def inputs_digest(trees: TreeBuild, context: BuildContext, **more: str) -> str | None:
    """One digest of all that a build was made from; None when a step has no key.

    Nor is there one when a secret was among it: a weak one could be guessed from the digest.
    """
    tables = trees.inputs
    if context.emitter.redactor.secrets or any(table is None for table in tables):
        return None
    inputs = {f"step:{n}": StepKey(table).digest for n, table in enumerate(tables) if table}
    return StepKey({**inputs, **more, "epoch": str(context.epoch_s)}).digest


def _dated(context: BuildContext, releases: Mapping[str, ReleaseState]) -> BuildContext:
    """The context with the date of the newest Release file, where SOURCE_DATE_EPOCH is not set.

    So the same inputs give the same bytes at any time, and a layer that is made again is the same.
    """
    dates_s = [state.date_s for state in releases.values()]
    known_s = [date_s for date_s in dates_s if date_s is not None and date_s <= context.epoch_s]
    if "SOURCE_DATE_EPOCH" in context.environment or not known_s or len(known_s) < len(dates_s):
        return context
    return replace(context, epoch_s=int(max(known_s)))


def _doorway() -> Path | None:
    """Where every user can reach the first tree: root's state, but no user's home, lets them in."""
    if user_namespace.is_inside():
        return user_namespace.make_doorway()
    return doorway(state_directory())


def _private_files(settings: AptSettings, directory: Path) -> dict[str, Path]:
    """The settings with passwords, as files of the run that steps see and the image never has."""
    texts = {
        PRIVATE_SETTINGS_FILE: settings.private_text().encode(),
        PRIVATE_NETRC_FILE: settings.private_netrc(),
    }
    shown = {}
    for path, content in texts.items():
        if content:
            place = directory / Path(path).name
            # APT in the tree reads it as root, and downloads as root too then.
            place.touch(mode=0o600)
            place.write_bytes(content)
            shown[path] = place
    return shown


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
