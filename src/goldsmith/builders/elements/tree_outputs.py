"""Outputs that are made of the finished tree: tar, tgz, squashfs, aci, and images for containers.

One tar reads the tree for all that hold the same archive, and what we write is hashed on its way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.oci_archive import ImageConfig, write_oci_archive
from goldsmith.disk.compressors import ByProgram, Gzip
from goldsmith.disk.filesystems.packed import Packed, write_file
from goldsmith.host.digests import HashedWriting
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named, hash_sparse

GZIP_LEVEL: Final = 6
"""9, as upstream has it, takes more than twice as long and saves one byte in a hundred."""
_ACI_TREE: Final = "rootfs"
_LEFT_OUT: Final = ("./sys", "./proc", "./lost+found")
"""As upstream; and a directory that belongs to the disk's file system, not to the tree."""

Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Checksums:
    """The digests of files that are written: algorithm -> hexadecimal digest, by path."""

    algorithms: tuple[str, ...]
    of: dict[Path, Mapping[str, str]] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Hash what a program wrote."""
        self.of[path] = hash_sparse(path, self.algorithms) if self.algorithms else {}


def write_tree(
    tree: Path,
    write: Write,
    *,
    name: str = ".",
    beside: Path | None = None,
    epoch_s: int,
) -> None:
    """Hand on a tree as a tar archive (POSIX.1-2001), in one order and with numbers as owners.

    /sys, /proc and /lost+found are left out, extended attributes are kept. `name` takes the place
    of the dot that members begin with, the file `beside` follows the tree; no file is newer than
    `epoch_s`. Raises CommandFailed for a file that changes meanwhile or cannot be read.
    """
    argv = ["tar", "--create", "--file=-", f"--directory={tree.absolute()}", "--anchored",
            *(f"--exclude={name}" for name in _LEFT_OUT), "--sort=name", "--numeric-owner",
            "--xattrs", "--xattrs-include=*", "--format=posix",
            # What would tell the time of the reading, and the id of the process.
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
            f"--mtime=@{epoch_s}", "--clamp-mtime"]  # fmt: skip
    if name != ".":
        # S: what symbolic links point to stays as it is.
        argv.append(f"--transform=s,^[.],{name},S")
    more = () if beside is None else (f"--directory={beside.parent}", beside.name)
    run([*argv, ".", *more], on_data=write)


@contextmanager
def tar_file(path: Path, checksums: Checksums) -> Iterator[Write]:
    """A file of the bytes that are handed to it, fsynced."""
    with full_file_system_named(path), open(path, "wb", buffering=0) as stream:
        writing = HashedWriting(stream.fileno(), checksums.algorithms)
        yield writing.write
        os.fsync(stream.fileno())
        checksums.of[path] = writing.digests()


@contextmanager
def tgz_file(path: Path, program: Sequence[str], checksums: Checksums) -> Iterator[Write]:
    """The bytes in gzip: on all cores, or by a `program` of the user's with its arguments."""
    if not program:
        with tar_file(path, checksums) as write, Gzip(_Sink(write), GZIP_LEVEL) as compressor:
            yield compressor.write
        return
    with full_file_system_named(path):
        with open(path, "wb") as stream:
            with ByProgram(stream, [*program, "-9"]) as compressor:
                yield compressor.write
            os.fsync(stream.fileno())
    checksums.read(path)


@dataclass(frozen=True, slots=True)
class _Sink:
    """A function as what a compressor writes to."""

    take: Write

    def write(self, data: bytes, /) -> object:
        """Take all of the bytes."""
        return self.take(data)


@contextmanager
def docker_import(
    target: str, env: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Write]:
    """The bytes as an image in the Docker daemon, called `target`; `say` is told its id."""
    with tempfile.TemporaryFile() as answer:
        with ByProgram(answer, ["docker", "import", "-", target], env=env) as program:
            yield program.write
        answer.seek(0)
        for line in answer.read(4096).decode(errors="replace").splitlines():
            say(line)


@contextmanager
def docker_archive(path: Path, config: ImageConfig, checksums: Checksums) -> Iterator[Write]:
    """The bytes as the one layer of an OCI archive, which `docker load` takes, too."""
    with full_file_system_named(path), write_oci_archive(path, config) as write:
        yield write
    checksums.read(path)


def write_aci(
    tree: Path, path: Path, manifest: Path | None, checksums: Checksums, *, epoch_s: int
) -> None:
    """An App Container Image: the tree under rootfs/, and the user's manifest after it."""
    with (
        tempfile.TemporaryDirectory(prefix="goldsmith-aci-") as scratch,
        tar_file(path, checksums) as write,
    ):
        copy = None
        if manifest is not None:
            copy = Path(scratch, "manifest")
            copy.write_bytes(manifest.read_bytes())
            copy.chmod(0o644)
        write_tree(tree, write, name=_ACI_TREE, beside=copy, epoch_s=epoch_s)


def write_squashfs(tree: Path, path: Path, checksums: Checksums, *, epoch_s: int) -> None:
    """A squashfs in xz, with /proc and /sys empty; it has no byte behind its last block."""
    words = ("-comp", "xz", "-wildcards", "-e", "proc/*", "sys/*", "lost+found")
    write_file(path, Packed("squashfs", "", words), tree, epoch_s=epoch_s)
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
    checksums.read(path)
