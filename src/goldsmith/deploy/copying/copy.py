"""An image onto a target, in one pass: fetched, unpacked, proved, written where it has data."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from goldsmith.deploy.copying.block_map_file import fetch_block_map
from goldsmith.deploy.copying.images import (
    CopiedImage,
    CopyError,
    CopyLimits,
    ImageMismatch,
    ImageToCopy,
)
from goldsmith.deploy.copying.resuming import NoSource, ResumingStream
from goldsmith.deploy.copying.sources import FileSource, Source, SourceChanged, source_of
from goldsmith.deploy.copying.stretches import (
    Buffers,
    Stretch,
    extents_of_file,
    mapped_extents,
    stretches_of_reader,
    stretches_of_stream,
)
from goldsmith.deploy.copying.target import Target, TargetError, open_target
from goldsmith.deploy.copying.writing import Writing
from goldsmith.disk.block_map import BlockMap
from goldsmith.disk.container_reader import CorruptContainer, unpack_into
from goldsmith.events import Emitter
from goldsmith.host.digests import new_digest

_PREFERRED: Final = ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")
"""With instructions for SHA the first is the quickest of them too."""
_READ_BYTES: Final = 1 << 20
_CHANGES: Final = 2
"""So often a file may be replaced on its server while it is read."""

_DEFAULT_LIMITS: Final = CopyLimits()


def copy_image(
    image: ImageToCopy, target: Path, *, emit: Emitter, limits: CopyLimits = _DEFAULT_LIMITS
) -> CopiedImage:
    """Write an image onto a block device (or a file of its size), synced; all else on it is lost.

    Nothing is written before the source has answered and the image is known to fit, as far as its
    size is known. Bytes that prove to be wrong are fetched again from another mirror. After any
    error the target's start is zeros: no file system and no partition table is recognised. Raises
    ImageMismatch for wrong bytes, NoSource, ImageTooLarge, TargetError, ResourceBusy for a target
    in use, TimeLimitReached.
    """
    if not image.is_verifiable and not image.may_be_unverified:
        raise CopyError(
            "nothing tells whether the image is the right one: it has no digest and no block map",
            hint="give its sha256, the metadata of its set, or its block map",
        )
    started_s = time.monotonic()
    sources = [source_of(uri, stall_s=limits.stall_s, redactor=emit.redactor) for uri in image.uris]
    with open_target(target) as opened, contextlib.ExitStack() as stack:
        if image.container == "qcow2":
            from goldsmith.deploy.copying.qcow2 import raw_of_qcow2

            image, sources = stack.enter_context(
                raw_of_qcow2(image, sources, opened, emit=emit, limits=limits)
            )
        block_map = image.block_map
        if block_map is None and image.block_map_uris:
            block_map = fetch_block_map(image, emit=emit, limits=limits)
        copied = _copy_from_some(image, sources, opened, block_map, emit, limits)
    return replace(copied, duration_s=time.monotonic() - started_s)


def _copy_from_some(
    image: ImageToCopy,
    sources: Sequence[Source],
    target: Target,
    block_map: BlockMap | None,
    emit: Emitter,
    limits: CopyLimits,
) -> CopiedImage:
    """Copy from all mirrors together; after wrong bytes without the one they came from."""
    turns = deque([list(sources)])
    changes = repeats = 0
    while True:
        turn = turns.popleft()
        attempt = _Attempt(image, turn, target, block_map, emit, limits)
        try:
            return attempt.run()
        except SourceChanged as e:
            changes += 1
            if changes > _CHANGES:
                raise
            turns.appendleft(turn)
            error: CopyError | SourceChanged = e
        except ImageMismatch as e:
            used = attempt.stream.used
            if len(used) > 1:
                # Each may be right, and be another version.
                turns.extend([one] for one in turn)
            elif used and (others := [one for one in turn if one not in used]):
                turns.append(others)
            elif attempt.stream.was_broken and not repeats:
                repeats += 1
                turns.append(turn)
            error = e
        except NoSource as e:
            error = e
        if not turns:
            raise error
        emit.warn(f"{error}; beginning again with {turns[0][0].shown}")


class _Attempt:
    """One try to copy an image from mirrors that are taken for the same file."""

    def __init__(
        self,
        image: ImageToCopy,
        turn: Sequence[Source],
        target: Target,
        block_map: BlockMap | None,
        emit: Emitter,
        limits: CopyLimits,
    ) -> None:
        self._image, self._turn, self._target = image, turn, target
        self._block_map, self._emit = block_map, emit
        is_raw = image.container == "raw"
        digests = {**(image.container_digests if is_raw else {}), **image.digests}
        # Ranges of a map that is the right one prove every byte: one more digest proves no more.
        self._contents_wanted = None if block_map is None else image.contents_sha256
        self._wanted = {} if self._contents_wanted else _best(digests)
        # The digest of what is in the container says more than the container's own.
        inner = self._contents_wanted or self._wanted
        self._container_wanted = {} if is_raw or inner else _best(image.container_digests)
        self._container = {name: new_digest(name) for name in self._container_wanted}
        self._size_bytes = image.size_bytes
        if self._size_bytes is None and block_map is not None:
            self._size_bytes = block_map.size_bytes
        self.stream = ResumingStream(
            turn, limits, is_proven=image.is_verifiable, warn=emit.warn,
            expected_bytes=self._size_bytes if is_raw else image.container_size_bytes,
            digest=next(iter(self._container.values()), None),
        )  # fmt: skip

    def run(self) -> CopiedImage:
        """Copy; wrong bytes are ImageMismatch, and leave the target wiped as all errors do."""
        target = self._target
        with self.stream:
            self.stream.begin()
            if self._image.container == "raw" and self._size_bytes is None:
                self._size_bytes = self.stream.total_bytes
            self._check_before()
            try:
                target.begin(() if self._block_map is None else mapped_extents(self._block_map))
                digests, size_bytes = self._write()
                target.finish(size_bytes)
            except BaseException:
                with contextlib.suppress(TargetError):
                    target.wipe()
                raise
        return CopiedImage(
            target=target.path, size_bytes=size_bytes, written_bytes=target.written_bytes,
            digests=digests, sources=tuple(one.shown for one in self.stream.used), duration_s=0.0,
        )  # fmt: skip

    def _check_before(self) -> None:
        """Raise before anything is written for what can be known before."""
        size_bytes, block_map = self._size_bytes, self._block_map
        if block_map is not None and self._contents_wanted:
            self._compare("the block map", {"contents_sha256": self._contents_wanted},
                          {"contents_sha256": block_map.contents_sha256})  # fmt: skip
        if block_map is not None and block_map.size_bytes != size_bytes:
            raise ImageMismatch(
                f"the block map is of an image of {block_map.size_bytes} bytes, this one has "
                f"{size_bytes}",
                hint="image and block map do not belong together: fetch both again",
            )
        if size_bytes is not None:
            self._target.require_room(size_bytes)

    def _write(self) -> tuple[Mapping[str, str], int]:
        """Write all but the start; returns the digests and the size, both as they should be."""
        buffers, size_bytes, at = Buffers(), self._size_bytes, 0
        try:
            with Writing(self._target, buffers, self._block_map, list(self._wanted)) as writing:
                for stretch in self._stretches(buffers):
                    at = stretch.end
                    if size_bytes is not None and at > size_bytes:
                        raise ImageMismatch(f"{self._name} holds more than {size_bytes} bytes")
                    self._target.require_room(at, so_far=True)
                    writing.add(stretch)
                    self._emit.progress(
                        f"writing {self._target.path}", at, size_bytes or 0, unit="bytes"
                    )
                digests = writing.finish()
        except CorruptContainer as e:
            # It was named before anybody was asked; now it is known whose bytes these are.
            told = str(e).replace(self._given_name, self._name)
            raise ImageMismatch(told, hint=e.hint) from e
        except EOFError as e:
            raise ImageMismatch(f"{self._name}: {e}") from e
        if size_bytes is not None and at != size_bytes:
            raise ImageMismatch(f"{self._name} holds {at} bytes, not {size_bytes}")
        self._compare("the image", self._wanted, digests)
        self._compare(
            self._name, self._container_wanted,
            {name: digest.hexdigest() for name, digest in self._container.items()},
        )  # fmt: skip
        if self._contents_wanted:
            return {"contents_sha256": self._contents_wanted}, at
        return digests, at

    def _stretches(self, buffers: Buffers) -> Iterator[Stretch]:
        if self._image.container != "raw":
            packed = io.BufferedReader(self.stream, _READ_BYTES)
            return stretches_of_reader(
                unpack_into(packed, self._image.container, self._given_name), buffers
            )
        if self._size_bytes is None:
            return stretches_of_reader(self.stream.readinto, buffers)
        extents = iter([(0, self._size_bytes)])
        if self._block_map is not None:
            extents = mapped_extents(self._block_map)
        elif len(self._turn) == 1 and isinstance(self._turn[0], FileSource):
            extents = extents_of_file(self._turn[0].path)
        return stretches_of_stream(self.stream, self._size_bytes, extents, buffers)

    @property
    def _given_name(self) -> str:
        return ", ".join(one.shown for one in self._turn)

    @property
    def _name(self) -> str:
        return ", ".join(one.shown for one in self.stream.used or self._turn)

    def _compare(self, what: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
        for name, digest in wanted.items():
            if found[name] != digest.lower():
                raise ImageMismatch(
                    f"{what} has the {name} {found[name]}, and should have {digest}",
                    hint="it was damaged on its way, or is another one: fetch it again, and see "
                    "whether the digest is the right one",
                )


def _best(digests: Mapping[str, str]) -> dict[str, str]:
    """The one digest that is compared: several would only take longer."""
    name = next((name for name in _PREFERRED if digests.get(name)), None)
    return {} if name is None else {name: digests[name]}
