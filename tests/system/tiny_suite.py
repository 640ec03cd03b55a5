"""A Debian suite of three packages made on the spot: a base system that dpkg can work in, and two.

Its one essential package has a shell, the programs that dpkg asks for, and dpkg itself, all of this
host; so a bootstrap of it takes a second and no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from signed_repository import Repository, Signer

SUITE = "tiny"
_PROGRAMS = (
    "dpkg", "dpkg-deb", "dpkg-query", "dpkg-divert", "dpkg-split", "dpkg-trigger", "tar", "diff",
    "find", "start-stop-daemon", "ldconfig", "update-alternatives", "dpkg-statoverride", "gzip",
    "xz", "mountpoint", "apt-get", "apt-config", "apt-key", "apt-cache", "gpgv", "cmp", "touch",
    "/usr/lib/apt/methods/http", "/usr/lib/apt/methods/file", "/usr/lib/apt/methods/copy",
    "/usr/lib/apt/methods/store", "/usr/lib/apt/methods/gpgv", "dpkg-maintscript-helper",
)  # fmt: skip
_WORDS_OF_HELPER = "usr/share/dpkg/sh/dpkg-error.sh"
"""What `dpkg-maintscript-helper` reads."""


def make_tiny_suite(folder: Path, small_tree: Path) -> Repository:
    """The packages `tiny-base` (essential), `tool` and `other`; nothing is published yet."""
    repository = Repository(folder / "repository")
    root = folder / "tiny-base"
    root.mkdir()
    subprocess.run(["tar", "-xf", small_tree, "-C", root], check=True)
    _add_programs(root)
    (root / _WORDS_OF_HELPER).parent.mkdir(parents=True)
    shutil.copy2(Path("/", _WORDS_OF_HELPER), root / _WORDS_OF_HELPER)
    for name in ("etc/apt/apt.conf.d", "etc/dpkg/dpkg.cfg.d", "etc/alternatives", "boot"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with (root / "etc/passwd").open("a") as file:
        file.write("_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n")
    (root / "etc/os-release").write_text('NAME="Tiny GNU/Linux"\nID=tiny\nVERSION_ID="12"\n')
    _pack(root, repository.folder / "pool/tiny-base_1_all.deb")
    # What every image set asks for, then what tests do.
    for name in ("e2fsprogs", "ca-certificates", "tool", "other"):
        repository.add(name, "1.0")
    return repository


def publish(repository: Repository, signer: Signer | None) -> None:
    """Write the index of all packages that are there."""
    repository.publish(SUITE, signer)


def _add_programs(root: Path) -> None:
    for name in _PROGRAMS:
        path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert path is not None, f"this host has no {name}"
        place = root / path.lstrip("/") if name.startswith("/") else root / "usr/bin" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), place)
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for library in (w for w in listed.split() if w.startswith("/") and ".so" in w):
            target = root / os.path.dirname(library).lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.realpath(library), target / os.path.basename(library))


def _pack(root: Path, target: Path) -> None:
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink()]
    sums = [f"{_md5(path)}  {path.relative_to(root)}\n" for path in files]
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/md5sums").write_text("".join(sums))
    (root / "DEBIAN/control").write_text(
        "Package: tiny-base\nVersion: 1\nArchitecture: all\nEssential: yes\nPriority: required\n"
        "Maintainer: Test <t@example.invalid>\nDescription: a base system\n"
    )
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, target],
                   check=True, capture_output=True)  # fmt: skip
    shutil.rmtree(root)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
