"""Images onto targets: right bytes or an unrecognisable target, whatever servers and files do."""

import gzip
import hashlib
import os
from dataclasses import replace

import pytest
import zstandard

from fault_server import Fault, fault_server
from goldsmith.deploy.copying.copy import copy_image
from goldsmith.deploy.copying.images import CopyError, CopyLimits, ImageMismatch, ImageToCopy
from goldsmith.deploy.copying.resuming import NoSource
from goldsmith.deploy.copying.sources import SourceChanged, SourceError
from goldsmith.deploy.copying.target import HEAD_BYTES, ImageTooLarge, TargetError
from goldsmith.disk.block_map import BlockMap, render_bmap
from goldsmith.disk.containers import describe
from goldsmith.errors import TimeLimitReached
from goldsmith.events import Emitter, Progress, Said
from goldsmith.units import MIB

LIMITS = CopyLimits(stall_s=100, rounds=2, pause_s=0.01)


def noise_of(count, name=b"noise"):
    """Bytes that do not compress, the same ones in every run."""
    return hashlib.shake_128(name).digest(count)


def sha256_of(data):
    return {"sha256": hashlib.sha256(data).hexdigest()}


@pytest.fixture(scope="module")
def image():
    """9 MiB and some blocks: data at both ends and across a stretch's end, and holes."""
    data = bytearray(9 * MIB + 3 * 4096)
    for offset, length in ((0, 70_000), (8 * MIB - 9000, 300_000), (len(data) - 5000, 5000)):
        data[offset : offset + length] = noise_of(length)
    return bytes(data)


