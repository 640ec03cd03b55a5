"""Locks count only while their file has its name: whoever removes a lock file holds it then."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from goldsmith.host.locks import try_lock
from goldsmith.layers import layer_locks


@pytest.fixture
def removed_meanwhile(monkeypatch):
    """Let another one remove the file, as soon as it is locked for the first time."""
    real, paths = fcntl.flock, []

    def flock(fd, operation):
        real(fd, operation)
        if not paths:
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.unlink(paths[0])

    monkeypatch.setattr(fcntl, "flock", flock)
    return paths


def test_a_lock_on_a_removed_file_is_taken_again_by_its_name(tmp_path: Path, removed_meanwhile):
    path = tmp_path / "lock"
    fd = layer_locks.lock_alone(path)
    assert removed_meanwhile == [str(path)]
    assert fd is not None
    assert try_lock(path) is None
    os.close(fd)


def test_a_removed_file_is_not_made_again_unasked(tmp_path: Path, removed_meanwhile):
    path = tmp_path / "lock"
    path.touch()
    assert layer_locks.lock_alone(path, make=False) is None
    assert removed_meanwhile
    assert not path.exists()


def test_a_shared_lock_on_a_removed_file_is_none(tmp_path: Path, removed_meanwhile):
    path = tmp_path / "lock"
    path.touch()
    assert layer_locks.lock_shared(path) is None
    assert removed_meanwhile


def test_free_locks_are_removed_and_held_ones_stay(tmp_path: Path):
    for name in ("registry", "free", "held"):
        (tmp_path / name).touch()
    with layer_locks.waited_for(tmp_path / "held"):
        layer_locks.remove_free_locks(tmp_path, keep="registry")
        assert sorted(os.listdir(tmp_path)) == ["held", "registry"]
    layer_locks.remove_free_locks(tmp_path, keep="registry")
    assert os.listdir(tmp_path) == ["registry"]


def test_others_may_share_what_was_held_alone(tmp_path: Path):
    path = tmp_path / "lock"
    alone = layer_locks.lock_alone(path)
    assert alone is not None
    layer_locks.share(alone)
    shared = layer_locks.lock_shared(path)
    assert shared is not None
    assert layer_locks.lock_alone(path) is None
    os.close(alone)
    os.close(shared)
