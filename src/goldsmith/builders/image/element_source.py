"""What a template says of an image whose tree comes from elements, and what is wrong with it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.disk_wishes import CONFIG_VARIABLE, DiskWishes, read_wishes
from goldsmith.builders.elements.options import ElementsOptions
from goldsmith.builders.elements.recipe import Recipe
from goldsmith.builders.image.element_disk import (
    block_devices_text,
    disk_findings,
    size_variables,
)
from goldsmith.builders.image.options import ImageOptions
from goldsmith.core.options import Finding
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout
from goldsmith.elements import expansion
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.description import DEBIAN_ARCHITECTURES
from goldsmith.elements.option_types import (
    absent,
    elements_path,
    wrong_declarations,
    wrong_install_type,
)
from goldsmith.errors import GoldsmithError, NotRootError, Severity, TemplateError
from goldsmith.host.process import get_tool
from goldsmith.units import TIB

_BLOCK_DEVICE: Final = "block-device-"
_BOOT_LOADER: Final = "bootloader"
_CMDLINE: Final = "DIB_BOOTLOADER_DEFAULT_CMDLINE"
_ANY_SIZE_BYTES: Final = 1024 * TIB
"""For a look at a layout before anything has a size."""
_PLACE: Final = ("bootstrap", "elements")
_VARIABLES: Final = ("bootstrap", "environment")
_ASKED: Final = (("bootstrap", "elements_path"), _VARIABLES)
_INSTALL_TYPE: Final = "DIB_DEFAULT_INSTALLTYPE"


@dataclass(frozen=True)
class ElementSource:
    """An `image` source with `method = "elements"`, relative to a directory of the template's.

    `surroundings` is what the build may see of the caller's environment: proxies.
    """

    options: ImageOptions
    image_name: str
    directory: Path
    surroundings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def recipe(self) -> Recipe:
        """The same image as the `elements` source has it."""
        bootstrap, given = self.options.bootstrap, self.options.bootstrap.environment
        path = elements_path(self.directory, bootstrap.elements_path)
        environment = {**self.surroundings, "HOME": "/root", **given, "ELEMENTS_PATH": path}
        if self.options.disk is not None:
            environment.pop(CONFIG_VARIABLE, None)
        if self.options.kernel_cmdline:
            environment[_CMDLINE] = self.options.kernel_cmdline
        trace = given.get("DIB_DEBUG_TRACE", "")
        options = {
            "elements": self._elements, "skip_base": True, "arch": self.arch,
            "packages": bootstrap.packages, "environment": environment,
            "install_type": given.get(_INSTALL_TYPE) or "source",
            "offline": bool(given.get("DIB_OFFLINE")),
            "compat_elements": bootstrap.compat_elements,
            "root_filesystem": given.get("FS_TYPE") or "ext4",
            "root_label": given.get("ROOT_LABEL", ""),
            "trace": int(trace) if trace.isdecimal() else 0,
            "arguments": " ".join(bootstrap.elements),
        }  # fmt: skip
        name = f"{self.options.output_directory}/{self.image_name}"
        return Recipe(ElementsOptions.model_validate(options), name)

    @property
    def arch(self) -> str:
        """Debian's name of the architecture."""
        return self.options.bootstrap.environment.get("ARCH") or _machine()

    @property
    def _elements(self) -> tuple[str, ...]:
        """All that are asked for: with the one that fits a `disk` block in place of others."""
        bootstrap = self.options.bootstrap
        named = bootstrap.elements
        if self.options.disk is not None:
            named = tuple(name for name in named if not name.startswith(_BLOCK_DEVICE))
            if named != bootstrap.elements or "vm" in named:
                named = (*named, _fitting(self.options.layout()))
        return expansion.asked_for(named, skip_base=bootstrap.skip_base, arch=self.arch)

    @cached_property
    def wishes(self) -> DiskWishes:
        """What is wanted of the disk; raises GoldsmithError."""
        variables = dict(self.recipe.variables)
        disk = self.options.disk
        if disk is not None:
            variables |= {CONFIG_VARIABLE: block_devices_text(disk, self.identity),
                          **size_variables(disk)}  # fmt: skip
        return read_wishes(variables, self.recipe.setup.expansion.elements, self.arch)

    @property
    def identity(self) -> DiskIdentity:
        """Where the identifiers come from of a disk that the template describes."""
        return DiskIdentity(self.options.seed or self.image_name)

    @property
    def firmware(self) -> tuple[str, ...]:
        """What it boots on: as the template says, or as the elements' boot loader is installed.

        Raises GoldsmithError for elements that do not fit together.
        """
        if "firmware" in self.options.model_fields_set:
            return self.options.firmware
        if _BOOT_LOADER not in self.recipe.setup.expansion.names:
            return ()
        if self.options.disk is not None:
            layout = self.options.layout()
        else:
            layout = self.wishes.layout(_ANY_SIZE_BYTES)
        bios = ("bios",) if self.arch in ("amd64", "i386") else ()
        return (*bios, "uefi") if layout.of_type("esp") is not None else bios

    def require_host(self) -> None:
        """Raise an error for what this host lacks of what phases, disk and hooks need."""
        from goldsmith.builders.elements.disk_preflight import disk_findings

        if os.geteuid() != 0:
            raise NotRootError("building from elements")
        get_tool("bash")
        disk_findings(self.recipe, self.wishes).raise_if_errors({})

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong, each finding at its option."""
        yield from self._element_findings()
        try:
            firmware = self.firmware
        except GoldsmithError:
            firmware = ()  # it is told of already
        yield from self.options.findings(firmware)

    def _element_findings(self) -> Iterator[Finding]:
        bootstrap, wrong = self.options.bootstrap, False
        for found in absent(self.directory, bootstrap.elements_path, bootstrap.elements):
            rests_on = tuple(("bootstrap", *path) for path in found.rests_on)
            yield replace(found, path=("bootstrap", *found.path), rests_on=rests_on)
            wrong = True
        if self.options.disk is not None:
            in_disk = list(disk_findings(self.options.disk))
            yield from (*in_disk, *self._overridden())
            wrong = wrong or bool(in_disk)
        if wrong:
            return
        try:
            _ = self.recipe.setup
        except ElementError as e:
            yield Finding(str(e), _PLACE, e.hint or "", rests_on=_ASKED)
            return
        type = self.recipe.options.install_type
        yield from wrong_install_type(self.recipe.setup, type, (*_VARIABLES, _INSTALL_TYPE))
        yield from wrong_declarations(self.recipe.setup, _PLACE, _ASKED)
        yield from self._layout_findings()

    def _overridden(self) -> Iterator[Finding]:
        """Warnings about layouts that the `disk` block takes the place of."""
        for number, name in enumerate(self.options.bootstrap.elements):
            if name.startswith(_BLOCK_DEVICE):
                yield Finding(
                    f'the disk is divided as the "disk" block says, and not as element {name}',
                    (*_PLACE, number), "leave out one of the two", Severity.WARNING,
                )  # fmt: skip
        if CONFIG_VARIABLE in self.options.bootstrap.environment:
            yield Finding(
                f'the disk is divided as the "disk" block says, and not as {CONFIG_VARIABLE}',
                ("bootstrap", "environment", CONFIG_VARIABLE), "leave out one of the two",
                Severity.WARNING,
            )  # fmt: skip

    def _layout_findings(self) -> Iterator[Finding]:
        at: tuple[str, ...] = ("disk",)
        if self.options.disk is None:
            given = self.options.bootstrap.environment
            at = ("bootstrap", "environment") if CONFIG_VARIABLE in given else _PLACE
        try:
            layout = self.wishes.layout(_ANY_SIZE_BYTES)
        except TemplateError as e:
            yield from (Finding(str(one), at, severity=one.severity) for one in e.diagnostics)
            return
        except GoldsmithError as e:
            yield Finding(str(e), at, e.hint or "")
            return
        if self.options.disk is None and "uefi" in self.firmware and layout.of_type("esp") is None:
            yield Finding(
                "it is to boot on uefi, and the elements make no EFI system partition",
                ("firmware",), 'add the element "block-device-efi", or a disk block',
            )  # fmt: skip


def _fitting(layout: Layout) -> str:
    """The element whose boot loader fits a layout."""
    if layout.of_type("esp") is not None:
        return f"{_BLOCK_DEVICE}efi"
    return f"{_BLOCK_DEVICE}{'mbr' if layout.label == 'mbr' else 'gpt'}"


def _machine() -> str:
    machine = platform.machine()
    return DEBIAN_ARCHITECTURES.get(machine, machine)
