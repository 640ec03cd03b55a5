"""The packages of the store are compared in several processes: the same answer, whatever ends."""

import sys

import pytest
from debs import archive, deb, directory, entry

from goldsmith.errors import Interrupted
from goldsmith.host.cancellation import Cancellation
from goldsmith.packages.unpacked import content_store
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages

pytestmark = pytest.mark.root

COUNT = 6


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Some in a store; even small ones are compared in other processes."""
    monkeypatch.setattr(content_store, "_MUCH_BYTES", 0)
    monkeypatch.setattr(content_store, "_STARTED_BYTES", 0)
    wanted = []
    for number in range(COUNT):
        built = deb(f"p{number}", [
            directory("./usr"), directory("./usr/share"), entry(f"./usr/share/p{number}", b"x" * 99)
        ])  # fmt: skip
        file = tmp_path / f"p{number}.deb"
        file.write_bytes(built)
        wanted.append((archive(built, file.name), file))
    return ContentStore(tmp_path / "store").take_all(wanted)


def spoil(package):
    (file,) = package.directory.glob("root/usr/share/*")
    file.write_bytes(b"y" * 99)


@pytest.mark.parametrize("processes", [1, 2, 3, COUNT + 1])
def test_each_process_finds_what_was_changed(packages, processes, host_unchanged):
    assert changed_packages(packages, processes) == []
    for package in packages[::2]:
        spoil(package)
    assert changed_packages(packages, processes) == [
        (package, f"usr/share/{package.name}") for package in packages[::2]
    ]


def test_a_package_that_is_gone_meanwhile_is_changed(packages):
    for package in packages:
        (package.directory / "index").unlink()
    assert "index" in [path for _, path in changed_packages(packages, 2)]


@pytest.mark.parametrize("script", ["kill -KILL $$", "echo '[]'; exit 1", "echo '[1]'"])
def test_who_does_not_tell_is_replaced(packages, tmp_path, monkeypatch, script):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    for package in packages:
        spoil(package)
    assert len(changed_packages(packages, 3)) == COUNT


def test_sound_are_those_that_are_there_and_unchanged(packages):
    spoil(packages[0])
    digests = [package.digest for package in packages]
    store = ContentStore(packages[0].directory.parent)
    assert store.sound([*digests, "0" * 64], lambda: False) == set(digests[1:])
    # Who has waited long enough gets what is known by then.
    turns = iter([False, False, True])
    assert store.sound(digests[1:], lambda: next(turns)) == set(digests[1:3])


def test_an_interrupt_is_noticed_between_packages(packages):
    scope = Cancellation()
    with scope.installed():
        scope.cancel("SIGINT")
        with pytest.raises(Interrupted):
            changed_packages(packages, 1)
