"""What tests of upstream's elements build: the environment, an element of ours, and its tree."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiny_elements import write_hook
from ubuntu_suite import host_suite

from goldsmith.packages.mirrors import sources_for

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbm9ib2R5IGhhcyB0aGlzIGtleSBhdCBhbGwh me@example\n"
PASSWORD = "a-password-of-the-tests"
PROBE_DEPS = (
    "install-bin", "install-static", "install-types", "manifests", "modprobe", "package-installs",
    "pkg-map", "source-repositories", "svc-map", "sysctl",
)  # fmt: skip


def mirrors() -> dict[str, str]:
    """Where upstream's Debian elements fetch from, as this host's own APT does."""
    suite = host_suite()
    found = {"DIB_RELEASE": suite}
    for source in sources_for(suite, ""):
        if suite in source.suites:
            found.setdefault("DIB_DISTRIBUTION_MIRROR", source.uris[0].rstrip("/"))
        elif f"{suite}-security" in source.suites:
            found.setdefault("DIB_DEBIAN_SECURITY_MIRROR", source.uris[0].rstrip("/"))
    return found


def make_probe(directory: Path, repository: Path) -> Path:
    """An element that uses what others offer: each of them leaves a trace in the image."""
    probe = directory / "probe"
    for name in ("bin", "static/etc", "modprobe.d", "init-scripts/systemd"):
        (probe / name).mkdir(parents=True)
    (probe / "element-deps").write_text("".join(f"{name}\n" for name in PROBE_DEPS))
    (probe / "package-installs.yaml").write_text(
        "probe-tool:\nleft-out:\n  arch: s390x\nunmapped-there:\nbuilt-with:\n  build-only: True\n"
    )
    (probe / "pkg-map").write_text(
        '{"default": {"probe-tool": "nosuch", "unmapped-there": ""},'
        ' "family": {"debian": {"probe-tool": "hello", "built-with": "figlet"}}}\n'
    )
    (probe / "svc-map").write_text("probe-service:\n  default: x\n  debian: probed\n")
    (probe / "source-repository-probe").write_text(f"probe git /opt/probe {repository}\n")
    (probe / "bin/probe-program").write_text("#!/bin/sh\necho hello\n")
    (probe / "static/etc/probe").write_text("static\n")
    (probe / "modprobe.d/probe.conf").write_text("options dummy numdummies=2\n")
    (probe / "init-scripts/systemd/probe.service").write_text(
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    )
    write_hook(probe, "install.d/60-sysctl", "sysctl-write-value net.ipv4.ip_forward 1")
    write_hook(probe, "install.d/probe-source-install/70-from-source", "echo source > /from")
    write_hook(probe, "install.d/probe-package-install/70-from-package", "echo package > /from")
    write_hook(probe, "install.d/61-uses-what-was-built-with", "command -v figlet > /built-with")
    return probe


def make_repository(place: Path) -> str:
    """A git repository of one commit; returns its id."""
    git = ["git", "-C", place, "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=master", place], check=True)
    (place / "file").write_text("from the repository\n")
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=one"], check=True)
    told = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def make_home(place: Path) -> Path:
    """A home with a key that may log in."""
    (place / ".ssh").mkdir(parents=True)
    (place / ".ssh/authorized_keys").write_text(KEY)
    return place


@dataclass(frozen=True)
class Tree:
    """The tree of an image, out of its archive."""

    members: Mapping[str, tarfile.TarInfo]
    archive: tarfile.TarFile

    @classmethod
    @contextmanager
    def read(cls, path: Path) -> Iterator[Tree]:
        """Open an archive for the length of a block."""
        with tarfile.open(path) as archive:
            yield cls({one.name.removeprefix("./"): one for one in archive}, archive)

    def text(self, path: str) -> str:
        file = self.archive.extractfile(self.members[path])
        assert file is not None, path
        return file.read().decode()

    def mode(self, path: str) -> int:
        return self.members[path].mode & 0o7777

    def __contains__(self, path: str) -> bool:
        return path in self.members

    def enabled(self, unit: str) -> bool:
        return any(name.endswith(f".wants/{unit}") for name in self.members)
