"""`manifest`, `checksum` and `compress`: what they write, byte for byte where it counts."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from contextlib import contextmanager

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from goldsmith.core.artifact import Artifact
from goldsmith.core.post_processor import PostProcessContext
from goldsmith.disk import compressors
from goldsmith.errors import GoldsmithError, ResourceBusy
from goldsmith.events import Emitter, Said
from goldsmith.host.locks import try_lock
from goldsmith.post_processors import manifest
from goldsmith.post_processors.checksum import Checksum, ChecksumOptions
from goldsmith.post_processors.compress import Compress, CompressOptions, Shape
from goldsmith.post_processors.manifest import Manifest, ManifestOptions, locked_manifest


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory to work in; `run(post_processor, artifact)` runs one there."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    monkeypatch.chdir(work)

    class Place:
        path = work

        def run(self, made, artifact, **keys):
            @contextmanager
            def scratch_file(path):
                yield path
                path.unlink(missing_ok=True)

            events = []
            context = PostProcessContext(
                emitter=Emitter("file.f (x)", events.append), build_name="f", builder_type="file",
                scratch=scratch, directory=work, scratch_file=scratch_file,
                **{"run_uuid": "u1", **keys},
            )  # fmt: skip
            processed = made.post_process(artifact, context)
            self.said = [(e.level, e.text) for e in events if isinstance(e, Said)]
            return processed

        def artifact(self, **files):
            for name, data in files.items():
                (work / name).write_bytes(data)
            return Artifact(builder_id="packer.file", id="File", string="s", files=tuple(files))

    return Place()


# ---- manifest


def manifest_of(place, artifact=None, *, keys=None, **options):
    made = Manifest(ManifestOptions(**options))
    given = place.artifact(o=b"hello") if artifact is None else artifact
    processed = place.run(made, given, **(keys or {}))
    assert (processed.artifact, processed.keep, processed.force_keep) == (given, True, True)
    return (place.path / made.options.output).read_text("utf-8", "surrogateescape")


def test_a_manifest_is_written_as_go_does(place):
    text = manifest_of(place, strip_time=True, custom_data={"b": "<1>", "a": "ü"})
    assert text == (
        '{\n  "builds": [\n    {\n      "name": "f",\n      "builder_type": "file",\n'
        '      "files": [\n        {\n          "name": "o",\n          "size": 5\n        }\n'
        '      ],\n      "artifact_id": "File",\n      "packer_run_uuid": "u1",\n'
        '      "custom_data": {\n        "a": "ü",\n        "b": "\\u003c1\\u003e"\n      }\n'
        '    }\n  ],\n  "last_run_uuid": "u1"\n}'
    )


def test_its_time_stands_after_the_type(place):
    (entry,) = json.loads(manifest_of(place))["builds"]
    assert list(entry)[1:3] == ["builder_type", "build_time"]
    assert entry["build_time"] > 1_700_000_000


def test_entries_are_added_and_nothing_else_is_left(place):
    manifest_of(place, output="d/m.json")
    document = json.loads(manifest_of(place, output="d/m.json", keys={"run_uuid": "u2"}))
    assert [entry["packer_run_uuid"] for entry in document["builds"]] == ["u1", "u2"]
    assert document["last_run_uuid"] == "u2"
    assert [path.name for path in (place.path / "d").iterdir()] == ["m.json"]


def test_force_begins_anew_once_per_run(place):
    manifest_of(place)
    for count in (1, 2):
        text = manifest_of(place, keys={"run_uuid": "u2", "force": True})
        assert len(json.loads(text)["builds"]) == count


def test_paths_may_be_stripped_and_no_files_are_null(place):
    (place.path / "d").mkdir()
    artifact = place.artifact(**{"d/o": b"x"})
    (entry,) = json.loads(manifest_of(place, artifact, strip_path=True))["builds"]
    assert entry["files"] == [{"name": "o", "size": 1}]
    empty = Artifact(builder_id="b", id="Null", string="s")
    entry = json.loads(manifest_of(place, empty))["builds"][1]
    assert (entry["files"], entry["custom_data"]) == (None, None)


def test_names_that_are_no_text_stay_in_a_manifest(place):
    place.path.joinpath("packer-manifest.json").write_bytes(b'{"builds": [{"name": "\xff"}]}')
    manifest_of(place)
    written = (place.path / "packer-manifest.json").read_bytes()
    assert b'"name": "\xff"' in written


@pytest.mark.parametrize("text", ["{", "[]", '{"builds": 3}', '{"builds": {"a": 1}}'])
def test_what_is_no_manifest_is_left_alone(place, text):
    (place.path / "packer-manifest.json").write_text(text)
    with pytest.raises(GoldsmithError, match="is not a manifest"):
        manifest_of(place)
    assert (place.path / "packer-manifest.json").read_text() == text


def test_a_file_that_is_gone_is_an_error(place):
    artifact = Artifact(builder_id="b", id="i", string="s", files=("gone",))
    with pytest.raises(GoldsmithError, match="gone"):
        manifest_of(place, artifact)


def test_two_commands_write_one_after_the_other(place, monkeypatch):
    monkeypatch.setattr(manifest, "LOCK_TIMEOUT_S", 0.0)
    path = place.path / "m.json"
    held = try_lock(path.with_name("m.json.lock"))
    with pytest.raises(ResourceBusy):
        with locked_manifest(path):
            pass
    os.close(held)
    with locked_manifest(path):
        pass
    assert not path.with_name("m.json.lock").exists()


# ---- checksum


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_every_algorithm(place, algorithm):
    import hashlib

    made = Checksum(ChecksumOptions(checksum_types=[algorithm], output="sum"))
    place.run(made, place.artifact(o=b"hello"))
    digest = hashlib.new(algorithm, b"hello").hexdigest()
    assert (place.path / "sum").read_text() == f"{digest}\to\n"


def test_a_foreign_artifact_gets_a_new_one_with_what_did_not_exist(place):
    made = Checksum(ChecksumOptions(output="sum"))
    for files in (("o", "sum"), ("o",)):
        processed = place.run(made, place.artifact(o=b"hello"))
        assert processed.artifact.files == files
        assert processed.artifact.string == f"Created artifact from files: {', '.join(files)}"
        assert (processed.keep, processed.force_keep) == (True, True)
    assert len((place.path / "sum").read_text().splitlines()) == 2


def test_a_native_artifact_keeps_its_words_and_its_sums_are_replaced(place):
    made = Checksum(ChecksumOptions(output="sum"))
    place.artifact(o=b"hello")
    native = Artifact(builder_id="g", id="i", string="Image", files=("o",), native=True)
    for _ in range(2):
        processed = place.run(made, native)
        assert processed.artifact.string == "Image"
        assert processed.artifact.files == ("o", str(place.path / "sum"))
    assert len((place.path / "sum").read_text().splitlines()) == 1


def test_an_unknown_algorithm_is_named():
    with pytest.raises(ValidationError, match="md6"):
        ChecksumOptions(checksum_types=["md6"])


# ---- compress


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("c.zip", ("zip", "", True)), ("c.tar", ("tar", "", True)), ("c.gz", ("", "gz", True)),
        ("c.tar.gz", ("tar", "gz", True)), ("c.raw.xz", ("", "xz", True)),
        ("c.tar.zst", ("tar", "zst", True)), ("c.bzip2", ("", "bzip2", True)),
        ("c.bgzf", ("", "bgzf", True)), ("c.tar.lz4", ("tar", "lz4", True)),
        ("c", ("tar", "gz", True)), ("c.bz2", ("tar", "gz", False)),
        ("a.gz/c", ("tar", "gz", True)), ("c.tar.what", ("tar", "gz", False)),
    ],
)  # fmt: skip
def test_the_ending_decides(name, shape):
    made = Shape.of(name)
    assert (made.archive, made.compression, made.known) == shape


UNPACK = {
    "gz": gzip.decompress, "bgzf": gzip.decompress, "xz": lzma.decompress, "bzip2": bz2.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}  # fmt: skip
DATA = bytes(range(256)) * 9000 + os.urandom(300_000) + bytes(2_000_000)


LEVELS = [(ending, level) for ending in UNPACK for level in (-1, 0, 1, 5, 9, 99)
          if ending != "xz" or level in (-1, 1)]  # fmt: skip


@pytest.mark.parametrize(("ending", "level"), LEVELS)
def test_a_compressed_file_holds_what_went_in(place, ending, level):
    made = Compress(CompressOptions(output=f"c.{ending}", compression_level=level))
    processed = place.run(made, place.artifact(o=DATA))
    packed = (place.path / f"c.{ending}").read_bytes()
    assert UNPACK[ending](packed) == DATA
    assert len(packed) < len(DATA) // 3
    assert processed.artifact.string == f"compressed artifacts in: c.{ending}"
    assert (processed.artifact.files, processed.keep) == ((f"c.{ending}",), False)
    assert sorted(path.name for path in place.path.iterdir()) == [f"c.{ending}", "o"]


def test_an_empty_file_can_be_compressed(place):
    for ending, unpack in UNPACK.items():
        place.run(Compress(CompressOptions(output=f"c.{ending}")), place.artifact(o=b""))
        assert unpack((place.path / f"c.{ending}").read_bytes()) == b""


@pytest.mark.parametrize("make", [compressors.Gzip, compressors.Bgzf])
@settings(max_examples=30, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=70_000), st.integers(0, 3 << 20).map(bytes)), max_size=4
    ),
    level=st.sampled_from([-1, 1, 3, 6]),
)
def test_gzip_in_pieces_is_gzip(make, pieces, level):
    target = io.BytesIO()
    with make(target, level) as stream:
        for piece in pieces:
            stream.write(piece)
    assert gzip.decompress(target.getvalue()) == b"".join(pieces)


@pytest.mark.parametrize("make", [compressors.Gzip, compressors.Bgzf])
def test_the_bytes_do_not_depend_on_the_cores(make, monkeypatch):
    packed = set()
    for count in (1, 2, 7):
        monkeypatch.setattr(compressors, "cores", lambda count=count: count)
        target = io.BytesIO()
        with make(target, -1) as stream:
            stream.write(DATA)
        packed.add(target.getvalue())
    assert len(packed) == 1


def test_bgzf_tells_the_length_of_each_block_and_ends_with_the_mark():
    target = io.BytesIO()
    with compressors.Bgzf(target, -1) as stream:
        stream.write(DATA)
    data, at = target.getvalue(), 0
    while at < len(data):
        assert data[at : at + 4] == b"\x1f\x8b\x08\x04"
        assert data[at + 10 : at + 16] == b"\x06\x00BC\x02\x00"
        last, at = at, at + int.from_bytes(data[at + 16 : at + 18], "little") + 1
    assert at == len(data)
    assert data[last:] == compressors._BGZF_EOF


def test_a_tar_has_base_names_modes_and_no_owners(place):
    (place.path / "d").mkdir()
    artifact = place.artifact(**{"d/o": b"hello", "ü" * 80: b"x" * 513})
    os.chmod("d/o", 0o600)
    os.utime("d/o", (0, 1_700_000_000))
    place.run(Compress(CompressOptions(output="c.tar")), artifact)
    data = (place.path / "c.tar").read_bytes()
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as box:
        one, two = box.getmembers()
        assert (one.name, two.name) == ("o", "ü" * 80)
        assert (one.mode, one.uid, one.uname, one.mtime) == (0o600, 0, "", 1_700_000_000)
        assert box.extractfile(two).read() == b"x" * 513


def test_times_end_with_source_date_epoch(place, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    packed = []
    for name in ("c.tar.gz", "c.zip", "c2.tar.gz", "c2.zip"):
        place.run(Compress(CompressOptions(output=name)), place.artifact(o=b"hello"))
        os.utime("o", (0, 1_700_000_000))
        packed.append((place.path / name).read_bytes())
    assert packed[:2] == packed[2:]


def test_two_files_of_one_name_do_not_fit_a_tar_but_a_zip(place):
    for name in ("a", "b"):
        (place.path / name).mkdir()
    artifact = place.artifact(**{"a/o": b"1", "b/o": b"2"})
    with pytest.raises(GoldsmithError, match="two files"):
        place.run(Compress(CompressOptions(output="c.tar")), artifact)
    assert not (place.path / "c.tar").exists()
    place.run(Compress(CompressOptions(output="c.zip")), artifact)
    with zipfile.ZipFile(place.path / "c.zip") as box:
        assert {name: box.read(name) for name in box.namelist()} == {"a/o": b"1", "b/o": b"2"}


def test_a_zip_names_no_place_outside(place):
    path = place.path.parent / "o"
    path.write_bytes(b"x")
    for name in (str(path), "../o"):
        artifact = Artifact(builder_id="b", id="i", string="s", files=(name,))
        place.run(Compress(CompressOptions(output="c.zip")), artifact)
        with zipfile.ZipFile(place.path / "c.zip") as box:
            assert box.namelist() == ["o"]
            assert box.testzip() is None


def test_a_plain_compressor_takes_one_file(place):
    with pytest.raises(GoldsmithError, match="one file only") as caught:
        place.run(Compress(CompressOptions(output="c.gz")), place.artifact(a=b"1", b=b"2"))
    assert ".tar.gz" in caught.value.hint


@pytest.mark.parametrize("files", [(), ("gone",)])
def test_without_files_there_is_nothing_to_compress(place, files):
    artifact = Artifact(builder_id="b", id="i", string="s", files=files)
    with pytest.raises(GoldsmithError):
        place.run(Compress(CompressOptions(output="c.tar")), artifact)
    assert list(place.path.iterdir()) == []


def test_an_ending_that_is_not_known_is_told(place):
    place.run(Compress(CompressOptions(output="c.bz2")), place.artifact(o=b"x"))
    assert [level for level, text in place.said if "c.bz2 ends in nothing" in text] == ["warning"]
    assert place.said[-1] == ("say", "Archive c.bz2 completed")


def test_format_counts_before_the_name(place):
    place.run(Compress(CompressOptions(output="a.zip", format="tar")), place.artifact(o=b"x"))
    assert (place.path / "a.zip").read_bytes()[257:262] == b"ustar"


@pytest.mark.parametrize("wrong", [{"output": ""}, {"output": "{{.Nope}}"},
                                   {"compression_level": "x"}])  # fmt: skip
def test_what_compress_refuses(wrong):
    with pytest.raises(ValidationError):
        CompressOptions(**wrong)


def test_the_artifact_of_a_native_one_is_native(place):
    place.artifact(o=b"x")
    native = Artifact(builder_id="g", id="i", string="s", files=("o",), native=True)
    assert place.run(Compress(CompressOptions()), native).artifact.native
