"""The `elements` provisioner: phases of diskimage-builder's elements on a tree that there is."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, field_validator

from goldsmith.core.caching import config_inputs
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.elements.catalog import Catalog, ElementError, search_directories, upstream_package
from goldsmith.elements.description import DEBIAN_ARCHITECTURES, Description
from goldsmith.elements.expansion import expand
from goldsmith.elements.hook_environment import hook_environment, in_tree
from goldsmith.elements.hooks import merge
from goldsmith.elements.option_types import (
    ElementDirectory,
    ElementName,
    ElementVariables,
    absent,
    elements_path,
    wrong_declarations,
)
from goldsmith.elements.phase_keys import phase_inputs
from goldsmith.elements.phases import PHASES, Phase, Place, phase_named
from goldsmith.elements.places import Places
from goldsmith.elements.setup import OWN_ELEMENTS, Setup
from goldsmith.layers.keys import StepKey

_ASKED: Final = (("elements_path",), ("environment",))
_MAKE_TREES: Final = ("root.d", "block-device.d")
_ANYWHERE: Final = Places(Path("/"), Path("/"), Path("/"), Path("/"))
"""Keys hold no places."""


class ElementsOptions(Options):
    """Options of the `elements` provisioner."""

    elements: tuple[ElementName, ...] = Field(
        min_length=1,
        description="The elements; those that they depend on take part. None has to be an "
        "operating system, which is in the tree.",
    )
    phases: tuple[str, ...] = Field(
        ("extra-data.d", "pre-install.d", "install.d", "post-install.d"),
        min_length=1,
        description="The phases whose hooks run, in the order that phases have: extra-data.d, "
        "pre-install.d, install.d, post-install.d, post-root.d, pre-finalise.d, finalise.d and "
        "cleanup.d.",
    )
    elements_path: tuple[ElementDirectory, ...] = Field(
        (), description="Directories that hold elements of your own, before upstream's."
    )
    environment: ElementVariables = Field(
        {},
        description="The variables that hooks see. DISTRO_NAME and DIB_RELEASE are those of the "
        "tree, unless they are given or an element sets them.",
    )
    network: bool = Field(
        True, description="Whether the hooks see the host's network, or an empty one."
    )

    @field_validator("phases")
    @classmethod
    def _are_phases(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            try:
                phase = phase_named(name)
            except ElementError as e:
                raise ValueError(f"{e} ({e.hint})") from e
            if phase.name in _MAKE_TREES:
                raise ValueError(
                    f'{phase.name} makes a tree or a disk: bootstrap {{ method = "elements" }} of '
                    "an image source runs it"
                )
        return given

    @property
    def ordered_phases(self) -> list[Phase]:
        """The phases in their order, each once."""
        wanted = {phase_named(name).name for name in self.phases}
        return [phase for phase in PHASES if phase.name in wanted]

    def description(self, directory: Path, surroundings: Mapping[str, str]) -> Description:
        """What hooks are told of the image; `surroundings` is beside the template's variables."""
        given = self.environment
        machine = platform.machine()
        usual = DEBIAN_ARCHITECTURES.get(machine, machine)
        trace = given.get("DIB_DEBUG_TRACE", "")
        path = elements_path(directory, self.elements_path)
        return Description(
            elements=self.elements, arch=given.get("ARCH") or usual,
            install_type=given.get("DIB_DEFAULT_INSTALLTYPE") or "source",
            offline=bool(given.get("DIB_OFFLINE")),
            trace=int(trace) if trace.isdecimal() else 0,
            root_filesystem=given.get("FS_TYPE") or "ext4",
            environment={**surroundings, "HOME": "/root", **given, "ELEMENTS_PATH": path},
        )  # fmt: skip


class ElementsProvisioner:
    """Runs hooks of elements, beside the tree and in it."""

    type_name: ClassVar[str] = "elements"
    options_model: ClassVar[type[Options]] = ElementsOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, ElementsOptions)
        self.options = options
        self.network = options.network
        self.reads_only = False

    @property
    def label(self) -> str:
        """Names the elements."""
        return f"Running the phases of {', '.join(self.options.elements)}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """The elements must be there and fit together."""
        options = self.options
        found = list(absent(directory, options.elements_path, options.elements))
        if found:
            return found
        try:
            setup = self.set_up(directory)
        except ElementError as e:
            return [Finding(str(e), ("elements",), e.hint or "", rests_on=_ASKED)]
        return tuple(wrong_declarations(setup, ("elements",), _ASKED))

    def set_up(self, directory: Path) -> Setup:
        """The elements and their hooks; raises ElementError."""
        path = elements_path(directory, self.options.elements_path)
        directories = search_directories(path, (OWN_ELEMENTS,))
        expansion = expand(Catalog.read(directories), self.options.elements, needs_system=False)
        package = upstream_package()
        assert package is not None, "search_directories has looked for it"
        return Setup(expansion, merge(expansion.elements), directories, package)

    def key(self, directory: Path) -> StepKey | None:
        """The hooks of each phase with all that decides what they do."""
        setup, description = self.set_up(directory), self.options.description(directory, {})
        phases = self.options.ordered_phases
        inputs = {"type": "elements/1",
                  **config_inputs({"phases": [phase.name for phase in phases]})}  # fmt: skip
        for phase in phases:
            given = hook_environment(description, setup, _ANYWHERE)
            given = in_tree(given) if phase.place is Place.IN_TREE else given
            found = phase_inputs(phase, description, setup, given, directory)
            kind = found.pop("type")
            inputs |= {**found, f"config:{phase.name}": kind}
        return StepKey(inputs)

    def provision(self, context: ProvisionContext) -> None:
        """Run the phases; raises HookFailed, and GoldsmithError where there is no tree."""
        # Late: whoever only checks a template needs none of it.
        from goldsmith.provisioners.element_phases import run_phases

        setup = self.set_up(context.directory)
        description = self.options.description(context.directory, context.environment)
        run_phases(self.options.ordered_phases, description, setup, context)
