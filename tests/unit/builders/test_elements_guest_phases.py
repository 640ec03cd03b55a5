"""The last phases in the guest: which disks need it, what devices are called, whose error it is."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from goldsmith.builders.elements import guest_phases, volume_mounts
from goldsmith.builders.elements.disk_size import empty_plan
from goldsmith.builders.elements.disk_wishes import read_wishes
from goldsmith.builders.elements.guest_scripts import PHASE, PHASE_ENDED, joined
from goldsmith.elements.catalog import ElementError
from goldsmith.elements.hooks import HookFile, Hooks
from goldsmith.elements.phase_runner import HookFailed
from goldsmith.errors import CommandFailed

CONFIG = """
- local_loop: {name: image0, size: 4GiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 64MiB
        mkfs: {type: vfat, mount: {mount_point: /boot/efi}}
      - {name: pv, size: 100%, type: 8E00}
- lvm:
    name: lvm
    pvs: [{name: pv0, base: pv}]
    vgs: [{name: my-vg, base: [pv0]}]
    lvs: [{name: lv_root, base: my-vg, size: 2GiB}]
- mkfs: {name: mkfs_root, base: lv_root, type: ext4, mount: {mount_point: /}}
"""


@pytest.fixture
def wishes():
    return read_wishes({"DIB_BLOCK_DEVICE_CONFIG": CONFIG}, ())


def test_volumes_and_file_systems_without_a_driver_need_it(wishes, monkeypatch):
    layout = wishes.layout(4 << 30)
    kinds = {"vfat": "this host's kernel has no vfat"}
    monkeypatch.setattr(volume_mounts.attached, "why_not", kinds.get)
    assert volume_mounts.need_guest(layout) == [
        "ESP: this host's kernel has no vfat", "my-vg/lv_root: LVM needs the device mapper",
    ]  # fmt: skip
    plain = read_wishes({}, ()).layout(4 << 30)
    assert volume_mounts.need_guest(plain) == []


def test_devices_have_the_names_that_hooks_know(wishes):
    assert guest_phases.device_names(empty_plan(wishes, 4 << 30)) == {
        "image0": "/dev/vda", "ESP": "/dev/vda1", "pv": "/dev/vda2",
        "lv_root": "/dev/mapper/my--vg-lv_root",
    }  # fmt: skip


def heard(lines: Sequence[str]) -> tuple[list[str], guest_phases._Heard]:
    told: list[str] = []
    places = {"finalise.d/50-x": "mine", "environment.d/10-a": "other"}
    hooks = Hooks({place: HookFile(name, None, place) for place, name in places.items()})
    run = SimpleNamespace(
        emitter=SimpleNamespace(output=lambda line, stream: told.append(line)),
        surroundings=SimpleNamespace(setup=SimpleNamespace(hooks=hooks)),
    )
    found = guest_phases._Heard(run)
    for line in lines:
        found.line("stderr", line)
    return told, found


def failing(status, *words):
    return CommandFailed(["sh", PHASE, *words], status, tail=[], duration_s=1.0)


def test_the_hook_that_ran_last_is_the_one_that_failed():
    begun = ["dib-run-parts Running /tmp/in_target.d/finalise.d/50-x", "no loader"]
    _, found = heard(["dib-run-parts Sourcing environment file /x/10-a", "+ y", *begun])
    error = found.failed(failing(7, "finalise.d"))
    assert isinstance(error, HookFailed)
    assert str(error) == (
        "finalise.d/50-x of element mine failed with status 7; it said last:\nno loader"
    )


def test_a_snippet_that_fails_is_named():
    _, found = heard(["dib-run-parts Sourcing environment file /x/10-a", "+ z", "unbound"])
    error = found.failed(failing(1))
    assert isinstance(error, ElementError)
    assert str(error) == "environment file /x/10-a of element other failed with status 1\nunbound"


def test_another_command_of_the_guest_is_its_own_error():
    _, found = heard([])
    error = CommandFailed(["mount", "/dev/vda1"], 32, tail=[], duration_s=1.0)
    assert found.failed(error) is error


def test_a_phase_ends_with_its_table():
    told, _ = heard(["dib-run-parts Running /h/finalise.d/50-x", "dib-run-parts 50-x completed",
                     PHASE_ENDED])  # fmt: skip
    assert PHASE_ENDED not in told
    assert "dib-run-parts Target: finalise.d" in told
    assert any(line.startswith("dib-run-parts 50-x    ") for line in told)


def test_words_of_any_bytes_are_handed_over():
    assert joined(["A=b c", "B=\udcff\n", ""]) == b"A=b c\0B=\xff\n\0\0"
