"""The files of an image set: its images are made, described and published, the metadata last."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import goldsmith
from goldsmith.builders.image.image_files import MadeFiles, inputs_digest, kept_or_made
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.image.set_options import ImageSetOptions
from goldsmith.builders.image.set_output import SetOutputs
from goldsmith.builders.image.set_steps import AssembleSetStep
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import Results
from goldsmith.core.tree_build import TreeBuild
from goldsmith.disk.image_set import (
    ImageSet,
    InstalledPackage,
    SetImage,
    render_json,
    render_yaml,
    to_document,
)
from goldsmith.host.signals import check_interrupted
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.installed import installed_packages, os_release

BUILDER_ID: Final = "goldsmith.image-set"


@dataclass(frozen=True, slots=True)
class SetFiles:
    """The files of one build; `request` is what the tree was made of, where APT made it."""

    recipe: Recipe
    image_set: ImageSetOptions
    provisioning: TreeProvisioning
    trees: TreeBuild
    context: BuildContext
    request: AptRequest | None

    def make(self, results: Results, key: str | None) -> Artifact:
        """Make the files that `key` identifies, unless they stand already."""
        outputs = self.recipe.set_outputs(self.image_set, self.context.directory)

        def made(reason: str) -> MadeFiles:
            images = self._write(outputs, reason)
            digests = {}
            for image in images:
                digests[outputs.directory / image.container_name] = str(image.container_sha256)
                digests[outputs.directory / str(image.block_map_name)] = str(image.block_map_sha256)
            return MadeFiles(self._artifact(outputs, images), digests, outputs.documents)

        return kept_or_made(
            self.trees, self.context, results, key, made,
            why_changed=lambda: self._why_changed(outputs),
        )  # fmt: skip

    def _why_changed(self, outputs: SetOutputs) -> str:
        """Which inputs are not those that the metadata in the output directory tells of."""
        known = outputs.read()
        if known is None or not known.inputs:
            return ""
        now = self._inputs()
        changed = [name for name in sorted({*known.inputs, *now})
                   if known.inputs.get(name) != now.get(name)]  # fmt: skip
        return f"changed since the last set: {', '.join(changed)}" if changed else ""

    def _inputs(self) -> dict[str, str]:
        """A digest of each thing that the set is made from, none of which tells a secret."""
        requested = () if self.request is None else self.request.all_packages()
        steps = inputs_digest(self.trees, self.context, disk=self.recipe.disk)
        found = {
            "packages": _digest(canonical(requested)),
            "repositories": _digest(canonical([dict(one) for one in self._repositories()])),
            "image set": _digest(self.recipe.disk), "goldsmith": goldsmith.__version__,
            "tree": steps or self.trees.tree_id or "",
        }  # fmt: skip
        releases = self.trees.cache.releases
        return found | {name: state.digest or "" for name, state in releases.items()}

    def _write(self, outputs: SetOutputs, reason: str) -> tuple[SetImage, ...]:
        """Write and publish everything."""
        context = self.context
        with outputs.being_written(context.run) as partial:
            step = AssembleSetStep(
                self.trees, self.image_set, self.recipe.image_name, self.recipe.identity, partial
            )
            images = self.provisioning.run(step, reason=reason)
            document = context.emitter.redactor.values(to_document(self._describe(images)))
            texts = (render_json(document), render_yaml(document))
            check_interrupted()
            context.commit()
            outputs.publish(partial, dict(zip(outputs.documents, texts, strict=True)), context.run,
                            force=context.force)  # fmt: skip
        return images

    def _describe(self, images: tuple[SetImage, ...]) -> ImageSet:
        with self.trees.view() as tree:
            release, installed = dict(os_release(tree)), installed_packages(tree)
        bootstrap, inputs = self.recipe.options.bootstrap, self._inputs()
        return ImageSet(
            images, system(release), bootstrap.packages, tuple(self._repositories()),
            goldsmith_version=goldsmith.__version__, name=self.recipe.image_name,
            architecture=platform.machine(), epoch_s=self.context.epoch_s,
            inputs_sha256=StepKey(inputs).digest, inputs=inputs, os_release=release,
            installed_packages=tuple(
                InstalledPackage(one.name, one.version, one.architecture) for one in installed
            ),
        )  # fmt: skip

    def _repositories(self) -> list[Mapping[str, Any]]:
        """Where packages came from, in fuel-agent's form, without the passwords of addresses.

        The mirrors of this host are nobody's business: their addresses are "".
        """
        if self.request is None:
            return []
        bootstrap = self.recipe.options.bootstrap
        blocks = {(block.uri, block.suite): block for block in bootstrap.repository}
        found: list[Mapping[str, Any]] = []
        for source in self.request.sources:
            public = source.without_passwords()
            for uri, shown in zip(source.uris, public.uris, strict=True):
                for suite in source.suites:
                    block = blocks.get((uri, suite))
                    found.append({
                        "type": "deb", "name": block.name if block else suite,
                        "uri": shown if block or bootstrap.mirror else "",
                        "suite": suite, "section": " ".join(source.components),
                        "priority": block.priority if block else None, "meta": None,
                    })  # fmt: skip
        return found

    def _artifact(self, outputs: SetOutputs, images: tuple[SetImage, ...]) -> Artifact:
        files = [str(path) for path in outputs.all_files]
        directory = self.context.directory
        shown = [os.path.relpath(outputs.directory / i.container_name, directory) for i in images]
        return Artifact(
            builder_id=BUILDER_ID, id=self.recipe.image_name,
            string=f"Image set '{self.recipe.image_name}': {', '.join(shown)}",
            files=tuple(files),
            state={"documents": [str(path) for path in outputs.documents]},
            native=True,
        )  # fmt: skip


def system(release: Mapping[str, str]) -> dict[str, Any]:
    """A tree's os-release in fuel-agent's form: a name of one word, and two numbers."""
    words = release.get("NAME", "").split() or [release.get("ID", "")]
    numbers = re.findall(r"\d+", release.get("VERSION_ID", ""))[:2]
    major, minor = [*map(int, numbers), *([0, 0] if numbers else [None, None])][:2]
    return {"name": words[0], "major": major, "minor": minor}


def _digest(text: str) -> str:
    return StepKey({"input": text}).digest
