"""What a `chroot` build refuses before it starts, and how it is named to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goldsmith.builders.chroot import builder as module
from goldsmith.builders.chroot.builder import ChrootBuilder
from goldsmith.builders.chroot.options import ChrootOptions
from goldsmith.builders.chroot.root import named_root, require_writable_root
from goldsmith.errors import GoldsmithError, NotRootError
from goldsmith.packages.errors import PackageError
from goldsmith.packages.image_file import ImagePartition


def part(number: int, kind: str, *, uuid: str = "", label: str = "") -> ImagePartition:
    return ImagePartition(number, 0, 0, probed={"TYPE": kind, "UUID": uuid, "LABEL": label})


PARTS = [part(1, "vfat", uuid="AB-CD", label="ESP"), part(2, "ext4", uuid="aa", label="same"),
         part(5, "squashfs", uuid="bb", label="same")]  # fmt: skip


def chosen(**options: object) -> ImagePartition | None:
    return named_root(Path("i"), PARTS, ChrootOptions(**{"source": "i", **options}))


def test_the_root_that_a_template_names() -> None:
    assert chosen() is None
    assert chosen(mount_partition=5) == PARTS[2]
    assert chosen(root_uuid="ab-cd") == PARTS[0]
    assert chosen(root_label="ESP") == PARTS[0]


def test_roots_that_are_not_there_are_told_with_what_is() -> None:
    with pytest.raises(PackageError, match="no partition 3: it has 1, 2, 5"):
        chosen(mount_partition=3)
    with pytest.raises(PackageError, match=r"several file systems .*: partition 2, partition 5"):
        chosen(root_label="same")
    with pytest.raises(PackageError) as caught:
        chosen(root_label="SAME")
    for line in ("partition 1 is vfat, LABEL ESP", "partition 2 is ext4, LABEL same"):
        assert line in str(caught.value)
    with pytest.raises(PackageError, match="partition 5 of i is squashfs: it cannot be changed"):
        require_writable_root(PARTS[2], Path("i"))


def refused(tmp_path: Path, **options: object) -> GoldsmithError:
    made = ChrootBuilder(ChrootOptions(**{"source": "i", **options}), "new")
    with pytest.raises(GoldsmithError) as caught:
        made.preflight(tmp_path, force=False)
    return caught.value


def test_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    assert isinstance(refused(tmp_path), NotRootError)


def test_sources_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert "there is no image" in str(refused(tmp_path))
    (tmp_path / "i").mkdir()
    assert "is a directory, not an image" in str(refused(tmp_path))
    (tmp_path / "fifo").symlink_to("i")
    assert "is a directory" in str(refused(tmp_path, source="fifo"))
    (tmp_path / "packed").write_bytes(b"\x1f\x8b" + bytes(600))
    assert "is compressed" in str(refused(tmp_path, source="packed"))
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in str(refused(tmp_path, source="pipe"))


def test_what_others_know_of_it(tmp_path: Path) -> None:
    made = ChrootBuilder(
        ChrootOptions(source="i", formats=("raw", "vpc"), firmware=("uefi",)), "new"
    )
    assert (made.expected.formats, made.expected.firmware) == (("raw", "vpc"), ("uefi",))
    names = [path.name for path in made.claims(tmp_path)]
    assert names == ["new.raw", "new.vhd", "new.manifest.json"]
    assert made.check() == []
