"""Reading compressed containers: streamed, bounded, and believed only when they are whole.

The usual decompressors stop silently at a cut, or pass over what follows the first member. Here a
file must consist of complete members (gzip) or frames (zstd) and of nothing else, and must hold
exactly as many bytes as its manifest says: a file that would unpack to more is refused before the
surplus is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from goldsmith.errors import GoldsmithError
from goldsmith.units import format_size

_READ_BYTES: Final = 128 << 10
_CHUNK_BYTES: Final = 1 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_ZSTD_BLOCKS_AT_ONCE: Final = 8
"""A block unpacks to at most 128 KiB (RFC 8878, section 3.1.1.2.4)."""
_ZSTD_RLE_BLOCK: Final = 1
_ZSTD_RESERVED_BLOCK: Final = 3
_ZSTD_LARGEST_BLOCK_BYTES: Final = 128 << 10


class CorruptContainer(GoldsmithError):
    """A compressed file is damaged, cut, not of a known kind, or not what its manifest says."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(f"{path} {what}", hint="fetch the file again, and compare its digest")
        self.path = path


def find_container(path: Path) -> str | None:
    """The kind of container that a file is by its first bytes: "gzip", "zstd", or None."""
    with open(path, "rb") as stream:
        start = stream.read(4)
    if start.startswith(_GZIP_MAGIC):
        return "gzip"
    if start == _ZSTD_MAGIC or _is_skippable(start):
        return "zstd"
    return None


def open_container(
    path: Path, *, size_bytes: int | None, sha256: str | None = None
) -> Iterator[bytes]:
    """The image in a gzip or zstd file, in pieces of at most 1 MiB.

    Raises CorruptContainer at the piece where it shows: unknown magic, damage, a cut, anything
    after the last member, other than `size_bytes` in all (None: nobody knows how many), another
    digest than `sha256`. So what was read is to be trusted only after the last piece. Close the
    iterator to stop early.
    """
    kind = find_container(path)
    if kind is None:
        raise CorruptContainer(path, "is neither a gzip nor a zstd file")
    return _checked(path, _UNPACKERS[kind], size_bytes, sha256)


def unpack(stream: BinaryIO, kind: str, name: str) -> Iterator[bytes]:
    """What is in a "gzip" or "zstd" stream, in pieces of at most 1 MiB; `name` is for errors.

    The stream's `read` gives fewer bytes than it is asked for only at the end. Raises
    CorruptContainer as `open_container` does; sizes and digests are the caller's to check.
    """
    return _UNPACKERS[kind](stream, name)


def unpack_into(stream: BinaryIO, kind: str, name: str) -> Callable[[memoryview], int]:
    """`unpack` into buffers of the caller: what is returned fills a part of one, 0 at the end.

    zstd unpacks straight into the buffer: on half a gigabyte of programs a third of the time went
    into copies.
    """
    if kind == "zstd":
        return _FrameReader(stream, name).read_into
    return PieceReader(unpack(stream, kind, name)).read_into


class PieceReader:
    """Pieces of bytes, read into buffers of other sizes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read_into(self, view: memoryview) -> int:
        """Fill a part of a buffer; 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _checked(
    path: Path,
    unpack: Callable[[BinaryIO, Path | str], Iterator[bytes]],
    size_bytes: int | None,
    sha256: str | None,
) -> Iterator[bytes]:
    done = 0
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in unpack(stream, path):
            done += len(piece)
            if size_bytes is not None and done > size_bytes:
                raise CorruptContainer(
                    path, f"unpacks to more than the {format_size(size_bytes)} that it should hold"
                )
            if sha256 is not None:
                digest.update(piece)
            yield piece
    if size_bytes is not None and done != size_bytes:
        raise CorruptContainer(path, f"holds {done} bytes, not {size_bytes}")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise CorruptContainer(path, f"does not hold the image with the SHA-256 {sha256}")


def _gunzip(stream: BinaryIO, path: Path | str) -> Iterator[bytes]:
    from isal import igzip_lib

    rest = stream.read(_READ_BYTES)
    while rest:
        if not rest.startswith(_GZIP_MAGIC[: len(rest)]):
            raise CorruptContainer(path, "has bytes after its last gzip member that are none")
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not rest:
                rest = stream.read(_READ_BYTES)
                if not rest:
                    raise CorruptContainer(path, "is cut in the middle of a gzip member")
            try:
                piece = member.decompress(rest, _CHUNK_BYTES)
            except igzip_lib.error as e:  # type: ignore[misc]  # its stub has an instance
                raise CorruptContainer(path, f"is damaged: {e}") from e
            rest = b""
            if piece:
                yield piece
        rest = member.unused_data or stream.read(_READ_BYTES)


