"""What is wanted of the disk of an element image, read and checked before anything is built.

The configuration of the block devices comes from the environment or from an element; sizes and
words for mkfs come from the environment, where the command line has put them. Upstream finds most
mistakes in these after the tree is made. Source: `specs/diskimage-builder.md`, A10 and A12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from goldsmith.disk.block_devices.checking import check_block_devices
from goldsmith.disk.block_devices.layouts import to_layout
from goldsmith.disk.block_devices.model import BlockDevices, LocalLoop, Mkfs
from goldsmith.disk.block_devices.reading import RootDefaults, read_block_devices
from goldsmith.disk.layout import check
from goldsmith.disk.model import Layout
from goldsmith.elements.catalog import Element
from goldsmith.elements.description import DEFAULT_JOURNAL_MIB
from goldsmith.errors import Diagnostics, GoldsmithError, SourceRange
from goldsmith.units import GIB, KIB, MIB, TIB

CONFIG_VARIABLE: Final = "DIB_BLOCK_DEVICE_CONFIG"
BARE_FILE_SYSTEM: Final = """\
- local_loop:
    name: image0
    mkfs:
      name: mkfs_root
      mount:
        mount_point: /
        fstab:
          options: "defaults"
          fsck-passno: 1
"""
"""The disk where neither the environment nor an element describes one: no partition table."""

DEFAULT_LABEL: Final = "cloudimg-rootfs"
XFS_LABEL: Final = "img-rootfs"
"""xfs has room for 12 bytes only."""
_BYTES_PER_INODE: Final = 4096
_EFI_ELEMENT: Final = "block-device-efi"
_LARGEST_BYTES: Final = 64 * TIB
STEP_BYTES: Final = 64 * KIB
"""What every size is a multiple of: older qemu-img lost the end of others."""
SIZE_HINT: Final = "make DIB_IMAGE_SIZE (--image-size) larger, or leave it out"
_PROBE_BYTES: Final = 1 << 50
"""For checks of a layout whose size is not known yet."""


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A configuration, and how messages name it."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class DiskWishes:
    """The block devices, and the words that size them; made by `read_wishes`."""

    config: ConfigText
    devices: BlockDevices
    size_bytes: int | None = None
    """What the user wants it to be: then it is that, to the next 64 KiB as upstream has it."""
    extra_bytes: int | None = None
    """Added to what the tree takes, in place of upstream's two thirds."""
    journal_mib: int = DEFAULT_JOURNAL_MIB
    journal_is_given: bool = False
    has_efi: bool = False
    report_usage: bool = False
    report_all: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """What of the environment decided: for keys."""

    @property
    def root(self) -> Mkfs:
        """The file system that is mounted at /."""
        base = next(one.base for one in self.devices.mounts if one.mount_point == "/")
        return next(one for one in self.devices.filesystems if one.name == base)

    @property
    def disk(self) -> LocalLoop:
        """The disk that becomes the image."""
        return next(one for one in self.devices.loops if one.name == "image0")

    @property
    def mount_points(self) -> tuple[str, ...]:
        """In the order of writing, as DIB_MOUNTPOINTS has them."""
        return tuple(one.mount_point for one in self.devices.mounts)

    def layout(self, size_bytes: int) -> Layout:
        """The layout of the image, of this size unless the configuration has one."""
        return to_layout(self.devices, size_bytes)


_VARIABLES: Final = (
    CONFIG_VARIABLE, "DIB_BLOCK_SIZE", "DIB_IMAGE_SIZE", "DIB_IMAGE_EXTRA_SIZE", "DIB_JOURNAL_SIZE",
    "MKFS_OPTS", "MAX_ONLINE_RESIZE", "ROOT_LABEL", "FS_TYPE", "DIB_RELEASE",
)  # fmt: skip


