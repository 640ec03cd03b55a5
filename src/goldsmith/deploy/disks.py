"""What the disks of this host are and hold: read from sysfs, blkid and sfdisk; changes nothing.

Tables and contents are read from the disk itself, so that nothing depends on udev or on a kernel
that parses partition tables.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.deploy.disk_paths import other_paths
from goldsmith.disk import partition_table
from goldsmith.errors import CommandFailed, GoldsmithError, explain_os_error
from goldsmith.host import mounts
from goldsmith.host.process import run

BLKID_TIMEOUT_S: Final = 60.0
_SYS: Final = Path("/sys/class/block")
_NOTHING_FOUND, _SEVERAL_FOUND = 2, 8  # blkid(8)
_MAPPED_KINDS: Final = {"LVM": "lvm", "mpath": "multipath"}
"""What device-mapper's identifiers begin with."""


@dataclass(frozen=True, slots=True)
class Content:
    """What blkid finds in a stretch of a disk; `kind` "" is nothing that it knows."""

    kind: str = ""
    label: str = ""
    uuid: str = ""

    def __str__(self) -> str:
        name = f' "{self.label}"' if self.label else ""
        return f"{self.kind}{name}" if self.kind else "nothing known"


@dataclass(frozen=True, slots=True)
class FoundPartition:
    """A partition as the table has it, and what lies in it."""

    number: int
    begin_bytes: int
    size_bytes: int
    type_id: str
    name: str
    content: Content = Content()


@dataclass(frozen=True, slots=True)
class Use:
    """Something that uses a disk now: the node that is used, and how."""

    node: str
    how: str

    def __str__(self) -> str:
        return f"{self.node} is {self.how}"


@dataclass(frozen=True, slots=True)
class Stacked:
    """A device that the kernel has put together of others: an array, a logical volume.

    `kind` is "md", "lvm", "multipath" or "other"; `disks` are the names of all whole disks
    below it.
    """

    name: str
    node: str
    kind: str
    disks: frozenset[str]


@dataclass(frozen=True, slots=True)
class HostDisk:
    """A disk: `device` as it was named, `path` its node; `label` is its table's, "" for none.

    `stacked` has what the kernel has assembled of it, the topmost first, `leaves` the nodes of all
    of it that nothing lies on. `parent` is the disk that it is a partition of; `sequence` is the
    kernel's number of this medium, which no other one gets. `other_paths` are the kernel's other
    names of the same disk.
    """

    device: str
    path: str
    name: str
    size_bytes: int
    sector_bytes: int = 512
    read_only: bool = False
    removable: bool = False
    model: str = ""
    label: str = ""
    partitions: tuple[FoundPartition, ...] = ()
    content: Content = Content()
    uses: tuple[Use, ...] = ()
    stacked: tuple[Stacked, ...] = ()
    runs_host: bool = False
    parent: str | None = None
    damaged: str = ""
    sequence: str = ""
    leaves: tuple[str, ...] = ()
    other_paths: tuple[str, ...] = ()

    def partition(self, number: int) -> FoundPartition | None:
        """The partition with this number."""
        return next((p for p in self.partitions if p.number == number), None)


def is_firmware_raid(content: Content) -> bool:
    """Whether a disk has the mark of an array that a controller's firmware keeps (isw, DDF...).

    blkid names it before a table or a file system on the same disk.
    """
    kind = content.kind
    return kind.endswith("_raid_member") and kind != "linux_raid_member"


