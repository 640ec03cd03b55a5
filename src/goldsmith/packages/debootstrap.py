"""A tree made by debootstrap, where mmdebstrap is missing.

APT of this host does all that needs the network: it reads the indexes once, checks their
signatures, and fetches every package, so sources, pins, proxies, passwords and the package store
work as with mmdebstrap. debootstrap gets a mirror of exactly these files and makes the base system;
APT then installs the rest into the tree by dpkg's own chroot. Written for debootstrap 1.0.128.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, make_directory, remove_confined, write_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import SYSTEM_PATH, Completed, LineSink, run, tool_environment
from goldsmith.host.tree_mounts import kernel_file_systems
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.build_files import DPKG_OPTIONS
from goldsmith.packages.host_apt import HostApt, ToolFailed, host_architecture
from goldsmith.packages.initramfs import divert_update_initramfs
from goldsmith.packages.package_store import Archive
from goldsmith.packages.policy import allow_services, forbid_services

_SCRIPTS: Final = Path("/usr/share/debootstrap/scripts")
_FALLBACK_SCRIPT: Final = "sid"
_LARGE_VARIANTS: Final = frozenset({"important", "standard"})
"""debootstrap's own set is Priority: important; smaller variants begin with its minbase."""
_SSH_KEY_KINDS: Final = ("rsa", "dsa", "ecdsa", "ed25519")
_SHA256: Final = re.compile(rb"^SHA256: *([0-9a-f]{64})$", re.MULTILINE)
_FILENAME: Final = re.compile(rb"^Filename:.*$", re.MULTILINE)
_LINES_SHOWN: Final = 30
_RELEASE_FIELDS: Final = re.compile(r"^(Suite|Codename): *(\S+)$", re.MULTILINE)


def run_debootstrap(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make the tree; False when a program failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile.
    """
    target.mkdir(parents=True, exist_ok=True)
    apt = HostApt(request, work, on_line)
    try:
        apt.update()
        mirror = _Mirror(work / "mirror", request.suite, apt.codename(), apt.architecture)
        mirror.write_index(apt.dump_available())
        on_line("stdout", "I: downloading packages with apt")
        archives = apt.fetch(mirror.base_packages(request.variant, on_line))
        mirror.narrow(archives, apt.archives)
        on_line("stdout", "I: extracting archives...")
        mirror.make_base(target, request.variant, run_tool, on_line)
        _take_over(target, apt)
        on_line("stdout", "I: installing remaining packages...")
        _install(target, request, work, run_tool=run_tool, on_line=on_line)
    except ToolFailed:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Mirror:
    """A directory that debootstrap takes for a mirror; APT has verified all that lies in it."""

    directory: Path
    suite: str
    codename: str
    architecture: str

    def write_index(self, records: Path) -> None:
        """Make the index of these records, and a Release file for it."""
        suite_directory = self.directory / "dists" / self.suite
        name = f"main/binary-{self.architecture}/Packages"
        (suite_directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(records, suite_directory / name)
        with records.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        (suite_directory / "Release").write_text(
            f"Suite: {self.suite}\nCodename: {self.codename}\nComponents: main\n"
            f"Architectures: {self.architecture}\nSHA256:\n"
            f" {digest} {records.stat().st_size} {name}\n"
        )

    def _argv(self, variant: str, target: Path, *options: str) -> list[str]:
        script = _SCRIPTS / self.suite
        return [
            "debootstrap",
            # APT has checked the signatures; this Release file is ours.
            "--no-check-gpg",
            f"--arch={self.architecture}",
            *(["--variant=minbase"] if variant not in _LARGE_VARIANTS else []),
            "--components=main",
            *options,
            self.suite,
            str(target.absolute()),
            f"file://{self.directory}",
            str(script if script.exists() else _SCRIPTS / _FALLBACK_SCRIPT),
        ]

    def base_packages(self, variant: str, on_line: LineSink) -> list[str]:
        """The packages that debootstrap would begin with."""
        argv = self._argv(variant, self.directory / "none", "--print-debs")
        done = run(argv, env=_clean_environment(), check=False, capture=True, on_line=on_line)
        names = done.text.split()
        if done.status != 0 or not names:
            for line in done.text.splitlines():
                on_line("stdout", line)
            raise ToolFailed
        return names

    def narrow(self, archives: Sequence[Archive], folder: Path) -> None:
        """Let the index name the fetched files alone, which become the mirror's."""
        index = self.directory / "dists" / self.suite / f"main/binary-{self.architecture}/Packages"
        names = {archive.sha256.encode(): archive.name for archive in archives}
        records = []
        for record in index.read_bytes().split(b"\n\n"):
            digest = _SHA256.search(record)
            name = names.get(digest.group(1)) if digest else None
            if name is not None:
                records.append(_FILENAME.sub(f"Filename: pool/{name}".encode(), record).strip())
        narrowed = self.directory / "narrowed"
        # debootstrap takes a record in at the empty line after it, so the last one has one too.
        narrowed.write_bytes(b"".join(record + b"\n\n" for record in records))
        (self.directory / "pool").symlink_to(folder)
        self.write_index(narrowed)

    def make_base(self, target: Path, variant: str, run_tool: RunTool, on_line: LineSink) -> None:
        """Make the base system in the target."""
        argv = self._argv(variant, target)
        done = run_tool(argv, env=_clean_environment(), check=False, on_line=on_line)
        if done.status != 0:
            # What dpkg and its scripts said is in a file only.
            log = confined(target, "/debootstrap/debootstrap.log", follow_last=True)
            if log.is_file():
                for line in log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]:
                    on_line("stderr", line)
            raise ToolFailed