def _unzstd(stream: BinaryIO, path: Path | str) -> Iterator[bytes]:
    """What is in all frames."""
    reader = _FrameReader(stream, path)
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while count := reader.read_into(buffer):
        yield bytes(buffer[:count])


class _FrameReader:
    """Unpacks zstd frame by frame, fed with whole blocks.

    python-zstandard 0.25 reports no cut: the frames are walked here (RFC 8878, section 3.1.1),
    which finds it.
    """

    def __init__(self, stream: BinaryIO, path: Path | str) -> None:
        self._stream, self._path = stream, path
        self._frame: _FrameContents | None = None

    def read_into(self, view: memoryview) -> int:
        """Fill a part of a buffer; 0 at the end."""
        import zstandard

        while self._frame is not None or self._begin_frame():
            assert self._frame is not None
            try:
                if count := self._frame.readinto(view):
                    return count
            except zstandard.ZstdError as e:
                raise CorruptContainer(self._path, f"is damaged: {e}") from e
            self._frame = None
        return 0

    def _begin_frame(self) -> bool:
        """Open the next frame; False at the end of the file."""
        import zstandard

        stream, path = self._stream, self._path
        while start := stream.read(4):
            if _is_skippable(start):
                _skip(stream, int.from_bytes(_exactly(stream, 4, path), "little"), path)
                continue
            if start != _ZSTD_MAGIC:
                if _ZSTD_MAGIC.startswith(start):
                    raise CorruptContainer(path, "is cut in the middle of a zstd frame")
                raise CorruptContainer(path, "has bytes after its last zstd frame that are none")
            pieces = _PieceSource(_frame_pieces(stream, path))
            self._frame = zstandard.ZstdDecompressor().stream_reader(cast(BinaryIO, pieces))
            return True
        return False


class _FrameContents(Protocol):
    """What is in one frame."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill a buffer, or less of it at the end of the frame."""


class _PieceSource:
    """The pieces of a frame, one with each `read`, whatever size was asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int) -> bytes:
        """The next piece, b"" at the end of the frame."""
        return next(self._pieces, b"")


def _frame_pieces(stream: BinaryIO, path: Path | str) -> Iterator[bytes]:
    """A frame whose magic number was read: header, a few blocks at a time, checksum."""
    descriptor = _exactly(stream, 1, path)
    flags = descriptor[0]
    single_segment, has_checksum = bool(flags & 0x20), bool(flags & 0x04)
    header_bytes = (0, 1, 2, 4)[flags & 3] + (int(single_segment), 2, 4, 8)[flags >> 6]
    header_bytes += 0 if single_segment else 1
    yield _ZSTD_MAGIC + descriptor + _exactly(stream, header_bytes, path)
    is_last = False
    while not is_last:
        parts = []
        for _ in range(_ZSTD_BLOCKS_AT_ONCE):
            block = _exactly(stream, 3, path)
            word = int.from_bytes(block, "little")
            is_last, kind, count = bool(word & 1), word >> 1 & 3, word >> 3
            if kind == _ZSTD_RESERVED_BLOCK or count > _ZSTD_LARGEST_BLOCK_BYTES:
                raise CorruptContainer(path, "is damaged: a zstd block of no known kind")
            parts += [block, _exactly(stream, 1 if kind == _ZSTD_RLE_BLOCK else count, path)]
            if is_last:
                break
        if is_last and has_checksum:
            parts.append(_exactly(stream, 4, path))
        yield b"".join(parts)


def _is_skippable(start: bytes) -> bool:
    return len(start) == 4 and int.from_bytes(start, "little") in _SKIPPABLE


def _skip(stream: BinaryIO, count: int, path: Path | str) -> None:
    while count:
        count -= len(_exactly(stream, min(count, _CHUNK_BYTES), path))


def _exactly(stream: BinaryIO, count: int, path: Path | str) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise CorruptContainer(path, "is cut in the middle of a zstd frame")
    return data


_UNPACKERS: Final[Mapping[str, Callable[[BinaryIO, Path | str], Iterator[bytes]]]] = {
    "gzip": _gunzip,
    "zstd": _unzstd,
}
