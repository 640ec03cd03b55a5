"""The first step of most images: a Debian tree made by mmdebstrap from APT sources.

Written for mmdebstrap 1.3.5 (Debian 12). It mounts /proc, /sys and parts of /dev in the tree while
it works and takes them away again; when it is killed they stay, and so may a daemon of a package.
So callers hand in a `run_tool` that runs it in namespaces which end with the step.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.errors import NotRootError
from goldsmith.host.confined import confined, read_confined, remove_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import get_tool, run, tool_environment
from goldsmith.packages.apt_errors import package_error
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource, render_sources
from goldsmith.packages.bootstrap_hooks import VARIANTS, write_hooks
from goldsmith.packages.build_files import DPKG_OPTIONS, write_build_settings, write_build_sources
from goldsmith.packages.errors import PackageError

Report = Callable[[str, str], None]
"""Called with a level ("message", "warning" or "output": a tool's chatter) and a line."""

PACKAGE_NAME: Final = re.compile(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?\^?"
)
KEPT_LINES: Final = 400
_SOURCES_NAME = "goldsmith-build.sources"
_SSH_KEYS = tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "dsa", "ecdsa", "ed25519"))
_STAGES: Final = (
    ("running --setup-hook", "Reading the package lists"),
    ("downloading packages with apt", "Downloading the essential packages"),
    ("extracting archives", "Extracting the essential packages"),
    ("installing essential packages", "Installing the essential packages"),
    ("installing remaining packages", "Installing the other packages"),
)


@dataclass(frozen=True, slots=True)
class AptRequest:
    """What a tree is to be made of; `architecture` is the host's when it is empty.

    Signatures are always verified, also where the host's own sources do without, unless `trusted`
    is given.
    """

    suite: str
    packages: tuple[str, ...]
    sources: tuple[AptSource, ...]
    settings: AptSettings = field(default_factory=AptSettings)
    architecture: str = ""
    variant: str = "minbase"
    trusted: bool = False

    def all_packages(self) -> tuple[str, ...]:
        """The packages asked for, without repetition, and those that they silently need."""
        return tuple(dict.fromkeys([*self.packages, *implied_packages(self.packages)]))


def implied_packages(packages: Sequence[str]) -> tuple[str, ...]:
    """Packages that go along: zstd with an initramfs.

    initramfs-tools only suggests zstd, and without it `COMPRESS=zstd`, its default, silently
    becomes gzip.
    """
    names = [re.split(r"[:=/^]", package)[0] for package in packages]
    has_kernel = any(name.startswith("linux-image") for name in names)
    has_tools = any(name.startswith("initramfs-tools") for name in names)
    has_other = any(name.startswith(("dracut", "tiny-initramfs")) for name in names)
    return ("zstd",) if has_tools or (has_kernel and not has_other) else ()


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
    mmdebstrap runs; whoever is killed meanwhile leaves them there. Raises PackageError with APT's
    own message, NotRootError, MissingToolError.
    """
    _check(target, request)
    recent: deque[str] = deque(maxlen=KEPT_LINES)

    def on_line(stream: str, line: str) -> None:
        recent.append(line)
        level, text = _progress(line)
        emit(level, text)

    with tempfile.TemporaryDirectory(prefix="bootstrap.", dir=scratch) as name:
        argv = _mmdebstrap(target, request, Path(name).absolute())
        environment = tool_environment(HOME="/root", TMPDIR=os.path.abspath(name))
        # Python's byte code would be written with hashes instead of times under this variable.
        environment.pop("SOURCE_DATE_EPOCH", None)
        done = run_tool(argv, env=environment, check=False, on_line=on_line)
    if done.status != 0:
        raise package_error(list(recent))
    _settle(target, host_root)
    write_build_settings(target, request.settings.tree_text(), request.settings.ca_bundle)
    sources = [_checked(source, trusted=request.trusted) for source in request.sources]
    for warning in write_build_sources(target, sources, host_root=host_root):
        emit("warning", warning)


def _check(target: Path, request: AptRequest) -> None:
    """Refuse what mmdebstrap would refuse late, or misread."""
    get_tool("mmdebstrap")
    if os.geteuid() != 0:
        raise NotRootError("making a tree with mmdebstrap")
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
    if target.exists() and any(child.name != "lost+found" for child in target.iterdir()):
        raise PackageError(f"{target} is not empty")


def _mmdebstrap(target: Path, request: AptRequest, work: Path) -> list[str]:
    """The command line, with every file that it names written to `work`."""
    sources = [_fetchable(_checked(s, trusted=request.trusted)) for s in request.sources]
    (work / _SOURCES_NAME).write_text(render_sources(sources))
    (work / "apt.conf").write_text(request.settings.bootstrap_text())
    (work / "dpkg.cfg").write_text(DPKG_OPTIONS)
    packages = request.all_packages()
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={request.variant}",
        f"--aptopt={work / 'apt.conf'}",
        f"--dpkgopt={work / 'dpkg.cfg'}",
        # The lists serve the next steps; what else it would clean by APT, _settle does faster.
        "--skip=cleanup/apt",
        *([f"--architectures={request.architecture}"] if request.architecture else []),
        *([f"--include={','.join(packages)}"] if packages else []),
        *write_hooks(work, request.variant, packages),
        # No suite: with one, essential packages are taken from it even where its updates or its
        # security suite have newer ones.
        "",
        os.path.abspath(target),
        str(work / _SOURCES_NAME),
    ]


def _checked(source: AptSource, *, trusted: bool) -> AptSource:
    verified = source.verified()
    return (
        replace(verified, options={**verified.options, "trusted": "yes"}) if trusted else verified
    )


def _fetchable(source: AptSource) -> AptSource:
    """dpkg in the tree cannot open files of the host: `copy` puts them where it can."""
    uris = (re.sub(r"^file:", "copy:", uri) for uri in source.uris)
    return replace(source, uris=tuple(uris))


def _progress(line: str) -> tuple[str, str]:
    """The level and the text of a line of mmdebstrap, as people are told of it."""
    if line.startswith("W: "):
        return "warning", line[3:]
    if line.startswith("I: "):
        for start, text in _STAGES:
            if line[3:].startswith(start):
                return "message", text
    return "output", line


def _settle(tree: Path, host_root: Path) -> None:
    """Take out what mmdebstrap and our hooks needed: its settings, host copies, archives."""
    for path in (
        f"/etc/apt/sources.list.d/0000{_SOURCES_NAME}",
        "/etc/apt/apt.conf.d/99mmdebstrap",
        "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "/var/cache/apt/pkgcache.bin",
        "/var/cache/apt/srcpkgcache.bin",
        *_SSH_KEYS,
    ):
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
