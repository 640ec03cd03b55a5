"""What `goldsmith doctor` looks at on this host: each check tries the thing itself.

A kernel that lists overlay may refuse it in this container or on this file system, and a loop
driver may have no devices, so nothing is inferred from versions or configuration. Nothing that a
check makes is seen by the host or outlives it. Rooms above offer lists of the same kind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host import kernel, loop, mounts
from goldsmith.host.journal import find_dead_runs
from goldsmith.host.process import TOOL_PACKAGES, find_tool, run
from goldsmith.units import GIB, MIB, format_size

Outcome = Literal["ok", "warning", "missing"]
"""A warning takes nothing away that a build needs; what is missing does."""

VERSION_TIMEOUT_S: Final = 10.0
AS_ROOT: Final = "sudo goldsmith doctor"

OPTIONAL_PACKAGES: Final = {
    "btrfs-progs": "btrfs file systems",
    "debootstrap": "bootstraps without mmdebstrap",
    "erofs-utils": "erofs file systems",
    "squashfs-tools": "squashfs file systems",
    "uidmap": "image builds without root",
    "xfsprogs": "xfs file systems",
}
"""Packages that most hosts can do without, each with what needs it."""

REPLACEABLE_PACKAGES: Final = {"mmdebstrap": "debootstrap"}
"""Packages whose work a program of another one does, where that is installed."""

# Where the first tool of a package in the order of names does not know --version.
_VERSION_ARGV: Final = {
    "dosfstools": ("fatlabel", "-V"),
    "e2fsprogs": ("debugfs", "-V"),
    "squashfs-tools": ("mksquashfs", "-version"),
    "xfsprogs": ("mkfs.xfs", "-V"),
}
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+(?:[-+~.][0-9A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found; `packages` are the Debian packages that would mend it."""

    outcome: Outcome
    finding: str
    remedy: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A named look at the host; see `examine`."""

    name: str
    look: Callable[[], Verdict]
    """Makes the verdict; GoldsmithError and OSError mean that the thing does not work."""
    needs_root: bool = False
    forks: bool = False
    """It forks this process without exec, so it must run before other threads exist."""


def examine(check: Check) -> Verdict:
    """Look; what cannot be looked at without root is a warning that says so."""
    if check.needs_root and os.geteuid() != 0:
        return Verdict("warning", "cannot be checked without root", AS_ROOT)
    try:
        return check.look()
    except Interrupted:
        raise
    except GoldsmithError as e:
        return Verdict("missing", str(e), e.hint or "")
    except OSError as e:
        return Verdict("missing", str(e))


def host_checks(state: Path) -> list[Check]:
    """The checks of kernel, tools and space; `state` is the directory of runs and caches."""
    temporary = Path(tempfile.gettempdir())
    return [
        Check(name="root", look=_look_for_root),
        Check(name="namespaces", look=_look_at_namespaces, needs_root=True, forks=True),
        Check(name="overlay", look=partial(_look_at_overlay, state), needs_root=True, forks=True),
        Check(name="loop devices", look=_look_at_loop, needs_root=True),
        Check(
            name="state directory",
            look=partial(_look_at_space, state, needed_bytes=GIB, wished_bytes=5 * GIB),
        ),
        Check(
            name="TMPDIR",
            look=partial(_look_at_space, temporary, needed_bytes=16 * MIB, wished_bytes=GIB // 2),
        ),
        Check(name="memory", look=_look_at_memory),
        Check(name="left-overs", look=partial(_look_for_dead_runs, state)),
        *tool_checks(),
    ]


def tool_checks() -> list[Check]:
    """One check for each Debian package that brings programs which goldsmith runs."""
    tools: dict[str, list[str]] = {}
    for tool, package in sorted(TOOL_PACKAGES.items()):
        tools.setdefault(package, []).append(tool)
    return [
        Check(name=package, look=partial(_look_for_tools, package, names))
        for package, names in sorted(tools.items())
    ]


def _look_for_tools(package: str, tools: list[str]) -> Verdict:
    absent = [tool for tool in tools if find_tool(tool) is None]
    if not absent:
        version = _version_of(*_VERSION_ARGV.get(package, (tools[0], "--version")))
        return Verdict("ok", f"{version or 'installed'} ({', '.join(tools)})")
    what = f"not installed ({', '.join(absent)})"
    remedy = f"apt-get install {package}"
    other = REPLACEABLE_PACKAGES.get(package)
    if other is not None and find_tool(other) is not None:
        return Verdict("warning", f"{what}; {other} does it, more slowly", remedy, (package,))
    if package in OPTIONAL_PACKAGES:
        what += f"; only {OPTIONAL_PACKAGES[package]} need it"
        return Verdict("warning", what, remedy, (package,))
    return Verdict("missing", what, remedy, (package,))


def _version_of(tool: str, option: str) -> str:
    """The version that a program tells in its first lines; "" when it tells none."""
    if find_tool(tool) is None:
        return ""
    done = run([tool, option], check=False, timeout_s=VERSION_TIMEOUT_S)
    found = _VERSION.search("\n".join(done.tail)) if done.status == 0 else None
    return found.group() if found else ""


def _look_for_root() -> Verdict:
    if os.geteuid() == 0:
        return Verdict("ok", "running as root")
    return Verdict("ok", "not root: images are built in a user namespace")


def _look_at_namespaces() -> Verdict:
    try:
        kernel.require_namespaces()
    except GoldsmithError as e:
        return Verdict("missing", str(e), "start the container with --cap-add SYS_ADMIN")
    return Verdict("ok", "new mount and PID namespaces can be made")


def _look_at_overlay(state: Path) -> Verdict:
    directory = nearest_existing(state)
    trouble = _tried_in_own_mounts(partial(try_overlay, directory))
    if trouble:
        remedy = "export GOLDSMITH_CACHE_DIR=DIRECTORY, one on ext4, xfs or btrfs"
        return Verdict("missing", f"no overlay on {directory}: {trouble}", remedy)
    return Verdict("ok", f"index=on,redirect_dir=on work on {directory}")


def try_overlay(directory: Path) -> None:
    """Mount an overlay and see that hard links and renamed directories survive it.

    Must be called in a mount namespace of our own; raises GoldsmithError, OSError. A file system
    without file handles makes the kernel turn `index` off with a word in its log only, so the
    options being accepted says nothing.
    """
    scratch = Path(tempfile.mkdtemp(prefix=".goldsmith-doctor-", dir=directory))
    try:
        lower, upper, work, merged = (scratch / name for name in ("lower", "upper", "work", "tree"))
        for path in (lower, upper, work, merged, lower / "folder"):
            path.mkdir()
        (lower / "first").write_text("old")
        os.link(lower / "first", lower / "second")
        with mounts.overlaid([lower], merged, upper, work):
            (merged / "folder").rename(merged / "moved")
            (merged / "first").write_text("new")
            if (merged / "second").read_text() != "new":
                raise GoldsmithError("it breaks hard links, although mounted with index=on")
    finally:
        shutil.rmtree(scratch)


def _tried_in_own_mounts(body: Callable[[], None]) -> str:
    """Run `body` in a forked child with mounts of its own; returns what went wrong, or "".

    The child is deaf to signals and cleans up by itself, also when this process is killed.
    """
    reader, writer = os.pipe()
    blocked = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        pid = os.fork()
        if pid == 0:
            _try_and_exit(writer, body)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(writer)
    with os.fdopen(reader) as pipe:
        trouble = pipe.read()
    _, status = os.waitpid(pid, 0)
    return trouble or ("" if status == 0 else "the process that tried it died")


def _try_and_exit(writer: int, body: Callable[[], None]) -> None:
    try:
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            mounts.make_private()
            body()
        except (GoldsmithError, OSError) as e:
            os.write(writer, str(e).encode(errors="replace"))
        os._exit(0)
    finally:
        os._exit(1)


def _look_at_loop() -> Verdict:
    """Attach a file in memory and read it back through the device."""
    content = os.urandom(4096)
    fd = os.memfd_create("goldsmith-loop-check")
    try:
        os.write(fd, content)
        with loop.attached(Path(f"/proc/self/fd/{fd}")) as device:
            if os.pread(device.fd, len(content), 0) != content:
                return Verdict("warning", f"{device.path} does not give back what its file holds")
            return Verdict("ok", f"{device.path} gave back what its file holds")
    except (GoldsmithError, OSError) as e:
        # No source of goldsmith's own needs them to build an image.
        remedy = "modprobe loop; in a container also: --device /dev/loop-control and /dev/loop*"
        return Verdict("warning", f"cannot be used, only existing images need them: {e}", remedy)
    finally:
        os.close(fd)


def _look_at_space(directory: Path, *, needed_bytes: int, wished_bytes: int) -> Verdict:
    place = nearest_existing(directory)
    if not os.access(place, os.W_OK | os.X_OK):
        return Verdict("missing", f"{directory} cannot be written to",
                       "set GOLDSMITH_CACHE_DIR and TMPDIR to directories of your own")  # fmt: skip
    free_bytes = shutil.disk_usage(place).free
    text = f"{format_size(free_bytes)} free in {directory}"
    if free_bytes >= wished_bytes:
        return Verdict("ok", text)
    outcome: Outcome = "missing" if free_bytes < needed_bytes else "warning"
    remedy = f"make room there ({format_size(wished_bytes)}): du -xsh {place}/*"
    return Verdict(outcome, text, remedy)


def _look_at_memory() -> Verdict:
    free_bytes = available_memory_bytes(Path("/proc/meminfo").read_text())
    text = f"{format_size(free_bytes)} available"
    if free_bytes >= 2 * GIB:
        return Verdict("ok", text)
    outcome: Outcome = "missing" if free_bytes < GIB // 2 else "warning"
    return Verdict(outcome, f"{text}; a build and the machine that boots it take 2 GiB",
                   "ps -eo rss,comm --sort=-rss | head")  # fmt: skip


def available_memory_bytes(meminfo: str) -> int:
    """What programs can still take, from the text of /proc/meminfo (proc(5)); 0 if not told."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def _look_for_dead_runs(state: Path) -> Verdict:
    dead = find_dead_runs(state)
    if not dead:
        return Verdict("ok", "no build has died and left something")
    names = ", ".join(found.path.name for found in dead)
    return Verdict("warning", f"{len(dead)} of builds that died: {names}", "goldsmith clean")


def nearest_existing(path: Path) -> Path:
    """The path, or the closest directory above it that is there already."""
    while not path.exists():
        path = path.parent
    return path
