"""GRUB out of Debian's packages, put into a small tree, so that its programs run there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

_NAMES = ("grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "libdevmapper1.02.1")


def fetch_grub(directory: Path) -> list[Path]:
    """Download the packages into a directory."""
    argv = ["apt-get", "download", "-q", *_NAMES]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)
    return sorted(directory.glob("*.deb"))


def add_grub(tree: Path, packages: Iterable[Path]) -> None:
    """GRUB's program and modules, with the libraries that the program needs."""
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True, capture_output=True)
    program = tree / "usr/bin/grub-mkimage"
    env = {"LD_LIBRARY_PATH": f"{tree}/lib/x86_64-linux-gnu"}
    listed = subprocess.run(["ldd", program], env=env, check=True, capture_output=True, text=True)
    for library in re.findall(r"(/\S+) \(0x", listed.stdout):
        if not library.startswith(str(tree)):
            place = tree / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
