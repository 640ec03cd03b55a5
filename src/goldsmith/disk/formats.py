"""The files that people upload: a raw image turned into each format that was asked for.

Every conversion writes a new file, fsyncs it and removes it again when it fails; the name that
users see is given by the caller's rename, last. Several are written at once. The same raw image
gives the same bytes in every format: what a tool would make up comes from the image's digest.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import selectors
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from goldsmith.disk.clusters_ahead import ClustersAhead
from goldsmith.disk.containers import RawContents, describe, pack
from goldsmith.disk.format_headers import NEEDS_CONTENT, stamp
from goldsmith.disk.qcow2_writer import write_qcow2
from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host import cancellation
from goldsmith.host.parallel import OnPercent, beside, run_all
from goldsmith.host.process import run, start
from goldsmith.host.sparse import (
    OnBytes,
    copy_sparse,
    full_file_system_named,
    hash_sparse,
    no_space,
)
from goldsmith.units import MIB

_PERCENT: Final = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")

_LARGEST_CLUSTER_BYTES: Final = 2 * MIB
"""vdi grows by 1 MiB, vhdx by more; less than this free is full for a program that failed."""

LARGEST_VPC_BYTES: Final = 2040 << 30
"""The most that qemu-img makes and Hyper-V reads (QEMU, block/vpc.c, VHD_MAX_SECTORS)."""

COMPRESSIONS: Final = ("zstd", "zlib")
"""How clusters of qcow2 can be compressed; QEMU before 5.1 reads zlib only."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of image files; `container` is set for raw images in a compressed container."""

    name: str
    extension: str
    description: str
    tools: tuple[str, ...] = ()
    container: str | None = None


_KNOWN: Final = (
    Format("raw", "raw", "the disk as it is, sparse, to be written to disks"),
    Format("qcow2", "qcow2", "compressed, for QEMU, libvirt, Proxmox and OpenStack"),
    Format("vmdk", "vmdk", "compressed (streamOptimized), for VMware and OVA archives",
           ("qemu-img",)),
    Format("vdi", "vdi", "for VirtualBox", ("qemu-img",)),
    Format("vhdx", "vhdx", "for Hyper-V", ("qemu-img",)),
    Format("vpc", "vhd", "of fixed size, written as .vhd, for Azure and old Hyper-V",
           ("qemu-img",)),
    Format("raw.gz", "raw.gz", "raw in gzip, for what reads nothing else", container="gzip"),
    Format("raw.zst", "raw.zst", "raw in zstd, the smaller and faster one to send and to deploy",
           container="zstd"),
)  # fmt: skip
FORMATS: Final[Mapping[str, Format]] = {format.name: format for format in _KNOWN}
"""Every format that a template can name."""


def check_format(name: str) -> Format:
    """The format of that name; raises GoldsmithError for an unknown one."""
    found = FORMATS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(FORMATS)}"
        raise GoldsmithError(f'"{name}" is not an image format', hint=hint)
    return found


def _qemu_options(format: str) -> Sequence[str]:
    """What `qemu-img convert` is told about its target; without -W its bytes are always the same.

    An adapter of lsilogic is what VMware boots Linux from; qemu-img would write ide.
    """
    return {
        "vmdk": ("-o", "subformat=streamOptimized,adapter_type=lsilogic"),
        "vhdx": ("-o", "subformat=dynamic"),
        "vpc": ("-n", "--target-is-zero"),
    }.get(format, ())