@pytest.fixture(scope="module")
def image_map(image, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "image.raw"
    with open(path, "wb") as stream:
        stream.truncate(len(image))
        for at in range(0, len(image), 4096):
            if any(image[at : at + 4096]):
                stream.seek(at)
                stream.write(image[at : at + 4096])
    return describe(path).block_map


@pytest.fixture
def target(tmp_path):
    """A target of 12 MiB that is full of something else."""
    path = tmp_path / "target"
    path.write_bytes(b"\xa5" * (12 * MIB))
    return path


@pytest.fixture
def server():
    with fault_server() as serving:
        yield serving


class Copying:
    """Copies, and keeps the events."""

    def __init__(self, target):
        self.target = target
        self.events = []

    def __call__(self, *uris, limits=LIMITS, **known):
        emit = Emitter("copy", self.events.append)
        return copy_image(ImageToCopy(uris=uris, **known), self.target, emit=emit, limits=limits)

    @property
    def warnings(self):
        return [e.text for e in self.events if isinstance(e, Said) and e.level == "warning"]


@pytest.fixture
def copying(target):
    return Copying(target)


def require_copied(target, image):
    """The image is there, and nothing of what was there before."""
    found = target.read_bytes()
    assert found[: len(image)] == image
    assert not any(found[len(image) :])


def require_unusable(target):
    """Nothing that recognises file systems and tables by their start finds any."""
    found = target.read_bytes()
    assert len(found) == 12 * MIB
    assert not any(found[:HEAD_BYTES])
    assert not any(found[-MIB:])


def packed(kind, data):
    """Three members or frames, which make one image."""
    pieces = [data[: 5 * MIB], data[5 * MIB : 6 * MIB], data[6 * MIB :]]
    if kind == "gzip":
        return b"".join(gzip.compress(piece, 1) for piece in pieces)
    return b"".join(zstandard.ZstdCompressor(write_checksum=True).compress(p) for p in pieces)


@pytest.mark.parametrize("is_mapped", [True, False])
@pytest.mark.parametrize("container", ["raw", "gzip", "zstd"])
@pytest.mark.parametrize("place", ["file", "http"])
def test_an_image_is_copied(
    copying, target, image, image_map, server, tmp_path, place, container, is_mapped
):
    data = image if container == "raw" else packed(container, image)
    uri = server.add("/image", data)
    if place == "file":
        path = tmp_path / "an image"
        path.write_bytes(data)
        uri = f"file://{str(path).replace(' ', '%20')}"
    copied = copying(
        uri, container=container, size_bytes=len(image), digests=sha256_of(image),
        block_map=image_map if is_mapped else None,
    )  # fmt: skip
    require_copied(target, image)
    assert copied.size_bytes == len(image)
    assert copied.digests == sha256_of(image)
    assert copied.written_bytes < MIB
    progress = [event for event in copying.events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == len(image)


def test_what_nobody_can_prove_is_refused_before_anything_is_written(copying, target, tmp_path):
    (tmp_path / "image").write_bytes(b"image")
    before = target.read_bytes()
    with pytest.raises(CopyError, match="no digest and no block map"):
        copying(str(tmp_path / "image"))
    assert target.read_bytes() == before
    copying(str(tmp_path / "image"), may_be_unverified=True)
    require_copied(target, b"image")


@pytest.mark.parametrize("known", [{"size_bytes": 13 * MIB}, {}, {"container": "gzip"}])
def test_an_image_that_does_not_fit_is_refused(copying, target, tmp_path, known):
    data = bytes(13 * MIB)
    path = tmp_path / "image"
    path.write_bytes(gzip.compress(data) if "container" in known else data)
    before = target.read_bytes()
    with pytest.raises(ImageTooLarge, match=r"only 12 MiB \(12582912 bytes\)"):
        copying(str(path), digests=sha256_of(data), **known)
    if "container" in known:
        require_unusable(target)
    else:
        assert target.read_bytes() == before


@pytest.mark.parametrize("container", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "tail"])
def test_a_damaged_container_leaves_no_usable_target(
    copying, target, image, tmp_path, container, damage
):
    data = bytearray(packed(container, image))
    if damage == "cut":
        del data[-1000:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "longer":
        data += packed(container, b"more")
    else:
        data += b"tail"
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(ImageMismatch) as caught:
        copying(str(tmp_path / "image"), container=container, size_bytes=len(image),
                digests=sha256_of(image))  # fmt: skip
    assert caught.value.exit_code == 4
    require_unusable(target)


def test_a_swapped_image_is_found_by_the_digest_of_the_whole(copying, target, image, tmp_path):
    (tmp_path / "image").write_bytes(image[:-1] + b"!")
    with pytest.raises(ImageMismatch, match=r"has the sha256 .* should have"):
        copying(str(tmp_path / "image"), size_bytes=len(image), digests=sha256_of(image))
    require_unusable(target)
    (tmp_path / "image").write_bytes(image)
    copying(str(tmp_path / "image"), size_bytes=len(image), digests=sha256_of(image))
    require_copied(target, image)


@pytest.mark.parametrize("algorithm", ["md5", "sha512"])
def test_other_digests_are_compared_too(copying, target, image, tmp_path, algorithm):
    (tmp_path / "image").write_bytes(image)
    right = hashlib.new(algorithm, image).hexdigest()
    copying(str(tmp_path / "image"), digests={algorithm: right.upper()})
    require_copied(target, image)
    with pytest.raises(ImageMismatch, match=algorithm):
        copying(str(tmp_path / "image"), digests={algorithm: "0" * len(right)})
    require_unusable(target)


def test_the_containers_own_digest_is_enough(copying, target, image, tmp_path):
    data = packed("gzip", image)
    (tmp_path / "image").write_bytes(data)
    copying(str(tmp_path / "image"), container="gzip", container_digests=sha256_of(data))
    require_copied(target, image)
    with pytest.raises(ImageMismatch, match="image has the sha256"):
        copying(str(tmp_path / "image"), container="gzip", container_digests=sha256_of(b""))
    require_unusable(target)


def test_a_range_that_is_not_the_maps_is_never_written(copying, target, image, image_map, tmp_path):
    wrong = bytearray(image)
    wrong[8 * MIB + 5000] ^= 1
    (tmp_path / "image").write_bytes(wrong)
    with pytest.raises(ImageMismatch, match=r"blocks .* are not those of its block map"):
        copying(str(tmp_path / "image"), block_map=image_map)
    require_unusable(target)
    assert bytes(wrong[8 * MIB : 8 * MIB + 9000]) not in target.read_bytes()


def test_data_where_the_map_has_none_is_found(copying, target, image, image_map, tmp_path):
    wrong = bytearray(image)
    wrong[7 * MIB] = 1
    (tmp_path / "image").write_bytes(gzip.compress(wrong, 1))
    with pytest.raises(ImageMismatch, match="where its block map has none"):
        copying(str(tmp_path / "image"), container="gzip", block_map=image_map)
    require_unusable(target)


def test_a_map_of_another_image_is_refused_first(copying, target, image_map, tmp_path):
    (tmp_path / "image").write_bytes(b"short")
    before = target.read_bytes()
    with pytest.raises(ImageMismatch, match="the block map is of an image of"):
        copying(str(tmp_path / "image"), size_bytes=5, block_map=image_map)
    assert target.read_bytes() == before


def test_long_ranges_of_a_foreign_map_are_proved_at_their_end(copying, target, image, tmp_path):
    whole = {"size_bytes": len(image), "block_bytes": 4096}
    last = -(-len(image) // 4096) - 1
    digest = hashlib.sha256(image).hexdigest()
    (tmp_path / "image").write_bytes(image)
    path = str(tmp_path / "image")
    copying(path, block_map=BlockMap.from_json({**whole, "ranges": [f"0-{last} {digest}"]}))
    require_copied(target, image)
    with pytest.raises(ImageMismatch, match="are not those of its block map"):
        copying(path, block_map=BlockMap.from_json({**whole, "ranges": [f"0-{last} {'0' * 64}"]}))
    require_unusable(target)


@pytest.mark.parametrize("container", ["raw", "gzip"])
def test_the_digest_of_a_maps_contents_stands_for_that_of_the_whole(
    copying, target, image, image_map, tmp_path, container
):
    right = image_map.contents_sha256
    known = {"container": container, "size_bytes": len(image), "block_map": image_map,
             "contents_sha256": right, "digests": {"md5": "0" * 32}}  # fmt: skip
    path = tmp_path / "image"
    path.write_bytes(image if container == "raw" else packed(container, image))
    copied = copying(str(path), **known)
    require_copied(target, image)
    assert copied.digests == {"contents_sha256": right}
    before = target.read_bytes()
    with pytest.raises(ImageMismatch, match="the block map has the contents_sha256"):
        copying(str(path), **{**known, "contents_sha256": "0" * 64})
    assert target.read_bytes() == before
    # Without a map the other digests count again.
    with pytest.raises(ImageMismatch, match="md5"):
        copying(str(path), **{**known, "block_map": None})
    wrong = bytearray(image)
    wrong[8 * MIB + 5000] ^= 1
    path.write_bytes(wrong if container == "raw" else packed(container, wrong))
    with pytest.raises(ImageMismatch, match=r"blocks .* are not those of its block map"):
        copying(str(path), **known)
    require_unusable(target)


def test_the_digest_of_contents_tells_every_part_of_a_map(image_map):
    first, *others = image_map.ranges
    for other in (
        replace(image_map, size_bytes=image_map.size_bytes + 4096),
        replace(image_map, block_bytes=8192, ranges=()),
        replace(image_map, ranges=(*others,)),
        replace(image_map, ranges=(replace(first, sha256="0" * 64), *others)),
        replace(image_map, ranges=(replace(first, count=first.count - 1), *others)),
    ):
        assert other.contents_sha256 != image_map.contents_sha256
    assert BlockMap.from_json(image_map.to_json()).contents_sha256 == image_map.contents_sha256


@pytest.mark.parametrize("form", ["bmap", "json"])
def test_a_map_is_read_from_its_own_address(copying, target, image, image_map, server, form):
    import json

    told = render_bmap(image_map) if form == "bmap" else json.dumps(image_map.to_json())
    image_uri, map_uri = server.add("/image", image), server.add("/map", told.encode())
    digest = hashlib.sha256(told.encode()).hexdigest()
    copying(image_uri, block_map_uris=(map_uri,), block_map_sha256=digest)
    require_copied(target, image)
    # Holes of many MiB are not even asked for.
    assert len(server.files["/image"].ranges) == 2
    before = target.read_bytes()
    with pytest.raises(ImageMismatch, match=r"/map has the sha256"):
        copying(image_uri, block_map_uris=(map_uri,), block_map_sha256="0" * 64)
    server.add("/map", told.encode()[:-40])
    with pytest.raises(ImageMismatch, match="/map"):
        copying(image_uri, block_map_uris=(map_uri,))
    assert target.read_bytes() == before


@pytest.mark.parametrize("container", ["raw", "gzip"])
def test_a_broken_connection_is_taken_up_where_it_was(copying, target, image, server, container):
    data = image if container == "raw" else packed(container, image)
    cuts = (len(data) // 3, len(data) // 4)
    uri = server.add("/image", data, *(Fault(cut_after=cut) for cut in cuts))
    copying(uri, container=container, digests=sha256_of(image))
    require_copied(target, image)
    assert server.files["/image"].ranges == [
        "", f"bytes={cuts[0]}-", f"bytes={sum(cuts)}-"
    ]  # fmt: skip
    assert server.files["/image"].asked[1]["If-Range"] == '"v1"'
    assert "too early; going on at" in copying.warnings[0]


def test_a_server_that_ignores_ranges_is_read_from_its_start_again(copying, target, image, server):
    uri = server.add("/image", image, Fault(cut_after=5 * MIB), Fault(ignores_range=True))
    copying(uri, digests=sha256_of(image))
    require_copied(target, image)
    assert any("from its start again" in text for text in copying.warnings)


def test_another_version_after_a_break_begins_anew(copying, target, image, server):
    old = noise_of(len(image), b"old")
    uri = server.add("/image", image, Fault(cut_after=5 * MIB, data=old, tag='"v0"'))
    copying(uri, digests=sha256_of(image))
    require_copied(target, image)
    assert "was changed while it was read" in copying.warnings[-1]


def test_a_file_that_changes_for_ever_is_given_up(copying, target, image, server):
    faults = [Fault(cut_after=5 * MIB, tag=f'"v{number}"') for number in range(20)]
    uri = server.add("/image", image, *faults)
    with pytest.raises(SourceChanged, match="was changed while it was read"):
        copying(uri, digests=sha256_of(image))
    require_unusable(target)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(content_range="bytes 0-99/100"), "answers with 'bytes 0-99/100'"),
        (Fault(content_range="nonsense"), "answers with 'nonsense'"),
        (Fault(encoding="gzip"), "which was not asked for"),
    ],
)
def test_an_answer_that_is_not_the_range_is_refused(copying, target, image, server, fault, said):
    uri = server.add("/image", image, Fault(cut_after=5 * MIB), fault)
    with pytest.raises(NoSource, match=said):
        copying(uri, digests=sha256_of(image))
    require_unusable(target)


def test_a_range_of_a_file_of_another_size_is_refused(copying, target, image, server):
    told = f"bytes {5 * MIB}-{len(image)}/{len(image) + 1}"
    uri = server.add("/image", image, Fault(cut_after=5 * MIB), Fault(content_range=told))
    with pytest.raises(NoSource, match=f"has {len(image) + 1} bytes, not {len(image)}"):
        copying(uri, digests=sha256_of(image))
    require_unusable(target)


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_length_that_is_a_lie_is_found(copying, target, image, server, lie):
    data = packed("gzip", image)
    faults = [Fault(length=len(data) + lie)] * 9
    uri = server.add("/image", data, *faults)
    with pytest.raises((ImageMismatch, NoSource, SourceChanged)):
        copying(uri, container="gzip", digests=sha256_of(image))
    require_unusable(target)


def test_a_length_other_than_the_promised_one_is_refused_first(copying, target, image, server):
    before = target.read_bytes()
    uri = server.add("/image", image[:-1])
    with pytest.raises(NoSource, match=f"has {len(image) - 1} bytes, not {len(image)}"):
        copying(uri, size_bytes=len(image), digests=sha256_of(image))
    assert target.read_bytes() == before


def test_an_answer_without_length_is_proved_by_the_digest(copying, target, image, server):
    uri = server.add("/image", image, Fault(has_length=False))
    copying(uri, digests=sha256_of(image))
    require_copied(target, image)
    uri = server.add("/image", image, Fault(has_length=False, cut_after=6 * MIB))
    with pytest.raises(ImageMismatch):
        copying(uri, digests=sha256_of(image))
    require_unusable(target)


@pytest.mark.parametrize("fault", [Fault(stall_after=5 * MIB), Fault(trickle_after=5 * MIB)])
def test_a_server_that_stalls_is_left(copying, target, image, server, fault):
    uri = server.add("/image", image, fault)
    # A machine that is busy may be as slow as the fault: it has many tries.
    limits = CopyLimits(stall_s=1.0, rounds=100, pause_s=0.01)
    copying(uri, digests=sha256_of(image), limits=limits)
    require_copied(target, image)
    assert len(server.files["/image"].ranges) >= 2


def test_servers_that_only_fail_are_given_up(copying, target, image, server):
    before = target.read_bytes()
    bad = server.add("/bad", image, *[Fault(status=503)] * 9)
    absent = server.add("/absent", b"").replace("absent", "nothing")
    with pytest.raises(NoSource, match=r"(?s)/nothing: the answer was 404.*/bad: .* 503"):
        copying(absent, bad, digests=sha256_of(image))
    assert target.read_bytes() == before
    assert len(server.files["/bad"].asked) == 3


def test_the_total_limit_ends_a_copy(copying, target, image, server):
    uri = server.add("/image", image, Fault(trickle_after=5 * MIB))
    limits = CopyLimits(stall_s=60, total_s=0.5, rounds=2, pause_s=0.01)
    with pytest.raises(TimeLimitReached, match=r"longer than 0\.5 s"):
        copying(uri, digests=sha256_of(image), limits=limits)
    require_unusable(target)


def test_mirrors_take_over_in_the_middle(copying, target, image, server):
    first = server.add("/first", image, Fault(cut_after=5 * MIB), *[Fault(status=500)] * 9)
    second = server.add("/second", image, tag='"another"')
    copied = copying(first, second, digests=sha256_of(image))
    require_copied(target, image)
    assert server.files["/second"].ranges == [f"bytes={5 * MIB}-"]
    assert "If-Range" not in server.files["/second"].asked[0]
    assert copied.sources == (first, second)


def test_without_digests_mirrors_are_not_mixed(copying, target, image, server):
    first = server.add("/first", image, Fault(cut_after=5 * MIB), *[Fault(status=500)] * 9)
    second = server.add("/second", image)
    with pytest.raises(NoSource, match="500"):
        copying(first, second, may_be_unverified=True)
    assert not server.files["/second"].asked
    require_unusable(target)


def test_without_digests_a_server_must_say_that_the_file_is_the_same(
    copying, target, image, server
):
    nameless = server.add("/nameless", image, Fault(cut_after=5 * MIB), tag="")
    with pytest.raises(NoSource, match="does not tell whether it has the same file"):
        copying(nameless, may_be_unverified=True)
    require_unusable(target)
    proven = server.add("/proven", image, Fault(cut_after=5 * MIB), tag="")
    copying(proven, digests=sha256_of(image))
    require_copied(target, image)
    named = server.add("/named", image, Fault(cut_after=5 * MIB))
    copying(named, may_be_unverified=True)
    require_copied(target, image)


def test_mirrors_with_different_files_are_tried_one_by_one(copying, target, image, server):
    old = noise_of(len(image), b"old")
    first = server.add("/first", old, Fault(cut_after=5 * MIB))
    second = server.add("/second", image)
    copying(first, second, digests=sha256_of(image))
    require_copied(target, image)
    assert server.files["/second"].ranges == [f"bytes={5 * MIB}-", ""]


def test_a_mirror_with_a_wrong_image_is_left_for_the_next(copying, target, image, server):
    wrong = server.add("/wrong", noise_of(len(image), b"old"))
    right = server.add("/right", image)
    copied = copying(wrong, right, size_bytes=len(image), digests=sha256_of(image))
    require_copied(target, image)
    assert copied.sources == (right,)


def test_redirects_are_followed_with_the_range(copying, target, image, server):
    place = server.add("/place", image, Fault(cut_after=5 * MIB))
    uri = server.add("/image", b"", *[Fault(status=302, location=place)] * 2)
    copying(uri, digests=sha256_of(image))
    require_copied(target, image)
    assert server.files["/place"].ranges == ["", f"bytes={5 * MIB}-"]
    uri = server.add("/away", b"", Fault(status=302, location="ftp://mirror.example/image"))
    with pytest.raises(NoSource, match="leads to ftp:"):
        copying(uri, digests=sha256_of(image))


@pytest.mark.parametrize("way", ["address", "netrc"])
def test_passwords_are_used_and_never_told(
    copying, target, image, server, tmp_path, monkeypatch, way
):
    basic = "Basic YWxpY2U6czNjcmV0L3dvcmQ="  # alice:s3cret/word
    uri = server.add("/image", image, authorization=basic)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login alice password s3cret/word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ("netrc" if way == "netrc" else "nothing")))
    if way == "address":
        uri = uri.replace("//", "//alice:s3cret%2Fword@")
    server.files["/image"].faults.append(Fault(cut_after=5 * MIB))
    copied = copying(f"{uri}?signature=0123456789abcdef", digests=sha256_of(image))
    require_copied(target, image)
    told = repr((copied, copying.events))
    assert "s3cret" not in told
    assert "0123456789abcdef" not in told
    assert "YWxpY2U6czNjcmV0" not in told
    monkeypatch.setenv("NETRC", str(tmp_path / "nothing"))
    with pytest.raises(NoSource, match="401") as caught:
        copying(uri.replace("alice", "bob"), digests=sha256_of(image))
    assert "netrc" in (caught.value.hint or "") or way == "netrc"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://mirror.example/x", "is not a kind of address"),
        ("http://", "is not an address"),
        ("http://mirror.example:99999999/x", "is not an address"),
        ("http://mirror.example/a b", "is not an address"),
        ("file://mirror.example/x", "names no file of this host"),
        ("s3://bucket", "names no object"),
        ("nothing-here", "cannot be read: No such file"),
        ("/dev/null", "is not a file"),
        ("a\0b", "cannot be read"),
    ],
)
def test_addresses_that_cannot_be_read_are_refused(copying, target, uri, said):
    before = target.read_bytes()
    with pytest.raises((SourceError, NoSource), match=said):
        copying(uri, digests={"sha256": "0" * 64})
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "said"),
    [("/dev/null", "neither a block device nor a file"), ("/nothing/here", "No such file")],
)
def test_targets_that_are_none_are_refused(tmp_path, path, said):
    (tmp_path / "image").write_bytes(b"image")
    with pytest.raises(TargetError, match=said):
        Copying(path)(str(tmp_path / "image"), digests=sha256_of(b"image"))


