"""The index of digests, the delta that comes of two, and what a file of it must be."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.cloud.ebs_direct.delta import delta_to
from goldsmith.cloud.ebs_direct.digest_index import (
    ZERO_DIGEST,
    DigestIndex,
    DigestIndexError,
    KnownSnapshot,
    merged,
    read_index,
    write_index,
)
from goldsmith.errors import NoSpaceError

BLOCKS = 2048
CONTENTS = [ZERO_DIGEST, *(hashlib.sha256(bytes([n])).digest() for n in range(3))]
blocks = st.dictionaries(st.integers(0, BLOCKS - 1), st.sampled_from(CONTENTS), max_size=30)


def index_of(found: dict[int, bytes], size_gib: int = 1) -> DigestIndex:
    index = DigestIndex(size_gib)
    for number in sorted(found):
        index.append(number, found[number])
    return index


def known(found: dict[int, bytes]) -> KnownSnapshot:
    return KnownSnapshot("snap-1", "us-east-1", index_of(found))


@given(blocks, blocks)
def test_a_delta_makes_the_parent_what_is_wanted(
    before: dict[int, bytes], after: dict[int, bytes]
) -> None:
    delta = delta_to(index_of(after), known(before))
    writes = dict(delta.writes)
    # Applied to what is there, it gives what is wanted, and zeros where nothing is wanted.
    applied = before | writes
    assert {n: applied[n] for n in after} == after
    assert all(applied[n] == ZERO_DIGEST for n in applied if n not in after)
    # And no block is sent for nothing.
    assert all(before.get(n) != digest for n, digest in writes.items())
    assert dict(delta.result) == applied
    assert delta.equal == sum(1 for n, one in before.items() if after.get(n, ZERO_DIGEST) == one)
    assert delta.left_out == BLOCKS - len(applied)


@given(blocks)
def test_without_a_parent_all_is_sent(after: dict[int, bytes]) -> None:
    delta = delta_to(index_of(after), None)
    assert dict(delta.writes) == after == dict(delta.result) and delta.equal == 0


@given(blocks, blocks)
def test_merged_like_dictionaries(below: dict[int, bytes], above: dict[int, bytes]) -> None:
    assert dict(merged(index_of(below), index_of(above))) == below | above
    assert dict(merged(None, index_of(above))) == above


@given(blocks, st.integers(0, BLOCKS - 1))
def test_found_by_number(found: dict[int, bytes], number: int) -> None:
    assert index_of(found).get(number) == found.get(number)


@given(blocks)
def test_the_aggregate_is_that_of_the_joined_digests(found: dict[int, bytes]) -> None:
    joined = b"".join(found[number] for number in sorted(found))
    wanted = base64.b64encode(hashlib.sha256(joined).digest()).decode()
    assert index_of(found).linear == wanted


@given(blocks, blocks)
def test_another_upload_has_another_identity(one: dict[int, bytes], two: dict[int, bytes]) -> None:
    first, second = (delta_to(index_of(found), None) for found in (one, two))
    assert first.identity() == second.identity() and first.size_gib == second.size_gib
    assert first.identity(region="a") != first.identity(region="b")
    assert first.identity() != delta_to(index_of(one, 2), None).identity()


def test_only_in_order_and_only_blocks_of_the_volume() -> None:
    index = index_of({5: ZERO_DIGEST})
    for number in (5, 4, -1, BLOCKS):
        with pytest.raises(DigestIndexError):
            index.append(number, ZERO_DIGEST)
    with pytest.raises(DigestIndexError):
        index.append(6, b"short")


def test_a_file_of_it_is_the_same_again(tmp_path: Path) -> None:
    before = known({number: CONTENTS[number % 4] for number in range(0, BLOCKS, 7)})
    write_index(before, tmp_path / "one")
    write_index(before, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = read_index(tmp_path / "one")
    assert (found.snapshot_id, found.region) == ("snap-1", "us-east-1")
    assert list(found.index) == list(before.index) and found.index.size_gib == 1


HEAD = {"ebs_blocks": 1, "snapshot_id": "s", "region": "r", "size_gib": 1, "block_bytes": 524288,
        "linear": DigestIndex(1).linear}  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        b"", b"hello", b"[]", b"{}", b'{"ebs_blocks": 2}',
        json.dumps({**HEAD, "size_gib": 0}).encode(),
        json.dumps({**HEAD, "size_gib": 10**9}).encode(),
        json.dumps({**HEAD, "block_bytes": 512}).encode(),
        json.dumps({**HEAD, "linear": "x"}).encode(),
        json.dumps(HEAD).encode() + b'\n[1,"AAAA"]',
        json.dumps(HEAD).encode() + b'\n[1,"!"]',
        json.dumps(HEAD).encode() + b"\n[1]",
        json.dumps(HEAD).encode() + b"\n" + b"[" * 5000,
        json.dumps(HEAD).encode() + b'\n["x","AAAA"]',
    ],
)  # fmt: skip
def test_what_is_no_index_is_told_so(tmp_path: Path, lines: bytes) -> None:
    file = tmp_path / "index"
    file.write_bytes(gzip.compress(lines))
    with pytest.raises(DigestIndexError):
        read_index(file)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_defect(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-index"
    file.write_bytes(data)
    with pytest.raises(DigestIndexError):
        read_index(file)


def test_a_cut_file_is_told_so(tmp_path: Path) -> None:
    write_index(known(dict.fromkeys(range(500), ZERO_DIGEST)), tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    (tmp_path / "index").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DigestIndexError):
        read_index(tmp_path / "index")


def test_a_full_directory_for_temporary_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "pwrite", full)
    index = DigestIndex(1)
    index.append(0, ZERO_DIGEST)
    with pytest.raises(NoSpaceError, match=str(tmp_path)):
        index.append(2, ZERO_DIGEST)
    assert not list(tmp_path.iterdir())
