"""Sparse files and digests."""

import errno
import hashlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import CommandFailed, GoldsmithError, NoSpaceError
from goldsmith.host import sparse
from goldsmith.host.digests import ALGORITHMS, bytes_digest, file_digest, new_digest, stream_digests

BLOCK = 4096


@pytest.fixture
def make_file(tmp_path):
    """Makes a sparse file from a list of (block number, byte) and a size in blocks."""

    def make(name, blocks, size):
        path = tmp_path / name
        with open(path, "wb") as stream:
            stream.truncate(size)
            for number, byte in blocks:
                stream.seek(number * BLOCK)
                stream.write(bytes([byte]) * BLOCK)
        return path

    return make


def extents(path):
    with open(path, "rb") as stream:
        return list(sparse.data_extents(stream.fileno()))


def test_extents_copies_and_digests_agree(make_file, tmp_path):
    path = make_file("a", [(0, 1), (5, 2), (6, 3), (1000, 4)], 5000 * BLOCK + 17)
    assert extents(path) == [(0, BLOCK), (5 * BLOCK, 2 * BLOCK), (1000 * BLOCK, BLOCK)]
    seen = []
    sparse.copy_sparse(
        path, tmp_path / "b", on_bytes=lambda done, total: seen.append((done, total))
    )
    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert extents(tmp_path / "b") == extents(path)
    assert seen[-1] == (4 * BLOCK, 4 * BLOCK)
    digests = sparse.hash_sparse(path, ("sha256", "md5"))
    assert digests == {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
    }


def test_without_the_kernels_help_the_copy_is_the_same(make_file, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    path = make_file("a", [(3, 1), (700, 2)], 800 * BLOCK)
    sparse.copy_sparse(path, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert extents(tmp_path / "b") == extents(path)


def test_a_part_of_a_file_is_copied_to_its_place(make_file, tmp_path):
    path = make_file("a", [(1, 1), (2, 2), (9, 9)], 10 * BLOCK)
    target = make_file("b", [], 10 * BLOCK)
    with open(path, "rb") as reading, open(target, "r+b") as writing:
        copied = sparse.copy_extents(
            reading.fileno(), writing.fileno(),
            source_offset=2 * BLOCK, length=5 * BLOCK, target_offset=4 * BLOCK,
        )  # fmt: skip
    assert copied == BLOCK
    assert extents(target) == [(4 * BLOCK, BLOCK)]
    assert target.read_bytes()[4 * BLOCK : 5 * BLOCK] == b"\2" * BLOCK


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 2)), max_size=12),
    st.integers(0, 601 * BLOCK),
)
def test_any_file_is_hashed_and_thinned_right(tmp_path_factory, blocks, size):
    path = tmp_path_factory.mktemp("sparse") / "file"
    with open(path, "wb") as stream:
        stream.truncate(size)
        for number, byte in blocks:
            stream.seek(number * BLOCK)
            stream.write(bytes([byte]) * BLOCK)
    data = path.read_bytes()
    assert sparse.hash_sparse(path)["sha256"] == hashlib.sha256(data).hexdigest()
    given_back = sparse.punch_zeros(path)
    assert path.read_bytes() == data
    last = {number: byte for number, byte in blocks}
    zeros = {number for number, byte in last.items() if byte == 0}
    assert given_back >= len(zeros) * BLOCK
    for start, length in extents(path):
        for block in range(start // BLOCK, (start + length) // BLOCK):
            assert block not in zeros


def test_punching_goes_on_across_chunks(make_file):
    path = make_file("a", [(n, 1 if n in (0, 300, 899) else 0) for n in range(900)], 900 * BLOCK)
    assert sparse.punch_zeros(path) == 897 * BLOCK
    assert extents(path) == [(0, BLOCK), (300 * BLOCK, BLOCK), (899 * BLOCK, BLOCK)]
    assert sparse.mapped_bytes(path) == 3 * BLOCK


def test_a_name_that_is_taken_stays(make_file, tmp_path):
    path = make_file("a", [(0, 1)], BLOCK)
    (tmp_path / "b").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        sparse.copy_sparse(path, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"mine"


def test_a_failed_copy_leaves_nothing_and_names_the_file_system(make_file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    path = make_file("a", [(0, 1)], BLOCK)
    with pytest.raises(NoSpaceError, match=r"the file system at .* is full \(.* free\)"):
        sparse.copy_sparse(path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_programs_message_of_a_full_disk_is_understood(tmp_path):
    full = CommandFailed(["mkfs.ext4"], 1, tail=["mkfs.ext4: No space left on device while ..."])
    with pytest.raises(NoSpaceError), sparse.full_file_system_named(tmp_path / "not/yet/there"):
        raise full
    other = CommandFailed(["mkfs.ext4"], 1, tail=["bad option"])
    with pytest.raises(CommandFailed), sparse.full_file_system_named(tmp_path):
        raise other
    with pytest.raises(PermissionError), sparse.full_file_system_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digests_are_those_of_hashlib(tmp_path, algorithm):
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    wanted = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    assert file_digest(tmp_path / "file", algorithm) == wanted
    assert stream_digests(io.BytesIO(data), [algorithm]) == {algorithm: wanted}
    assert bytes_digest([data[:5], data[5:]], algorithm) == wanted


def test_an_unknown_algorithm_gets_a_suggestion():
    with pytest.raises(GoldsmithError) as caught:
        new_digest("sha265")
    assert caught.value.hint == 'did you mean "sha256"?'