def read_disk(device: str) -> HostDisk:
    """Read a disk by its node or a link to it; raises GoldsmithError where there is no such."""
    path, name = _resolved(device)
    queue = _parent_directory(name) / "queue"
    parent = _parent(name)
    sizes = {"size_bytes": _number(_SYS / name / "size") * 512,
             "sector_bytes": _number(queue / "logical_block_size", 512)}  # fmt: skip
    found = content_of(path)
    return HostDisk(
        device, path, name, **sizes, read_only=_number(_SYS / name / "ro") == 1,
        removable=_number(_SYS / name / "removable") == 1,
        model=_text(_SYS / name / "device/model"), label=found.label,
        partitions=found.partitions, content=found.whole, uses=tuple(_uses(name)),
        stacked=tuple(_stacked(name)), runs_host=name in host_disks(), parent=parent,
        damaged=found.damaged, sequence=_text(_SYS / name / "diskseq"),
        leaves=tuple(_leaves(name)), other_paths=other_paths(name),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundContent:
    """What is on a device: its table's kind ("" for none), and what it and its partitions hold."""

    whole: Content
    label: str = ""
    partitions: tuple[FoundPartition, ...] = ()
    damaged: str = ""


def content_of(path: str) -> FoundContent:
    """Read what is on a device; a table that cannot be read is `damaged`, which says why."""
    whole, pt_type = probe(path)
    label = "mbr" if pt_type == "dos" else pt_type
    if label not in ("gpt", "mbr"):
        return FoundContent(whole, label)
    try:
        return FoundContent(whole, label, tuple(_partitions(path)))
    except GoldsmithError as e:
        return FoundContent(whole, label, damaged=str(e).splitlines()[-1])


def _resolved(device: str) -> tuple[str, str]:
    try:
        path = os.path.realpath(device, strict=True)
        status = os.stat(path)
    except OSError as e:
        raise GoldsmithError(f"there is no disk {device}: {e.strerror}") from e
    if not stat.S_ISBLK(status.st_mode):
        hint = f"attach it first: losetup --find --show --partscan {device}"
        raise GoldsmithError(f"{device} is not a block device",
                             hint=hint if stat.S_ISREG(status.st_mode) else None)  # fmt: skip
    numbers = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    name = name_of(numbers)
    if name is None:
        raise GoldsmithError(f"the kernel knows no disk behind {device} ({numbers})")
    # Partitions of a device of device-mapper are named after it, not after dm-0.
    return (_node(name) if name.startswith("dm-") else path), name


def name_of(numbers: str) -> str | None:
    """The kernel's name of a block device with these numbers ("254:0")."""
    link = Path("/sys/dev/block", numbers)
    return link.resolve().name if link.exists() else None


def probe(path: str, begin_bytes: int = 0, size_bytes: int | None = None) -> tuple[Content, str]:
    """What a stretch of a device holds, and the kind of its partition table ("" for none)."""
    stretch = [] if size_bytes is None else ["--offset", str(begin_bytes), "--size",
                                             str(size_bytes)]  # fmt: skip
    done = run(["blkid", "--probe", "--output", "export", *stretch, path], capture=True,
               check=False, timeout_s=BLKID_TIMEOUT_S)  # fmt: skip
    if done.status == _SEVERAL_FOUND:
        return Content("several signatures"), ""
    if done.status == _NOTHING_FOUND:
        return Content(), ""
    if done.status != 0:
        raise CommandFailed(done.argv, done.status, tail=done.tail)
    pairs = (line.partition("=") for line in done.text.splitlines())
    # blkid writes a backslash before what a shell would not take as it is.
    found = {name: re.sub(r"\\(.)", r"\1", text) for name, _, text in pairs}
    content = Content(found.get("TYPE", ""), found.get("LABEL", ""), found.get("UUID", ""))
    return content, found.get("PTTYPE", "")


def _partitions(path: str) -> Iterator[FoundPartition]:
    table = partition_table.read_table(Path(path))
    for entry in table.entries:
        begin, size = (n * table.sector_bytes for n in (entry.start_sector, entry.size_sectors))
        is_extended = table.label == "dos" and entry.type_guid.lower() in ("5", "f", "85")
        content = Content("extended") if is_extended else probe(path, begin, size)[0]
        yield FoundPartition(entry.number, begin, size, entry.type_guid, entry.name, content)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, default: int = 0) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else default


def _parent(name: str) -> str | None:
    """The name of the disk whose partition this is, None for a whole disk."""
    if not (_SYS / name / "partition").exists():
        return None
    return (_SYS / name).resolve().parent.name


def _parent_directory(name: str) -> Path:
    return _SYS / (_parent(name) or name)


def _parts(name: str) -> list[str]:
    """A disk and the partitions that the kernel knows of it."""
    directory = (_SYS / name).resolve()
    inside = [entry.name for entry in directory.iterdir() if (entry / "partition").exists()]
    return [name, *sorted(inside)]


def _node(name: str) -> str:
    mapped = _text(_SYS / name / "dm/name")
    # The kernel writes "!" for the slash in the names of some drivers (cciss!c0d0).
    return f"/dev/mapper/{mapped}" if mapped else "/dev/" + name.replace("!", "/")


def _holders(name: str) -> list[str]:
    directory = _SYS / name / "holders"
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def _above(name: str) -> list[str]:
    """Everything that is stacked on a disk, each thing after what lies on it."""
    found: list[str] = []

    def visit(one: str) -> None:
        for holder in _holders(one):
            if holder not in found:
                visit_all(holder)
                found.append(holder)

    def visit_all(one: str) -> None:
        for part in _parts(one):
            visit(part)

    visit_all(name)
    return found


def whole_disks_below(name: str) -> frozenset[str]:
    """The disks that a device lies on in the end: itself where it is one."""
    base = _parent(name) or name
    directory = _SYS / base / "slaves"
    slaves = sorted(os.listdir(directory)) if directory.is_dir() else []
    if not slaves:
        return frozenset([base])
    return frozenset().union(*map(whole_disks_below, slaves))


def disks_of(name: str) -> frozenset[str]:
    """The disks below a device by its kernel name; none where there is no such device."""
    return whole_disks_below(name) if (_SYS / name).exists() else frozenset()