def _clean_environment() -> Mapping[str, str]:
    """debootstrap hands its environment to maintainer scripts: no TMPDIR of the host."""
    environment = {**tool_environment(HOME="/root"), "PATH": SYSTEM_PATH}
    for name in ("TMPDIR", "SOURCE_DATE_EPOCH"):
        environment.pop(name, None)
    return environment


def _take_over(tree: Path, apt: HostApt) -> None:
    """Give the tree APT's lists and archives, and take debootstrap's out."""
    for path in ("/etc/apt/sources.list", "/var/log/bootstrap.log"):
        remove_confined(tree, path)
    for folder, origin in (
        ("/var/lib/apt/lists", apt.directory / "lists"), ("/var/cache/apt/archives", apt.archives),
    ):  # fmt: skip
        place = make_directory(tree, folder)
        for old in place.iterdir():
            if not old.is_dir():
                old.unlink()
        for file in origin.iterdir():
            if file.is_file() and file.name != "lock":
                shutil.copy2(file, place / file.name)


def _install(
    tree: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> None:
    """Install what is not there yet, from the archives that were fetched."""
    environment = {
        **_clean_environment(), "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8",
        "APT_CONFIG": str(_tree_configuration(tree, request, work)),
    }  # fmt: skip

    def run_in_tree(
        argv: Sequence[str], *, env: Mapping[str, str] | None = None, input: bytes | None = None
    ) -> Completed:
        return run_tool(["chroot", str(tree), *argv], env={**environment, **(env or {})},
                        on_line=on_line)  # fmt: skip

    divert_update_initramfs(tree, run_in_tree)
    for kind in _SSH_KEY_KINDS:
        # openssh-server makes no key that is there already; these are removed afterwards.
        write_confined(tree, f"/etc/ssh/ssh_host_{kind}_key", b"")
    dpkg_options = "/etc/dpkg/dpkg.cfg.d/99goldsmith-bootstrap"
    write_confined(tree, dpkg_options, DPKG_OPTIONS.encode())
    forbid_services(tree)
    with kernel_file_systems(tree, run_tool):
        done = run_tool(["apt-get", "--yes", "install", *request.wanted()], env=environment,
                        check=False, on_line=on_line)  # fmt: skip
    if done.status != 0:
        raise ToolFailed
    allow_services(tree)
    remove_confined(tree, dpkg_options)


def _tree_configuration(tree: Path, request: AptRequest, work: Path) -> Path:
    """The settings of the host's APT as it works on the tree; apt.conf(5)."""
    root, apt = tree.absolute(), work / "apt"
    settings = {
        "APT::Architecture": request.architecture or host_architecture(),
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir": str(root),
        "Dir::State::status": f"{root}/var/lib/dpkg/status",
        "Dir::Etc::sourcelist": f"{apt}/host.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": f"{apt}/preferences",
        "Dir::Log": "/dev/null",
        "DPkg::Chroot-Directory": str(root),
        "DPkg::Use-Pty": "false",
    }
    text = "".join(f'{name} "{value}";\n' for name, value in settings.items())
    path = work / "tree.conf"
    path.write_text(text + request.settings.bootstrap_text())
    return path


def required_tools() -> tuple[str, ...]:
    """The programs that a bootstrap by debootstrap runs on this host."""
    return ("debootstrap", "apt-get", "apt-cache", "dpkg", "chroot", "mount", "umount")
