"""Makes an image: the steps of its tree, its disk, the files of the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.builders.image.apt_plan import refusal, with_answer
from goldsmith.builders.image.cache import (
    open_cache,
    open_results,
)
from goldsmith.builders.image.disk_steps import AssembleStep
from goldsmith.builders.image.early_initramfs import is_of_use
from goldsmith.builders.image.image_files import ImageFiles, MadeDisk, describe_tree
from goldsmith.builders.image.preflight import require_packages
from goldsmith.builders.image.recipe import Recipe
from goldsmith.builders.image.set_files import SetFiles
from goldsmith.builders.image.tree_steps import (
    BootstrapStep,
    ConfigureStep,
    InstallStep,
    UnpackStep,
    base_steps,
)
from goldsmith.builders.tree_provisioning import TreeProvisioning
from goldsmith.communicators.chroot import ChrootEntrance
from goldsmith.core.artifact import Artifact
from goldsmith.core.builder import BuildContext
from goldsmith.core.results import Results
from goldsmith.core.tree_build import TreeBuild
from goldsmith.errors import StepFailed
from goldsmith.host import user_namespace
from goldsmith.host.journal import doorway, state_directory
from goldsmith.layers.method import choose_method
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.build_files import PRIVATE_NETRC_FILE, PRIVATE_SETTINGS_FILE
from goldsmith.packages.errors import StoreRefused
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.release_files import ReleaseState

_NOT_THE_STORE: Final = "mmdebstrap makes the tree, not the store: {}"


def make_image(recipe: Recipe, builder_type: str, context: BuildContext) -> Artifact:
    """Run the steps that have to; raises GoldsmithError and leaves nothing half made."""
    context.work.mkdir(mode=0o700)
    context = replace(context, policy=recipe.policy(context.policy))
    redactor = context.emitter.redactor
    settings = recipe.apt_settings(redactor)
    request = recipe.request(settings, redactor, context.directory)
    packages = PackageStore(context.state / "packages")
    method = choose_method(context.work)
    cache = open_cache(context.state, context.policy, request, redactor, method.name, context.name)
    if request is not None:
        request = with_answer(
            request, recipe.options.bootstrap, context.state, cache.releases, context.policy
        )
        if reason := refusal(request, context.state):
            context.emitter.say(_NOT_THE_STORE.format(reason))
    clock, context = context, dated(context, cache.releases)
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
        return making.image(open_results(context.state, cache.store), request)


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
        finish = recipe.finish_step(context.directory)
        finishing = finish.write_boot_files if is_of_use(context.policy, finish.name) else None
        base = base_steps(
            recipe.options.bootstrap, request, context.directory, finishing=finishing
        )  # fmt: skip
        require_packages(
            context.provisioners({"PackerRunUUID": context.run_uuid}), recipe.options.bootstrap,
            request, context.directory, context.work,
        )  # fmt: skip
        self._base(base, request)
        trees.run(ConfigureStep(recipe.options.hostname))
        self.provisioning.provision()
        trees.run(finish)
        trees.tell_unknown_refreshes()
        trees.require_no_secrets()

    def _base(
        self, base: Sequence[UnpackStep | BootstrapStep | InstallStep], request: AptRequest | None
    ) -> None:
        """Make the tree for the others, by mmdebstrap where the store cannot and need not."""
        bootstrap, trees = self.recipe.options.bootstrap, self.trees
        try:
            for step in base:
                trees.run(step)
        except StepFailed as e:
            if request is None or not isinstance(e.cause, StoreRefused) or bootstrap.engine:
                raise
            self.context.emitter.warn(_NOT_THE_STORE.format(e.cause))
            for step in base_steps(bootstrap, replace(request, tool=""), self.context.directory):
                trees.run(step)

    def image(self, results: Results, request: AptRequest | None) -> Artifact:
        """Make the disk or the image set and its files, unless they stand already."""
        recipe, context = self.recipe, self.context
        key = recipe.result_key(
            results, self.trees.tree_id, recipe.outputs(context.directory), context.environment,
            context.name, context.policy,
        )  # fmt: skip
        image_set = recipe.options.image_set
        if image_set is not None:
            made = SetFiles(
                recipe, image_set, self.provisioning, self.trees, context, request
            )  # fmt: skip
            return made.make(results, key)
        files = ImageFiles(
            recipe, self.provisioning, self.trees, context, recipe.options.firmware, self._make_disk
        )
        return files.make(results, key)

    def _make_disk(self, raw: Path, reason: str) -> MadeDisk:
        options = self.recipe.options
        assemble = AssembleStep(
            self.trees, options.layout(), self.recipe.identity, options.firmware, raw
        )
        assembled = self.provisioning.run(assemble, reason=reason)
        with self.trees.view() as tree:
            return MadeDisk(assembled, describe_tree(tree))


def dated(context: BuildContext, releases: Mapping[str, ReleaseState]) -> BuildContext:
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
