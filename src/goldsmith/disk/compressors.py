"""Compressed streams, written as they come: gzip and bgzf on all cores, xz, bzip2, zstd, lz4.

What is written depends on the content and the level alone: no names, no times, and pieces are cut
at fixed places, whatever the number of cores.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, BinaryIO, Final, Protocol, Self

from goldsmith.errors import CommandFailed
from goldsmith.host import process
from goldsmith.host.parallel import cores

GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_CHUNK_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 32 << 10
# htslib's: a block must fit 64 KiB also where it does not compress.
_BGZF_CHUNK_BYTES: Final = 0xFF00
_BGZF_EOF: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
# ISA-L is several times faster than zlib, but ends where zlib's level 3 or so begins.
_ISAL_LEVELS: Final = {1: 1, 2: 2, 3: 3}
DEFAULT_LEVEL: Final = -1


class Target(Protocol):
    """What compressed bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of the bytes."""


class Compressor(AbstractContextManager["Compressor"]):
    """Takes bytes and writes compressed ones; complete when its block is left without an error."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Compress some bytes."""
        ...

    @abstractmethod
    def finish(self) -> None:
        """Write what is still to come."""
        ...

    def stop(self) -> None:
        """Give back what it holds, also after an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.stop()


class Plain(Compressor):
    """No compression."""

    def write(self, data: bytes) -> None:
        """Write the bytes."""
        self.target.write(data)

    def finish(self) -> None:
        """Nothing is held back."""


class _Streaming(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class OneCore(Compressor):
    """A compressor object of the standard library or of zstandard."""

    def __init__(self, target: Target, streaming: _Streaming) -> None:
        super().__init__(target)
        self._streaming = streaming

    def write(self, data: bytes) -> None:
        """Compress some bytes."""
        self.target.write(self._streaming.compress(data))

    def finish(self) -> None:
        """Write the end of the stream."""
        self.target.write(self._streaming.flush())


class Pieces(Compressor):
    """Cuts the input into pieces of one size and compresses several at once, in order."""

    chunk_bytes: int

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._pool = ThreadPoolExecutor(cores(), "compress")
        self._pending: deque[Future[bytes]] = deque()
        self._rest = bytearray()

    @abstractmethod
    def piece(self, data: bytes) -> Callable[[], bytes]:
        """What compresses a piece; called in order, its result on any thread."""
        ...

    def write(self, data: bytes) -> None:
        """Take in bytes; blocks while more is pending than the cores can do."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= self.chunk_bytes:
            self._submit(bytes(self._rest[at : at + self.chunk_bytes]))
            at += self.chunk_bytes
        del self._rest[:at]

    def _submit(self, data: bytes) -> None:
        self._pending.append(self._pool.submit(self.piece(data)))
        while len(self._pending) > 2 * cores():
            self.target.write(self._pending.popleft().result())

    def finish(self) -> None:
        """Write the last piece and all that is pending."""
        if self._rest:
            self._submit(bytes(self._rest))
        while self._pending:
            self.target.write(self._pending.popleft().result())

    def stop(self) -> None:
        """End the threads; what they still do is thrown away."""
        self._pool.shutdown(cancel_futures=True)


class Gzip(Pieces):
    """One gzip member, made of pieces that each know the window before them, as pigz does."""

    chunk_bytes = _GZIP_CHUNK_BYTES

    def __init__(self, target: Target, level: int) -> None:
        super().__init__(target)
        self._level = level
        self._window = b""
        self._crc = 0
        self._size_bytes = 0
        target.write(GZIP_HEADER)

    def piece(self, data: bytes) -> Callable[[], bytes]:
        """A piece that ends at a byte, so that others can follow."""
        window, self._window = self._window, data[-_WINDOW_BYTES:]
        self._crc = zlib.crc32(data, self._crc)
        self._size_bytes += len(data)
        return lambda: deflated(data, self._level, window, zlib.Z_SYNC_FLUSH)

    def finish(self) -> None:
        """Write the rest, an empty last block, and the trailer of RFC 1952."""
        super().finish()
        self.target.write(deflated(b"", self._level, b"", zlib.Z_FINISH))
        self.target.write(struct.pack("<II", self._crc, self._size_bytes & 0xFFFFFFFF))


