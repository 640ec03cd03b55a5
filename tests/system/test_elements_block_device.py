"""`goldsmith block-device`: devices and mounts that stay from one verb to the next, and then go."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from private_namespace import run_privately

from goldsmith.builders.elements.block_device_state import BlockDeviceState, Parameters
from goldsmith.elements.catalog import upstream_package
from goldsmith.errors import GoldsmithError, TemplateError, UsageError
from goldsmith.host import loop

pytestmark = pytest.mark.root


@pytest.fixture
def parameters(tmp_path):
    """The file of parameters of a disk of the element block-device-efi."""

    def write(**more):
        package = upstream_package()
        assert package is not None
        for name in ("images", "build/mnt"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        given = {
            "config": package / "elements/block-device-efi/block-device-default.yaml",
            "image-dir": tmp_path / "images", "mount-base": tmp_path / "build/mnt",
            "build-dir": tmp_path / "build", "root-fs-type": "ext4", "root-label": "",
            "image-size": "700000KiB", "root-fs-opts": "-i 4096 -J size=8", **more,
        }  # fmt: skip
        (tmp_path / "params.yaml").write_text(
            "".join(f"{name}: {json.dumps(str(value)) if value else ''}\n"
                    for name, value in given.items() if value is not None)
        )  # fmt: skip
        return tmp_path / "params.yaml"

    return write


def state(path):
    """What the next verb sees: nothing is known of the one before but files."""
    return BlockDeviceState(Parameters.read(path), {})


def test_what_is_known_before_there_is_a_disk(parameters):
    path = parameters()
    state(path).init()
    assert state(path).getval("root-label") == "cloudimg-rootfs"
    assert state(path).getval("root-fstype") == "ext4"
    assert state(path).getval("boot-label") == ""
    assert state(path).getval("mount-points") == "/boot/efi|/"
    with pytest.raises(GoldsmithError, match="there is no disk yet"):
        state(path).getval("image-path")
    with pytest.raises(UsageError, match=r"Invalid symbol \[x\]"):
        state(path).getval("x")
    assert state(path).umount() == []
    with pytest.raises(GoldsmithError, match="has no disk"):
        state(path).cleanup()


def test_a_disk_is_made_filled_and_taken_down(parameters, tmp_path):
    path = parameters()

    def body():
        state(path).init()
        state(path).create()
        devices = state(path).getval("image-block-devices")
        device = state(path).getval("image-block-device")
        mounted = [line.split()[:2] for line in Path("/proc/mounts").read_text().splitlines()]
        top = tmp_path / "build/mnt"
        (top / "boot/efi/loader").write_text("from the hook")
        (top / "etc").mkdir()
        (top / "etc/kept").write_text("kept")
        with pytest.raises(GoldsmithError, match="has a disk already"):
            state(path).create()
        with pytest.raises(GoldsmithError, match="mounted still"):
            state(path).cleanup()
        state(path).writefstab()
        state(path).umount()
        assert state(path).umount() == []
        return device, devices, mounted

    device, devices, mounted = run_privately(body)
    top = str(tmp_path / "build/mnt")
    assert f"[ESP]={device}p1 " in devices
    assert [f"{device}p3", top] in mounted
    assert [f"{device}p1", f"{top}/boot/efi"] in mounted
    assert (tmp_path / "build/built/etc/fstab").read_text() == (
        "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 2\n"
    )
    image = Path(state(path).getval("image-path"))
    state(path).cleanup()
    assert os.listdir(tmp_path / "build/states") == []
    assert image.stat().st_size == 700_000 << 10
    shown = subprocess.run(["mtype", "-i", f"{image}@@1048576", "::/loader"], check=True,
                           capture_output=True)  # fmt: skip
    assert shown.stdout == b"from the hook"


def test_what_somebody_has_taken_down_half_is_taken_down(parameters, tmp_path):
    path = parameters()

    def body():
        state(path).create()
        device = state(path).getval("image-block-device")
        esp = tmp_path / "build/mnt/boot/efi"
        (esp / "loader").write_text("lost with its stand-in")
        subprocess.run(["umount", "--recursive", tmp_path / "build/mnt"], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)
        state(path).umount()
        assert state(path).umount() == []
        state(path).cleanup()

    run_privately(body)
    assert os.listdir(tmp_path / "build/states") == []
    image = tmp_path / "images/image0.raw"
    subprocess.run(["sfdisk", "--verify", image], check=True, capture_output=True)


def test_a_device_of_another_file_is_left_alone(tmp_path):
    ours, others = tmp_path / "ours", tmp_path / "others"
    for file in (ours, others):
        file.touch()
        os.truncate(file, 1 << 20)
    device = loop.attach_lasting(others)
    try:
        loop.detach_lasting(device, ours)
        listed = subprocess.check_output(["losetup", "--noheadings", "-O", "BACK-FILE", device])
        assert listed.decode().strip() == str(others)
    finally:
        loop.detach_lasting(device, others)
    loop.detach_lasting(device, others)


def test_delete_removes_the_image_too(parameters, tmp_path):
    path = parameters()

    def body():
        state(path).create()
        state(path).delete()

    run_privately(body)
    assert os.listdir(tmp_path / "images") == []
    assert os.listdir(tmp_path / "build/states") == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"config": None}, "the parameters have no config"),
        ({"config": "/no/such.yaml"}, "cannot be read"),
        ({"root-label": "a label that is too long"}, "longer than the 16 bytes"),
    ],
)
def test_what_is_wrong_is_found_by_init(parameters, more, said):
    with pytest.raises((GoldsmithError, TemplateError), match=said):
        state(parameters(**more)).init()


def test_a_disk_without_a_size_is_none(parameters):
    with pytest.raises(GoldsmithError, match="no image-size"):
        state(parameters(**{"image-size": None})).create()
