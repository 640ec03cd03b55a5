"""Containers: the same bytes on any number of cores, whole or refused; the map of used blocks."""

import gzip
import hashlib
import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.disk import block_map, containers
from goldsmith.disk.block_map import STRETCH_BYTES, BlockMap, BlockMapError, BlockRange
from goldsmith.disk.container_reader import CorruptContainer, find_container, open_container
from goldsmith.errors import GoldsmithError, NoSpaceError
from goldsmith.host import digests
from goldsmith.units import MIB

BLOCK = 4096


def write_image(path, pieces, size):
    """A sparse file with bytes at offsets."""
    with open(path, "wb") as stream:
        stream.truncate(size)
        for offset, data in pieces:
            stream.seek(offset)
            stream.write(data)
    return path


def noise_of(count):
    """Bytes that do not compress, the same ones in every run."""
    return hashlib.shake_128(b"noise").digest(count)


@pytest.fixture
def image(tmp_path):
    """30 MiB and a bit: data at both ends, across a stretch's end, and two stretches of holes."""
    size = 30 * MIB + 1000
    pieces = [
        (0, b"start" * 3000),
        (STRETCH_BYTES - 10_000, noise_of(MIB)),
        (size - 3000, b"end" * 1000),
    ]
    return write_image(tmp_path / "image", pieces, size)


def unpacked(path, **known):
    pieces = list(open_container(path, **known))
    assert all(0 < len(piece) <= MIB for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_container_holds_the_image_and_its_own_digests(tmp_path, image, kind):
    data = image.read_bytes()
    seen = []
    packed = containers.pack(
        image, tmp_path / "packed", kind, on_bytes=lambda *seen_now: seen.append(seen_now)
    )
    written = (tmp_path / "packed").read_bytes()
    assert packed.raw.sha256 == hashlib.sha256(data).hexdigest()
    assert packed.raw.size_bytes == len(data)
    assert (packed.size_bytes, packed.sha256) == (len(written), hashlib.sha256(written).hexdigest())
    assert find_container(tmp_path / "packed") == kind
    known = {"size_bytes": len(data), "sha256": packed.raw.sha256}
    assert unpacked(tmp_path / "packed", **known) == data
    assert seen[-1] == (len(data), len(data))
    assert seen == sorted(seen)
    assert packed.raw == containers.describe(image)


def test_others_read_our_containers(tmp_path, image):
    for kind in ("gzip", "zstd"):
        containers.pack(image, tmp_path / kind, kind)
    assert gzip.decompress((tmp_path / "gzip").read_bytes()) == image.read_bytes()
    with open(tmp_path / "zstd", "rb") as stream:
        reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        assert reader.read() == image.read_bytes()


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bytes_depend_neither_on_cores_nor_on_holes_nor_on_names(tmp_path, image, kind):
    full = tmp_path / "another name"
    full.write_bytes(image.read_bytes())  # without holes
    made = [
        containers.pack(source, tmp_path / f"{number}", kind, threads=threads).sha256
        for number, (source, threads) in enumerate([(image, 1), (image, 3), (full, 2)])
    ]
    assert len(set(made)) == 1


def test_a_gzip_header_has_neither_name_nor_time(tmp_path, image):
    containers.pack(image, tmp_path / "packed", "gzip")
    assert (tmp_path / "packed").read_bytes()[:8] == b"\x1f\x8b\x08\x00\0\0\0\0"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_an_empty_image_is_a_complete_container(tmp_path, kind):
    (tmp_path / "image").touch()
    assert containers.pack(tmp_path / "image", tmp_path / "packed", kind).raw.block_map.ranges == ()
    assert unpacked(tmp_path / "packed", size_bytes=0) == b""


def test_a_failed_container_leaves_nothing(tmp_path, image, monkeypatch):
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        containers.pack(image, tmp_path / "mine", "gzip")
    assert (tmp_path / "mine").read_bytes() == b"mine"

    def give_up(done, total):
        raise GoldsmithError("enough")

    with pytest.raises(GoldsmithError, match="enough"):
        containers.pack(image, tmp_path / "packed", "zstd", on_bytes=give_up)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match=r"packed cannot be written: the file system at .* full"):
        containers.pack(image, tmp_path / "packed", "zstd")
    assert not (tmp_path / "packed").exists()
    with pytest.raises(GoldsmithError, match="'none' is not a compressed container"):
        containers.pack(image, tmp_path / "packed", "none")


