"""The first step of most images: a Debian tree made from APT sources.

mmdebstrap makes it or, where that is missing, debootstrap: one request, one result. What they
mount and leave running does not end with them, so callers hand in a `run_tool` that runs programs
in namespaces which end with the step.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from goldsmith.errors import NotRootError
from goldsmith.host import user_namespace
from goldsmith.host.confined import confined, read_confined, remove_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink, find_tool, get_tool, run
from goldsmith.packages.apt_errors import package_error
from goldsmith.packages.apt_request import PACKAGE_NAME, VARIANTS, AptRequest, Report
from goldsmith.packages.build_files import (
    write_build_pins,
    write_build_settings,
    write_build_sources,
)
from goldsmith.packages.debootstrap import required_tools, run_debootstrap
from goldsmith.packages.errors import PackageError
from goldsmith.packages.mmdebstrap import run_mmdebstrap
from goldsmith.packages.package_store import PackageStore
from goldsmith.packages.ssh_host_keys import PRIVATE_KEYS

if TYPE_CHECKING:
    from goldsmith.packages.unpacked.links import Links

KEPT_LINES: Final = 400
_STAGES: Final = (
    ("running --setup-hook", "Reading the package lists"),
    ("downloading packages with apt", "Downloading the essential packages"),
    ("extracting archives", "Extracting the essential packages"),
    ("installing essential packages", "Installing the essential packages"),
    ("Installing core packages", "Installing the essential packages"),
    ("installing remaining packages", "Installing the other packages"),
)


class Bootstrapper(Protocol):
    """A program that makes trees; its messages begin with `I: `, `W: ` and `E: `."""

    def __call__(
        self, target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
    ) -> bool:
        """Leaves lists of packages, no sources, settings or archives; False when it failed."""
        ...


STORE: Final = "store"
"""No program: goldsmith itself, from packages that were unpacked once."""


def _run_store(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    # Late, as all of the store below: who only asks for keys lays no trees.
    from goldsmith.packages.unpacked.bootstrap_store import run_store

    return run_store(target, request, work, run_tool=run_tool, on_line=on_line)


BOOTSTRAPPERS: Final[Mapping[str, Bootstrapper]] = {
    "mmdebstrap": run_mmdebstrap,
    "debootstrap": run_debootstrap,
    STORE: _run_store,
}
"""By the name of what makes the tree."""


def bootstrap_tool() -> str:
    """The program that this host makes trees with; raises MissingToolError without any.

    debootstrap makes device nodes, which takes root outside of any user namespace.
    """
    makes_nodes = os.geteuid() == 0 and not user_namespace.is_inside()
    if makes_nodes and find_tool("mmdebstrap") is None and find_tool("debootstrap") is not None:
        return "debootstrap"
    get_tool("mmdebstrap")
    return "mmdebstrap"


def bootstrap_tools(tool: str = "") -> tuple[str, ...]:
    """Every program of this host that `bootstrap_apt` runs; raises as `bootstrap_tool` does."""
    if tool == STORE:
        return ("apt-get", "apt-cache", "chroot")
    tool = tool or bootstrap_tool()
    return (tool,) if tool == "mmdebstrap" else required_tools()


def bootstrap_apt(
    target: Path,
    request: AptRequest,
    *,
    emit: Report,
    scratch: Path,
    run_tool: RunTool = run,
    host_root: Path = Path("/"),
) -> None:
    """Make a tree in `target`, an empty directory or one that does not exist yet.

    Leaves in it the lists of packages and our build files (`build_files`) for the steps that
    follow; `update-initramfs` is diverted until `initramfs.generate`. No SSH host key is made, no
    service started. APT's sources and settings, which may hold passwords, stand in `scratch` while
    the program runs; whoever is killed meanwhile leaves them there. Raises PackageError with APT's
    own message, NotRootError, MissingToolError.
    """
    tool = _check(target, request)
    told = _Told(emit)
    with tempfile.TemporaryDirectory(prefix="bootstrap.", dir=scratch) as name:
        work = Path(name).absolute()
        if not BOOTSTRAPPERS[tool](target, request, work, run_tool=run_tool, on_line=told):
            raise package_error(list(told.recent))
    _leave_build_files(target, request, emit, host_root)


def unpack_apt(
    target: Path,
    request: AptRequest,
    *,
    emit: Report,
    scratch: Path,
    links: Links | None = None,
) -> None:
    """The first half of a bootstrap by the store: files and dpkg's database, nothing configured.

    `links` is as for `lay_tree`. Raises as `bootstrap_apt` does, and StoreRefused.
    """
    from goldsmith.packages.unpacked.unpacking import unpack

    _check(target, request)
    told = _Told(emit)
    with tempfile.TemporaryDirectory(prefix="bootstrap.", dir=scratch) as name:
        work = Path(name).absolute()
        if not unpack(target, request, work, on_line=told, links=links):
            raise package_error(list(told.recent))


def configure_apt(
    target: Path,
    request: AptRequest,
    *,
    emit: Report,
    run_tool: RunTool = run,
    host_root: Path = Path("/"),
) -> None:
    """The second half, in a tree that `unpack_apt` has laid; leaves what `bootstrap_apt` does."""
    from goldsmith.packages.unpacked.configuring import configure

    told = _Told(emit)
    downloads = PackageStore(request.store) if request.store is not None else None
    if not configure(target, downloads, run_tool=run_tool, on_line=told):
        raise package_error(list(told.recent))
    _leave_build_files(target, request, emit, host_root)


@dataclass(frozen=True, slots=True)
class _Told:
    """Hands on the lines of a program, and keeps the last ones for its error."""

    emit: Report
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def __call__(self, stream: str, line: str) -> None:
        self.recent.append(line)
        self.emit(*_progress(line))


def _leave_build_files(target: Path, request: AptRequest, emit: Report, host_root: Path) -> None:
    settle(target, host_root)
    write_build_settings(target, request.settings.tree_text(), request.settings.ca_bundle)
    write_build_pins(target, request.pins)
    for warning in write_build_sources(target, request.build_sources(), host_root=host_root):
        emit("warning", warning)


def _check(target: Path, request: AptRequest) -> str:
    """Refuse what the program would refuse late, or misread; returns the program's name."""
    tool = request.tool or bootstrap_tool()
    for name in bootstrap_tools(tool):
        get_tool(name)
    if os.geteuid() != 0:
        raise NotRootError(f"making a tree with {tool}")
    if tool == "debootstrap" and user_namespace.is_inside():
        raise PackageError("debootstrap makes device nodes, which takes root",
                           hint="as root: apt-get install mmdebstrap")  # fmt: skip
    if request.variant not in VARIANTS:
        raise PackageError(f"there is no variant {request.variant!r}",
                           hint=f"one of {', '.join(sorted(VARIANTS))}")  # fmt: skip
    wrong = [name for name in request.packages if not PACKAGE_NAME.fullmatch(name)]
    if wrong:
        raise PackageError(
            f"not a package's name: {', '.join(map(repr, wrong))}",
            hint='write for example "openssh-server" or "nginx/bookworm-backports"',
        )
    if not request.sources:
        raise PackageError("there are no APT sources to make a tree from")
    if '"' in str(target):
        raise PackageError(f"APT cannot work in a path with a double quote: {target}")
    # The store's way enters the tree from its first file on, so the kernel's are mounted.
    expected = {"lost+found", *(("proc", "sys", "dev", "run") if tool == STORE else ())}
    if target.exists() and any(child.name not in expected for child in target.iterdir()):
        raise PackageError(f"{target} is not empty")
    return tool


def _progress(line: str) -> tuple[str, str]:
    """The level and the text of a line of the program, as people are told of it."""
    if line.startswith("W: "):
        return "warning", line[3:]
    if line.startswith("I: "):
        for start, text in _STAGES:
            if line[3:].startswith(start):
                return "message", text
    return "output", line


def settle(tree: Path, host_root: Path = Path("/")) -> None:
    """Take out what a bootstrapper and our hooks needed: host copies, caches, archives."""
    for path in ("/var/cache/apt/pkgcache.bin", "/var/cache/apt/srcpkgcache.bin", *PRIVATE_KEYS):
        remove_confined(tree, path)
    for path in ("/etc/resolv.conf", "/etc/hostname"):
        if not confined(tree, path).is_symlink():
            copied = read_confined(tree, path)
            if copied is not None and copied == read_confined(host_root, path):
                remove_confined(tree, path)
    archives = confined(tree, "/var/cache/apt/archives", follow_last=True)
    for archive in archives.glob("**/*.deb"):
        archive.unlink()
    ssh = confined(tree, "/etc/ssh")
    if ssh.is_dir() and not any(ssh.iterdir()):
        ssh.rmdir()
