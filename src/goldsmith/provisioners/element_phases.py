"""Runs phases of elements on the tree of a step, which hooks see at the paths of every build.

All that is mounted for it is in the namespaces of the step alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from goldsmith.communicators.chroot import ChrootCommunicator
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.elements import hook_directory
from goldsmith.elements.description import Description
from goldsmith.elements.hook_environment import hook_environment, in_tree, working_directory
from goldsmith.elements.phase_runner import HookPlace, PhaseRun, run_phase
from goldsmith.elements.phases import Phase, Place
from goldsmith.elements.places import IN_TARGET, RECORDS, Places, make_places
from goldsmith.elements.secret_variables import secret_values
from goldsmith.elements.setup import Setup
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot
from goldsmith.host.confined import confined, make_directory
from goldsmith.host.journal import state_directory
from goldsmith.host.process import get_tool
from goldsmith.packages.installed import os_release


def run_phases(
    phases: Sequence[Phase], description: Description, setup: Setup, context: ProvisionContext
) -> None:
    """Run the hooks of these phases; raises HookFailed, and GoldsmithError without a tree."""
    communicator = context.communicator
    if not isinstance(communicator, ChrootCommunicator):
        raise GoldsmithError(
            "elements need a tree of files, and this source has a machine",
            hint="use them with an image or chroot source",
        )
    context.emitter.redactor.add(secret_values(description.environment))
    places = make_places(state_directory(), description, context.directory)
    with context.scratch_directory() as scratch:
        running = _OnTree(communicator, scratch / "build", places, description, setup, context)
        with running.shown(scratch / "image"):
            for phase in phases:
                running.run(phase)


@dataclass(frozen=True, slots=True)
class _OnTree:
    """A tree in the namespaces of a step, and the build directory that hooks see it in."""

    communicator: ChrootCommunicator
    build: Path
    """The build directory, on the host."""
    places: Places
    description: Description
    setup: Setup
    context: ProvisionContext

    @contextmanager
    def shown(self, image: Path) -> Iterator[None]:
        """Show the tree, and an empty directory for images, where hooks expect them."""
        for directory in (self.build, self.build / "mnt", self.build / "hooks", image):
            directory.mkdir(mode=0o755)
        inside, places = self.communicator.namespace, self.places
        with (
            inside.bound(self.build, places.build),
            inside.bound(image, places.image),
            inside.bound(self.communicator.tree, places.mount, deep=True),
        ):
            yield

    def run(self, phase: Phase) -> None:
        """Run the hooks of a phase, with the elements' files in the hooks directory."""
        hooks, emitter = self.build / "hooks", self.context.emitter
        kind = self.description.install_type
        generated = hook_directory.generated_for(phase, self.setup, kind)
        with hook_directory.laid_out(self.setup.hooks, hooks, generated, self.build / RECORDS):
            if not (hooks / phase.name).is_dir():
                return
            with (
                self._hooks_in_tree() if phase.place is Place.IN_TREE else contextlib.nullcontext()
            ):
                run_phase(
                    PhaseRun(phase, self._place(phase), self.setup.hooks, self._environment(phase),
                             lambda stream, line: emitter.output(line, stream),
                             emitter.redactor.add)
                )  # fmt: skip

    @contextmanager
    def _hooks_in_tree(self) -> Iterator[None]:
        """The hooks at the place of the tree where they run, which they cannot write to."""
        tree = self.communicator.namespace.host_path(self.communicator.tree)
        own = make_directory(tree, IN_TARGET)
        target = self.places.mount / own.relative_to(tree)
        try:
            inside = self.communicator.namespace
            with inside.bound(self.places.hooks, target, read_only=True):
                yield
        finally:
            with contextlib.suppress(OSError):
                confined(tree, IN_TARGET, follow_last=True).rmdir()

    def _place(self, phase: Phase) -> HookPlace:
        hooks, namespace = self.build / "hooks", self.communicator.namespace
        if phase.place is Place.IN_TREE:
            return HookPlace(
                hooks, IN_TARGET,
                lambda argv: namespace.entering(chroot.chroot_argv(self.places.mount, argv)),
            )  # fmt: skip
        start = f"--chdir={working_directory(self.places)}"
        return HookPlace(
            hooks, str(self.places.hooks),
            lambda argv: namespace.entering([get_tool("env"), start, *argv]),
        )  # fmt: skip

    def _environment(self, phase: Phase) -> dict[str, str]:
        own = os_release(self.communicator.namespace.host_path(self.communicator.tree))
        release = own.get("VERSION_CODENAME") or own.get("VERSION_ID", "")
        usual = {"DISTRO_NAME": own.get("ID", ""), "DIB_RELEASE": release,
                 "DIB_INIT_SYSTEM": "systemd"}  # fmt: skip
        given = hook_environment(self.description, self.setup, self.places)
        given = {**_without_empty(usual), **given}
        if phase.names_target_root:
            given["TARGET_ROOT"] = str(self.places.mount)
        return in_tree(given) if phase.place is Place.IN_TREE else given


def _without_empty(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}