def test_a_file_is_on_its_way_to_the_disk_before_it_is_complete(tmp_path, image, monkeypatch):
    told = []
    monkeypatch.setattr(digests, "_WRITE_BACK_BYTES", 1000)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *words: told.append(words))
    packed = containers.pack(image, tmp_path / "packed", "zstd")
    reading, *written = told
    assert reading == (0, 0, os.POSIX_FADV_SEQUENTIAL)
    at = 0
    for offset, length, advice in written:
        assert (offset, advice) == (at, os.POSIX_FADV_DONTNEED)
        assert length >= 1000
        at += length
    assert packed.size_bytes - 1000 < at <= packed.size_bytes


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_cut_or_changed_container_is_never_believed(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("cut")
    noise = noise_of(300_000)
    image = write_image(directory / "image", [(0, noise), (9 * MIB, noise)], 9 * MIB + 400_000)
    kind = data.draw(st.sampled_from(["gzip", "zstd"]))
    packed = containers.pack(image, directory / "packed", kind)
    whole = bytearray((directory / "packed").read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
    (directory / "packed").write_bytes(whole)
    try:
        got = unpacked(
            directory / "packed", size_bytes=packed.raw.size_bytes, sha256=packed.raw.sha256
        )
    except CorruptContainer:
        return
    # A changed byte may be one that means nothing, as the time in a gzip header.
    assert got == image.read_bytes()


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("rest", [b"\0", b"garbage", b"\x1f", b"\x28\xb5", b"\0" * 512])
def test_nothing_may_follow(tmp_path, image, kind, rest):
    packed = containers.pack(image, tmp_path / "packed", kind)
    with open(tmp_path / "packed", "ab") as stream:
        stream.write(rest)
    with pytest.raises(CorruptContainer, match=r"after its last|is cut|is damaged"):
        unpacked(tmp_path / "packed", size_bytes=packed.raw.size_bytes)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_every_cut_is_seen_without_a_digest(tmp_path, kind):
    image = write_image(tmp_path / "image", [(0, noise_of(20_000))], 30_000)
    size = containers.pack(image, tmp_path / "packed", kind).size_bytes
    whole = (tmp_path / "packed").read_bytes()
    for length in {*range(0, size, 997), *range(12), *range(size - 12, size)}:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(CorruptContainer):
            unpacked(tmp_path / "cut", size_bytes=30_000)


def test_unknown_magic_is_refused(tmp_path):
    for data in (b"", b"BZh9", b"\xfd7zXZ\0", b"plain"):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(CorruptContainer, match="neither a gzip nor a zstd file"):
            open_container(tmp_path / "file", size_bytes=1)


def test_a_bomb_is_stopped_at_the_expected_size(tmp_path):
    bombs = {"gzip": gzip.compress(bytes(64 * MIB)), "zstd": zstandard.compress(bytes(128 * MIB))}
    for kind, data in bombs.items():
        (tmp_path / kind).write_bytes(data)
        got = 0
        with pytest.raises(CorruptContainer, match=r"unpacks to more than the 10.* MiB"):
            for piece in open_container(tmp_path / kind, size_bytes=10 * MIB):
                got += len(piece)
        assert got <= 10 * MIB


def test_another_size_or_digest_is_refused(tmp_path, image):
    raw = containers.pack(image, tmp_path / "packed", "zstd").raw
    with pytest.raises(CorruptContainer, match="holds 31458280 bytes, not 40000000"):
        unpacked(tmp_path / "packed", size_bytes=40_000_000)
    with pytest.raises(CorruptContainer, match="does not hold the image"):
        unpacked(tmp_path / "packed", size_bytes=raw.size_bytes, sha256="0" * 64)


def test_members_and_frames_of_others_are_read(tmp_path):
    name = tmp_path / "named"
    with gzip.GzipFile(name, "wb", mtime=1) as stream:
        stream.write(b"one")
    name.write_bytes(name.read_bytes() + gzip.compress(b"two"))
    assert unpacked(name, size_bytes=6) == b"onetwo"
    data = os.urandom(300_000) + bytes(3 * MIB) + b"x" * 200_000
    streamed = zstandard.ZstdCompressor(level=1).compressobj()  # no size in the frame
    skippable = (0x184D2A5E).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"table"
    frames = skippable + streamed.compress(data) + streamed.flush() + skippable
    for level in (-5, 3, 19):
        frames += zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)
    (tmp_path / "frames").write_bytes(frames)
    assert unpacked(tmp_path / "frames", size_bytes=4 * len(data)) == data * 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 30_000)), max_size=8),
    st.integers(0, 5000 * BLOCK),
)
def test_the_block_map_is_sound_and_complete(tmp_path_factory, pieces, size):
    image = tmp_path_factory.mktemp("map") / "image"
    write_image(image, [(number * BLOCK, b"\7" * length) for number, length in pieces], size)
    size = image.stat().st_size
    made = containers.describe(image).block_map
    data = image.read_bytes()
    assert made.size_bytes == size
    mapped = bytearray(size)
    for found in made.ranges:
        start, length = made.stretch(found)
        made.check_range(found, data[start : start + length])
        assert start // STRETCH_BYTES == (start + length - 1) // STRETCH_BYTES
        mapped[start : start + length] = data[start : start + length]
    assert bytes(mapped) == data  # zeros where nothing is mapped
    block_map.check_image(image, made)
    assert BlockMap.from_json(made.to_json()) == made
    assert block_map.parse_bmap(block_map.render_bmap(made).encode()) == made


