"""Programs inside a tree: its API file systems, a clean environment, no shell of the host, ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.host import mounts, user_namespace
from goldsmith.host.confined import confined, read_confined
from goldsmith.host.process import SYSTEM_PATH, get_tool

CLEAN_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": SYSTEM_PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh",
    "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb", "DEBIAN_FRONTEND": "noninteractive",
}  # fmt: skip
"""What a program in a tree sees, the same on every host."""

RUN_FILES: Final = "/run/goldsmith"
"""Where scripts and files of a step lie inside the tree: in memory, gone with the step."""

DEFAULT_HOST_NAME: Final = "localhost"
"""What steps see of a name where the tree has none: never that of the build host."""

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip
_QUIET: Final = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC


def chroot_argv(tree: Path, argv: Sequence[str]) -> list[str]:
    """The words that run a program with `tree` as its root directory."""
    # No supplementary groups: those of whoever builds have no meaning in the tree.
    return [get_tool("chroot"), "--groups=", str(tree), *argv]


def mount_api(
    tree: Path, *, network: bool, private_files: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Mount /proc, /sys, /dev and /run in a tree, and the host's resolv.conf over the tree's.

    Runs as the init of a step's namespaces, which take the mounts with them. `private_files` are
    files of the host that are to be seen at paths of the tree while there is a network, and never
    become part of it. Returns what `remove_placeholders` needs. A /proc or /dev that is a link is
    an error: nothing may be mounted outside the tree.
    """
    for name in ("proc", "sys", "dev", "run"):
        path = str(tree / name)
        if not os.path.lexists(path):
            os.mkdir(path, 0o755)
        if not mounts.is_directory(path):
            raise GoldsmithError(f"/{name} of the tree is not a directory")
    mounts.mount("proc", str(tree / "proc"), "proc", flags=_QUIET)
    # The host's kernel arguments are not the image's: libkmod would heed its blacklist.
    mounts.bind("/dev/null", str(tree / "proc/cmdline"))
    _mount_sysfs(str(tree / "sys"))
    _mount_devices(tree / "dev")
    run_flags = mounts.MS_NOSUID | mounts.MS_NODEV
    mounts.mount("tmpfs", str(tree / "run"), "tmpfs", flags=run_flags, options="mode=755")
    os.mkdir(tree / "run/lock")
    os.chmod(tree / "run/lock", 0o1777)
    os.mkdir(tree / RUN_FILES.lstrip("/"), 0o755)
    # What `hostname` says in the tree is its own name, not that of the build host.
    named = (read_confined(tree, "/etc/hostname") or b"").split()
    socket.sethostname(os.fsdecode((named[0] if named else DEFAULT_HOST_NAME.encode())[:64]))
    shown = {} if private_files is None else dict(private_files)
    resolver = Path("/etc/resolv.conf")
    if resolver.exists():
        shown["/etc/resolv.conf"] = resolver.resolve()
    placeholders = [show_file(tree, path, host) for path, host in shown.items()] if network else []
    return {"placeholders": [path for path in placeholders if path is not None]}


def _mount_sysfs(target: str) -> None:
    """A sysfs of our own, or the host's.

    The kernel gives one only to who owns the network namespace as well, and in a user namespace
    the host's can be bound only together with what is mounted below it.
    """
    try:
        mounts.mount("sysfs", target, "sysfs", flags=_QUIET | mounts.MS_RDONLY)
    except GoldsmithError:
        if not user_namespace.is_inside():
            raise
        mounts.mount("/sys", target, "", flags=mounts.MS_BIND | mounts.MS_REC)


def _mount_devices(dev: Path) -> None:
    mounts.mount("tmpfs", str(dev), "tmpfs", flags=mounts.MS_NOSUID, options="mode=755")
    for name in _DEVICES:
        (dev / name).touch()
        mounts.bind(f"/dev/{name}", str(dev / name))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, dev / name)
    os.mkdir(dev / "pts")
    options = "newinstance,ptmxmode=0666,mode=620,gid=5"
    mounts.mount("devpts", str(dev / "pts"), "devpts", options=options,
                 flags=mounts.MS_NOSUID | mounts.MS_NOEXEC)  # fmt: skip
    os.mkdir(dev / "shm")
    shm_flags = mounts.MS_NOSUID | mounts.MS_NODEV
    mounts.mount("tmpfs", str(dev / "shm"), "tmpfs", flags=shm_flags, options="mode=1777")


def show_file(tree: Path, path: str, host: Path) -> str | None:
    """Bind a file of the host over one of the tree; returns the empty file made for that, if any.

    Where the tree's is a link (systemd-resolved's resolv.conf points into /run), its target
    *inside the tree* is bound over; nothing is ever written through it.
    """
    target = confined(tree, path, follow_last=True)
    in_memory = target.is_relative_to(tree / "run")
    placeholder = None
    if not target.exists():
        if not target.parent.is_dir():
            if not in_memory:
                return None
            target.parent.mkdir(parents=True)
        target.touch(mode=0o644)
        placeholder = None if in_memory else str(target)
    mounts.bind(str(host), str(target), read_only=True)
    return placeholder


def remove_placeholders(report: Mapping[str, Any]) -> None:
    """Take away the files that only served as places to bind to, if they are still that."""
    for placeholder in report.get("placeholders", ()):
        try:
            if os.lstat(placeholder).st_size == 0:
                os.unlink(placeholder)
        except FileNotFoundError:
            continue
