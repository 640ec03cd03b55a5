"""When a result that was made earlier still stands."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from goldsmith.core import results as subject
from goldsmith.core.results import Results

KEY = "k" * 64


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results", lambda data: hashlib.sha256(data).hexdigest())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.raw"
    path.write_bytes(b"image" * 1000)
    # Old enough that a change would show itself in the time of change.
    while time.time_ns() - path.stat().st_ctime_ns <= subject._SETTLED_NS:
        time.sleep(0.01)
    return path


@pytest.fixture
def hashed(monkeypatch):
    """The files whose content was read."""
    read = []
    real = subject.hash_sparse
    monkeypatch.setattr(subject, "hash_sparse", lambda path: read.append(path) or real(path))
    return read


def test_a_result_stands_while_its_files_do_and_is_not_read_again(results, image, hashed):
    results.keep(KEY, {"answer": 1}, [image], duration_s=2.5)
    hashed.clear()
    found = results.find(KEY)
    assert found is not None and found.value == {"answer": 1} and found.duration_s == 2.5
    assert hashed == []


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"other" * 1000),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes() + b"!"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.rename(f"{path}.real"), path.symlink_to(f"{path}.real")),
    ],
)
def test_a_changed_file_ends_it(results, image, change):
    results.keep(KEY, {}, [image])
    change(image)
    assert results.find(KEY) is None


def test_a_change_that_hides_its_time_is_seen(results, image):
    results.keep(KEY, {}, [image])
    before = image.stat()
    image.write_bytes(b"other" * 1000)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert results.find(KEY) is None


def test_a_file_that_was_only_touched_is_read_and_stands(results, image, hashed):
    results.keep(KEY, {}, [image])
    hashed.clear()
    os.utime(image, (1, 1))
    assert results.find(KEY) is not None
    assert hashed == [image]


def test_digests_that_are_known_are_taken(results, image, hashed):
    results.keep(KEY, {}, [image], digests={image: "d" * 64})
    assert hashed == []
    assert results.digests.of(image) == "d" * 64


def test_a_file_that_has_just_changed_is_not_remembered(results, image, hashed, monkeypatch):
    monkeypatch.setattr(subject, "_SETTLED_NS", 10**18)
    results.digests.of(image)
    results.digests.of(image)
    assert hashed == [image, image]


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 2}'])
def test_a_torn_or_foreign_record_is_none(results, image, torn):
    results.keep(KEY, {}, [image])
    (record,) = (results.directory / "made").iterdir()
    record.write_bytes(torn)
    assert results.find(KEY) is None


def test_another_key_is_another_result(results, image):
    results.keep(KEY, {}, [image])
    assert results.find("x" * 64) is None


def test_a_key_follows_from_all_inputs(results):
    keys = {results.key(inputs) for inputs in ({}, {"a": "b"}, {"a": "c"}, {"ab": ""}, {"b": "a"})}
    assert len(keys) == 5


def test_where_a_digest_cannot_be_remembered_it_is_made_each_time(tmp_path, image, hashed):
    (tmp_path / "no-directory").touch()
    digests = subject.FileDigests(tmp_path / "no-directory")
    expected = hashlib.sha256(image.read_bytes()).hexdigest()
    assert [digests.of(image), digests.of(image)] == [expected, expected]
    assert hashed == [image, image]
