"""The map of an image's used blocks, each range with its own digest.

Whoever writes an image to a disk needs only the mapped ranges, and can check each before it is
used. What is not mapped reads as zeros: the writer discards or zeroes it first. The map is kept as
JSON in our manifest and, for others, as the XML file of bmaptool (format 2.0).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.sparse import data_extents

if TYPE_CHECKING:
    from xml.etree import ElementTree

BLOCK_BYTES: Final = 4096
STRETCH_BYTES: Final = 8 << 20
"""No range crosses a multiple of this, so that one can be checked before it is written."""

LARGEST_BMAP_BYTES: Final = 256 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"([0-9]{1,15})(?:\s*-\s*([0-9]{1,15}))?")


class BlockMapError(GoldsmithError):
    """A block map is damaged or does not belong to its image."""


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Used blocks in a row: the first one's number, how many, and the SHA-256 of their bytes.

    The digest of a range that reaches the end of the image ends with the image's last byte.
    """

    first: int
    count: int
    sha256: str

    @property
    def end(self) -> int:
        """The number of the block after the last one."""
        return self.first + self.count

    @property
    def numbers(self) -> str:
        """The first and the last block's number, "3-7", or the only one's."""
        return f"{self.first}-{self.end - 1}" if self.count > 1 else str(self.first)