def test_a_bmap_file_has_the_fields_of_format_2():
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    text = block_map.render_bmap(BlockMap(9 * BLOCK - 5, (BlockRange(0, 3, one),
                                                          BlockRange(8, 1, two))))  # fmt: skip
    own = text.split("<BmapFileChecksum> ")[1][:64]
    assert hashlib.sha256(text.replace(own, "0" * 64).encode()).hexdigest() == own
    for line in ('<bmap version="2.0">', "<ImageSize> 36859 </ImageSize>",
                 "<BlocksCount> 9 </BlocksCount>", "<MappedBlocksCount> 4 </MappedBlocksCount>",
                 "<BlockSize> 4096 </BlockSize>", "<ChecksumType> sha256 </ChecksumType>",
                 f'<Range chksum="{one}"> 0-2 </Range>',
                 f'<Range chksum="{two}"> 8 </Range>'):  # fmt: skip
        assert line in text


BMAP = block_map.render_bmap(BlockMap(9 * BLOCK, (BlockRange(0, 3, "a" * 64),)))


def with_own_checksum(text):
    own = BMAP.split("<BmapFileChecksum> ")[1][:64]
    zeroed = text.replace(own, "0" * 64)
    return zeroed.replace("0" * 64, hashlib.sha256(zeroed.encode()).hexdigest(), 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not XML"), ("<bmap>", "not XML"), ('<bmap version="1.3"/>', "format 2.x"),
        ("<other/>", "format 2.x"), ('<bmap version="2.0"/>', "has no ChecksumType"),
        (BMAP.replace("0-2", "0-3"), "own checksum"),
        (BMAP.replace("sha256 ", "sha1 "), "cannot be trusted"),
        ('<!DOCTYPE bmap [<!ENTITY a "b">]>' + BMAP[23:], "entities"),
        (with_own_checksum(BMAP.replace("0-2", "2-0")), "out of order"),
        (with_own_checksum(BMAP.replace("0-2", "7-9")), "outside"),
        (with_own_checksum(BMAP.replace("0-2", "x")), "the range 'x'"),
        (with_own_checksum(BMAP.replace("0-2", "0-1")), "counts other blocks"),
        (with_own_checksum(BMAP.replace("a" * 64, "a")), "no SHA-256"),
        (with_own_checksum(BMAP.replace("> 36864 <", "> -1 <")), "ImageSize '-1'"),
    ],
)  # fmt: skip
def test_a_damaged_bmap_file_is_refused(text, words):
    with pytest.raises(BlockMapError, match=words):
        block_map.parse_bmap(text.encode())


@pytest.mark.parametrize(
    "given",
    [{}, {"size_bytes": 1, "block_bytes": 4096, "ranges": [1]},
     {"size_bytes": 1, "block_bytes": 0, "ranges": []},
     {"size_bytes": "x", "block_bytes": 4096, "ranges": []},
     {"size_bytes": 9000, "block_bytes": 4096, "ranges": ["1 " + "a" * 64, "0 " + "a" * 64]}],
)  # fmt: skip
def test_a_damaged_map_in_json_is_refused(given):
    with pytest.raises(BlockMapError):
        BlockMap.from_json(given)


def test_an_image_that_is_not_the_maps_is_named(tmp_path, image):
    made = containers.describe(image).block_map
    with open(image, "r+b") as stream:
        stream.seek(STRETCH_BYTES)
        stream.write(b"?")
    with pytest.raises(BlockMapError, match=rf"{image}: blocks 2048-\d+ are not those"):
        block_map.check_image(image, made)
    os.truncate(image, 5)
    with pytest.raises(BlockMapError, match="has 5 bytes, its block map is of 31458280"):
        block_map.check_image(image, made)
    with pytest.raises(BlockMapError, match="fetch it again"):
        try:
            made.check_range(made.ranges[0], b"other")
        except BlockMapError as e:
            raise BlockMapError(str(e.hint)) from e
