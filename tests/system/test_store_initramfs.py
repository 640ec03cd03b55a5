"""The initramfs made beside the bootstrap: whether it is taken, and that nothing of it is left.

Nothing is made beside anything with one processor; whoever tests has two.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from debs import deb, directory, entry
from small_image import ROOT_PARTITION, Project, hcl, shell
from store_site import StoreSite, store_site
from test_fault_matrix import processes_naming
from tiny_suite import SUITE

from goldsmith.builders.image.kept_initramfs import UNCHANGED

pytestmark = pytest.mark.root

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000", "http_proxy": "", "HTTP_PROXY": ""}
BESIDE = "Making the initramfs beside the bootstrap"
OWN = "Making the initramfs: "
INIT = b"#!/bin/sh\necho an init\n"
NAPS_S = 86397
"""Nothing else sleeps as long."""
TEMPLATE = """
source "image" "small" {
  bootstrap {
    method     = "apt"
    engine     = "store"
    suite      = "%(suite)s"
    mirror     = "%(uri)s"
    keyring    = %(key)s
    components = ["main"]
    packages   = ["initramfs-tools-core", "linux-image"]
  }
  disk {
%(disk)s  }
  firmware = []
  formats  = ["raw"]
}
build {
  sources = ["source.image.small"]
%(more)s}
"""


def cpio(name: str, content: bytes) -> bytes:
    out = b""
    for path, mode, data in ((name, 0o100755, content), ("TRAILER!!!", 0, b"")):
        named = path.encode() + b"\0"
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(named), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + named
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


def packages(hook: str = "", maker: str = "") -> Mapping[str, bytes]:
    """A generator whose work is done beforehand, and a kernel."""
    share = "./usr/share/initramfs-tools"
    program = (
        f"#!/bin/sh\n{maker}\ncp {share[1:]}/made /boot/initrd.img-1\n"
        "mkdir -p /var/lib/initramfs-tools\necho state > /var/lib/initramfs-tools/1\n"
    )
    usr = [directory(path) for path in ("./usr", "./usr/share", "./usr/sbin", "./etc")]
    return {
        "initramfs-tools-core": deb("initramfs-tools-core", [
            *usr, directory(share), directory(f"{share}/hooks"), directory("./etc/initramfs-tools"),
            entry("./usr/sbin/update-initramfs", program.encode(), mode=0o755),
            entry(f"{share}/init", INIT, mode=0o755),
            entry(f"{share}/made", gzip.compress(cpio("init", INIT), mtime=0)),
            entry(f"{share}/hooks/own", f"#!/bin/sh\n{hook}\n".encode(), mode=0o755),
            entry("./etc/initramfs-tools/initramfs.conf", b"COMPRESS=gzip\n"),
        ], control={"conffiles": "/etc/initramfs-tools/initramfs.conf\n",
                    "postinst": "#!/bin/sh\necho a module > /etc/initramfs-tools/modules\n"}),
        "zstd": deb("zstd", [*usr, entry("./usr/share/zstd", b"not needed")]),
        "linux-image": deb("linux-image", [
            *usr, directory("./boot"), directory("./lib"), directory("./lib/modules"),
            directory("./lib/modules/1"), entry("./boot/vmlinuz-1", b"kernel"),
            entry("./lib/modules/1/x.ko", b"module"),
        ]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, small_tree: Path) -> Iterator[StoreSite]:
    with store_site(tmp_path_factory.mktemp("site"), small_tree) as site:
        yield site


@pytest.fixture
def project(site: StoreSite, tmp_path: Path, goldsmith: Any, small_tree: Path) -> Project:
    # pytest's own directories are closed to the user as whom APT fetches.
    for place in (tmp_path, tmp_path.parent):
        place.chmod(0o755)
    return Project(tmp_path, small_tree, goldsmith)


def wait_until(is_true: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 180
    while not is_true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def write(project: Project, site: StoreSite, more: str = "") -> None:
    (project.path / "t.pkr.hcl").write_text(TEMPLATE % {
        "suite": SUITE, "uri": site.source.uris[0], "key": hcl(str(site.signer.key)),
        "disk": ROOT_PARTITION, "more": more,
    })  # fmt: skip


def digest(project: Project) -> str:
    return hashlib.sha256(project.image().read_bytes()).hexdigest()


def test_it_is_taken_only_where_every_input_is_the_same(site: StoreSite, project: Project) -> None:
    site.offer(packages())
    write(project, site)
    told = project.built("-force", env=EPOCH).stdout
    assert f"{BESIDE}: never built" in told
    assert UNCHANGED in told
    assert OWN not in told
    made = digest(project)

    # In the finished tree itself nothing comes out another way.
    told = project.built("-force", "-refresh=finish", env=EPOCH).stdout
    assert f"{OWN}-refresh" in told
    assert digest(project) == made

    # What a step changes afterwards is found, and the tree makes its own.
    write(project, site, shell("mkdir -p /etc/modprobe.d; echo blacklist x > /etc/modprobe.d/x"))
    told = project.built("-force", env=EPOCH).stdout
    assert f"{OWN}file /etc/modprobe.d added, file /etc/modprobe.d/x added" in told
    assert UNCHANGED not in told


def test_a_step_of_the_same_build_is_told_as_the_reason(site: StoreSite, project: Project) -> None:
    site.offer(packages())
    write(project, site, shell("mkdir -p /etc/modprobe.d; echo blacklist x > /etc/modprobe.d/x"))
    told = project.built("-force", env=EPOCH).stdout
    assert f"{BESIDE}: never built" in told
    assert f"{OWN}file /etc/modprobe.d added, file /etc/modprobe.d/x added" in told
    assert UNCHANGED not in told


@pytest.mark.parametrize(
    ("hook", "maker"), [("getent passwd _own", ""), ("", "test -e /etc/finished")],
    ids=["a hook asks for more", "it fails before the end"],
)  # fmt: skip
def test_where_it_cannot_be_made_before_it_is_made_in_the_end(
    site: StoreSite, project: Project, hook: str, maker: str
) -> None:
    site.offer(packages(hook, f"{maker} || exit 1" if maker else ""))
    write(project, site, shell("touch /etc/finished"))
    told = project.built("-force", env=EPOCH).stdout
    assert f"{OWN}never built" in told
    assert UNCHANGED not in told
    assert (BESIDE in told) == bool(maker)
    assert ("The initramfs is made when the tree is finished:" in told) == (BESIDE in told)
    assert project.look(lambda root: (root / "boot/initrd.img-1").exists())


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.nightly)
                      for one in (signal.SIGTERM, signal.SIGKILL))],
)  # fmt: skip
def test_nothing_outlives_a_build_that_is_ended(
    site: StoreSite, project: Project, number: int
) -> None:
    site.offer(packages(maker=f"sleep {NAPS_S}"))
    write(project, site)
    environment = {"GOLDSMITH_CACHE_DIR": str(project.state), **EPOCH}
    with project._goldsmith.start(
        "build", "t.pkr.hcl", cwd=project.path, env=environment
    ) as running:
        wait_until(lambda: processes_naming("sleep", str(NAPS_S)), "it was never made")
        os.kill(running.pid, number)
        running.communicate()
    wait_until(lambda: not processes_naming("sleep", str(NAPS_S)), "it goes on")
    assert project._goldsmith("clean", cwd=project.path, env=environment).status == 0
    assert project.leftovers() == []
    assert str(project.state) not in Path("/proc/self/mountinfo").read_text()
