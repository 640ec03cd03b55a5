"""qcow2 images as input: qemu-img makes them raw, within limits, and opens no other file for it.

Images come from strangers. The format is told to qemu-img, never guessed by it; a header that names
a backing or data file is refused before it runs; memory and time of the processors are limited.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from goldsmith.deploy.copying.images import CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.deploy.copying.sources import FileSource, Source
from goldsmith.deploy.copying.target import Target
from goldsmith.errors import CommandFailed
from goldsmith.events import Emitter
from goldsmith.host.digests import new_digest
from goldsmith.host.process import run
from goldsmith.host.sparse import full_file_system_named, is_full_message, no_space
from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import image_format, refuse_parts

_MEMORY_BYTES: Final = 2 << 30
_CPU_S: Final = 3600
_PIECE_BYTES: Final = 1 << 20


@contextmanager
def raw_of_qcow2(
    image: ImageToCopy,
    sources: Sequence[Source],
    target: Target,
    *,
    emit: Emitter,
    limits: CopyLimits,
) -> Iterator[tuple[ImageToCopy, list[Source]]]:
    """The raw image in a qcow2 file, in a scratch directory for the length of a block.

    The container's digests are compared before qemu-img sees the file, and a disk that the target
    has no room for is refused. Raises ImageMismatch, ImageTooLarge, NoSource, NoSpaceError.
    """
    with tempfile.TemporaryDirectory(prefix="goldsmith-copy-") as directory:
        packed, raw = Path(directory, "image.qcow2"), Path(directory, "image.raw")
        _fetch(image, sources, packed, emit, limits)
        target.require_room(_virtual_size(packed, sources[0].shown))
        emit.message(f"Unpacking {sources[0].shown}")
        _convert(packed, raw, sources[0].shown)
        packed.unlink()
        proved = replace(
            image, container="raw", uris=(str(raw),), container_size_bytes=None,
            container_digests={}, may_be_unverified=True,
        )  # fmt: skip
        yield proved, [FileSource(str(raw))]


def _fetch(
    image: ImageToCopy, sources: Sequence[Source], packed: Path, emit: Emitter, limits: CopyLimits
) -> None:
    """Write the file beside us: what was compared must be what qemu-img reads."""
    digests = {name: new_digest(name) for name in image.container_digests}
    stream = ResumingStream(
        sources, limits, expected_bytes=image.container_size_bytes, is_proven=image.is_verifiable,
        warn=emit.warn,
    )  # fmt: skip
    view = memoryview(bytearray(_PIECE_BYTES))
    with full_file_system_named(packed), stream, open(packed, "xb", buffering=0) as writing:
        while count := stream.readinto(view):
            for digest in digests.values():
                digest.update(view[:count])
            left = view[:count]
            while left:
                left = left[os.write(writing.fileno(), left) :]
            emit.progress("fetching", stream.at, stream.total_bytes or 0, unit="bytes")
    for name, wanted in image.container_digests.items():
        if (found := digests[name].hexdigest()) != wanted.lower():
            raise ImageMismatch(
                f"{sources[0].shown} has the {name} {found}, and should have {wanted}",
                hint="it was damaged on its way, or is another one: fetch it again",
            )


def _virtual_size(packed: Path, name: str) -> int:
    try:
        if image_format(packed) != "qcow2":
            raise ImageMismatch(f"{name} is not a qcow2 image",
                                hint="say which container it has: raw, gzip or zstd")  # fmt: skip
        refuse_parts(packed, "qcow2")
        told = run(_limited("info", "--output=json", "-f", "qcow2", packed), capture=True)
        return int(json.loads(told.text)["virtual-size"])
    except (PackageError, CommandFailed, ValueError, KeyError) as e:
        raise ImageMismatch(
            f"{name} cannot be read as qcow2: {e}".replace(str(packed), name)
        ) from e


def _convert(packed: Path, raw: Path, name: str) -> None:
    try:
        run(_limited("convert", "-f", "qcow2", "-O", "raw", packed, raw))
    except CommandFailed as e:
        if any(is_full_message(line) for line in e.tail):
            raise no_space(raw) from e
        raise ImageMismatch(f"{name} cannot be read as qcow2: {' '.join(e.tail)}",
                            hint="it is damaged: fetch it again") from e  # fmt: skip


def _limited(*words: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    return ["prlimit", f"--as={_MEMORY_BYTES}", f"--cpu={_CPU_S}", "qemu-img", *words]
