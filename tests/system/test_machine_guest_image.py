"""How a guest is kept: made once, by one, whole or not at all."""

import json
import threading

import pytest

from goldsmith.machine import guest_image
from goldsmith.machine.guest_image import GuestRecipe, host_recipe, open_guest_image
from goldsmith.machine.guest_protocol import GuestError


@pytest.fixture
def makes(monkeypatch):
    """Makes guests of two small files; returns the list of those made."""
    made = []

    def make(directory, recipe):
        made.append(directory.name)
        directory.mkdir()
        (directory / "kernel").write_bytes(b"kernel")
        (directory / "initramfs.cpio").write_bytes(b"initramfs")
        (directory / "manifest.json").write_text(json.dumps(
            {"digest": "d", "sizes": {"kernel": 6, "initramfs.cpio": 9}, "packages": {"a": "1"}}
        ))  # fmt: skip

    monkeypatch.setattr(guest_image, "make_guest_image", make)
    return made


def content(state):
    return sorted(path.name for path in (state / "guest").iterdir() if path.name != ".lock")


def test_a_guest_is_made_once(makes, tmp_path):
    told = []
    first = open_guest_image(state=tmp_path, report=told.append)
    assert open_guest_image(state=tmp_path, report=told.append) == first
    assert len(makes) == len(told) == 1
    assert content(tmp_path) == [host_recipe().digest()]
    assert (first.digest, first.packages) == ("d", {"a": "1"})
    assert first.kernel.read_bytes() == b"kernel"


def test_those_who_need_it_meanwhile_wait(makes, tmp_path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    make = guest_image.make_guest_image

    def make_slowly(directory, recipe):
        begun.set()
        assert go_on.wait(30)
        make(directory, recipe)

    monkeypatch.setattr(guest_image, "make_guest_image", make_slowly)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(open_guest_image(state=tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(makes) == 1
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("damage", ["short", "absent", "manifest"])
def test_a_guest_that_is_not_whole_is_made_again(makes, tmp_path, damage):
    kernel = open_guest_image(state=tmp_path).kernel
    match damage:
        case "short":
            kernel.write_bytes(b"k")
        case "absent":
            kernel.unlink()
        case "manifest":
            (kernel.parent / "manifest.json").write_text("{")
    assert open_guest_image(state=tmp_path).kernel.read_bytes() == b"kernel"
    assert len(makes) == 2


def test_a_maker_that_fails_leaves_nothing(makes, tmp_path, monkeypatch):
    def fail(directory, recipe):
        (directory / "tree").mkdir(parents=True)
        raise GuestError("no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(guest_image, "make_guest_image", fail)
        with pytest.raises(GuestError, match="no kernel"):
            open_guest_image(state=tmp_path)
    assert content(tmp_path) == []
    # What a killed one has left goes with the next.
    (tmp_path / "guest/0123.new/tree").mkdir(parents=True)
    open_guest_image(state=tmp_path)
    assert content(tmp_path) == [host_recipe().digest()]


def test_another_recipe_is_another_guest():
    one = GuestRecipe(suite="x", configuration={})
    assert one.digest() == GuestRecipe(suite="x", configuration={}).digest()
    others = [
        GuestRecipe(suite="y", configuration={}),
        GuestRecipe(suite="x", configuration={"a": "b"}),
        GuestRecipe(suite="x", configuration={}, scripts=("init",)),
        GuestRecipe(suite="x", configuration={}, packages=("lvm2",)),
    ]
    assert len({one.digest(), *(recipe.digest() for recipe in others)}) == 5
