"""Whole builds with the store of packages: two stores, SIGKILL, and disks that are full."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from debs import deb, directory, entry
from small_image import ROOT_PARTITION, Project, hcl
from store_site import StoreSite, store_site
from test_fault_matrix import clear, is_full, running_to, small_disk, small_ext4
from tiny_suite import SUITE

pytestmark = pytest.mark.root

MIB = 1 << 20
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000", "http_proxy": "", "HTTP_PROXY": ""}
TEMPLATE = """
source "image" "small" {
  bootstrap {
    method     = "apt"
    engine     = "store"
    suite      = "%(suite)s"
    mirror     = "%(uri)s"
    keyring    = %(key)s
    components = ["main"]
    packages   = ["alpha", "beta"]
  }
  disk {
%(disk)s  }
  firmware = []
  formats  = ["raw", "qcow2"]
}
build {
  sources = ["source.image.small"]
}
"""
STAGES = (
    "Fetching and unpacking", "Bootstrapping tiny", "Configuring the tree", "Finishing the tree",
    "Assembling", "Writing",
)  # fmt: skip


def contents() -> dict[str, bytes]:
    """A package with what a store keeps, and one whose files fill a disk."""
    usr = [directory("./usr"), directory("./usr/bin"), directory("./usr/share")]
    noise = hashlib.shake_256(b"noise").digest(6 * MIB)
    return {
        "alpha": deb("alpha", [
            *usr, directory("./etc"), entry("./etc/alpha", b"conf"),
            entry("./usr/bin/alpha", b"#!/bin/sh\n", mode=0o755),
            entry("./usr/bin/also", kind=tarfile.LNKTYPE, target="./usr/bin/alpha", mode=0o755),
        ], control={"conffiles": "/etc/alpha\n",
                    "postinst": "#!/bin/sh\necho made > /var/lib/alpha\n"}),
        "beta": deb("beta", [*usr, entry("./usr/share/noise", noise)], compression=""),
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Iterator[StoreSite]:
    with store_site(tmp_path_factory.mktemp("site"), small_tree) as site:
        site.offer(contents())
        yield site


@pytest.fixture
def project(site: StoreSite, tmp_path: Path, goldsmith: Any, small_tree: Path) -> Project:
    # pytest's own directories are closed to the user as whom APT fetches.
    for place in (tmp_path, tmp_path.parent):
        place.chmod(0o755)
    made = Project(tmp_path, small_tree, goldsmith)
    (tmp_path / "t.pkr.hcl").write_text(TEMPLATE % {
        "suite": SUITE, "uri": site.source.uris[0], "key": hcl(str(site.signer.key)),
        "disk": ROOT_PARTITION,
    })  # fmt: skip
    return made


def built(project: Project) -> dict[str, str]:
    """Build; returns the digests of the images."""
    project.built("-force", env=EPOCH)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in project.output.iterdir() if not path.name.endswith(".json")}  # fmt: skip


def trees(project: Project) -> set[tuple[str, str]]:
    """The digest of each step's tree, with the step."""
    records = [json.loads(path.read_text()) for path in project.state.glob("store/keys/*.json")]
    return {(record["step"], record["id"]) for record in records}


def verified(project: Project) -> None:
    result = project._goldsmith("cache", "verify", env={"GOLDSMITH_CACHE_DIR": str(project.state)})
    assert result.status == 0, result.stdout


def test_two_stores_give_the_same_images(project: Project) -> None:
    first = built(project)
    layers = trees(project)
    assert len(layers) >= 3
    project.state = project.path / "another" / "state"
    project.state.mkdir(parents=True, mode=0o700)
    assert built(project) == first
    assert first.keys() == {"small.raw", "small.qcow2"}
    assert trees(project) == layers

    def body(root: Path) -> tuple[str, int, bytes]:
        return ((root / "var/lib/alpha").read_text(), (root / "usr/bin/alpha").stat().st_nlink,
                (root / "etc/alpha").read_bytes())  # fmt: skip

    assert project.look(body) == ("made\n", 2, b"conf")
    verified(project)


@pytest.mark.nightly
@pytest.mark.parametrize("label", STAGES)
def test_the_next_build_after_sigkill_is_as_if_nothing_had_been(
    project: Project, label: str
) -> None:
    state = project.state
    with running_to(project, label, env=EPOCH) as running:
        running.kill()
        running.wait()
    assert project._goldsmith("clean", cwd=project.path).status == 0
    assert project.leftovers() == []
    after = built(project)
    verified(project)
    project.state = state.with_name("undisturbed")
    project.state.mkdir(mode=0o700)
    assert after == built(project)


def fill(place: Path, left_bytes: int) -> None:
    """Leave no more room than that on a file system."""
    status = os.statvfs(place)
    with open(place / "filling", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left_bytes)


@contextlib.contextmanager
def disk(kind: str, place: Path) -> Iterator[Path]:
    made = small_disk(place, "256M") if kind == "tmpfs" else small_ext4(place, 256 * MIB)
    with made as full:
        yield full


SIZES_MIB = (1, 4, 10, 18, 26, 34, 40, 48, 56, 64, 72, 84)


@pytest.mark.parametrize(
    ("kind", "left_mib"),
    [(kind, mib) if (kind, mib) == ("ext4", 48)
     else pytest.param(kind, mib, marks=pytest.mark.nightly)
     for kind in ("tmpfs", "ext4") for mib in SIZES_MIB],
)  # fmt: skip
def test_a_full_disk_and_then_room_again(project: Project, kind: str, left_mib: int) -> None:
    with disk(kind, project.path / "full") as full:
        project.state = full / "state"
        project.state.mkdir(mode=0o700)
        fill(full, left_mib * MIB)
        result = project.build(env=EPOCH)
        if result.status != 0:
            said = clear(result)
            assert is_full(said) or "there is no space left for the tree" in said, said
            assert project.leftovers() == []
        (full / "filling").unlink()
        verified(project)
        built(project)
        verified(project)
