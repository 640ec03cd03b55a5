"""What `disk-image-create` was asked for: its arguments and its environment, checked as a whole.

Source: `specs/diskimage-builder.md`, A1.1, A10 and A13. Options that upstream documents and then
refuses (`--mkfs-journal-size`, `--image-extra-size`, `-c`) work.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from goldsmith.elements.description import (
    DEBIAN_ARCHITECTURES,
    DEFAULT_JOURNAL_MIB,
    known_architecture,
)
from goldsmith.elements.phases import Breaks
from goldsmith.errors import Diagnostic, GoldsmithError, TemplateError
from goldsmith.template.dib.getopt_words import read_words

TYPES: Final = ("qcow2", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "raw")
CHECKSUMS: Final = ("md5", "sha256")
_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")

_SHORT: Final = {"a": True, "o": True, "t": True, "x": False, "u": False, "c": False, "n": False,
                 "p": True, "h": False}  # fmt: skip
_LONG: Final = {
    "logfile": True, "checksum": False, "image-size": True, "image-extra-size": True,
    "image-cache": True, "max-online-resize": True, "min-tmpfs": True, "mkfs-journal-size": True,
    "mkfs-options": True, "no-tmpfs": False, "offline": False, "qemu-img-options": True,
    "root-label": True, "ramdisk-element": True, "install-type": True, "docker-target": True,
    "help": False, "version": False, "no-compat-elements": False, "no-cache": False,
}  # fmt: skip


class RequestError(GoldsmithError):
    """An image was asked for that cannot be; `findings` has every reason.

    `partial` is the image without what is wrong, where that can be looked at for more; else None.
    """

    def __init__(
        self,
        findings: Sequence[str],
        *,
        hint: str | None = None,
        partial: ImageRequest | None = None,
    ) -> None:
        self.findings = tuple(findings)
        self.partial = partial
        super().__init__("\n".join(self.findings), hint=hint)

    def each(self) -> TemplateError:
        """The same with a finding for each reason."""
        return TemplateError([Diagnostic(finding) for finding in self.findings])


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image: what it is made of, and what is to come out. Sizes are in their unit's bytes."""

    elements: tuple[str, ...]
    """As given: `base` and a partition table are not among them yet."""
    ramdisk: bool = False
    arch: str = "amd64"
    name: str = "image"
    types: tuple[str, ...] = ("qcow2",)
    trace: int = 0
    compress: bool = True
    clear_environment: bool = False
    skip_base: bool = False
    packages: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()
    size_bytes: int | None = None
    extra_size_bytes: int | None = None
    image_cache: str = ""
    max_online_resize: int | None = None
    journal_size_mib: int = DEFAULT_JOURNAL_MIB
    mkfs_options: tuple[str, ...] = ()
    offline: bool = False
    qemu_img_options: str = ""
    root_label: str = ""
    root_filesystem: str = "ext4"
    ramdisk_element: str = "ramdisk"
    install_type: str = "source"
    docker_target: str = ""
    logfile: str = ""
    overwrite: bool = False
    breaks: Breaks = field(default_factory=lambda: Breaks(frozenset()))
    use_cache: bool = True
    compat_elements: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line wants: an image, or one of the two texts."""

    request: ImageRequest | None = None
    help: bool = False
    version: bool = False


def read_request(
    words: Sequence[str], environment: Mapping[str, str], *, ramdisk: bool = False
) -> Asked:
    """Read arguments; the environment has the defaults. Raises RequestError with all findings."""
    given = read_words(words, _SHORT, _LONG)
    names = [name for name, _ in given.options]
    if "h" in names or "help" in names:
        return Asked(help=True)
    if "version" in names:
        return Asked(version=True)
    reader = _Reader({}, [])
    for name, value in given.options:
        reader.take(name, value)
    return Asked(reader.finish(given.others, {} if "c" in names else environment, ramdisk=ramdisk))


@dataclass(slots=True)
class _Reader:
    """Collects what options say; what they do not say comes from the environment."""

    said: dict[str, str]
    findings: list[str]
    packages: list[str] = field(default_factory=list)
    trace: int = 0

    def take(self, name: str, value: str) -> None:
        if name == "x":
            self.trace += 1
        elif name == "p":
            self.packages += [one for one in value.split(",") if one]
        else:
            self.said[name] = value

    def finish(
        self, elements: tuple[str, ...], environment: Mapping[str, str], *, ramdisk: bool
    ) -> ImageRequest:
        def text(name: str, variable: str, default: str = "") -> str:
            return self.said.get(name) or environment.get(variable) or default

        if not elements:
            self.findings.append("At least one distribution root element must be specified")
        # Upstream sets some anew, so the environment has no say in types, options and targets.
        types = self._types(self.said.get("t") or "qcow2")
        name = text("o", "IMAGE_NAME", "image")
        if len(types) == 1:
            name = name.removesuffix(f".{types[0]}")
        target = self.said.get("docker-target", "")
        if "docker" in types and not target:
            self.findings.append("-t docker needs --docker-target REPOSITORY:TAG")
            types = tuple(type for type in types if type != "docker")
        request = ImageRequest(
            elements, ramdisk, self._architecture(text("a", "ARCH")), name, types or ("qcow2",),
            self.trace + _count(environment.get("DIB_DEBUG_TRACE", "")),
            "u" not in self.said, "c" in self.said,
            "n" in self.said or environment.get("SKIP_BASE") == "1", tuple(self.packages),
            self._checksums(environment.get("DIB_CHECKSUM", "")),
            self._size("--image-size", text("image-size", "DIB_IMAGE_SIZE"), 1 << 30),
            self._size("--image-extra-size", text("image-extra-size", "DIB_IMAGE_EXTRA_SIZE"),
                       1 << 20),
            text("image-cache", "DIB_IMAGE_CACHE"),
            self._number("--max-online-resize", text("max-online-resize", "MAX_ONLINE_RESIZE")),
            self._number("--mkfs-journal-size", text("mkfs-journal-size", "DIB_JOURNAL_SIZE"))
            or DEFAULT_JOURNAL_MIB,
            tuple(self.said.get("mkfs-options", "").split()),
            "offline" in self.said or bool(environment.get("DIB_OFFLINE")),
            text("qemu-img-options", "QEMU_IMG_OPTIONS"), text("root-label", "ROOT_LABEL"),
            environment.get("FS_TYPE") or "ext4",
            text("ramdisk-element", "RAMDISK_ELEMENT", "ramdisk"),
            text("install-type", "DIB_DEFAULT_INSTALLTYPE", "source"), target,
            self.said.get("logfile", ""), environment.get("OVERWRITE_OLD_IMAGE", "0") != "0",
            self._breaks(environment), "no-cache" not in self.said,
            "no-compat-elements" not in self.said,
        )  # fmt: skip
        if self.findings:
            raise RequestError(self.findings, partial=request if elements else None)
        return request

    def _architecture(self, text: str) -> str:
        try:
            return known_architecture(text) or _this_architecture()
        except ValueError as e:
            self.findings.append(f"-a {e}")
            return _this_architecture()

    def _types(self, text: str) -> tuple[str, ...]:
        types = tuple(dict.fromkeys(word for word in re.split(r"[,\s]+", text) if word))
        for word in types:
            # Whether qemu-img knows another word is found with what else a host must have.
            if word not in TYPES and not _FORMAT.fullmatch(word):
                self.findings.append(f"-t {word}: there is no such type of image; there are "
                                     f"{', '.join(TYPES)}, and what qemu-img writes")  # fmt: skip
        return tuple(word for word in types if word in TYPES or _FORMAT.fullmatch(word))

    def _checksums(self, text: str) -> tuple[str, ...]:
        words = [word for word in re.split(r"[,\s]+", text) if word]
        if "checksum" in self.said or words == ["1"]:
            return CHECKSUMS
        if words in ([], ["0"]):
            return ()
        for word in words:
            if word not in CHECKSUMS:
                self.findings.append(f"DIB_CHECKSUM={text}: it is 1, or of md5 and sha256")
        return tuple(word for word in words if word in CHECKSUMS)

    def _size(self, what: str, text: str, unit_bytes: int) -> int | None:
        """A decimal number of GiB or MiB, upstream's "GB" and "MB"."""
        if not text:
            return None
        try:
            size = Decimal(text) * unit_bytes
        except ArithmeticError:
            size = Decimal("NaN")
        if not size.is_finite() or not 1 <= size < 1 << 62:
            self.findings.append(f"{what} {text}: it is not a size")
            return None
        return int(size)

    def _number(self, what: str, text: str) -> int | None:
        if not text:
            return None
        if not text.isdecimal() or len(text) > 18 or int(text) == 0:
            self.findings.append(f"{what} {text}: it is not a number")
            return None
        return int(text)

    def _breaks(self, environment: Mapping[str, str]) -> Breaks:
        try:
            return Breaks.of(environment)
        except GoldsmithError as e:
            self.findings.append(str(e))
            return Breaks(frozenset())


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 4 else 0


def _this_architecture() -> str:
    """Debian's name of this host's architecture."""
    machine = platform.machine()
    return "armhf" if machine.startswith("armv") else DEBIAN_ARCHITECTURES.get(machine, machine)
