"""The input of `fa-mkbootstrap`, as fuel-agent's data driver `bootstrap_build_image` reads it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from goldsmith.deploy.bootstrap_image import INITRAMFS, KERNEL, METADATA, MODULE_NAMES, ROOT
from goldsmith.template.fuel.build_input import (
    BuildInput,
    ImageData,
    input_error,
    read_model,
    wrong,
)

BOOT_IMAGE: Final = "boot.img"
COMPRESSIONS: Final = ("xz", "gzip", "lzo", "lz4", "zstd")
_FILE_NAMES: Final = {"kernel": KERNEL, "initrd": INITRAMFS, "rootfs": ROOT}


def _is_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as e:
        raise wrong(f"{text!r} is not a UUID") from e


def _is_text(text: str) -> str:
    if not text.isprintable():
        raise wrong("it has more than one line")
    return text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ModuleData(_Model):
    """A part of the image: kernel, initrd or rootfs, and where it will be published."""

    name: Literal["kernel", "initrd", "rootfs"]
    mask: str = Field("", description="fuel-agent's glob for the file; accepted if it is as usual.")
    uri: str = ""
    compress_format: Literal["xz", "gzip", "lzo", "lz4", "zstd"] = "xz"
    format: str = ""
    container: str = ""


class ContainerData(_Model):
    """How the image is written."""

    meta_file: Literal["metadata.yaml"] = METADATA
    format: Literal["tar.gz", "directory"] = "tar.gz"


class BootstrapData(_Model):
    """What a bootstrap image has beside its packages."""

    modules: tuple[ModuleData, ...] = ()
    container: ContainerData = ContainerData()
    uuid: Annotated[str, AfterValidator(_is_uuid)]
    label: Annotated[str, AfterValidator(_is_text)] = ""
    extend_kopts: Annotated[str, AfterValidator(_is_text)] = ""
    extra_files: tuple[str, ...] = ()
    root_ssh_authorized_file: str = ""
    post_script_file: str = ""
    certs: tuple[str, ...] = ()


class BootstrapInput(BuildInput):
    """What a bootstrap image is made of, and where it goes: `output` is the file or directory."""

    image_data: dict[str, ImageData] = Field(default_factory=dict)
    bootstrap: BootstrapData

    @property
    def name(self) -> str:
        """What the build is called."""
        return "bootstrap"

    def compression(self, part: str) -> str:
        """How initramfs or root are compressed."""
        return next((m.compress_format for m in self.bootstrap.modules if m.name == part), "xz")

    def uris(self) -> dict[str, str]:
        """Where each part will be published, as far as the input says it."""
        return {module.name: module.uri for module in self.bootstrap.modules if module.uri}

    def findings(self) -> Iterator[str]:
        """What only shows when the parts are seen together, or on this host."""
        for mount, image in self.image_data.items():
            if mount != "/" or image.container != "raw":
                yield f"image_data.{mount}: a bootstrap image has one root, in the container raw"
        if "://" in self.output:
            yield "output: it is a file or directory of this host"
        names: list[str] = [module.name for module in self.bootstrap.modules]
        for name in sorted(MODULE_NAMES):
            if names.count(name) > 1:
                yield f"bootstrap.modules: there are several of the name {name}"
        yield from self._file_findings()
        yield from self.repository_findings()

    def _file_findings(self) -> Iterator[str]:
        given = self.bootstrap
        for number, place in enumerate(given.extra_files):
            if not Path(place).is_dir():
                yield f"bootstrap.extra_files.{number}: there is no directory {place}"
        files = [(f"certs.{number}", place) for number, place in enumerate(given.certs)]
        files += [("root_ssh_authorized_file", given.root_ssh_authorized_file),
                  ("post_script_file", given.post_script_file)]  # fmt: skip
        for name, place in files:
            if place and not Path(place).is_file():
                yield f"bootstrap.{name}: there is no file {place}"
        for number, place in enumerate(given.certs):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]*", Path(place).name):
                yield f"bootstrap.certs.{number}: {place} does not end in a plain file name"


def read_bootstrap_input(data: Any, origin: str) -> BootstrapInput:
    """Check plain data; raises InputError with everything that is wrong."""
    found = read_model(BootstrapInput, data, origin)
    findings = list(found.findings())
    if findings:
        raise input_error(findings, origin)
    return found
