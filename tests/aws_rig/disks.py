"""Files that stand for volumes and snapshots, and the loop devices of attached volumes."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30
SETTLES_WITHIN_S = 60.0


def run(*argv: str | Path) -> str:
    """Run a program and return what it prints; raises CalledProcessError."""
    words = [str(word) for word in argv]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def copy_data(origin: Path, target: int) -> None:
    """Copy what is no hole to the same place of another file."""
    with open(origin, "rb") as source:
        fd, at = source.fileno(), 0
        # What is still in memory alone may look like more data than it is, never like less.
        while True:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(fd, at, os.SEEK_HOLE)
            while at < end:
                at += os.pwrite(target, os.pread(fd, min(1 << 20, end - at), at), at)


@dataclass
class Attached:
    """A volume as an instance sees it: a node, and the names that lead to it."""

    node: Path
    is_loop: bool
    links: list[Path] = field(default_factory=list)


@dataclass
class Disks:
    """All files lie in `directory`, names of attached volumes in its folder `dev`.

    Without `loops` an attached volume is its plain file: no root is needed then.
    """

    directory: Path
    loops: bool = True
    attached: list[Attached] = field(default_factory=list)

    @property
    def nodes(self) -> Path:
        """Where the names of attached volumes are."""
        return self.directory / "dev"

    def make(self, name: str, size_gib: int, origin: Path | None = None) -> Path:
        """A sparse file of this size with the extents of another one."""
        file = self.directory / name
        with open(file, "wb") as handle:
            if origin is not None:
                copy_data(origin, handle.fileno())
            handle.truncate(size_gib * GIB)
        return file

    def attach(self, file: Path, device: str, volume_id: str) -> Attached:
        """Make a file a disk, reached by the last part of `device` and by the volume's id."""
        self.nodes.mkdir(exist_ok=True)
        if not self.loops:
            attached = Attached(file, is_loop=False)
        else:
            attached = Attached(Path(run("losetup", "--find", "--show", file)), is_loop=True)
            # Fails where there is no table of partitions.
            with contextlib.suppress(subprocess.CalledProcessError):
                run("partx", "--add", attached.node)
        self.attached.append(attached)
        serial = f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
        name = os.path.basename(device)
        self._link(attached, attached.node, name, serial)
        for part in sorted(attached.node.parent.glob(f"{attached.node.name}p*")):
            number = part.name.removeprefix(f"{attached.node.name}p")
            if number.isdecimal():
                joint = "p" if name[-1].isdecimal() else ""
                self._link(attached, part, f"{name}{joint}{number}", f"{serial}-part{number}")
        return attached

    def _link(self, attached: Attached, node: Path, *names: str) -> None:
        for name in names:
            link = self.nodes / name
            link.symlink_to(node)
            attached.links.append(link)

    def is_busy(self, attached: Attached) -> bool:
        """Whether the disk is mounted, in whatever namespace, or otherwise held."""
        if not attached.is_loop:
            return False
        nodes = [attached.node, *attached.node.parent.glob(f"{attached.node.name}p*")]
        for node in nodes:
            try:
                os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            except OSError as e:
                if e.errno == errno.EBUSY:
                    return True
        return False

    def detach(self, attached: Attached) -> None:
        """Take the disk away; the file stays."""
        if attached not in self.attached:
            return
        self.attached.remove(attached)
        for link in attached.links:
            link.unlink()
        if attached.is_loop:
            with contextlib.suppress(subprocess.CalledProcessError):
                run("blockdev", "--flushbufs", attached.node)
            with contextlib.suppress(subprocess.CalledProcessError):
                run("partx", "--delete", attached.node)
            run("losetup", "--detach", attached.node)

    def close(self) -> None:
        """Take every disk away; waits until nobody holds it any more."""
        for attached in list(self.attached):
            deadline_s = time.monotonic() + SETTLES_WITHIN_S
            while self.is_busy(attached) and time.monotonic() < deadline_s:
                time.sleep(0.05)
            self.detach(attached)
