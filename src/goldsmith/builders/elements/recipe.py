"""What was asked for, as the things that checks, plan and making all need."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property
from pathlib import Path
from typing import Final

import goldsmith
from goldsmith.builders.elements.disk_wishes import DiskWishes, disk_variables, read_wishes
from goldsmith.builders.elements.late_phases import BLOCK_DEVICE_PHASE, LATE_PHASES
from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.builders.elements.outputs import WantedOutputs
from goldsmith.builders.elements.phase_steps import HookSurroundings
from goldsmith.core.caching import DEFAULT_TTL_S
from goldsmith.core.results import Results
from goldsmith.elements import expansion
from goldsmith.elements.description import DEBIAN_ARCHITECTURES, Description
from goldsmith.elements.phase_keys import phase_inputs
from goldsmith.elements.places import Places
from goldsmith.elements.secret_variables import secret_values
from goldsmith.elements.setup import Setup, set_up
from goldsmith.layers.keys import canonical
from goldsmith.packages.release_files import ReleaseState
from goldsmith.units import GIB, MIB

_AFTER_TREE: Final = (BLOCK_DEVICE_PHASE, *LATE_PHASES)
NO_FINAL_IMAGE: Final = "no-final-image"
"""The element whose images have no disk."""
_EXACT: Final = Context(prec=60)
_NO_INPUTS: Final = {"environment", "terminal"}


@dataclass(frozen=True)
class Recipe:
    """An image's options, and what follows from them."""

    options: ElementsOptions
    image_name: str
    """Of the outputs, without a suffix: a path, relative to the template's directory."""

    @cached_property
    def description(self) -> Description:
        """What the tree depends on."""
        options = self.options
        elements = expansion.asked_for(
            options.elements, ramdisk_element=options.ramdisk_element if options.ramdisk else "",
            skip_base=options.skip_base, arch=self.arch,
        )  # fmt: skip
        return Description(
            elements=elements, arch=self.arch, image_name=self.image_name,
            image_types=options.types, packages=options.packages,
            install_type=options.install_type, offline=options.offline, trace=options.trace,
            ramdisk=options.ramdisk, compat_elements=options.compat_elements,
            arguments=options.arguments or " ".join(options.elements),
            root_filesystem=options.root_filesystem, image_cache=options.image_cache,
            environment=options.environment, cache_ttl_s=options.cache_ttl,
        )  # fmt: skip

    @cached_property
    def setup(self) -> Setup:
        """The elements and their hooks; raises ElementError."""
        return set_up(self.description)

    @cached_property
    def wishes(self) -> DiskWishes:
        """What is wanted of the disk; raises GoldsmithError with every finding."""
        return read_wishes(self.variables, self.setup.expansion.elements, self.arch)

    @property
    def disk_variables(self) -> Mapping[str, str]:
        """What hooks are told of the disk before there is one."""
        return disk_variables(self.wishes)

    @property
    def arch(self) -> str:
        """Debian's name of the architecture."""
        machine = platform.machine()
        return self.options.arch or DEBIAN_ARCHITECTURES.get(machine, machine)

    @property
    def has_disk(self) -> bool:
        """Whether a disk comes out, or only what elements copy out themselves."""
        return not self.options.ramdisk and NO_FINAL_IMAGE not in self.setup.expansion.names

    @property
    def secrets(self) -> frozenset[str]:
        """What of the environment is never shown."""
        return secret_values(self.options.environment)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The environment with what the options say in its place, by the names of upstream."""
        options = self.options
        given = {
            "DIB_IMAGE_SIZE": _units(options.image_size, GIB),
            "DIB_IMAGE_EXTRA_SIZE": _units(options.image_extra_size, MIB),
            "DIB_JOURNAL_SIZE": _units(options.journal_size, MIB),
            "MKFS_OPTS": " ".join(options.mkfs_options),
            "MAX_ONLINE_RESIZE": str(options.max_online_resize or ""),
            "ROOT_LABEL": options.root_label, "FS_TYPE": options.root_filesystem,
            "DIB_CHECKSUM": ",".join(options.checksums),
        }  # fmt: skip
        return {**options.environment, **{name: text for name, text in given.items() if text}}

    def outputs(self, directory: Path, *, makes_disk: bool | None = None) -> WantedOutputs:
        """The files that are wanted, relative to a directory.

        `makes_disk` is for a look at them before the elements are known, which decide it.
        """
        options = self.options
        return WantedOutputs(
            name=self.image_name, types=options.types, checksums=options.checksums,
            compress=options.compress, qemu_img_options=options.qemu_img_options,
            docker_target=options.docker_target, overwrite=options.overwrite,
            makes_disk=self.has_disk if makes_disk is None else makes_disk, arch=self.arch,
            directory=directory, environment=options.environment,
        )  # fmt: skip

    def result_key(
        self,
        results: Results,
        tree_id: str | None,
        places: Places,
        epoch: str,
        releases: Mapping[str, ReleaseState],
    ) -> str | None:
        """What identifies the files; None when they, or the tree, cannot be known again."""
        wanted = self.outputs(places.directory)
        if tree_id is None or wanted.imports() or self._breaks_late:
            # What is in a Docker daemon is not known, nor what a user does in a shell.
            return None
        manifest = wanted.aci_manifest if "aci" in wanted.types else None
        return results.key({
            "type": "elements/3", "version": goldsmith.__version__, "tree": tree_id,
            **self.late_inputs(places, self.wishes, releases),
            "disk": self.wishes.config.text, "sizes": canonical(dict(self.wishes.variables)),
            "options": canonical(self.options.model_dump(mode="json", exclude=_NO_INPUTS)),
            "gzip": canonical(wanted.gzip_program),
            "manifest": "" if manifest is None else manifest.read_text(errors="replace"),
            "outputs": canonical([str(wanted.path(kind)) for kind in wanted.types]),
            "epoch": epoch,
        })  # fmt: skip

    @property
    def late_ttl_s(self) -> float | None:
        """How long the files are used; None where no hook runs after the tree: as long as it."""
        starts = tuple(f"{phase.name}/" for phase in _AFTER_TREE)
        if not any(place.startswith(starts) for place in self.setup.hooks.files):
            return None
        given_s = self.description.cache_ttl_s
        return DEFAULT_TTL_S if given_s is None else given_s

    @property
    def _breaks_late(self) -> bool:
        breaks = self.description.breaks
        return any(breaks.at(when, phase) for when in ("before", "after") for phase in _AFTER_TREE)

    def late_inputs(
        self, places: Places, wishes: DiskWishes, releases: Mapping[str, ReleaseState]
    ) -> dict[str, str]:
        """What the hooks of the phases after the tree depend on, besides the tree.

        They have the network, so the Release files of the image's APT sources are among it.
        """
        description, setup = self.description, self.setup
        around = HookSurroundings(description, setup, places, disk_variables(wishes))
        seen = {} if self.late_ttl_s is None else releases
        return {name: state.digest or "" for name, state in seen.items()} | {
            f"{phase.name} {name}": value
            for phase in _AFTER_TREE
            for name, value in phase_inputs(
                phase, description, setup, around.environment(phase), places.directory
            ).items()
        }


def _units(size_bytes: int | None, unit_bytes: int) -> str:
    """A size as a decimal number of units, to the byte."""
    if size_bytes is None:
        return ""
    return format(_EXACT.divide(Decimal(size_bytes), Decimal(unit_bytes)), "f")