def _write_format(
    image: Path,
    target: Path,
    format: str,
    compression: str,
    on_percent: OnPercent | None,
    *,
    is_synced: bool = True,
    ahead: ClustersAhead | None = None,
) -> None:
    if format == "qcow2":
        if compression not in COMPRESSIONS:
            raise GoldsmithError(f'"{compression}" is no compression of qcow2',
                                 hint=f"choose {' or '.join(COMPRESSIONS)}")  # fmt: skip
        write_qcow2(image, target, compression=compression, on_bytes=in_percent(on_percent),
                    is_synced=is_synced, ahead=ahead)  # fmt: skip
        return
    options = _qemu_options(format)
    if format == "vpc":
        # Azure takes fixed disks of whole MiB, and believes the size in the footer, not the one
        # of the geometry beside it that qemu-img would round to without force_size.
        size_bytes = -(-image.stat().st_size // MIB) * MIB
        run(["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on",
             target.absolute(), str(size_bytes)])  # fmt: skip
    run_qemu_img_convert(image, target, format, options, on_percent)


def run_qemu_img_convert(
    image: Path,
    target: Path,
    format: str,
    options: Sequence[str] = (),
    on_percent: OnPercent | None = None,
) -> None:
    """Have qemu-img write a raw image in a format of its own, with its own options, and fsync it.

    Raises NoSpaceError, and CommandFailed with what it says; what was begun stays.
    """
    argv = ["qemu-img", "convert", "-p", "-f", "raw", "-O", format, *options,
            os.fspath(image.absolute()), os.fspath(target.absolute())]  # fmt: skip
    # A percentage ends in a carriage return, not in a newline: `run` would show it at the end.
    with tempfile.TemporaryFile() as errors:
        with start(argv, stderr=errors.fileno()) as running:
            if running.popen.stdout is None:
                raise GoldsmithError("qemu-img was started without a pipe")
            for data in _output(running.popen.stdout.fileno()):
                for match in _PERCENT.finditer(data):
                    if on_percent is not None:
                        on_percent(float(match.group(1)))
            status = running.popen.wait()
        if status != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").rstrip().split("\n")
            failed = CommandFailed(argv, status, tail=said)
            if _is_full(target):
                # qemu-img 7.2 calls a full disk "Invalid argument" when it writes a vmdk.
                raise no_space(target) from failed
            raise failed
    _sync(target)


def _sync(file: Path) -> None:
    with full_file_system_named(file), file.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _synced(file: Path) -> Iterator[None]:
    """The disk keeps a file when the block is left; it writes while processors do the rest."""
    with beside(partial(_sync, file)) as synced:
        yield
        synced()


def _is_full(path: Path) -> bool:
    """Whether the file system of a file has no room for another cluster."""
    free = os.statvfs(path.parent)
    return free.f_bavail * free.f_frsize < _LARGEST_CLUSTER_BYTES


def _output(fd: int) -> Iterator[bytes]:
    """What a program prints, to its end, unless the thread's work is cancelled before."""
    scope = cancellation.current()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        if scope is not None and scope.armed:
            selector.register(scope, selectors.EVENT_READ)
        while True:
            selector.select()
            cancellation.check_cancelled()
            data = os.read(fd, 4096)
            if not data:
                return
            yield data


def in_percent(on_percent: OnPercent | None) -> OnBytes:
    """Tells a progress in bytes as a percentage; every step of it may be the last one."""

    def on_bytes(done: int, total: int) -> None:
        cancellation.check_cancelled()
        if on_percent is not None and total:
            on_percent(100 * done / total)

    return on_bytes


def convert(
    image: Path,
    target: Path,
    format: str,
    *,
    compression: str = "zstd",
    epoch_s: int = 0,
    on_percent: OnPercent | None = None,
) -> None:
    """Make a file of another format from a raw image; `target` must not exist.

    `compression` is that of qcow2, `epoch_s` the date in vpc. Raises FileExistsError,
    NoSpaceError or what the tool says; a failed target is removed.
    """
    chosen = check_format(format)
    with _new_file(target):
        if chosen.container is not None:
            pack(image, target, chosen.container, on_bytes=in_percent(on_percent))
        elif format == "raw":
            copy_sparse(image, target, on_bytes=in_percent(on_percent))
        else:
            _write_format(image, target, format, compression, on_percent)
            if format in NEEDS_CONTENT:
                stamp(target, format, hash_sparse(image)["sha256"], epoch_s)


@contextmanager
def _new_file(target: Path) -> Iterator[None]:
    """A name that must be free, and is free again when the block fails."""
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists")
    try:
        with full_file_system_named(target):
            yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A finished file: its size and its SHA-256."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WrittenFormats:
    """What `write_all` made: the raw image's contents, and the file of each format."""

    raw: RawContents
    files: Mapping[str, WrittenFile]


def write_all(
    image: Path,
    targets: Mapping[str, Path],
    *,
    epoch_s: int,
    compression: str = "zstd",
    on_percent: Callable[[str, float], None] | None = None,
    ahead: ClustersAhead | None = None,
) -> WrittenFormats:
    """Write a raw image in every format at once, hashed and fsynced; no target may exist.

    A target "raw" takes the image itself, last of all (it may be the image already). Of the qcow2
    some clusters may be compressed `ahead`. The first error ends the other conversions and removes
    all their files.
    """
    made = {name: target for name, target in targets.items() if target != image}
    # The image is described by whoever reads it anyway; that one goes first, others wait for it.
    reader = next((name for name in targets if check_format(name).container), "raw")
    known: Future[RawContents] = Future()

    def describing(on_percent: OnPercent) -> WrittenFile:
        try:
            raw, written = _read_image(image, reader, targets, on_percent)
        except BaseException as e:
            known.set_exception(e)
            raise
        known.set_result(raw)
        return written

    def converting(name: str) -> Callable[[OnPercent], WrittenFile]:
        return lambda on_percent: _write(
            image, targets[name], name, compression, epoch_s, known, on_percent, ahead
        )

    others = [name for name in targets if name not in ("raw", reader)]
    with _new_files(made.values()):
        works = {reader: describing, **{name: converting(name) for name in others}}
        with _synced(image) if "raw" in targets else nullcontext():
            files = run_all(works, on_percent)
        raw = known.result()
        if "raw" in made:
            move_raw(image, made["raw"])
    files["raw"] = WrittenFile(raw.size_bytes, raw.sha256)
    return WrittenFormats(raw, {name: files[name] for name in targets})


@contextmanager
def _new_files(targets: Iterable[Path]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for target in targets:
            stack.enter_context(_new_file(target))
        yield


def _read_image(
    image: Path, reader: str, targets: Mapping[str, Path], on_percent: OnPercent
) -> tuple[RawContents, WrittenFile]:
    """Describe the raw image, on the way into its container if it is to have one."""
    container = check_format(reader).container
    if container is None:
        raw = describe(image, on_bytes=in_percent(on_percent))
        return raw, WrittenFile(raw.size_bytes, raw.sha256)
    packed = pack(image, targets[reader], container, on_bytes=in_percent(on_percent))
    return packed.raw, WrittenFile(packed.size_bytes, packed.sha256)


def _write(
    image: Path,
    target: Path,
    format: str,
    compression: str,
    epoch_s: int,
    known: Future[RawContents],
    on_percent: OnPercent,
    ahead: ClustersAhead | None,
) -> WrittenFile:
    container = check_format(format).container
    if container is not None:
        packed = pack(image, target, container, on_bytes=in_percent(on_percent))
        return WrittenFile(packed.size_bytes, packed.sha256)
    with full_file_system_named(target):
        _write_format(image, target, format, compression, on_percent, is_synced=False, ahead=ahead)
        if format in NEEDS_CONTENT:
            stamp(target, format, known.result().sha256, epoch_s)
        with _synced(target):
            digest = hash_sparse(target, on_bytes=in_percent(None))["sha256"]
        return WrittenFile(target.stat().st_size, digest)


def move_raw(image: Path, target: Path, *, on_percent: OnPercent | None = None) -> None:
    """Give the raw image itself another name: a rename, or a copy where that crosses devices."""
    try:
        os.link(image, target)
    except FileExistsError:
        raise
    except OSError:
        copy_sparse(image, target, on_bytes=in_percent(on_percent))
    image.unlink()
