"""The files that people upload: a raw image turned into each format that was asked for.

Every conversion writes a new file, fsyncs it and removes it again when it fails; the name that
users see is given by the caller's rename, last.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import CommandFailed, GoldsmithError
from goldsmith.host.process import start
from goldsmith.host.sparse import copy_sparse, full_file_system_named

OnPercent = Callable[[float], None]
"""Called with how much is done, from 0 to 100."""

_PERCENT: Final = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")


@dataclass(frozen=True, slots=True)
class Format:
    """A format of image files; `convert` is None for one that goldsmith cannot make yet."""

    name: str
    extension: str
    description: str
    convert: Callable[[Path, Path, OnPercent | None], None] | None = None
    tools: tuple[str, ...] = ()


def _to_raw(image: Path, target: Path, on_percent: OnPercent | None) -> None:
    def on_bytes(done: int, total: int) -> None:
        if on_percent is not None and total:
            on_percent(100 * done / total)

    copy_sparse(image, target, on_bytes=on_bytes)


def _to_qcow2(image: Path, target: Path, on_percent: OnPercent | None) -> None:
    # Without -W (writes out of order) two runs give the same bytes.
    argv = ["qemu-img", "convert", "-p", "-f", "raw", "-O", "qcow2", "-c",
            "-o", "compression_type=zstd", os.fspath(image.absolute()),
            os.fspath(target.absolute())]  # fmt: skip
    # A percentage ends in a carriage return, not in a newline: `run` would show it at the end.
    with tempfile.TemporaryFile() as errors:
        with start(argv, stderr=errors.fileno()) as running:
            if running.popen.stdout is None:
                raise GoldsmithError("qemu-img was started without a pipe")
            while data := os.read(running.popen.stdout.fileno(), 4096):
                for match in _PERCENT.finditer(data):
                    if on_percent is not None:
                        on_percent(float(match.group(1)))
            status = running.popen.wait()
        if status != 0:
            errors.seek(0)
            raise CommandFailed(
                argv, status, tail=errors.read().decode(errors="replace").split("\n")
            )
    with open(target, "rb") as stream:
        os.fsync(stream.fileno())


_KNOWN: Final = (
    Format("raw", "raw", "the disk as it is, sparse", _to_raw),
    Format("qcow2", "qcow2", "QEMU's format, compressed with zstd", _to_qcow2, ("qemu-img",)),
    Format("vmdk", "vmdk", "VMware's format"),
    Format("vdi", "vdi", "VirtualBox's format"),
    Format("vhdx", "vhdx", "Hyper-V's format"),
    Format("vpc", "vhd", "the older format of Hyper-V and Azure"),
    Format("raw.gz", "raw.gz", "raw, compressed with gzip"),
    Format("raw.zst", "raw.zst", "raw, compressed with zstd"),
)
FORMATS: Final[Mapping[str, Format]] = {format.name: format for format in _KNOWN}
"""Every format that a template can name, those that are not available yet among them."""


def check_format(name: str) -> Format:
    """The format of that name; raises GoldsmithError for an unknown or unavailable one."""
    found = FORMATS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(FORMATS)}"
        raise GoldsmithError(f'"{name}" is not an image format', hint=hint)
    if found.convert is None:
        available = ", ".join(f.name for f in _KNOWN if f.convert is not None)
        raise GoldsmithError(f'format "{name}" is not available in goldsmith yet',
                             hint=f"choose among {available}")  # fmt: skip
    return found


def convert(image: Path, target: Path, format: str, *, on_percent: OnPercent | None = None) -> None:
    """Make a file of another format from a raw image; `target` must not exist.

    Raises FileExistsError, NoSpaceError or what the tool says; a failed target is removed.
    """
    chosen = check_format(format)
    if chosen.convert is None or os.path.lexists(target):
        raise FileExistsError(f"{target} exists")
    try:
        with full_file_system_named(target):
            chosen.convert(image, target, on_percent)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def move_raw(image: Path, target: Path, *, on_percent: OnPercent | None = None) -> None:
    """Give the raw image itself another name: a rename, or a copy where that crosses devices."""
    try:
        os.link(image, target)
    except FileExistsError:
        raise
    except OSError:
        _to_raw(image, target, on_percent)
    image.unlink()