class Bgzf(Pieces):
    """Blocks of at most 64 KiB, each a gzip member that tells its length (SAM format, 4.1)."""

    chunk_bytes = _BGZF_CHUNK_BYTES

    def __init__(self, target: Target, level: int) -> None:
        super().__init__(target)
        self._level = level

    def piece(self, data: bytes) -> Callable[[], bytes]:
        """A block."""

        def block() -> bytes:
            body = deflated(data, self._level, b"", zlib.Z_FINISH)
            if len(body) + 26 > 0xFFFF:
                body = deflated(data, 0, b"", zlib.Z_FINISH)
            head = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00"
            length = struct.pack("<H", len(body) + 25)
            return head + length + body + struct.pack("<II", zlib.crc32(data), len(data))

        return block

    def finish(self) -> None:
        """Write the rest and the block that marks the end."""
        super().finish()
        self.target.write(_BGZF_EOF)


def deflated(data: bytes, level: int, window: bytes, flush: int) -> bytes:
    """Raw deflate; `window` is what stood before the data."""
    known: dict[str, Any] = {"zdict": window} if window else {}
    made: Any
    if level in _ISAL_LEVELS or level == DEFAULT_LEVEL:
        from isal import isal_zlib

        made = isal_zlib.compressobj(_ISAL_LEVELS.get(level, 2), zlib.DEFLATED, -15, **known)
    else:
        made = zlib.compressobj(level, zlib.DEFLATED, -15, **known)
    return bytes(made.compress(data) + made.flush(flush))


def xz(target: Target, level: int) -> Compressor:
    """An xz stream."""
    preset = lzma.PRESET_DEFAULT if level == DEFAULT_LEVEL else level
    return OneCore(target, lzma.LZMACompressor(preset=preset))


def bzip2(target: Target, level: int) -> Compressor:
    """A bzip2 stream."""
    return OneCore(target, bz2.BZ2Compressor(9 if level == DEFAULT_LEVEL else level))


def zstd(target: Target, level: int) -> Compressor:
    """A zstd frame with a checksum, on all cores."""
    import zstandard

    chosen = zstandard.ZstdCompressor(
        level=3 if level == DEFAULT_LEVEL else level, threads=cores(), write_checksum=True
    )
    return OneCore(target, chosen.compressobj())


class ByProgram(Compressor):
    """What a program makes of the bytes on its standard input; it writes to the target itself."""

    def __init__(
        self, target: BinaryIO, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(target)
        self._stack = ExitStack()
        target.flush()
        reader, writer = os.pipe()
        self._input = self._stack.enter_context(os.fdopen(writer, "wb", buffering=0))
        try:
            self._running = self._stack.enter_context(
                process.start(argv, stdin=reader, stdout=target.fileno(), env=env)
            )
        except BaseException:
            self._stack.close()
            raise
        finally:
            os.close(reader)

    def write(self, data: bytes) -> None:
        """Hand the program some bytes."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._input.write(rest) :]
        except BrokenPipeError:
            self._require_success()

    def finish(self) -> None:
        """Wait for the program's end."""
        self._input.close()
        self._require_success()

    def _require_success(self) -> None:
        status = self._running.popen.wait()
        if status:
            stderr = self._running.popen.stderr
            tail = stderr.read().decode(errors="replace").splitlines() if stderr else []
            raise CommandFailed(self._running.argv, status, tail=tail)

    def stop(self) -> None:
        """End the program."""
        self._stack.close()


def lz4(target: BinaryIO, level: int) -> Compressor:
    """An lz4 frame, by the program of that name: Python's library is not among ours."""
    chosen = 1 if level == DEFAULT_LEVEL else level
    return ByProgram(target, ["lz4", "-z", "-q", "-c", f"-{chosen}"])
