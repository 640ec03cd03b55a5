"""The machine that a step of the guest gets."""

from pathlib import Path

import pytest

from goldsmith.errors import MissingToolError
from goldsmith.machine import guest_image as module
from goldsmith.machine.acceleration import Acceleration
from goldsmith.machine.guest import machine_arguments
from goldsmith.machine.guest_image import GuestImage, GuestRecipe, require_guest_image
from goldsmith.machine.guest_protocol import GuestDisk, GuestStep

IMAGE = GuestImage(Path("kernel"), Path("initramfs"), "digest", {})


def arguments(tmp_path, **more):
    for name in ("disk", "step.tar", "result.tar"):
        (tmp_path / name).touch()
    step = GuestStep(commands=[["true"]], timeout_s=1, disks=[GuestDisk(path=tmp_path / "disk")],
                     **more)  # fmt: skip
    return machine_arguments(step, IMAGE, Acceleration("tcg", "a test"), tmp_path, [3, 4, 5])


def test_the_clock_begins_where_it_was_asked_to(tmp_path):
    words = arguments(tmp_path, clock_s=1_700_000_000)
    assert words[words.index("-rtc") + 1] == "base=2023-11-14T22:13:20"
    assert "-rtc" not in arguments(tmp_path)


def test_a_full_host_is_an_error_of_the_disk_and_does_not_stop_the_machine(tmp_path):
    devices = [word for word in arguments(tmp_path) if word.startswith("virtio-blk")]
    assert len(devices) == 3
    assert all("werror=report" in word for word in devices)


def test_a_guest_that_could_not_be_made_is_told_before_it_is_needed(tmp_path, monkeypatch):
    asked = []
    recipe = GuestRecipe(suite="bookworm", configuration={})
    monkeypatch.setattr(module, "host_recipe", lambda: recipe)
    monkeypatch.setattr(module.process, "get_tool", asked.append)
    require_guest_image(state=tmp_path)
    assert "dpkg-deb" in asked
    asked.clear()
    monkeypatch.setattr(module, "_read", lambda place: IMAGE)
    require_guest_image(state=tmp_path)
    assert asked == []

    def missing(tool):
        raise MissingToolError(tool, "apt")

    monkeypatch.setattr(module, "_read", lambda place: None)
    monkeypatch.setattr(module.process, "get_tool", missing)
    with pytest.raises(MissingToolError, match="apt-get is not installed"):
        require_guest_image(state=tmp_path)
