"""Clusters that are compressed ahead: the qcow2 is the same whatever was, and nothing stays."""

import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.disk import clusters_ahead as module
from goldsmith.disk.clusters_ahead import clusters_ahead
from goldsmith.disk.qcow2_clusters import CLUSTER_BYTES, Packing
from goldsmith.disk.qcow2_writer import write_qcow2

SIZE_BYTES = 24 * CLUSTER_BYTES
ZSTD = Packing()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_LOOK_S", 0.001)


def make_image(path):
    path.touch()
    os.truncate(path, SIZE_BYTES)
    return path


def write(path, data, at):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data[: SIZE_BYTES - at])


def wait_for(ahead, count):
    end_s = time.monotonic() + 20
    while len(ahead) < count:
        assert time.monotonic() < end_s, f"{len(ahead)} of {count} clusters"
        time.sleep(0.001)


def text(number, clusters=1):
    return (b"%d words " % number * clusters * CLUSTER_BYTES)[: clusters * CLUSTER_BYTES]


def plain(image, **options):
    """What the writer makes alone."""
    target = image.with_name("plain")
    write_qcow2(image, target, **options)
    data = target.read_bytes()
    target.unlink()
    return data


def with_ahead(image, ahead, **options):
    target = image.with_name("quick")
    write_qcow2(image, target, ahead=ahead, **options)
    data = target.read_bytes()
    target.unlink()
    return data


@pytest.fixture
def packed(monkeypatch):
    """Every cluster that is compressed from here on."""
    seen, own = [], Packing.pack

    def pack(self, cluster):
        seen.append(cluster)
        return own(self, cluster)

    monkeypatch.setattr(Packing, "pack", pack)
    return seen


WRITES = st.lists(
    st.tuples(
        st.integers(0, SIZE_BYTES - 1), st.integers(1, 5 * CLUSTER_BYTES),
        st.sampled_from(["text", "noise", "zeros"]), st.sampled_from([0, 0, 0.001, 0.004]),
    ),
    max_size=12,
)  # fmt: skip


@given(WRITES, st.sampled_from([Packing(), Packing("zstd", 1), Packing("zlib")]))
@settings(max_examples=40, deadline=None)
def test_whatever_is_ahead_the_bytes_are_the_same(tmp_path_factory, writes, packing):
    directory = tmp_path_factory.mktemp("ahead")
    image = directory / "raw"
    with clusters_ahead(image, directory, packing) as ahead:
        make_image(image)
        for number, (at, length, kind, pause_s) in enumerate(writes):
            data = {"text": text(number, 5), "noise": os.urandom(length), "zeros": bytes(length)}
            write(image, data[kind][:length], at)
            time.sleep(pause_s)
        options = {"compression": packing.compression, "level": packing.level}
        assert with_ahead(image, ahead, **options) == plain(image, **options)
    assert os.listdir(directory) == ["raw"]


def test_what_is_ahead_is_not_compressed_again(tmp_path, packed):
    image = tmp_path / "raw"
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        make_image(image)
        write(image, text(1, 6) + os.urandom(CLUSTER_BYTES), 2 * CLUSTER_BYTES)
        wait_for(ahead, 7)
        packed.clear()
        made = with_ahead(image, ahead)
        assert packed == []
    assert made == plain(image)


