"""What cannot work is refused before anything is started."""

from pathlib import Path

import pytest

from goldsmith.errors import GoldsmithError, UsageError
from goldsmith.machine.acceleration import Acceleration, probe_acceleration
from goldsmith.machine.qemu import BootOptions, boot


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"format": "parallels"}, "parallels"),
        ({"format": "vmdk", "snapshot": False}, "kept in a vmdk"),
        ({"firmware": "coreboot"}, "coreboot"),
        ({"expect": ""}, "text to wait for"),
        ({"timeout_s": 0}, "time"),
        ({"cpus": 0}, "CPU"),
        ({"memory_bytes": 512}, "memory"),
    ],
)
def test_options_that_cannot_work_are_usage_errors(wrong, named):
    with pytest.raises(UsageError, match=named):
        BootOptions(**{"image": Path("x.img"), "format": "raw", **wrong})


def test_an_image_that_is_not_there_is_named(tmp_path):
    options = BootOptions(image=tmp_path / "absent.img", format="raw")
    with pytest.raises(GoldsmithError, match=r"absent\.img"):
        boot(options, directory=tmp_path, acceleration=Acceleration("tcg", "a test"))


def test_a_host_without_kvm_is_told_apart_without_running_anything(tmp_path):
    found = probe_acceleration(device=tmp_path / "kvm")
    assert found.name == "tcg"
    assert str(tmp_path / "kvm") in found.reason


def test_a_device_that_cannot_be_opened_says_why(tmp_path):
    (tmp_path / "kvm").mkdir()
    found = probe_acceleration(device=tmp_path / "kvm")
    assert found.name == "tcg"
    assert "Is a directory" in found.reason
