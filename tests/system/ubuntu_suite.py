"""A small archive under the name of an Ubuntu suite, made of Debian's packages, signed and served.

What `ubuntu-minimal` asks for is there: the base system, a kernel behind the name of Ubuntu's meta
package, and the suites for updates, security and backports, which are empty but for one update.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from debs import deb
from signed_repository import Repository, Signer, served

from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.host_apt import HostApt
from goldsmith.packages.mirrors import sources_for

SUITE = "noble"
COMPONENTS = ("main", "universe")
KERNEL = "linux-image-generic"
KERNEL_OF_DEBIAN = "linux-image-cloud-amd64"
UPDATED = "netbase"
"""A package of which the suite for updates has a newer version."""
PACKAGES = (
    "apt", "tzdata", "systemd-sysv", "busybox", "sudo", "python3", "initramfs-tools",
    KERNEL_OF_DEBIAN, "apt-transport-https", "software-properties-common", "open-iscsi", "grub-pc",
    "adduser", "ca-certificates", "locales", "lsb-release", "netbase", "less",
)  # fmt: skip
"""What upstream's elements and `probe` install, by the names that Debian has for it."""


@dataclass(frozen=True)
class Archive:
    """A served archive; `asked` are the requests so far: path and status."""

    mirror: str
    key: Path
    asked: list[tuple[str, int]]


def host_suite() -> str:
    """The Debian release of this host, whose packages are taken."""
    text = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)", text, re.MULTILINE)
    assert found is not None
    return found.group(1)


@contextmanager
def ubuntu_suite(folder: Path, signer: Signer, kept: Path) -> Iterator[Archive]:
    """Fetch, publish and serve; `kept` keeps what is fetched."""
    # APT fetches as a user of its own.
    work = folder / "fetching"
    work.mkdir(parents=True)
    suite = host_suite()
    request = AptRequest(
        suite, PACKAGES, tuple(sources_for(suite, "")), settings=read_apt_settings(), store=kept
    )
    said: list[str] = []
    apt = HostApt(request, work, lambda stream, line: said.append(line))
    apt.update()
    apt.fetch(())
    repository = Repository(folder / "archive")
    pool = folder / "archive/pool"
    for package in sorted(apt.archives.glob("*.deb")):
        os.rename(package, pool / package.name)
    shutil.rmtree(work)
    meta = deb(
        KERNEL,
        [],
        Depends=KERNEL_OF_DEBIAN,
        Section="kernel",
        Priority="optional",
        Maintainer="Test <t@example.invalid>",
        Description="the kernel, whatever its version",
    )
    (pool / f"{KERNEL}_1_amd64.deb").write_bytes(meta)
    everything = sorted(pool.glob("*.deb"))
    update = _newer(next(pool.glob(f"{UPDATED}_*.deb")), folder)
    os.rename(update, pool / update.name)
    repository.publish(SUITE, signer, components=COMPONENTS, packages=everything)
    for name in ("updates", "security", "backports"):
        packages = [pool / update.name] if name == "updates" else []
        repository.publish(f"{SUITE}-{name}", signer, components=COMPONENTS, packages=packages)
    with served(folder / "archive") as (address, asked):
        yield Archive(address, signer.key, asked)


def _newer(package: Path, folder: Path) -> Path:
    """The same package with a higher version."""
    unpacked = folder / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    text = re.sub(r"^(Version: .*)$", r"\1+update1", control.read_text(), flags=re.MULTILINE)
    control.write_text(text)
    target = folder / f"{package.stem}.update.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", unpacked, target], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    shutil.rmtree(unpacked)
    return target
