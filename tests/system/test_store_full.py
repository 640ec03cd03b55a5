"""The store of packages on file systems that are full: at every size, and for want of inodes."""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from debs import archive, deb, directory, entry
from private_namespace import run_privately

from goldsmith.errors import GoldsmithError
from goldsmith.host.process import run
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages

pytestmark = pytest.mark.root

KIB = 1 << 10
Archives = list[tuple[Archive, Path]]
USUAL = ("size=40k", "size=160k", "size=400k", "size=8m,nr_inodes=20")
NIGHTLY = tuple(f"size={kib}k" for kib in range(20, 700, 12)) + tuple(
    f"size=8m,nr_inodes={count}" for count in range(2, 60)
)


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    found = []
    for number in range(4):
        noise = hashlib.shake_256(b"%d" % number).digest(60 * KIB)
        content = deb(f"p{number}", [
            directory("./usr"), *(entry(f"./usr/f{one}", noise) for one in range(2)),
            entry("./usr/link", kind=tarfile.SYMTYPE, target="f0"),
        ], control={"postinst": "#!/bin/sh\n"})  # fmt: skip
        file = tmp_path / f"p{number}_1_amd64.deb"
        file.write_bytes(content)
        found.append((archive(content, file.name), file))
    return found


def on_tmpfs(place: Path, options: str, work: Callable[[], object]) -> bool:
    """Run the work where `place` is a small file system, and again when that has grown.

    Whether it was too small: nothing but a full disk may be said, and nothing be wrong after it.
    """
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)])
    full = False
    try:
        work()
    except OSError as e:
        assert e.errno == errno.ENOSPC
        full = True
    except GoldsmithError as e:
        assert "full" in e.message or os.strerror(errno.ENOSPC) in e.message
        full = True
    run(["mount", "-o", "remount,size=64m,nr_inodes=10000", str(place)])
    return full


def each(usual: tuple[str, ...], nightly: tuple[str, ...]) -> pytest.MarkDecorator:
    """All usual ones in one test, and nightly all others in another."""
    return pytest.mark.parametrize(
        "sizes", [usual, pytest.param(nightly, marks=pytest.mark.nightly)], ids=["some", "all"]
    )


@each(USUAL, NIGHTLY)
def test_packages_are_whole_or_not_there(
    tmp_path: Path, archives: Archives, sizes: tuple[str, ...]
) -> None:
    def body() -> int:
        times = 0
        for number, options in enumerate(sizes):
            place = tmp_path / f"full-{number}"
            place.mkdir()
            store = ContentStore(place / "store")
            if on_tmpfs(place, options, lambda store=store: store.take_all(archives)):
                times += 1
                assert changed_packages(store.packages()) == []
                partial = store.directory / "partial"
                assert not partial.exists() or list(partial.iterdir()) == []
            assert changed_packages(store.take_all(archives)) == []
            assert len(store.packages()) == len(archives)
            run(["umount", str(place)])
        return times

    assert run_privately(body) > len(sizes) // 3


@each(("size=8k", "size=100k", "size=8m,nr_inodes=5"), NIGHTLY)
def test_files_are_whole_or_not_there(
    tmp_path: Path, archives: Archives, sizes: tuple[str, ...]
) -> None:
    names = [one for one, _ in archives]

    def body() -> int:
        times = 0
        for number, options in enumerate(sizes):
            place = tmp_path / f"full-{number}"
            place.mkdir()
            store = PackageStore(place / "packages")
            if on_tmpfs(place, options, lambda store=store: store.take_all(names, tmp_path)):
                times += 1
                kept = store.digests()
                assert all(store.has_whole(one) for one in names if one.sha256 in kept)
            store.take_all(names, tmp_path)
            assert all(store.has_whole(one) for one in names)
            run(["umount", str(place)])
        return times

    assert run_privately(body) > 0
