"""Builds an image: a tree in steps, a disk from the tree, files from the disk."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import goldsmith
from goldsmith.builders.image.apt_plan import apt_request, finish_plan
from goldsmith.builders.image.cache import (
    IMAGE_LABEL,
    STANDS,
    Planner,
    expected_method,
    open_cache,
    open_results,
    reused,
)
from goldsmith.builders.image.disk_steps import AssembleStep, FormatsStep
from goldsmith.builders.image.options import ImageOptions
from goldsmith.builders.image.output import Outputs
from goldsmith.builders.image.preflight import require_guest, require_source, require_writable
from goldsmith.builders.image.tree_steps import (
    ConfigureStep,
    FinishStep,
    KeyedProvision,
    LocalProvisionStep,
    ProvisionStep,
    base_steps,
)
from goldsmith.communicators.chroot import ChrootEntrance
from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.kept_trees import KeptTrees
from goldsmith.core.options import Finding, Options
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.results import FileDigests, Results
from goldsmith.core.step import Step, StepContext
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.assemble import AssembledImage
from goldsmith.disk.filesystems import host_tools
from goldsmith.disk.formats import check_format
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.ways import filled_in_guest
from goldsmith.errors import (
    GoldsmithError,
    Interrupted,
    StepFailed,
    explain_os_error,
)
from goldsmith.host import user_namespace
from goldsmith.host.journal import doorway, state_directory
from goldsmith.host.process import find_tool, get_tool
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.layers.method import choose_method
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings, read_apt_settings
from goldsmith.packages.apt_sources import parse_sources
from goldsmith.packages.bootstrap import bootstrap_tools
from goldsmith.packages.build_files import PRIVATE_NETRC_FILE, PRIVATE_SETTINGS_FILE
from goldsmith.packages.installed import installed_packages, os_release
from goldsmith.packages.package_store import PackageStore
from goldsmith.redact import Redactor

BUILDER_ID = "goldsmith.image"
R = TypeVar("R")
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageBuilder:
    """The `image` source."""

    type_name: ClassVar[str] = "image"
    options_model: ClassVar[type[Options]] = ImageOptions
    needs_worker: ClassVar[bool] = True
    announces: ClassVar[tuple[str, ...]] = ()
    communicates: ClassVar[bool] = True

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, ImageOptions)
        self.options = options
        self.name = name
        self.image_name = options.image_name or name

    @property
    def expected(self) -> ExpectedArtifact:
        """The formats, and the firmware that it is to boot on."""
        return ExpectedArtifact(self.options.formats, self.options.firmware)

    def check(self) -> Sequence[Finding]:
        """The layout's findings; the sources of the finished image."""
        findings = list(self.options.findings())
        text = self.options.bootstrap.apt_sources
        if text is not None:
            try:
                parse_sources(text, "apt_sources")
            except GoldsmithError as e:
                findings.append(Finding(str(e), ("bootstrap", "apt_sources"), e.hint or ""))
        return findings

    def _outputs(self, directory: Path) -> Outputs:
        folder = directory / self.options.output_directory
        digests = FileDigests(state_directory() / "results")
        return Outputs(folder, self.image_name, self.options.formats, digests)

    def preflight(self, directory: Path, *, force: bool) -> None:
        """What a later step needs is there, and the outputs can be written.

        That is: every tool, the tree's source, a place to write to, and no foreign file in the way.
        """
        for tool in self._tools():
            get_tool(tool)
        if self.options.bootstrap.method == "apt":
            for tool in bootstrap_tools():
                get_tool(tool)
        require_guest(self.options.disk.to_layout())
        require_source(self.options.bootstrap, directory)
        require_writable(directory / self.options.output_directory)
        self._outputs(directory).refuse_foreign_files(force=force)

    def claims(self, directory: Path) -> Sequence[Path]:
        """The images and their manifest."""
        outputs = self._outputs(directory)
        return (*outputs.images.values(), outputs.manifest)

    def _tools(self) -> list[str]:
        bootstrap = {
            "apt": ["apt-config"], "tar": ["tar"], "directory": ["cp"],
            "image": ["blkid", "cp", "qemu-img"],
        }  # fmt: skip
        layout = self.options.disk.to_layout()
        in_guest = filled_in_guest(layout)
        kinds = [v.filesystem.type for v in layout.volumes()
                 if v.filesystem is not None and v.name not in in_guest]  # fmt: skip
        tools = [*bootstrap[self.options.bootstrap.method], "nsenter", "chroot", "sfdisk",
                 *host_tools(kinds)]  # fmt: skip
        for name in self.options.formats:
            tools += check_format(name).tools
        return tools

    def plan(self, context: PlanContext) -> BuildPlan:
        """What `build` would do; nothing is changed but the cache's own files."""
        planner = self._planned(context)
        outputs = self._outputs(context.directory)
        results = open_results(context.state, planner.cache.store)
        key = self._result_key(results, planner.tree_id, outputs, context.environment)
        return planner.finished(results, key, (*outputs.images.values(), outputs.manifest))

    def kept_trees(self, context: PlanContext) -> KeptTrees:
        """What is kept of the steps of the tree, for a look into it."""
        return self._planned(context).kept_trees()

    def _planned(self, context: PlanContext) -> Planner:
        """Ask the cache about every step of the tree."""
        redactor = context.redactor
        settings = self._apt_settings(redactor)
        request = self._request(settings, redactor, context.directory)
        cache = open_cache(context.state, context.policy, request, redactor, expected_method())
        planner = Planner(cache, context)
        for base in base_steps(self.options.bootstrap, request, context.directory):
            planner.tree_step(base)
        planner.tree_step(ConfigureStep(self.options.hostname))
        for number, call in enumerate(context.provisioners({"PackerRunUUID": "?"}), 1):
            step = KeyedProvision(call, number, context, self.type_name)
            if call.provisioner.changes_tree:
                planner.tree_step(step)
            else:
                planner.local_step(step)
        planner.tree_step(self._finish_step(context.directory))
        return planner

    def build(self, context: BuildContext) -> Artifact:
        """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
        context.work.mkdir(mode=0o700)
        redactor = context.emitter.redactor
        settings = self._apt_settings(redactor)
        request = self._request(settings, redactor, context.directory)
        packages = PackageStore(context.state / "packages")
        if request is not None:
            request = replace(request, store=packages.directory)
        method = choose_method(context.work)
        cache = open_cache(context.state, context.policy, request, redactor, method.name)
        with TreeBuild(
            directory=context.work, method=method, emitter=context.emitter, cache=cache,
            entrance=ChrootEntrance(_private_files(settings, context.work)),
            environment=context.environment, epoch_s=context.epoch_s, ask=context.ask,
            on_error=context.on_error, template=context.template, doorway=_doorway(),
            packages=packages,
        ) as trees:  # fmt: skip
            keys = self._make_tree(trees, request, context)
            return self._make_image(trees, keys, open_results(context.state, cache.store), context)

    def _finish_step(self, directory: Path) -> FinishStep:
        layout = self.options.disk.to_layout()
        plan = finish_plan(self.options.bootstrap, directory)
        return FinishStep(self.options, layout, self._identity(), plan)

    def _identity(self) -> DiskIdentity:
        return DiskIdentity(self.options.seed or self.image_name)

    def _make_tree(
        self, trees: TreeBuild, request: AptRequest | None, context: BuildContext
    ) -> list[StepKey | None]:
        """Run the steps of the tree; returns the keys of those whose inputs make the image."""
        base = base_steps(self.options.bootstrap, request, context.directory)
        finish = self._finish_step(context.directory)
        for step in base:
            trees.run(step)
        trees.run(ConfigureStep(self.options.hostname))
        keys = [step.key() for step in base]
        run_values = {"PackerRunUUID": context.run_uuid}
        for number, call in enumerate(context.provisioners(run_values), 1):
            if call.provisioner.changes_tree:
                provision = ProvisionStep(call, number, context, self.type_name)
                keys.append(provision.key())
                self._provision(functools.partial(trees.run, provision), call, context)
            else:
                # What it makes of the host's files is in the keys of the steps that use them.
                local = LocalProvisionStep(call, number, context, self.type_name)
                self._provision(functools.partial(self._run, local, context), call, context)
        trees.run(finish)
        return [*keys, finish.key()]

    def _make_image(
        self,
        trees: TreeBuild,
        keys: Sequence[StepKey | None],
        results: Results,
        context: BuildContext,
    ) -> Artifact:
        """Make the disk and its files, unless they stand already."""
        started_s = time.monotonic()
        outputs = self._outputs(context.directory)
        key = self._result_key(results, trees.tree_id, outputs, context.environment)
        if context.policy.use and key is not None and (found := results.find(key)) is not None:
            with context.emitter.running(
                "image", IMAGE_LABEL, key=key, cache="hit", reason=STANDS
            ):  # fmt: skip
                return reused(found)
        layout = self.options.disk.to_layout()
        with outputs.being_written(context.run) as partial:
            # Without a raw output the raw image is only a stage: it stays in the run directory.
            raw = partial.get("raw", context.work / "disk.raw")
            assembled = self._run(
                AssembleStep(trees, layout, self._identity(), self.options.firmware, raw), context
            )
            with trees.view() as tree:
                described = _describe_tree(tree)
            written = self._run(FormatsStep(raw, partial, self.options.compression), context)
            manifest = {
                "name": context.name, "image_name": self.image_name,
                "goldsmith_version": goldsmith.__version__,
                "inputs_sha256": self._inputs_digest(keys, context), "epoch_s": context.epoch_s,
                "architecture": platform.machine(), "firmware": list(self.options.firmware),
                **outputs.describe(written), "disk": _describe_disk(assembled), **described,
            }  # fmt: skip
            context.commit()
            outputs.publish(partial, manifest, context.run, force=context.force)
        digests = {name: file.sha256 for name, file in written.files.items()}
        artifact = self._artifact(outputs, digests, context)
        if key is not None:
            made = {outputs.images[name]: digest for name, digest in digests.items()}
            results.keep(key, artifact.to_wire(), (*made, outputs.manifest), digests=made,
                         duration_s=time.monotonic() - started_s, step="image")  # fmt: skip
        return artifact

    def _result_key(
        self,
        results: Results,
        tree_id: str | None,
        outputs: Outputs,
        environment: Mapping[str, str],
    ) -> str | None:
        """What identifies the files; None when the tree cannot be known again."""
        if tree_id is None:
            return None
        return results.key({
            "type": "image/1", "version": goldsmith.__version__, "tree": tree_id,
            "disk": canonical(self.options.disk.model_dump(mode="json")),
            "firmware": canonical(self.options.firmware), "seed": self._identity().seed,
            "cmdline": self.options.kernel_cmdline, "compression": self.options.compression,
            "outputs": canonical([str(path) for path in outputs.images.values()]),
            "epoch": environment.get("SOURCE_DATE_EPOCH", ""),
        })  # fmt: skip

    def _apt_settings(self, redactor: Redactor) -> AptSettings:
        """What downloads need on this host; its passwords are redacted from here on."""
        settings = read_apt_settings() if find_tool("apt-config") else AptSettings()
        redactor.add(settings.secrets)
        return settings

    def _request(
        self, settings: AptSettings, redactor: Redactor, directory: Path
    ) -> AptRequest | None:
        packages = self.options.tree_packages()
        request = apt_request(self.options.bootstrap, packages, settings, directory)
        for source in request.sources if request is not None else ():
            redactor.add(source.passwords())
        return request

    def _provision(
        self, run: Callable[[], None], call: ProvisionerCall, context: BuildContext
    ) -> None:
        """Run a provisioner, pausing before each try; each try starts from the tree before it."""
        for left in range(call.max_retries, -1, -1):
            if call.pause_before_s:
                context.emitter.say(f"Pausing {call.pause_before_s:g} s before the provisioner...")
                time.sleep(call.pause_before_s)
            try:
                run()
                return
            except StepFailed as e:
                if not left:
                    raise
                context.emitter.error(
                    f"Provisioner failed with {str(e.cause)!r}, retrying with {left} trie(s) left"
                )

    def _run(self, step: Step[R], context: BuildContext) -> R:
        scratch = context.work / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)
        with context.emitter.running(step.name, step.label, takes_long=True):
            try:
                return step.run(
                    StepContext(emitter=context.emitter, scratch=scratch, epoch_s=context.epoch_s)
                )
            except Interrupted:
                raise
            except GoldsmithError as e:
                raise StepFailed(step.label, e) from e
            except OSError as e:
                raise StepFailed(step.label, explain_os_error(e)) from e

    def _inputs_digest(self, keys: Sequence[StepKey | None], context: BuildContext) -> str | None:
        """One digest of all that the build was made from; None when a step has no key.

        Nor is there one when a secret was among it: a weak one could be guessed from the digest.
        """
        if context.emitter.redactor.secrets or any(key is None for key in keys):
            return None
        inputs = {f"step:{number}": key.digest for number, key in enumerate(keys) if key}
        disk = canonical(self.options.disk.model_dump(mode="json"))
        return StepKey({**inputs, "disk": disk, "epoch": str(context.epoch_s)}).digest

    def _artifact(
        self, outputs: Outputs, digests: Mapping[str, str], context: BuildContext
    ) -> Artifact:
        images = {name: str(path) for name, path in outputs.images.items()}
        shown = {name: os.path.relpath(path, context.directory) for name, path in images.items()}
        return Artifact(
            builder_id=BUILDER_ID, id=self.image_name,
            string=f"Image '{self.image_name}': {', '.join(shown.values())}",
            files=(*images.values(), str(outputs.manifest)),
            state={
                "images": images, "firmware": list(self.options.firmware),
                "digests": {Path(images[name]).name: digest for name, digest in digests.items()},
            },
            native=True,
        )  # fmt: skip


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


def _describe_tree(tree: Path) -> dict[str, Any]:
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