def disks_below(node: str) -> frozenset[str]:
    """The disks below what a node leads to; none where that is no block device."""
    try:
        status = os.stat(node)
    except OSError:
        return frozenset()
    if not stat.S_ISBLK(status.st_mode):
        return frozenset()
    name = name_of(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
    return frozenset() if name is None else whole_disks_below(name)


def _stacked(name: str) -> Iterator[Stacked]:
    for one in _above(name):
        uuid = _text(_SYS / one / "dm/uuid")
        kind = _MAPPED_KINDS.get(uuid.partition("-")[0], "other")
        if (_SYS / one / "md").exists():
            kind = "md"
        yield Stacked(one, _node(one), kind, whole_disks_below(one))


def _leaves(name: str) -> Iterator[str]:
    """The nodes of a disk's partitions, and of what lies on it, that nothing lies on."""
    for one in (name, *_above(name)):
        whole, *partitions = _parts(one)
        for part in partitions or [whole]:
            if not _holders(part) and os.path.exists(node := _node(part)):
                yield node


def _uses(name: str) -> Iterator[Use]:
    """Mounts, swap and loop devices of a disk, its partitions and what is stacked on them."""
    names = [part for one in (name, *_above(name)) for part in _parts(one)]
    numbers = {_text(_SYS / one / "dev"): _node(one) for one in names}
    # The kernel tells of /dev/dm-0 where we say /dev/mapper/NAME.
    nodes = {*numbers.values(), *map(os.path.realpath, numbers.values())}
    for point in mounts.list_mounts():
        # btrfs mounts have numbers of their own; what they were mounted from names the device.
        source = os.path.realpath(point.source) if point.source.startswith("/") else ""
        node = numbers.get(point.device) or (source if source in nodes else None)
        if node is not None:
            yield Use(node, f"mounted at {point.path}")
    for line in _text(Path("/proc/swaps")).splitlines()[1:]:
        if os.path.realpath(line.split()[0]) in {os.path.realpath(node) for node in nodes}:
            yield Use(line.split()[0], "used as swap")
    for loop in Path("/sys/block").glob("loop*/loop/backing_file"):
        if _text(loop) in nodes:
            yield Use(_text(loop), f"attached to /dev/{loop.parts[3]}")


@contextmanager
def pinned(disk: HostDisk) -> Iterator[None]:
    """Hold a disk open for the length of a block, so that its name stays its own.

    Raises GoldsmithError when it is not the one any more that was read: its medium was changed, or
    its number was given to another one.
    """
    try:
        fd = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise GoldsmithError(f"the disk {disk.device} is gone: {e.strerror}") from e
    try:
        # Read when it is open: from then on it cannot be taken away from under its name.
        if _text(_SYS / disk.name / "diskseq") != disk.sequence:
            raise GoldsmithError(f"{disk.device} is another disk now than the one looked at",
                                 hint="look at the plan once more")  # fmt: skip
        if _number(_SYS / disk.name / "size") * 512 != disk.size_bytes:
            raise GoldsmithError(f"the disk {disk.device} has another size now, or is gone")
        yield
    finally:
        os.close(fd)


def is_claimed(path: str) -> bool:
    """Whether somebody has the device for themselves alone: a mount in any namespace, an array.

    What is not there any more, or is an array that does not run, is nobody's. Raises GoldsmithError
    where it cannot be opened at all.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as e:
        if e.errno in (errno.EBUSY, errno.ENXIO, errno.ENODEV):
            return e.errno == errno.EBUSY
        raise explain_os_error(e) from e
    return False


def host_disks() -> frozenset[str]:
    """The names of the disks that this host runs from: below its root, and files mounted there."""
    found: frozenset[str] = frozenset()
    places = ["/", "/usr", "/boot", "/boot/efi"]
    for point in mounts.list_mounts():
        if point.path in places and not point.device.startswith("0:"):
            found |= _disks_of_numbers(point.device)
        elif point.path in places and point.source.startswith("/dev/"):
            found |= _disks_of_node(point.source)
    return found


def _disks_of_node(node: str) -> frozenset[str]:
    try:
        device = os.stat(node).st_rdev
    except OSError:
        return frozenset()
    return _disks_of_numbers(f"{os.major(device)}:{os.minor(device)}")


def _disks_of_numbers(numbers: str, depth: int = 0) -> frozenset[str]:
    name = name_of(numbers)
    if name is None:
        return frozenset()
    found = whole_disks_below(name)
    for disk in sorted(found):
        backing = _text(_SYS / disk / "loop/backing_file")
        # A root in a file: the disk that holds the file runs the host, too.
        if backing and depth < 8 and os.path.exists(backing):
            device = os.stat(backing).st_dev
            found |= _disks_of_numbers(f"{os.major(device)}:{os.minor(device)}", depth + 1)
    return found