def test_a_cluster_that_was_changed_is_compressed_anew(tmp_path, packed):
    image = make_image(tmp_path / "raw")
    write(image, text(1, 6), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        wait_for(ahead, 6)
        write(image, b"another word", 3 * CLUSTER_BYTES - 6)
        write(image, bytes(CLUSTER_BYTES), 5 * CLUSTER_BYTES)
        packed.clear()
        made = with_ahead(image, ahead)
    changed = image.read_bytes()[2 * CLUSTER_BYTES : 4 * CLUSTER_BYTES]
    assert sorted(packed) == sorted((changed[:CLUSTER_BYTES], changed[CLUSTER_BYTES:]))
    assert made == plain(image)


def test_another_packing_takes_nothing(tmp_path, packed):
    image = make_image(tmp_path / "raw")
    write(image, text(1, 3), 0)
    with clusters_ahead(image, tmp_path, Packing("zstd", 1)) as ahead:
        wait_for(ahead, 3)
        packed.clear()
        assert with_ahead(image, ahead) == plain(image)
    assert len(packed) == 6


def test_the_writer_ends_the_following(tmp_path):
    image = make_image(tmp_path / "raw")
    write(image, text(1, 2), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        wait_for(ahead, 2)
        with_ahead(image, ahead)
        write(image, text(2, 4), 8 * CLUSTER_BYTES)
        time.sleep(0.05)
        assert len(ahead) == 2


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("exists", [True, False])
def test_an_error_leaves_neither_thread_nor_file(tmp_path, error, exists):
    threads = threading.active_count()
    image = tmp_path / "raw"
    if exists:
        write(make_image(image), os.urandom(SIZE_BYTES), 0)
    started_s = time.monotonic()
    with pytest.raises(error):
        with clusters_ahead(image, tmp_path, ZSTD):
            assert threading.active_count() == threads + 1
            assert os.listdir(tmp_path) == ["raw"] * exists
            raise error
    assert threading.active_count() == threads
    assert time.monotonic() - started_s < 5
    assert os.listdir(tmp_path) == ["raw"] * exists


def full(**_):
    return open("/dev/full", "r+b", buffering=0)


def unreadable(fd, *_):
    raise OSError(5, "Input/output error")


def test_a_file_that_is_full_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(module.ClustersAhead, "_has_room", lambda *_: True)
    image = make_image(tmp_path / "raw")
    write(image, text(1, 9), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        time.sleep(0.05)
        assert len(ahead) == 0
        assert with_ahead(image, ahead) == plain(image)


def test_what_cannot_be_read_is_compressed_anew(tmp_path, monkeypatch):
    image = make_image(tmp_path / "raw")
    write(image, text(1, 9), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        wait_for(ahead, 9)
        ahead.stop()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", unreadable)
            made = with_ahead(image, ahead)
        assert made == plain(image)


def test_what_is_given_up_is_compressed_anew(tmp_path, monkeypatch):
    """An error after some clusters: all that is kept goes, and its room with it."""
    image = make_image(tmp_path / "raw")
    write(image, text(1, 4), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        wait_for(ahead, 4)
        places = dict(ahead._places)
        monkeypatch.setattr(module, "data_extents", unreadable)
        end_s = time.monotonic() + 20
        while len(ahead) and time.monotonic() < end_s:
            time.sleep(0.001)
        assert len(ahead) == 0
        time.sleep(0.01)
        assert os.fstat(ahead._kept.fileno()).st_size == 0
        ahead._places.update(places)  # as one sees them who looked a moment before
        assert with_ahead(image, ahead) == plain(image)


def test_what_is_cut_is_compressed_anew(tmp_path):
    image = make_image(tmp_path / "raw")
    write(image, os.urandom(2 * CLUSTER_BYTES), 0)
    with clusters_ahead(image, tmp_path, ZSTD) as ahead:
        wait_for(ahead, 2)
        ahead.stop()
        os.truncate(ahead._kept.fileno(), ahead._end - 1)
        assert with_ahead(image, ahead) == plain(image)


def test_there_must_be_room_for_the_image_and_its_files(tmp_path):
    image = make_image(tmp_path / "raw")
    write(image, text(1, 9), 0)
    with clusters_ahead(image, tmp_path, ZSTD, files=1 << 50) as ahead:
        time.sleep(0.05)
        assert len(ahead) == 0
        assert with_ahead(image, ahead) == plain(image)


def test_one_core_has_something_else_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 1)
    threads = threading.active_count()
    with clusters_ahead(tmp_path / "raw", tmp_path, ZSTD) as ahead:
        assert ahead is None
        assert threading.active_count() == threads


def test_without_a_directory_there_is_nothing_ahead(tmp_path):
    with clusters_ahead(tmp_path / "raw", tmp_path / "none", ZSTD) as ahead:
        assert ahead is None
