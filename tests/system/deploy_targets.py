"""Disks to deploy to, and small image sets to deploy: loop devices and files of this session."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from goldsmith.disk.block_map import render_bmap
from goldsmith.disk.containers import describe
from goldsmith.disk.image_set import ImageSet, SetImage, render_yaml, to_document

PATTERN = b"not to be touched"
WAIT_S = 60.0


def tool(*argv: object, input: bytes | None = None) -> str:
    """Run a program of this host; a failure shows what it said."""
    done = subprocess.run(
        [str(word) for word in argv], input=input, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
    return done.stdout.decode()


@dataclass(frozen=True)
class Target:
    """A loop device and its file."""

    device: str
    file: Path

    def table(self) -> dict:
        """The partition table as sfdisk reads it."""
        return json.loads(tool("sfdisk", "--json", self.device))["partitiontable"]

    def partitions(self) -> list[tuple[int, int, int]]:
        """Number, first sector and sectors of each partition."""
        found = self.table().get("partitions", [])
        cut = len(self.device)
        return [(int(p["node"][cut:].lstrip("p")), p["start"], p["size"]) for p in found]

    def content(self, number: int) -> dict[str, str]:
        """What blkid finds on a partition."""
        words = tool("blkid", "--probe", "--output", "export", f"{self.device}p{number}")
        return dict(line.partition("=")[::2] for line in words.splitlines())

    def read(self, number: int, path: str) -> str:
        """A file of an ext file system on a partition, without a mount."""
        return tool("debugfs", "-R", f"cat {path}", f"{self.device}p{number}")

    def digest(self) -> str:
        """The digest of all its bytes."""
        tool("sync", self.device)
        with open(self.file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def attached(file: Path, size_mib: int = 300, *, pattern: bytes = PATTERN) -> Iterator[Target]:
    """A new disk with a pattern at its beginning and end."""
    with open(file, "wb") as stream:
        stream.truncate(size_mib << 20)
        stream.write(pattern)
        stream.seek((size_mib << 20) - len(pattern))
        stream.write(pattern)
    device = tool("losetup", "--find", "--show", "--partscan", file).strip()
    try:
        yield Target(device, file)
    finally:
        detach(device)


def detach(device: str) -> None:
    """Take the file from a loop device; one that has none any more is left alone."""
    subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
    deadline_s = time.monotonic() + WAIT_S
    backing = Path("/sys/block", Path(device).name, "loop/backing_file")
    while backing.exists():
        assert time.monotonic() < deadline_s, f"{device} is still attached"
        time.sleep(0.05)


def file_system_image(file: Path, tree: dict[str, str], size_mib: int = 16) -> Path:
    """An ext4 with these files."""
    directory = file.with_suffix(".tree")
    for name, text in tree.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    with open(file, "wb") as stream:
        stream.truncate(size_mib << 20)
    tool("mkfs.ext4", "-q", "-F", "-d", directory, file)
    return file


ROOT_TREE = {"etc/motd": "deployed\n", "etc/hosts": "127.0.0.1 localhost\n", "home/x/y": "z\n",
             "var/lib/big": "x" * 300_000}  # fmt: skip


def image_set(
    directory: Path, *, size_mib: int = 16, mount: str | None = "/", with_map: bool = False
) -> Path:
    """The metadata of a set with one image, a root in gzip; digests of all of it, or its map."""
    raw = file_system_image(directory / "root.img", ROOT_TREE, size_mib)
    tool("gzip", "-kf", raw)
    packed = Path(f"{raw}.gz")
    described = SetImage(
        packed.name, "gzip", "ext4", raw.stat().st_size,
        raw_md5=hashlib.md5(raw.read_bytes(), usedforsecurity=False).hexdigest(),
        raw_sha256=hashlib.sha256(raw.read_bytes()).hexdigest(),
        container_size_bytes=packed.stat().st_size,
        container_md5=hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest(),
        container_sha256=hashlib.sha256(packed.read_bytes()).hexdigest(), mount=mount,
    )  # fmt: skip
    if with_map:
        block_map = describe(raw).block_map
        name, text = f"{packed.name}.bmap", render_bmap(block_map)
        (directory / name).write_text(text)
        described = replace(
            described, raw_md5=None, raw_sha256=None, container_md5=None, container_sha256=None,
            block_map_name=name, block_map_sha256=hashlib.sha256(text.encode()).hexdigest(),
            contents_sha256=block_map.contents_sha256,
        )  # fmt: skip
    metadata = directory / "root.yaml"
    metadata.write_text(render_yaml(to_document(ImageSet((described,)))))
    return metadata


SCHEME = """
disk "one" {
  partition "bios" {
    type = "bios-boot"
    size = "1MiB"
  }
  partition "swap" {
    type = "swap"
    size = "16MiB"
  }
  partition "root" {
    type       = "root"
    size       = "100MiB"
    filesystem = "ext4"
    mount      = "/"
  }
  partition "home" {
    type       = "data"
    filesystem = "ext4"
    label      = "home"
    mount      = "/home"
  }
}
hostname = "target"
"""
