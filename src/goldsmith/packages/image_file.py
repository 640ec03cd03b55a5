"""Disk images of machines as files: their format, their partitions, what their fstab names.

Nothing here mounts or changes anything. Images come from strangers: a format is told by the file's
first bytes, and one that would make qemu-img open other files is refused before it runs. Source:
blkid(8), sfdisk(8) of util-linux 2.38; qemu-img(1) and the format descriptions of QEMU 7.2.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed
from goldsmith.host.confined import confined, read_confined
from goldsmith.host.process import run, tool_environment
from goldsmith.host.sparse import is_full_message, no_space
from goldsmith.packages.apt_request import Report
from goldsmith.packages.errors import PackageError
from goldsmith.units import LARGEST_FILE_BYTES, format_size

_SECTOR_BYTES: Final = 512
_HEAD_BYTES: Final = 512
_CONVERTED: Final = ((0, b"QFI\xfb", "qcow2"), (0, b"KDMV", "vmdk"), (0, b"vhdxfile", "vhdx"),
                     (0, b"conectix", "vpc"), (64, b"\x7f\x10\xda\xbe", "vdi"))  # fmt: skip
_PACKED: Final = ((b"\x1f\x8b", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"),
                  (b"\xfd7zXZ\0", "unxz"), (b"BZh", "bunzip2"))  # fmt: skip
_UNMOUNTED: Final = frozenset({"swap", "none", "tmpfs", "proc", "sysfs"})
_LARGEST_FSTAB_BYTES: Final = 1 << 20
_MOST_MOUNTS: Final = 64
# The first disk of a machine, by the names that Linux has for it.
_FIRST_DISK: Final = re.compile(r"/dev/(?:(?:[shv]|xv)da|(?:nvme0n1|mmcblk0)p)([1-9][0-9]{0,2})")
_ESCAPED: Final = re.compile(r"\\(.)")
_FSTAB_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class ImagePartition:
    """A stretch of the image; number 0 is the whole of one without a partition table.

    `probed` is what blkid says of its content: TYPE, UUID, LABEL.
    """

    number: int
    offset_bytes: int
    size_bytes: int
    type: str = ""
    uuid: str = ""
    probed: Mapping[str, str] = field(default_factory=dict)
    label: str = ""

    @property
    def filesystem(self) -> str:
        """The type of its file system, "" for none that blkid knows."""
        return self.probed.get("TYPE", "")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"partition {self.number}" if self.number else "the image"

    def answers_to(self, device: str) -> bool:
        """Whether the first field of an fstab line means it, by a tag or as the first disk's."""
        if first := _FIRST_DISK.fullmatch(device):
            return int(first.group(1)) == self.number
        tag, value = _tag_of(device)
        names = {"UUID": self.probed.get("UUID"), "LABEL": self.probed.get("LABEL"),
                 "PARTUUID": self.uuid, "PARTLABEL": self.label}  # fmt: skip
        known = names.get(tag)
        if not known:
            return False
        # Identifiers are written in either case, labels are not.
        return value == known or ("UUID" in tag and value.lower() == known.lower())


def _tag_of(device: str) -> tuple[str, str]:
    """The kind of name that an fstab line has for its device, and the name."""
    for tag in ("UUID", "LABEL", "PARTUUID", "PARTLABEL"):
        link = f"/dev/disk/by-{tag.lower()}/"
        if device.startswith(link):
            return tag, device.removeprefix(link)
    tag, equals, value = device.partition("=")
    return (tag, value.strip('"')) if equals else ("", "")


def require_image(image: Path) -> None:
    """Raise PackageError unless there is a file that could be a disk image."""
    if image.is_dir():
        raise PackageError(f"{image} is a directory, not an image",
                           hint='method = "directory" copies it')  # fmt: skip
    if not image.exists():
        raise PackageError(f"there is no image {image}")
    if not stat.S_ISREG(image.stat().st_mode):
        raise PackageError(f"{image} is not a file")
    image_format(image)


def read_partitions(raw: Path, image: Path) -> list[ImagePartition]:
    """The partitions of a raw image with what is in them; one of number 0 without a table.

    `image` is what messages name. Raises PackageError when there is nothing to be recognised.
    """
    whole = _probe(raw, ImagePartition(0, 0, raw.stat().st_size))
    if whole.filesystem:
        return [whole]
    done = run(["sfdisk", "--json", str(raw)], check=False, capture=True, env=tool_environment())
    try:
        table = json.loads(done.text)["partitiontable"] if done.status == 0 else {}
    except (ValueError, KeyError):
        table = {}
    if not table.get("partitions"):
        said = "\n".join(line for line in done.tail if line)
        raise PackageError(
            f"{image} has neither a partition table nor a file system that is known"
            + (f"\n{said}" if said else ""),
            hint="it is damaged, or not a disk image: fetch it again",
        )
    if any(entry["type"].lower() == "ee" for entry in table["partitions"]):
        # Only the protective entry of a GPT is left: sfdisk could not read the GPT itself.
        raise PackageError(f"the partition table of {image} is damaged, or the image is cut short",
                           hint="fetch it again")  # fmt: skip
    sector = int(table.get("sectorsize", _SECTOR_BYTES))
    found = []
    for number, entry in enumerate(table["partitions"], 1):
        part = ImagePartition(
            _number(entry["node"], str(raw), number), entry["start"] * sector,
            entry["size"] * sector, entry["type"].upper(), entry.get("uuid", ""),
            label=entry.get("name", ""),
        )  # fmt: skip
        if part.offset_bytes + part.size_bytes > raw.stat().st_size:
            raise PackageError(f"{image} is cut short: {part.name} ends behind its end",
                               hint="fetch it again")  # fmt: skip
        found.append(_probe(raw, part))
    return found


