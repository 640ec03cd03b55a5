"""Loop devices by ioctl, so that the kernel itself takes them back: loop(4).

A device is set up with autoclear and partition scanning. Autoclear detaches it when its last user
has gone, a killed process included. Without PARTSCAN the kernel would keep partitions that partx
added after the loop is cleared: dead nodes that only `partx -d` removes (kernel 6.18).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import HostError, ResourceBusy
from goldsmith.host import process

_LOOP_CLR_FD: Final = 0x4C01
_LOOP_GET_STATUS64: Final = 0x4C05
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LO_FLAGS_READ_ONLY: Final = 1
_LO_FLAGS_AUTOCLEAR: Final = 4
_LO_FLAGS_PARTSCAN: Final = 8
_ATTEMPTS: Final = 64

# struct loop_info64: device, inode, rdevice, offset, sizelimit (u64), number, encrypt_type,
# encrypt_key_size, flags (u32), file_name[64], crypt_name[64], encrypt_key[32], init[2] (u64).
_INFO64: Final = "<QQQQQIIII64s64s32sQQ"
# struct loop_config: fd, block_size (u32), loop_info64, reserved[8] (u64).
_CONFIG: Final = "<II" + _INFO64[1:] + "8Q"


@dataclass(frozen=True, slots=True)
class LoopDevice:
    """An attached loop device and the file that it was attached to."""

    path: Path
    fd: int
    backing: tuple[int, int]
    """Device and inode of the file, as stat(2) gives them."""

    def backs_our_file(self) -> bool:
        """Whether the device is still the one that we attached, not one made anew since."""
        try:
            return _backing(self.fd) == self.backing
        except OSError:
            return False

    def partition(self, number: int) -> Path:
        """The node of a partition that `add_partitions` has announced."""
        return Path(f"{self.path}p{number}")

    def add_partitions(self) -> None:
        """Tell the kernel of the partitions in the table: it may have no parser of its own.

        A kernel that has one knows them already, which `partx --add` takes for an error.
        """
        process.run(["partx", "--update", self.path])


def _backing(fd: int) -> tuple[int, int]:
    raw = fcntl.ioctl(fd, _LOOP_GET_STATUS64, bytes(struct.calcsize(_INFO64)))
    device, inode = struct.unpack(_INFO64, raw)[:2]
    # The kernel gives its own encoding of device numbers (huge_encode_dev), stat(2) glibc's.
    return os.makedev((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00)), inode


def _configure(
    file_fd: int, *, read_only: bool, offset_bytes: int, size_bytes: int, block_bytes: int
) -> tuple[int, Path]:
    """Attach a file to a free device: getting one and configuring it can be outrun by others."""
    flags = _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_PARTSCAN | (_LO_FLAGS_READ_ONLY if read_only else 0)
    config = struct.pack(
        _CONFIG, file_fd, block_bytes, 0, 0, 0, offset_bytes, size_bytes, 0, 0, 0, flags,
        b"", b"", b"", 0, 0, *[0] * 8,
    )  # fmt: skip
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            path = Path(f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")
            mode = os.O_RDONLY if read_only else os.O_RDWR
            device_fd = os.open(path, mode | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device_fd, _LOOP_CONFIGURE, config)
            except OSError as e:
                os.close(device_fd)
                if e.errno != errno.EBUSY:
                    raise
                continue
            return device_fd, path
    finally:
        os.close(control)
    raise ResourceBusy("no loop device could be had: all were taken while we tried")


@contextmanager
def attached(
    image: Path,
    *,
    read_only: bool = False,
    offset_bytes: int = 0,
    size_bytes: int = 0,
    block_bytes: int = 0,
) -> Iterator[LoopDevice]:
    """Attach a file to a loop device for the length of a block.

    The device has all from the offset on unless `size_bytes` says less, and sectors of 512 bytes
    unless `block_bytes` says more. Raises HostError where the kernel offers no loop devices. On
    leaving, partitions are taken away and the device is cleared, but only if it still backs our
    own file.
    """
    file_fd = os.open(image, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        status = os.fstat(file_fd)
        try:
            device_fd, path = _configure(
                file_fd, read_only=read_only, offset_bytes=offset_bytes, size_bytes=size_bytes,
                block_bytes=block_bytes,
            )  # fmt: skip
        except FileNotFoundError as e:
            raise HostError(
                "this host offers no loop devices (/dev/loop-control is missing)",
                hint="load the kernel module loop, or give the container access to it",
            ) from e
    finally:
        os.close(file_fd)
    device = LoopDevice(path, device_fd, (status.st_dev, status.st_ino))
    try:
        yield device
    finally:
        if device.backs_our_file():
            with contextlib.suppress(OSError):
                # With autoclear this marks the device; the kernel clears it at the last close.
                fcntl.ioctl(device_fd, _LOOP_CLR_FD)
        os.close(device_fd)


def attach_lasting(
    image: Path, *, offset_bytes: int = 0, size_bytes: int = 0, block_bytes: int = 512
) -> Path:
    """Attach a file to a loop device that stays when this process ends (see `detach_lasting`).

    For verbs whose result is the device; whatever ends with a build is `attached`.
    """
    done = process.run(
        ["losetup", "--find", "--show", "--partscan", f"--sector-size={block_bytes}",
         f"--offset={offset_bytes}", f"--sizelimit={size_bytes}", image],
        capture=True,
    )  # fmt: skip
    return Path(done.text.strip())


def detach_lasting(device: Path, file: Path) -> None:
    """Detach what `attach_lasting` has attached; its partitions go with it.

    Nothing happens where the device has no file any more, or another one: after a restart of the
    host its number may be somebody else's.
    """
    try:
        behind = Path("/sys/block", device.name, "loop/backing_file").read_text().rstrip("\n")
    except FileNotFoundError:
        return
    if behind.removesuffix(" (deleted)") == os.path.realpath(file):
        process.run(["losetup", "--detach", device])
