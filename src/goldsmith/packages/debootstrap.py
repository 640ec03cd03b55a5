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
from goldsmith.packages.apt_sources import render_sources
from goldsmith.packages.build_files import DPKG_OPTIONS
from goldsmith.packages.download import apt_configuration, reachable_by_all
from goldsmith.packages.initramfs import divert_update_initramfs
from goldsmith.packages.package_store import PRINT_URIS, Archive, PackageStore, parse_uris
from goldsmith.packages.policy import allow_services, forbid_services
from goldsmith.packages.repositories import render_pins

_SCRIPTS: Final = Path("/usr/share/debootstrap/scripts")
_FALLBACK_SCRIPT: Final = "sid"
_LARGE_VARIANTS: Final = frozenset({"important", "standard"})
"""debootstrap's own set is Priority: important; smaller variants begin with its minbase."""
_SSH_KEY_KINDS: Final = ("rsa", "dsa", "ecdsa", "ed25519")
_SHA256: Final = re.compile(rb"^SHA256: *([0-9a-f]{64})$", re.MULTILINE)
_FILENAME: Final = re.compile(rb"^Filename:.*$", re.MULTILINE)
_LINES_SHOWN: Final = 30
_RELEASE_FIELDS: Final = re.compile(r"^(Suite|Codename): *(\S+)$", re.MULTILINE)


class _ToolFailed(Exception):
    """A program has failed; its lines, which the caller has seen, say why."""


def run_debootstrap(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make the tree; False when a program failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile.
    """
    target.mkdir(parents=True, exist_ok=True)
    apt = _HostApt(request, work, on_line)
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
    except _ToolFailed:
        return False
    return True


class _HostApt:
    """This host's APT with a configuration, lists and caches of its own."""

    def __init__(self, request: AptRequest, work: Path, on_line: LineSink) -> None:
        self._request, self._on_line = request, on_line
        self.architecture = request.architecture or _host_architecture()
        self.directory = work / "apt"
        self.archives = self.directory / "cache/archives"
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True)
        sources = self.directory / "host.sources"
        sources.write_text(render_sources(request.fetched_sources()))
        (self.directory / "preferences").write_text(render_pins(request.pins))
        text = apt_configuration(
            self.directory, self.architecture, sandboxed=reachable_by_all(self.directory)
        )
        configuration = self.directory / "apt.conf"
        # The later line wins: packages of a file: source are copied, and pins heeded.
        configuration.write_text(
            f'{text}Dir::Etc::preferences "{self.directory}/preferences";\n'
            f"{request.settings.bootstrap_text()}"
        )
        self._environment = tool_environment(APT_CONFIG=str(configuration))

    def _run(self, *argv: str, stdout_to: int | None = None) -> Completed:
        done = run(
            argv, env=self._environment, cwd=self.directory, check=False,
            on_line=self._on_line, stdout_to=stdout_to,
        )  # fmt: skip
        if done.status != 0:
            raise _ToolFailed
        return done

    def update(self) -> None:
        """Read the indexes."""
        self._on_line("stdout", "I: running --setup-hook")
        self._run("apt-get", "update", "--error-on=any")

    def codename(self) -> str:
        """The release that the suite is: debootstrap decides by it, and "stable" is none."""
        for release in sorted((self.directory / "lists").glob("*Release")):
            text = release.read_text(errors="replace")
            fields: dict[str, str] = dict(_RELEASE_FIELDS.findall(text))
            if self._request.suite in fields.values():
                return fields.get("Codename", self._request.suite)
        return self._request.suite

    def dump_available(self) -> Path:
        """A file with the record of every package's candidate, the pins heeded."""
        dumped = self.directory / "available"
        with dumped.open("wb") as file:
            self._run("apt-cache", "dumpavail", stdout_to=file.fileno())
        return dumped

    def fetch(self, base: Sequence[str]) -> tuple[Archive, ...]:
        """Fetch the base and all that is asked for; what the store has is not fetched."""
        words = [*base, *self._request.wanted()]
        listed = self.directory / "uris"
        with listed.open("wb") as file:
            self._run("apt-get", "--yes", *PRINT_URIS, "install", *words,
                      stdout_to=file.fileno())  # fmt: skip
        archives = parse_uris(listed.read_text(errors="replace"))
        store = PackageStore(self._request.store) if self._request.store is not None else None
        if store is not None:
            store.give_all(archives, self.archives)
        try:
            self._run("apt-get", "--yes", "--download-only", "install", *words)
        finally:
            if store is not None:
                store.take_all(archives, self.archives)
        return archives


def _host_architecture() -> str:
    return run(["dpkg", "--print-architecture"], capture=True).text.strip()


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
            raise _ToolFailed
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
            raise _ToolFailed


def _clean_environment() -> Mapping[str, str]:
    """debootstrap hands its environment to maintainer scripts: no TMPDIR of the host."""
    environment = {**tool_environment(HOME="/root"), "PATH": SYSTEM_PATH}
    for name in ("TMPDIR", "SOURCE_DATE_EPOCH"):
        environment.pop(name, None)
    return environment


def _take_over(tree: Path, apt: _HostApt) -> None:
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
        raise _ToolFailed
    allow_services(tree)
    remove_confined(tree, dpkg_options)


def _tree_configuration(tree: Path, request: AptRequest, work: Path) -> Path:
    """The settings of the host's APT as it works on the tree; apt.conf(5)."""
    root, apt = tree.absolute(), work / "apt"
    settings = {
        "APT::Architecture": request.architecture or _host_architecture(),
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
