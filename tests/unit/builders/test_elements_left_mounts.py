"""Which mounts that a hook has left are made again for the next phase."""

import os

from goldsmith.builders.elements import bound_mounts
from goldsmith.host import mounts
from goldsmith.host.mounts import MountPoint

OWN = MountPoint("/b", "overlay", "overlay", "0:40")


def found(monkeypatch, tmp_path, *lines):
    monkeypatch.setattr(mounts, "list_mounts", lambda pid: [OWN, *lines])
    return bound_mounts.find_left(os.getpid(), tmp_path / "b", tmp_path / "b/mnt")


def test_file_systems_without_a_device_are(monkeypatch, tmp_path):
    line = MountPoint(f"{tmp_path}/b/mnt/run", "tmpfs", "/dev/any-name", "0:50", options="rw")
    left, unknown = found(monkeypatch, tmp_path, line)
    assert [(one.target, one.kind) for one in left] == [("run", "tmpfs")]
    assert unknown == []


def test_a_device_is_not_for_another_may_have_its_number_then(monkeypatch, tmp_path):
    loop = MountPoint(f"{tmp_path}/b/mnt/media", "ext4", "/dev/loop5", "7:5")
    link = MountPoint(f"{tmp_path}/b/mnt/srv", "iso9660", "/tmp/a-link-to-it", "7:6")
    assert found(monkeypatch, tmp_path, loop, link) == ([], ["media", "srv"])
