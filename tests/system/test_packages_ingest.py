"""Many packages are unpacked by several processes: the same store, and the same errors."""

import errno
import os

import pytest
from debs import archive, deb, directory, entry
from private_namespace import run_privately

from goldsmith.host import mounts
from goldsmith.packages.errors import PackageError
from goldsmith.packages.unpacked import ingest
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages

pytestmark = pytest.mark.root


@pytest.fixture
def elsewhere(monkeypatch):
    """Let even small packages be unpacked in other processes."""
    monkeypatch.setattr(ingest, "_LITTLE_BYTES", 0)


def packages(tmp_path, count, content=b"program"):
    found = []
    for number in range(count):
        built = deb(f"p{number}", [
            directory("./usr"), directory("./usr/share"),
            entry(f"./usr/share/p{number}", content * (number + 1), mode=0o640, uid=7),
        ])  # fmt: skip
        file = tmp_path / f"p{number}.deb"
        file.write_bytes(built)
        found.append((archive(built, file.name), file))
    return found


def test_processes_unpack_what_one_does(elsewhere, tmp_path, host_unchanged):
    wanted = packages(tmp_path, 5)
    several = ContentStore(tmp_path / "several").take_all(wanted, threads=3)
    one = ContentStore(tmp_path / "one").take_all(wanted, threads=1)
    assert [(p.digest, p.members, p.controls, p.fields) for p in several] == [
        (p.digest, p.members, p.controls, p.fields) for p in one
    ]
    assert changed_packages(several) == []
    assert sorted(os.listdir(tmp_path / "several")) == sorted(os.listdir(tmp_path / "one"))


def test_a_wrong_package_is_named_and_nothing_of_it_kept(elsewhere, tmp_path, host_unchanged):
    wanted = packages(tmp_path, 3)
    wanted[1][1].write_bytes(deb("other", [directory("./usr")]))
    store = ContentStore(tmp_path / "store")
    with pytest.raises(PackageError, match=r"p1\.deb is not the package that the signed index"):
        store.take_all(wanted, threads=2)
    assert store.packages() == []
    assert os.listdir(store.directory / "partial") == []


def test_a_full_disk_is_told_as_such(elsewhere, tmp_path, host_unchanged):
    place = tmp_path / "small"
    place.mkdir()
    wanted = packages(tmp_path, 2, os.urandom(200_000))

    def fill():
        mounts.mount("tmpfs", str(place), "tmpfs", options="size=256k")
        try:
            ContentStore(place / "store").take_all(wanted, threads=2)
        except OSError as e:
            return e.errno
        return None

    assert run_privately(fill) == errno.ENOSPC
