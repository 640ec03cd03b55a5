"""A tree with Python, made once for a module of tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def codename() -> str:
    """The release of this host."""
    line = ["sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def python_tree(place: Path) -> Path:
    """A tar archive of Debian with Python and a service, from this host's own APT sources."""
    archive = place / "python.tar"
    done = subprocess.run(
        ["mmdebstrap", "--variant=apt", "--include=python3,python3-apt,cron", codename(), archive],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return archive
