"""A tree taken from the disk image of a machine: its root file system, and those mounted below it.

The image is never written to and nothing in it is run. Its file systems are mounted read-only by
this host's kernel, from loop devices at the offsets of their partitions, so it must happen where
mounts are private. Source: blkid(8), sfdisk(8) of util-linux 2.38; qemu-img(1) of QEMU 7.2.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed, GoldsmithError, Interrupted
from goldsmith.host import mounts
from goldsmith.host.confined import confined, make_directory, read_confined
from goldsmith.host.loop import attached
from goldsmith.host.process import run, tool_environment
from goldsmith.packages.apt_request import Report
from goldsmith.packages.errors import PackageError
from goldsmith.packages.unpack import prepare_target

_SECTOR_BYTES: Final = 512
_HEAD_BYTES: Final = 512
_MOUNT_OPTIONS: Final[Mapping[str, str]] = {
    # A read-only device cannot replay a journal.
    "ext4": "noload", "ext3": "noload", "ext2": "", "xfs": "norecovery,nouuid",
    "btrfs": "rescue=nologreplay", "squashfs": "", "erofs": "",
}  # fmt: skip
_CONVERTED: Final = ((0, b"QFI\xfb", "qcow2"), (0, b"KDMV", "vmdk"), (0, b"vhdxfile", "vhdx"),
                     (0, b"conectix", "vpc"), (64, b"\x7f\x10\xda\xbe", "vdi"))  # fmt: skip
_PACKED: Final = ((b"\x1f\x8b", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"),
                  (b"\xfd7zXZ\0", "unxz"), (b"BZh", "bunzip2"))  # fmt: skip
_ROOT_TYPES: Final = frozenset({
    # x86-64 and arm64 roots of the discoverable partitions specification.
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
})  # fmt: skip
_STACKED: Final = {
    "LVM2_member": "a physical volume of LVM", "linux_raid_member": "a member of a RAID array",
    "crypto_LUKS": "encrypted",
}  # fmt: skip
_UNMOUNTED: Final = frozenset({"swap", "none", "tmpfs", "proc", "sysfs"})


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

    @property
    def filesystem(self) -> str:
        """The type of its file system, "" for none that blkid knows."""
        return self.probed.get("TYPE", "")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"partition {self.number}" if self.number else "the image"

    def answers_to(self, device: str) -> bool:
        """Whether the first field of an fstab line means it."""
        tag, equals, value = device.partition("=")
        names = {"UUID": self.probed.get("UUID"), "LABEL": self.probed.get("LABEL"),
                 "PARTUUID": self.uuid}  # fmt: skip
        known = names.get(tag) if equals else None
        return known is not None and value.strip('"').lower() == known.lower()


def require_image(image: Path) -> None:
    """Raise PackageError unless there is a file that `bootstrap_image` could read."""
    if image.is_dir():
        raise PackageError(f"{image} is a directory, not an image",
                           hint='method = "directory" copies it')  # fmt: skip
    if not image.exists():
        raise PackageError(f"there is no image {image}")
    if not stat.S_ISREG(image.stat().st_mode):
        raise PackageError(f"{image} is not a file")
    _format_of(image)


def bootstrap_image(
    target: Path, image: Path, *, emit: Report, scratch: Path, partition: int | None = None
) -> None:
    """Copy the root of a raw, qcow2, vmdk, vdi, vhdx or vpc image into `target`.

    `target` is an empty directory or a new one; `scratch` takes a raw copy of what is not raw. The
    root is `partition`, or the one partition with a system in it. Of the file systems in its fstab
    those that this kernel can mount come along. Raises PackageError, NotRootError.
    """
    require_image(image)
    prepare_target(target)
    with tempfile.TemporaryDirectory(prefix="image.", dir=scratch) as name:
        work = Path(name)
        raw = _as_raw(image, work, emit)
        partitions = read_partitions(raw, image)
        with _root(raw, image, partitions, partition, work / "root") as (root, found):
            _warn_of_journal(raw, found, emit)
            emit("message", f"Copying {found.name} of {image.name}")
            _copy(root, target, image)
            others = list(_mounted_below(root, partitions, emit))
        for other, place in sorted(others, key=lambda pair: pair[1]):
            emit("message", f"Copying {other.name} of {image.name} to {place}")
            with _opened(raw, image, other, work / "other") as tree:
                _copy(tree, make_directory(target, place), image)


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
    fields = dict(line.split("=", 1) for line in done.text.splitlines() if "=" in line)
    return ImagePartition(part.number, part.offset_bytes, part.size_bytes, part.type, part.uuid,
                          fields)  # fmt: skip


def _format_of(image: Path) -> str:
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


def _as_raw(image: Path, work: Path, emit: Report) -> Path:
    """The image itself, or a sparse raw copy of it.

    Its format is told to qemu-img: of a raw image it would believe a header that a guest wrote.
    """
    name = _format_of(image)
    if name == "raw":
        return image
    try:
        told = run(["qemu-img", "info", "--output=json", "-f", name, str(image)], capture=True)
        info = json.loads(told.text)
        data = info.get("format-specific", {}).get("data", {})
        if info.get("backing-filename") or data.get("data-file"):
            raise PackageError(
                f"{image} is only a part of an image: the rest is in another file",
                hint="qemu-img convert makes one whole file of both",
            )
        emit("message", f"Unpacking {image.name}")
        raw = work / "disk.raw"
        run(["qemu-img", "convert", "-f", name, "-O", "raw", str(image), str(raw)],
            on_line=lambda _, line: emit("output", line))  # fmt: skip
    except CommandFailed as e:
        said = "\n".join(e.tail)
        raise PackageError(f"{image} cannot be read as {name}\n{said}",
                           hint="it is damaged: fetch it again") from e  # fmt: skip
    return raw


@contextlib.contextmanager
def _root(
    raw: Path, image: Path, partitions: Sequence[ImagePartition], wanted: int | None, place: Path
) -> Iterator[tuple[Path, ImagePartition]]:
    """The root file system, mounted."""
    found = _choose(raw, image, partitions, wanted, place)
    with _opened(raw, image, found, place) as tree:
        if not _is_root(tree):
            raise PackageError(f"{found.name} of {image} has no system: no /usr and no /etc")
        yield tree, found


def _choose(
    raw: Path, image: Path, partitions: Sequence[ImagePartition], wanted: int | None, place: Path
) -> ImagePartition:
    if wanted is not None:
        for part in partitions:
            if part.number == wanted:
                return part
        have = ", ".join(str(part.number) for part in partitions)
        raise PackageError(f"{image} has no partition {wanted}: it has {have}")
    mountable = [part for part in partitions if part.filesystem in _MOUNT_OPTIONS]
    marked = [part for part in mountable if part.type in _ROOT_TYPES]
    if len(mountable) == 1 or len(marked) == 1:
        return (marked or mountable)[0]
    roots, errors = [], []
    for part in mountable:
        try:
            with _opened(raw, image, part, place) as tree:
                roots += [part] if _is_root(tree) else []
        except PackageError as e:
            errors.append(e)
    if len(roots) == 1:
        return roots[0]
    if roots:
        names = ", ".join(part.name for part in roots)
        raise PackageError(f"{image} has several systems: {names}", hint="partition = NUMBER")
    if errors:
        raise errors[0]
    kinds = [f"{part.name} is {_STACKED.get(part.filesystem, part.filesystem or 'unknown')}"
             for part in partitions]  # fmt: skip
    raise PackageError("\n".join([f"{image} has no root file system that can be read", *kinds]))


def _is_root(tree: Path) -> bool:
    return confined(tree, "/usr").is_dir() and confined(tree, "/etc").is_dir()


@contextlib.contextmanager
def _opened(raw: Path, image: Path, part: ImagePartition, place: Path) -> Iterator[Path]:
    """Mount a file system of the image read-only."""
    kind = part.filesystem
    if kind not in _MOUNT_OPTIONS:
        what = _STACKED.get(kind, f"of type {kind}" if kind else "of an unknown kind")
        raise PackageError(f"{part.name} of {image} is {what}: it cannot be read here")
    place.mkdir(exist_ok=True)
    flags = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    with contextlib.ExitStack() as stack:
        try:
            loop = stack.enter_context(
                attached(raw, read_only=True, offset_bytes=part.offset_bytes)
            )
            stack.enter_context(
                mounts.mounted(str(loop.path), place, kind, flags=flags,
                               options=_MOUNT_OPTIONS[kind])
            )  # fmt: skip
        except Interrupted:
            raise
        except GoldsmithError as e:
            raise PackageError(
                f"the {kind} in {part.name} of {image} cannot be read: {e}",
                hint="it is damaged, or this host's kernel does not know it: "
                "/proc/filesystems and the kernel's log say which",
            ) from e
        yield place


def _warn_of_journal(raw: Path, part: ImagePartition, emit: Report) -> None:
    """Say when an ext file system was in use: what is only in its journal is not read."""
    if not part.filesystem.startswith("ext"):
        return
    with raw.open("rb") as file:
        # s_feature_incompat, bit 2: the journal needs recovery (ext4 disk layout, superblock).
        file.seek(part.offset_bytes + 1024 + 0x60)
        if file.read(1)[0] & 0x4:
            emit("warning", f"{part.name} was not unmounted: its last changes are left out")


def _mounted_below(
    root: Path, partitions: Sequence[ImagePartition], emit: Report
) -> Iterator[tuple[ImagePartition, str]]:
    """The other partitions in the root's fstab that can be read, each with its mount point."""
    text = (read_confined(root, "/etc/fstab") or b"").decode(errors="replace")
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 3 or fields[1] in ("/", "none") or fields[2] in _UNMOUNTED:
            continue
        device, place = fields[:2]
        part = next((p for p in partitions if p.answers_to(device)), None)
        if not place.startswith("/") or (part is not None and part.filesystem == "swap"):
            continue
        if part is not None and part.filesystem in _MOUNT_OPTIONS:
            yield part, place
        else:
            emit("warning", f"{place} of the image ({device}) is not copied")


def _copy(origin: Path, target: Path, image: Path) -> None:
    argv = ["cp", "--archive", "--sparse=always", "--one-file-system", "--no-target-directory",
            str(origin), os.path.abspath(target)]  # fmt: skip
    try:
        run(argv, env=tool_environment())
    except CommandFailed as e:
        said = "\n".join(e.tail[-5:])
        full = any("No space left" in line for line in e.tail)
        raise PackageError(
            f"the files of {image} cannot be copied\n{said}",
            hint="free space on the file system of the build" if full else None,
        ) from e
