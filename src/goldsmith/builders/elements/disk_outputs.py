"""Outputs that are made of the raw disk: by us or by qemu-img, several at once, and the disk."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.tree_outputs import Checksums
from goldsmith.disk.format_headers import NEEDS_CONTENT, stamp
from goldsmith.disk.formats import in_percent, run_qemu_img_convert
from goldsmith.disk.qcow2_writer import write_qcow2
from goldsmith.errors import CommandFailed
from goldsmith.host.parallel import OnPercent, run_all
from goldsmith.host.sparse import copy_extents, create_sparse, full_file_system_named, hash_sparse
from goldsmith.units import MIB

_VHD: Final = ("vpc", ("-o", "subformat=dynamic,force_size=on"))
"""What vhd-util's conversion to type 2 gives: a dynamic disk of the image's exact size."""
_OWN: Final = {"": "zstd", "compression_type=zstd": "zstd", "compression_type=zlib": "zlib"}
"""Options of compressed qcow2 that need no qemu-img, and the compression."""
_LEVEL: Final = 2
"""Of zstd: it takes six tenths of the time of 3, and makes an image that is one part in 100 larger.

That is as large as upstream's, by zlib.
"""
_PROBE_BYTES: Final = 4 * MIB


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a type of image is made: qemu-img's name of the format, and its words."""

    format: str
    words: tuple[str, ...] = ()
    is_stamped: bool = False
    own_compression: str | None = None
    """That of a qcow2 which we write ourselves, without qemu-img."""

    @classmethod
    def of(cls, type: str, options: str, *, compress: bool) -> Conversion:
        """By upstream's rules, but that qcow2 is compressed by zstd unless it is told otherwise.

        `options` go to every type that upstream gives them to, which is all but vhd.
        """
        if type == "vhd":
            return cls(*_VHD, is_stamped=True)
        if type == "qcow2" and compress and options in _OWN:
            return cls(type, own_compression=_OWN[options])
        words = ("-o", options) if options else ()
        if type == "qcow2" and compress:
            named = {word.partition("=")[0] for word in options.split(",")}
            # Clusters can be of zstd in version 3 only, which is the default.
            if not {"compression_type", "compat"} & named:
                given = ",".join(filter(None, (options, "compression_type=zstd")))
                words = ("-o", given)
            words = ("-c", *words)
        return cls(type, words, is_stamped=type in NEEDS_CONTENT and not options)

    def write(self, raw: Path, target: Path, on_percent: OnPercent | None = None) -> None:
        """Write it over a file that is there or is not; raises CommandFailed and NoSpaceError."""
        with full_file_system_named(target):
            if self.own_compression is None:
                run_qemu_img_convert(raw, target, self.format, self.words, on_percent)
                return
            write_qcow2(raw, target, compression=self.own_compression, level=_LEVEL, is_new=False,
                        on_bytes=in_percent(on_percent))  # fmt: skip

    def finding(self) -> str | None:
        """Why qemu-img would not make it, found by having it make a small one; None: it would."""
        if self.own_compression is not None:
            return None
        with tempfile.TemporaryDirectory(prefix="goldsmith-probe-") as directory:
            image, target = Path(directory, "raw"), Path(directory, "made")
            create_sparse(image, _PROBE_BYTES)
            try:
                self.write(image, target)
            except CommandFailed as e:
                said = e.tail[-1] if e.tail else f"it ends with status {e.status}"
                return said.removeprefix("qemu-img: ").removeprefix(f"{target}: ")
            except FileNotFoundError:
                return "with these options qemu-img makes no file"
            if sorted(os.listdir(directory)) != ["made", "raw"]:
                return "with these options it is more than one file"
        return None


def write_disk_outputs(
    raw: Path,
    targets: Mapping[str, tuple[Conversion | None, Path]],
    checksums: Checksums,
    *,
    epoch_s: int,
    on_percent: Callable[[str, float], None] | None = None,
) -> None:
    """Make every type of a raw image at once and hash it; the first error ends the others.

    A type without a conversion is the raw image itself, which is moved there last. Raises
    NoSpaceError, and CommandFailed with what qemu-img says.
    """
    works: dict[str, Callable[[OnPercent], None]] = {}
    stamps: dict[str, Callable[[OnPercent], None]] = {}
    contents: dict[str, str] = {}
    taken: Path | None = None

    def read(_: OnPercent) -> None:
        contents.update(hash_sparse(raw, tuple({"sha256", *checksums.algorithms})))

    for type, (conversion, target) in targets.items():
        if conversion is None:
            taken = target
            continue
        works[type] = _conversion(raw, conversion, target, checksums)
        if conversion.is_stamped:
            stamps[type] = _stamping(conversion, target, contents, checksums, epoch_s)
    if stamps or (taken is not None and checksums.algorithms):
        works = {"raw": read, **works}
    run_all(works, on_percent)
    run_all(stamps, on_percent)
    if taken is not None:
        checksums.of[taken] = {name: contents[name] for name in checksums.algorithms}
        _move(raw, taken)


def _conversion(
    raw: Path, conversion: Conversion, target: Path, checksums: Checksums
) -> Callable[[OnPercent], None]:
    def convert(on_percent: OnPercent) -> None:
        conversion.write(raw, target, on_percent)
        if not conversion.is_stamped:
            checksums.read(target)

    return convert


def _stamping(
    conversion: Conversion,
    target: Path,
    contents: Mapping[str, str],
    checksums: Checksums,
    epoch_s: int,
) -> Callable[[OnPercent], None]:
    def give_identifiers(_: OnPercent) -> None:
        stamp(target, conversion.format, contents["sha256"], epoch_s)
        checksums.read(target)

    return give_identifiers


def _move(raw: Path, target: Path) -> None:
    """Put the image where an empty file is, with that one's mode; a copy between file systems."""
    mode = stat.S_IMODE(target.stat().st_mode)
    try:
        raw.chmod(mode)
        os.replace(raw, target)
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        with (
            full_file_system_named(target),
            open(raw, "rb") as reading,
            open(target, "r+b", buffering=0) as writing,
        ):
            os.ftruncate(writing.fileno(), os.fstat(reading.fileno()).st_size)
            copy_extents(reading.fileno(), writing.fileno())
        raw.unlink()
    with open(target, "rb") as stream:
        os.fsync(stream.fileno())
