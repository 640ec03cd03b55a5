"""What an image build looks at before it starts."""

import errno
import os

import pytest

from goldsmith.builders.image import preflight as module
from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.builders.image.preflight import require_guest, require_source, require_writable
from goldsmith.disk.layout import AUTO, FileSystem, Layout, LogicalVolume, Partition, VolumeGroup
from goldsmith.errors import GoldsmithError, MissingToolError


def test_a_directory_that_can_be_written_to_stays_as_it_is(tmp_path):
    require_writable(tmp_path)
    require_writable(tmp_path / "not/there/yet")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_in_the_place_of_a_directory(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(GoldsmithError, match="cannot write to the output directory") as caught:
        require_writable(tmp_path / "file" / below)
    assert "Not a directory" in str(caught.value)
    assert "output_directory" in caught.value.hint


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "output").symlink_to("none")
    with pytest.raises(GoldsmithError, match="No such file or directory"):
        require_writable(tmp_path / "output")


def refuse(monkeypatch, code):
    def refusing(path, flags, mode):
        assert flags & os.O_TMPFILE == os.O_TMPFILE
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "open", refusing)


def test_a_file_system_that_is_read_only(tmp_path, monkeypatch):
    refuse(monkeypatch, errno.EROFS)
    with pytest.raises(GoldsmithError, match="Read-only file system"):
        require_writable(tmp_path)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR])
def test_a_file_system_without_unnamed_files_is_asked_for_its_permissions(
    tmp_path, monkeypatch, code
):
    refuse(monkeypatch, code)
    require_writable(tmp_path)
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    with pytest.raises(GoldsmithError, match="Permission denied"):
        require_writable(tmp_path)


def test_the_source_of_each_method(tmp_path):
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "a.tar").touch()
    require_source(Bootstrap(suite="bookworm"), tmp_path)
    require_source(Bootstrap(method="tar", source="a.tar"), tmp_path)
    require_source(Bootstrap(method="directory", source="tree"), tmp_path)
    with pytest.raises(GoldsmithError, match="not an archive"):
        require_source(Bootstrap(method="tar", source="tree"), tmp_path)
    with pytest.raises(GoldsmithError, match="not a directory"):
        require_source(Bootstrap(method="directory", source="a.tar"), tmp_path)


PLAIN = (Partition("root", "root", AUTO, FileSystem("ext4"), "/"),)
GROUP = VolumeGroup("vg", ("p",), (LogicalVolume("root", AUTO, FileSystem("ext4"), "/"),))


def test_only_what_needs_the_guest_needs_qemu(monkeypatch):
    def missing(tool):
        raise MissingToolError(tool, "qemu-system-x86")

    monkeypatch.setattr(module, "get_tool", missing)
    require_guest(Layout(partitions=PLAIN))
    with pytest.raises(MissingToolError, match="qemu-system-x86_64 is not installed"):
        require_guest(Layout(partitions=PLAIN, volume_groups=(GROUP,)))
