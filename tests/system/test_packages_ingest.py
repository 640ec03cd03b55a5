"""Many packages are unpacked by several processes: the same store, and the same errors."""

import contextlib
import errno
import os
import sys
import threading

import pytest
from debs import archive, deb, directory, entry
from private_namespace import run_privately

from goldsmith.errors import Interrupted
from goldsmith.host import mounts
from goldsmith.host.cancellation import Cancellation
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


@pytest.fixture
def stand_in(monkeypatch, tmp_path, elsewhere):
    """Let a script of ours be what unpacks elsewhere; returns the function that writes it."""
    python = sys.executable

    def write(text):
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{text.replace('PYTHON', python)}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))

    return write


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("kill -KILL $$", "killed by signal 9: the kernel does that where memory is short"),
        ("kill -TERM $$", "killed by signal 15$"),
        ("echo Traceback >&2; echo 'KeyError: 1' >&2; exit 1", "ended with 1: KeyError: 1$"),
        ("echo 7; exit 3", "ended with 3"),
    ],
)
def test_a_process_that_cannot_tell_its_error_is_told_of(stand_in, tmp_path, script, told):
    stand_in(script)
    store = ContentStore(tmp_path / "store")
    with pytest.raises(PackageError, match=f"a process that unpacked packages.*{told}"):
        store.take_all(packages(tmp_path, 3), threads=2)
    assert store.packages() == []
    assert os.listdir(store.directory / "partial") == []


def test_what_a_good_process_says_besides_is_no_error(stand_in, tmp_path):
    stand_in('echo noise >&2; exec PYTHON "$@"')
    taken = ContentStore(tmp_path / "store").take_all(packages(tmp_path, 3), threads=2)
    assert changed_packages(taken) == []


def test_an_interrupt_ends_the_processes_and_leaves_nothing(stand_in, tmp_path):
    started = tmp_path / "started"
    os.mkfifo(started)
    stand_in(f"echo $$ > {started}; exec sleep 600")
    store, scope = ContentStore(tmp_path / "store"), Cancellation()
    wanted, ended = packages(tmp_path, 3), []

    def work():
        with scope.installed(), contextlib.suppress(Interrupted):
            store.take_all(wanted, threads=2)
            ended.append("by itself")

    thread = threading.Thread(target=work)
    thread.start()
    pid = int(started.read_text().split()[0])
    scope.cancel("SIGINT")
    # Whoever has not yet told that it runs must not wait for somebody to listen.
    with open(started, "rb", buffering=0, opener=lambda path, _: os.open(path, os.O_RDWR)):
        thread.join(60)
    assert not thread.is_alive()
    assert ended == []
    assert not os.path.exists(f"/proc/{pid}")
    assert os.listdir(store.directory / "partial") == []
    assert store.packages() == []