def test_an_image_needs_an_address_and_a_container_that_is_one():
    with pytest.raises(CopyError, match="no address"):
        ImageToCopy(uris=())
    with pytest.raises(CopyError, match="'xz' is not a container"):
        ImageToCopy(uris=("x",), container="xz")


def test_a_target_that_cannot_give_blocks_back_is_written_with_zeros(
    copying, target, image, image_map, tmp_path, monkeypatch
):
    # Old devices and some file systems cannot; the kernel says EOPNOTSUPP.
    monkeypatch.setattr("goldsmith.deploy.copying.target.punch_hole", lambda *place: False)
    (tmp_path / "image").write_bytes(packed("gzip", image))
    for block_map in (image_map, None):
        target.write_bytes(b"\xa5" * (12 * MIB))
        copying(str(tmp_path / "image"), container="gzip", digests=sha256_of(image),
                block_map=block_map)  # fmt: skip
        found = target.read_bytes()
        assert found[: len(image)] == image
        assert not any(found[-MIB:])


def test_a_target_whose_zeros_are_a_lie_is_written_with_zeros(
    copying, target, image, image_map, tmp_path, monkeypatch
):
    monkeypatch.setattr("goldsmith.deploy.copying.target.punch_hole", lambda *place: True)
    (tmp_path / "image").write_bytes(image)
    copying(str(tmp_path / "image"), digests=sha256_of(image), block_map=image_map)
    assert target.read_bytes()[: len(image)] == image


def test_an_interrupt_leaves_an_unusable_target(copying, target, image, tmp_path, monkeypatch):
    from goldsmith.deploy.copying.writing import Writing

    added = []

    def interrupted(self, stretch):
        added.append(stretch)
        if len(added) == 2:
            raise KeyboardInterrupt
        original(self, stretch)

    original = Writing.add
    monkeypatch.setattr(Writing, "add", interrupted)
    (tmp_path / "image").write_bytes(image)
    with pytest.raises(KeyboardInterrupt):
        copying(str(tmp_path / "image"), digests=sha256_of(image))
    require_unusable(target)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("goldsmith")]
