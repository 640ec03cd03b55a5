"""The directory of a store, and what is above it."""

from __future__ import annotations

import os
import stat

import pytest

from goldsmith.layers.store import Store


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_store_is_its_owners_alone_but_others_pass_through_the_state(tmp_path, usual_umask):
    Store.open(tmp_path / "state/store")
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode)
             for name in ("state", "state/store", "state/store/layers")}  # fmt: skip
    assert modes == {"state": 0o755, "state/store": 0o700, "state/store/layers": 0o700}
