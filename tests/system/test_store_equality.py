"""Trees from the store of unpacked packages are those of mmdebstrap, path by path."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from private_namespace import run_privately
from tree_comparison import differences

from goldsmith.host import chroot
from goldsmith.host.namespaces import step_namespace
from goldsmith.host.process import run
from goldsmith.layers.overlay import filled, step_overlay
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.bootstrap import bootstrap_apt, configure_apt, unpack_apt
from goldsmith.packages.installed import installed_packages, os_release
from goldsmith.packages.mirrors import sources_for
from goldsmith.packages.unpacked.content_store import ContentStore, changed_packages
from goldsmith.packages.unpacked.links import Links

pytestmark = [pytest.mark.root, pytest.mark.network]

SUITE = os_release(Path("/")).get("VERSION_CODENAME", "")
SETS = {
    "minbase": (),
    "demo": ("linux-image-cloud-amd64", "systemd-sysv", "openssh-server", "grub-pc-bin",
             "grub-efi-amd64-bin", "grub2-common", "dosfstools"),
    "large": ("linux-image-cloud-amd64", "systemd-sysv", "openssh-server", "cloud-init",
              "nginx-light", "chrony", "rsyslog", "sudo", "curl", "tmux"),
    # dash and others divert nothing any more; these have preinsts that do, and alternatives.
    "slow": ("vim-tiny", "dpkg-dev", "etckeeper", "isc-dhcp-client", "molly-guard"),
}  # fmt: skip


def request(store: Path, tool: str, names: tuple[str, ...]) -> AptRequest:
    return AptRequest(SUITE, names, tuple(sources_for(SUITE, "")), read_apt_settings(),
                      tool=tool, store=store)  # fmt: skip


def by_mmdebstrap(folder: Path, store: Path, names: tuple[str, ...]) -> Path:
    def body() -> str:
        bootstrap_apt(folder / "tree", request(store, "mmdebstrap", names), scratch=folder,
                      emit=lambda *told: None)  # fmt: skip
        return ""

    run_privately(body)
    return folder / "tree"


def by_store(folder: Path, store: Path, names: tuple[str, ...]) -> tuple[Path, list[str]]:
    """The tree as a build makes it: links below an overlay, copied out of it; and the lines."""
    told: list[str] = []
    latest_s = int(time.time())
    asked = request(store, "store", names)

    def emit(level: str, line: str) -> None:
        told.append(line)

    def body() -> list[str]:
        with filled(folder / "laid", clamp_to_s=latest_s) as laid:
            unpack_apt(laid, asked, emit=emit, scratch=folder, links=Links(latest_s))
        with step_overlay(
            [folder / "laid"], folder / "upper", scratch=folder / "mount",
            merged=folder / "merged", clamp_to_s=latest_s,
        ) as tree:  # fmt: skip
            with step_namespace(lambda: chroot.mount_api(tree, network=False)) as namespace:
                configure_apt(tree, asked, emit=emit, run_tool=namespace.run)
            run(["cp", "--archive", str(tree), str(folder / "tree")])
        return told

    return folder / "tree", run_privately(body)


def check(tmp_path: Path, names: tuple[str, ...]) -> tuple[Path, list[str]]:
    """Make the trees and compare them; returns that of the store, and its lines."""
    store = tmp_path / "state" / "packages"
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    theirs = by_mmdebstrap(tmp_path / "theirs", store, names)
    ours, told = by_store(tmp_path / "ours", store, names)
    assert installed_packages(ours) == installed_packages(theirs)
    assert differences(ours, theirs) == []
    for words in (["dpkg", "--audit"], ["dpkg", "--verify"]):
        assert run(["chroot", str(ours), *words], capture=True).text == ""
    run(["chroot", str(ours), "apt-get", "check"])
    assert changed_packages(ContentStore(tmp_path / "state" / "unpacked").packages()) == []
    return ours, told


def test_the_smallest_system(tmp_path: Path) -> None:
    check(tmp_path, SETS["minbase"])


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["demo", "large", "slow"])
def test_larger_systems(tmp_path: Path, name: str) -> None:
    _, told = check(tmp_path, SETS[name])
    if name == "slow":
        assert any("is unpacked by dpkg" in line for line in told)
