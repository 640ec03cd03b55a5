"""An image of one layer as an archive that needs no daemon to be made.

It is an OCI image layout in a tar archive, for `podman load` and `skopeo copy oci-archive:`, with
the manifest.json that `docker load` of any age reads. Sources: OCI Image Format Specification 1.0
(image-layout, manifest, config, layer); Docker Image Specification 1.2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.disk.compressors import DEFAULT_LEVEL, Gzip
from goldsmith.host.digests import HashedWriting

REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?"
)
"""[HOST[:PORT]/]REPOSITORY[:TAG], as Docker calls images."""

_ARCHITECTURES: Final = {
    "armhf": ("arm", "v7"), "armel": ("arm", "v6"), "i386": ("386", ""), "i686": ("386", ""),
    "x86_64": ("amd64", ""), "aarch64": ("arm64", ""), "ppc64el": ("ppc64le", ""),
}  # fmt: skip
"""Go's names of Debian's architectures, and the variant; those that are missing have one name."""

_OCI: Final = "application/vnd.oci.image"
_BLOBS: Final = "blobs/sha256"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What is told of an image: its name, Debian's name of its architecture, its time."""

    reference: str
    architecture: str
    epoch_s: int

    @property
    def full_reference(self) -> str:
        """With a tag."""
        _, _, last = self.reference.rpartition("/")
        return self.reference if ":" in last else f"{self.reference}:latest"

    @property
    def platform(self) -> dict[str, str]:
        """As the specification has it."""
        name, variant = _ARCHITECTURES.get(self.architecture, (self.architecture, ""))
        platform = {"architecture": name, "os": "linux"}
        return {**platform, "variant": variant} if variant else platform

    def to_json(self, layer_sha256: str) -> dict[str, Any]:
        """The image's configuration; `layer_sha256` is that of the layer before compression."""
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.epoch_s))
        return {
            "created": created, **self.platform, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_sha256}"]},
            "history": [{"created": created, "created_by": "goldsmith"}],
        }  # fmt: skip


@contextmanager
def write_oci_archive(path: Path, config: ImageConfig) -> Iterator[Callable[[bytes], object]]:
    """Write an archive around the bytes of one tar archive, which becomes its layer, in gzip.

    The layer's name and size are known at its end: they are written into its header then.
    """
    with open(path, "w+b", buffering=0) as stream:
        archive = _Archive(stream.fileno(), config.epoch_s)
        archive.directory("blobs")
        archive.directory(_BLOBS)
        header_at = archive.skip(tarfile.BLOCKSIZE)
        packed = HashedWriting(stream.fileno())
        plain = hashlib.sha256()
        with Gzip(packed, DEFAULT_LEVEL) as compressor:

            def write(data: bytes) -> None:
                plain.update(data)
                compressor.write(data)

            yield write
        layer_sha256 = packed.digests()["sha256"]
        size_bytes = os.lseek(stream.fileno(), 0, os.SEEK_CUR) - header_at - tarfile.BLOCKSIZE
        os.pwrite(stream.fileno(), archive.header(f"{_BLOBS}/{layer_sha256}", size_bytes),
                  header_at)  # fmt: skip
        archive.pad(size_bytes)
        layer = {"mediaType": f"{_OCI}.layer.v1.tar+gzip", "digest": f"sha256:{layer_sha256}",
                 "size": size_bytes}  # fmt: skip
        _finish(archive, config, layer, plain.hexdigest())
        os.fsync(stream.fileno())


def _finish(
    archive: _Archive, config: ImageConfig, layer: dict[str, Any], plain_sha256: str
) -> None:
    """Write what tells of the layer: configuration, manifest, and both indices."""
    told = archive.blob(f"{_OCI}.config.v1+json", config.to_json(plain_sha256))
    manifest = archive.blob(
        f"{_OCI}.manifest.v1+json",
        {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": told,
         "layers": [layer]},
    )  # fmt: skip
    full = config.full_reference
    names = {"io.containerd.image.name": full,
             "org.opencontainers.image.ref.name": full.rpartition(":")[2]}  # fmt: skip
    entry = {**manifest, "annotations": names, "platform": config.platform}
    archive.json("index.json", {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json",
                                "manifests": [entry]})  # fmt: skip
    archive.json("oci-layout", {"imageLayoutVersion": "1.0.0"})
    archive.json(
        "manifest.json",
        [{"Config": _blob_path(told), "RepoTags": [full], "Layers": [_blob_path(layer)]}],
    )
    archive.end()


def _blob_path(descriptor: dict[str, Any]) -> str:
    return f"{_BLOBS}/{descriptor['digest'].removeprefix('sha256:')}"


class _Archive:
    """A tar archive at the place of a file where it is written."""

    def __init__(self, fd: int, epoch_s: int) -> None:
        self._fd = fd
        self._epoch_s = epoch_s

    def header(self, name: str, size_bytes: int) -> bytes:
        """One block, also for sizes that eight octal digits do not hold."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size_bytes, 0o644, self._epoch_s
        return info.tobuf(tarfile.GNU_FORMAT)

    def directory(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, self._epoch_s
        os.write(self._fd, info.tobuf(tarfile.GNU_FORMAT))

    def skip(self, count: int) -> int:
        """Leave room; returns where it is."""
        at = os.lseek(self._fd, 0, os.SEEK_CUR)
        os.lseek(self._fd, count, os.SEEK_CUR)
        return at

    def pad(self, size_bytes: int) -> None:
        os.write(self._fd, bytes(-size_bytes % tarfile.BLOCKSIZE))

    def file(self, name: str, content: bytes) -> None:
        os.write(self._fd, self.header(name, len(content)) + content)
        self.pad(len(content))

    def json(self, name: str, value: object) -> None:
        self.file(name, _encoded(value))

    def blob(self, media_type: str, value: object) -> dict[str, Any]:
        """A file that is called by its digest; returns its descriptor."""
        content = _encoded(value)
        digest = hashlib.sha256(content).hexdigest()
        self.file(f"{_BLOBS}/{digest}", content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def end(self) -> None:
        os.write(self._fd, bytes(2 * tarfile.BLOCKSIZE))


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