@dataclass(frozen=True, slots=True)
class BlockMap:
    """The used blocks of an image of `size_bytes`, in order; raises BlockMapError when unsound."""

    size_bytes: int
    ranges: tuple[BlockRange, ...]
    block_bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.block_bytes < 1:
            raise BlockMapError("a block map has a negative size")
        at = 0
        for found in self.ranges:
            if found.first < at or found.count < 1 or found.end > self.blocks:
                raise BlockMapError(
                    f"a block map names blocks {found.numbers} out of order or "
                    f"outside the image's {self.blocks}"
                )
            if not _SHA256.fullmatch(found.sha256):
                raise BlockMapError(f"a block map has no SHA-256 for block {found.first}")
            at = found.end

    @property
    def blocks(self) -> int:
        """How many blocks the image has, the last one perhaps a part of one."""
        return -(-self.size_bytes // self.block_bytes)

    @property
    def mapped_blocks(self) -> int:
        """How many of them are used."""
        return sum(found.count for found in self.ranges)

    @property
    def contents_sha256(self) -> str:
        """The SHA-256 of the image's size and of all ranges with their digests: of every byte.

        It says as much as the digest of the whole image, without a look at its holes.
        """
        digest = hashlib.sha256(f"{self.size_bytes} {self.block_bytes}\n".encode())
        for found in self.ranges:
            digest.update(f"{found.numbers} {found.sha256}\n".encode())
        return digest.hexdigest()

    def stretch(self, found: BlockRange) -> tuple[int, int]:
        """Where a range lies: its offset and its length, both in bytes."""
        start = found.first * self.block_bytes
        return start, min(found.end * self.block_bytes, self.size_bytes) - start

    def check_range(self, found: BlockRange, data: bytes | memoryview) -> None:
        """Raise BlockMapError unless these bytes are the ones that were mapped."""
        if hashlib.sha256(data).hexdigest() != found.sha256:
            raise BlockMapError(
                f"blocks {found.numbers} are not those of the block map",
                hint="the image was damaged on its way: fetch it again",
            )

    def to_json(self) -> dict[str, Any]:
        """The map as it stands in a manifest: each range is "FIRST-LAST SHA256"."""
        return {
            "size_bytes": self.size_bytes, "block_bytes": self.block_bytes,
            "ranges": [f"{found.numbers} {found.sha256}" for found in self.ranges],
        }  # fmt: skip

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> BlockMap:
        """The map of `to_json`; raises BlockMapError for anything else."""
        try:
            texts = [text.rpartition(" ") for text in given["ranges"]]
            size_bytes, block_bytes = int(given["size_bytes"]), int(given["block_bytes"])
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise BlockMapError(f"not a block map: {e!r}") from e
        ranges = tuple(_parse_range(numbers, digest) for numbers, _, digest in texts)
        return cls(size_bytes, ranges, block_bytes)


def mapped_stretches(fd: int, size_bytes: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """An image cut into stretches of 8 MiB: offset, length, and the used blocks in each.

    The used blocks are (first, count), numbered in the image, whole blocks whatever the extents
    of the file. Holes are not read.
    """
    extents = data_extents(fd)
    extent = next(extents, None)
    for offset in range(0, size_bytes, STRETCH_BYTES):
        length = min(STRETCH_BYTES, size_bytes - offset)
        used: list[tuple[int, int]] = []
        while extent is not None and extent[0] < offset + length:
            start, end = max(extent[0], offset), min(sum(extent), offset + length)
            if end > start:
                _add(used, start // BLOCK_BYTES, -(-end // BLOCK_BYTES))
            if sum(extent) > offset + length:
                break
            extent = next(extents, None)
        yield offset, length, used


def _add(used: list[tuple[int, int]], first: int, end: int) -> None:
    """Add blocks that may touch or share the last ones."""
    if used and sum(used[-1]) >= first:
        first = used.pop()[0]
    used.append((first, end - first))


def check_image(path: str | os.PathLike[str], block_map: BlockMap) -> None:
    """Raise BlockMapError unless an image has the size and, where it is mapped, the map's bytes."""
    with open(path, "rb", buffering=0) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes != block_map.size_bytes:
            raise BlockMapError(
                f"{path} has {size_bytes} bytes, its block map is of {block_map.size_bytes}"
            )
        for found in block_map.ranges:
            start, length = block_map.stretch(found)
            digest = hashlib.sha256()
            while length and (data := os.pread(stream.fileno(), min(length, 1 << 20), start)):
                digest.update(data)
                start, length = start + len(data), length - len(data)
            if digest.hexdigest() != found.sha256:
                raise BlockMapError(
                    f"{path}: blocks {found.numbers} are not those of the block map"
                )


_BMAP: Final = """\
<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {block} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {own} </BmapFileChecksum>
    <BlockMap>
{ranges}    </BlockMap>
</bmap>
"""
_NO_CHECKSUM: Final = "0" * 64


def render_bmap(block_map: BlockMap) -> str:
    """The map as a .bmap file, with the file's own checksum (made while its place is zeros)."""
    lines = [
        f'        <Range chksum="{found.sha256}"> {found.numbers} </Range>\n'
        for found in block_map.ranges
    ]
    text = _BMAP.format(
        size=block_map.size_bytes, block=block_map.block_bytes, blocks=block_map.blocks,
        mapped=block_map.mapped_blocks, own=_NO_CHECKSUM, ranges="".join(lines),
    )  # fmt: skip
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest(), 1)


def parse_bmap(data: bytes) -> BlockMap:
    """Read a .bmap file (format 2.x with SHA-256, its own checksum included).

    Raises BlockMapError for a damaged file, and for one that carries no digests.
    """
    if len(data) > LARGEST_BMAP_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BlockMapError("a .bmap file of this size, or with entities, is not read")
    from xml.etree import ElementTree  # late: every image comes by here, few bring a .bmap file

    try:
        root = ElementTree.fromstring(data)  # noqa: S314 (no document types: nothing expands)
    except ElementTree.ParseError as e:
        raise BlockMapError(f"a .bmap file is not XML: {e}") from e
    version = root.get("version", "")
    if root.tag != "bmap" or not version.startswith("2."):
        raise BlockMapError(f"not a .bmap file of format 2.x (format {version or 'unknown'})",
                            hint="make it again with bmaptool 3.0 or newer")  # fmt: skip
    if _field(root, "ChecksumType") != "sha256":
        raise BlockMapError("a .bmap file without SHA-256 digests cannot be trusted")
    own = _field(root, "BmapFileChecksum")
    zeroed = data.replace(own.encode(), _NO_CHECKSUM.encode(), 1)
    if hashlib.sha256(zeroed).hexdigest() != own:
        raise BlockMapError("a .bmap file does not have its own checksum: it was changed or cut")
    block_map = BlockMap(
        _number(root, "ImageSize"),
        tuple(_parse_range(e.text or "", e.get("chksum", "")) for e in root.iter("Range")),
        _number(root, "BlockSize"),
    )
    counts = (_number(root, "BlocksCount"), _number(root, "MappedBlocksCount"))
    if counts != (block_map.blocks, block_map.mapped_blocks):
        raise BlockMapError("a .bmap file counts other blocks than it lists")
    return block_map


def _field(root: ElementTree.Element, name: str) -> str:
    text = (root.findtext(name) or "").strip()
    if not text:
        raise BlockMapError(f"a .bmap file has no {name}")
    return text


def _number(root: ElementTree.Element, name: str) -> int:
    text = _field(root, name)
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BlockMapError(f"a .bmap file has {name} {text!r}")
    return int(text)


def _parse_range(numbers: str, digest: str) -> BlockRange:
    match = _RANGE.fullmatch(numbers.strip())
    if match is None:
        raise BlockMapError(f"a block map has the range {numbers.strip()!r}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    return BlockRange(first, last - first + 1, digest)