def _number(node: str, raw: str, default: int) -> int:
    """The number in a node's name; a table may have gaps."""
    digits = node.removeprefix(raw).lstrip("p")
    return int(digits) if digits.isdigit() else default


def _probe(raw: Path, part: ImagePartition) -> ImagePartition:
    argv = ["blkid", "--probe", "--output=export", f"--offset={part.offset_bytes}",
            f"--size={part.size_bytes}", str(raw)]  # fmt: skip
    done = run(argv, check=False, capture=True, env=tool_environment())
    pairs = (line.split("=", 1) for line in done.text.splitlines() if "=" in line)
    fields = {name: _ESCAPED.sub(r"\1", value) for name, value in pairs}
    return replace(part, probed=fields)


def image_format(image: Path) -> str:
    """The image's format by its first bytes: "raw" for all that has none of the known ones."""
    with image.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise PackageError(f"{image} is empty")
    for magic, program in _PACKED:
        if head.startswith(magic):
            raise PackageError(f"{image} is compressed", hint=f"unpack it first: {program} FILE")
    for offset, magic, name in _CONVERTED:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "raw"


def as_raw(image: Path, raw: Path, emit: Report) -> Path:
    """The image itself where it is raw, else a sparse raw copy of it, made as `raw`.

    Its format is told to qemu-img: of a raw image it would believe a header that a guest wrote.
    Raises PackageError also for an image of which a part is in another file, NoSpaceError.
    """
    name = image_format(image)
    if name == "raw":
        return image
    refuse_parts(image, name)
    emit("message", f"Unpacking {image.name}")
    try:
        told = run(["qemu-img", "info", "--output=json", "-f", name, image.absolute()],
                   capture=True)  # fmt: skip
        info = json.loads(told.text)
        if info.get("backing-filename"):
            raise _is_part(image)
        size_bytes = int(info.get("virtual-size", 0))
        if size_bytes > LARGEST_FILE_BYTES:
            raise PackageError(f"{image} claims to hold {format_size(size_bytes)}")
        run(["qemu-img", "convert", "-f", name, "-O", "raw", image.absolute(), raw.absolute()],
            on_line=lambda _, line: emit("output", line))  # fmt: skip
    except CommandFailed as e:
        raw.unlink(missing_ok=True)
        if any(is_full_message(line) for line in e.tail):
            raise no_space(raw) from e
        said = "\n".join(e.tail)
        raise PackageError(f"{image} cannot be read as {name}\n{said}",
                           hint="it is damaged: fetch it again") from e  # fmt: skip
    return raw


def refuse_parts(image: Path, name: str) -> None:
    """Raise PackageError for a header that names other files: qemu-img would open them.

    In qcow2 that is a backing file (the offset of its name) or an external data file (bit 2 of the
    incompatible features), in vmdk a descriptor in the place of the data (capacity 0).
    """
    with image.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if name == "qcow2":
        version = int.from_bytes(head[4:8], "big")
        has_data_file = version >= 3 and bool(int.from_bytes(head[72:80], "big") & 0x4)
        if version in (2, 3) and (int.from_bytes(head[8:16], "big") or has_data_file):
            raise _is_part(image)
    if name == "vmdk" and int.from_bytes(head[12:20], "little") == 0:
        raise _is_part(image)


def _is_part(image: Path) -> PackageError:
    return PackageError(
        f"{image} is only a part of an image: the rest is in another file",
        hint="qemu-img convert makes one whole file of both",
    )


@dataclass(frozen=True, slots=True)
class FstabLine:
    """A file system that a tree wants mounted below its root; `options` as they stand there."""

    device: str
    place: str
    kind: str
    options: tuple[str, ...]


def fstab_lines(tree: Path) -> Iterator[FstabLine]:
    """What a tree's /etc/fstab mounts below the root, lines that make no sense left out.

    Raises PackageError for a file of absurd length or with absurdly many lines.
    """
    file = confined(tree, "/etc/fstab", follow_last=True)
    if file.is_file() and os.lstat(file).st_size > _LARGEST_FSTAB_BYTES:
        raise PackageError("/etc/fstab of the image is larger than 1 MiB: it is not believed")
    text = (read_confined(tree, "/etc/fstab") or b"").decode(errors="replace")
    count = 0
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        device, place = (
            _FSTAB_OCTAL.sub(lambda found: chr(int(found.group(1), 8)), field)
            for field in fields[:2]
        )
        normal = os.path.normpath(place)
        if not place.startswith("/") or normal in ("/", "//") or fields[2] in _UNMOUNTED:
            continue
        count += 1
        if count > _MOST_MOUNTS:
            raise PackageError(f"/etc/fstab of the image has more than {_MOST_MOUNTS} mounts")
        options = tuple(fields[3].split(",")) if len(fields) > 3 else ()
        yield FstabLine(device, normal, fields[2], options)