def read_wishes(
    environment: Mapping[str, str],
    elements: Sequence[Element],
    arch: str = "amd64",
    *,
    root_words: Sequence[str] | None = None,
) -> DiskWishes:
    """Read what an environment and elements (in their order) say of the disk.

    `root_words` are for mkfs of the root, in place of those that follow from the environment.
    Raises TemplateError with every finding of the configuration, GoldsmithError for a file that
    cannot be read and for sizes that are none.
    """
    findings = Diagnostics()
    config = choose_config(environment, elements, arch)
    size_bytes = _size(environment, "DIB_IMAGE_SIZE", GIB, findings)
    size_bytes = None if size_bytes is None else -(-size_bytes // STEP_BYTES) * STEP_BYTES
    extra_bytes = _size(environment, "DIB_IMAGE_EXTRA_SIZE", MIB, findings)
    journal = _size(environment, "DIB_JOURNAL_SIZE", 1, findings)
    wishes = DiskWishes(
        config, BlockDevices(), size_bytes, extra_bytes,
        journal or DEFAULT_JOURNAL_MIB, journal not in (None, DEFAULT_JOURNAL_MIB),
        has_efi=any(element.name.startswith(_EFI_ELEMENT) for element in elements),
        report_usage=environment.get("DIB_SHOW_IMAGE_USAGE", "0") not in ("", "0"),
        report_all=environment.get("DIB_SHOW_IMAGE_USAGE_FULL", "0") not in ("", "0"),
        variables={name: environment[name] for name in _VARIABLES if name in environment},
    )  # fmt: skip
    devices = _devices(wishes, environment, findings, root_words)
    findings.raise_if_errors({config.place: config.text})
    made = replace(wishes, devices=devices)
    _check_layout(made, findings)
    findings.raise_if_errors({config.place: config.text})
    return made


def choose_config(
    environment: Mapping[str, str], elements: Sequence[Element], arch: str
) -> ConfigText:
    """The configuration: the environment's, that of the first element that has one, or our own."""
    given = environment.get(CONFIG_VARIABLE, "")
    if given.startswith("file://"):
        return _read(Path(given.removeprefix("file://")), CONFIG_VARIABLE)
    if given:
        return ConfigText(given, CONFIG_VARIABLE)
    own = "ppc64el" if arch == "ppc64le" else arch  # two names of one architecture
    for element in elements:
        for name in (f"block-device-{own}.yaml", "block-device-default.yaml"):
            path = element.path / name
            if path.is_file():
                return _read(path, f"element {element.name}")
    return ConfigText(BARE_FILE_SYSTEM, "the disk of images without a block-device element")


def _read(path: Path, whose: str) -> ConfigText:
    try:
        return ConfigText(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as e:
        told = e.strerror if isinstance(e, OSError) else "it is no text"
        raise GoldsmithError(
            f"{path}, the block device configuration of {whose}, cannot be read: {told}"
        ) from e


def _devices(
    wishes: DiskWishes,
    environment: Mapping[str, str],
    findings: Diagnostics,
    root_words: Sequence[str] | None,
) -> BlockDevices:
    kind = environment.get("FS_TYPE") or "ext4"
    label = environment.get("ROOT_LABEL") or ""
    own = _root_words(environment, wishes) if root_words is None else tuple(root_words)
    root = RootDefaults(kind, label or DEFAULT_LABEL, own)

    def read(found: Diagnostics, defaults: RootDefaults) -> BlockDevices:
        config = wishes.config
        return read_block_devices(
            config.text, config.place, found, root=defaults, environment=environment
        )

    first = read(Diagnostics(), root)
    node = next((one for one in first.filesystems if one.name == "mkfs_root"), None)
    # The configuration may choose another type than FS_TYPE, and both label and words go by it.
    if node is not None and node.type == "xfs" and not label:
        root = RootDefaults(kind, XFS_LABEL, root.options)
    if node is not None and node.type != "ext4" and root_words is None:
        root = RootDefaults(kind, root.label, tuple(environment.get("MKFS_OPTS", "").split()))
    devices = read(findings, root)
    if not findings.errors:
        findings.extend(check_block_devices(devices))
    return devices


def _root_words(environment: Mapping[str, str], wishes: DiskWishes) -> tuple[str, ...]:
    """What mkfs.ext4 of the root is told: many inodes and a journal that lets the image grow."""
    words: list[str] = []
    if resize := environment.get("MAX_ONLINE_RESIZE"):
        words += ["-E", f"resize={resize}"]
    if environment.get("DIB_RELEASE") == "trusty":
        words += ["-O", "^metadata_csum"]
    words += ["-i", str(_BYTES_PER_INODE), "-J", f"size={wishes.journal_mib}"]
    return (*words, *environment.get("MKFS_OPTS", "").split())


def _check_layout(wishes: DiskWishes, findings: Diagnostics) -> None:
    """What the model of a disk refuses, before there is a tree to size it by."""
    try:
        layout = wishes.layout(wishes.size_bytes or _PROBE_BYTES)
    except GoldsmithError as e:
        for line in str(e).splitlines():
            findings.error(line, e.hint or "", _place(wishes, line.partition(":")[0]))
        return
    for finding in check(layout):
        if layout.size_bytes == _PROBE_BYTES and finding.field == "size":
            continue
        hint = SIZE_HINT if finding.field == "size" else finding.hint
        place = _place(wishes, finding.partition or "")
        if layout.label == "mbr" and finding.field == "partition":
            hint, place = 'write "label: gpt"', wishes.devices.tables[0].place
        findings.error(str(finding), hint or "", place)


def _place(wishes: DiskWishes, name: str) -> SourceRange | None:
    """Where the entry stands that a finding names."""
    name = name.rpartition("/")[2]  # of "group/volume"
    return next((one.place for one in wishes.devices.every() if one.name == name), None)


def _size(
    environment: Mapping[str, str], name: str, unit_bytes: int, findings: Diagnostics
) -> int | None:
    """A decimal number of units, in bytes."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    try:
        number = Decimal(text)
        size = int(number * unit_bytes) if number.is_finite() else 0
    except ArithmeticError:
        size = 0
    if not 0 < size <= _LARGEST_BYTES:
        findings.error(f"{name}={text}: it is not a size", "write a number, as 2 or 0.5")
        return None
    return size


def disk_variables(wishes: DiskWishes) -> dict[str, str]:
    """What hooks are told of the disk before there is one (A7)."""
    boot = next((one.base for one in wishes.devices.mounts if one.mount_point == "/boot"), None)
    label = next((one.label for one in wishes.devices.filesystems if one.name == boot), "")
    return {
        "DIB_ROOT_LABEL": wishes.root.label, "DIB_ROOT_FSTYPE": wishes.root.type,
        "DIB_BOOT_LABEL": label, "DIB_MOUNTPOINTS": "|".join(wishes.mount_points),
    }  # fmt: skip
