"""mmdebstrap as upstream's `debootstrap` element calls it, done by the store of unpacked packages.

Only a call that is understood to the last word is done here; every other one, and one that fails
before there is a file in the tree, is left to the real program. So what is refused, and with what
words, is always decided there. Packages of which the same hooks' `apt-get dist-upgrade` would fetch
a newer version are installed in that one at once. Source: mmdebstrap(1); `root.d/08-debootstrap`
and `root.d/75-debian-minimal-baseinstall` of 3.43.0.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from goldsmith.elements.apt_releases import upgrade_sources
from goldsmith.errors import GoldsmithError
from goldsmith.host import chroot
from goldsmith.host.confined import confined, read_confined, remove_confined, write_confined
from goldsmith.host.journal import state_directory
from goldsmith.host.namespaces import step_namespace
from goldsmith.host.process import LineSink
from goldsmith.packages.apt_request import PACKAGE_NAME, VARIANTS, AptRequest
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import BOOTSTRAPPERS, STORE, settle
from goldsmith.packages.errors import PackageError
from goldsmith.packages.host_apt import host_architecture
from goldsmith.packages.keyrings import keyring_for, read_key

DONE: Final = 0
FAILED: Final = 1
LEFT: Final = 75
"""The exit status that tells `programs/quick/mmdebstrap` to run the real program."""

_MIRROR: Final = re.compile(r"https?://[^\s\"'\[\]]+")
_SUITE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COMPONENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_DEVICES: Final = {
    "console": (5, 1), "full": (1, 7), "null": (1, 3), "ptmx": (5, 2), "random": (1, 8),
    "tty": (5, 0), "urandom": (1, 9), "zero": (1, 5),
}  # fmt: skip
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}  # fmt: skip
_UPGRADING: Final = "debian-minimal"
"""The element whose hook upgrades the tree right after."""
_OF_UPGRADES: Final = ("-updates", "-security", "/updates")
"""What the suites of a release are called that hold newer packages for it."""
_KERNELS: Final = ("proc", "sys", "dev", "run")
_MIRROR_AND_TWO: Final = 3


@dataclass(frozen=True, slots=True)
class Call:
    """A call of mmdebstrap: what the options say, and its three arguments."""

    suite: str
    target: Path
    mirror: str
    variant: str = "debootstrap"
    components: tuple[str, ...] = ("main",)
    architecture: str = ""
    keyring: str = ""
    packages: tuple[str, ...] = ()
    upgrades: tuple[AptSource, ...] = ()
    """Of the environment: where the hooks upgrade from afterwards."""


def understand(words: Sequence[str], environment: Mapping[str, str]) -> Call | None:
    """Read a command line; None for one with anything that is not known here exactly."""
    call, places = Call("", Path(), ""), []
    for word in words:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            places.append(word)
        elif word in ("--verbose", "-v", "--mode=root", "--mode=auto", "--format=directory"):
            continue
        elif not equals or not value:
            return None
        elif name == "--variant":
            call = replace(call, variant=value)
        elif name == "--components":
            call = replace(call, components=_listed(value))
        elif name in ("--arch", "--architectures"):
            call = replace(call, architecture=value)
        elif name == "--keyring":
            call = replace(call, keyring=value)
        elif name == "--include":
            call = replace(call, packages=(*call.packages, *_listed(value)))
        else:
            return None
    if len(places) != _MIRROR_AND_TWO:
        return None
    suite, target, mirror = places
    call = replace(call, suite=suite, target=Path(target), mirror=mirror)
    if not _is_known(call):
        return None
    return replace(call, upgrades=_upgrades(call, environment))


def _upgrades(call: Call, environment: Mapping[str, str]) -> tuple[AptSource, ...]:
    """The sources of newer packages of the same release; none where others are named as well.

    Of what a foreign source has, the hook's own APT decides.
    """
    if _UPGRADING not in environment.get("IMAGE_ELEMENT", "").split():
        return ()
    named = upgrade_sources(environment)
    suites = {f"{call.suite}{ending}" for ending in _OF_UPGRADES}
    for source in named:
        plain = not source.options and not source.signed_by and not source.architectures
        known = (
            plain
            and all(_MIRROR.fullmatch(uri) for uri in source.uris)
            and set(source.suites) <= {call.suite, *suites}
            and set(source.components) <= set(call.components)
            and bool(source.components)
        )
        if not known:
            return ()
    return tuple(source for source in named if set(source.suites) <= suites)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in re.split(r"[,\s]+", value) if part))


def _is_known(call: Call) -> bool:
    return (
        call.variant in VARIANTS
        and bool(_SUITE.fullmatch(call.suite))
        and call.target.is_absolute()
        and bool(_MIRROR.fullmatch(call.mirror))
        and bool(call.components)
        and all(_COMPONENT.fullmatch(one) for one in call.components)
        and all(PACKAGE_NAME.fullmatch(one) for one in call.packages)
    )


def make_tree(call: Call, on_line: LineSink) -> int:
    """Make the tree; returns DONE, FAILED (with the reason told), or LEFT to the real program.

    Must be called from the main thread: what runs in the tree does so in namespaces of its own.
    """
    request = _request(call, on_line)
    if request is None or not _is_empty(call.target):
        return LEFT
    with tempfile.TemporaryDirectory(prefix="mmdebstrap.") as name:
        work = Path(name)
        # APT fetches as a user of its own.
        work.chmod(0o755)
        try:
            made = _run(call.target, request, work, on_line)
        except GoldsmithError as e:
            on_line("stderr", f"E: {e}")
            made = False
    if made:
        _leave_as_mmdebstrap(call.target)
        return DONE
    if not _is_empty(call.target):
        return FAILED
    for kernels in _KERNELS:
        with contextlib.suppress(OSError):
            (call.target / kernels).rmdir()
    on_line("stderr", "W: nothing is in the tree yet: mmdebstrap itself tries")
    return LEFT


def _leave_as_mmdebstrap(tree: Path) -> None:
    """Hooks of `root.d` enter the tree with nothing mounted: they need devices and a resolver."""
    settle(tree)
    for name, (major, minor) in _DEVICES.items():
        if not (tree / "dev" / name).exists():
            os.mknod(tree / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            (tree / "dev" / name).chmod(0o666)
    for name, leads_to in _DEVICE_LINKS.items():
        with contextlib.suppress(FileExistsError):
            (tree / "dev" / name).symlink_to(leads_to)
    for name in ("pts", "shm"):
        (tree / "dev" / name).mkdir(exist_ok=True)
    for path in ("/etc/resolv.conf", "/etc/hostname"):
        content = read_confined(Path("/"), path)
        if content is not None and read_confined(tree, path) is None:
            write_confined(tree, path, content)
    if not confined(tree, "/usr/bin/systemd-machine-id-setup").exists():
        remove_confined(tree, "/etc/machine-id")


def _run(target: Path, request: AptRequest, work: Path, on_line: LineSink) -> bool:
    def setup() -> dict[str, Any]:
        # Programs of the tree fetch nothing: APT of the host does.
        return chroot.mount_api(target, network=False)

    target.mkdir(parents=True, exist_ok=True)
    with step_namespace(setup) as namespace:
        make = BOOTSTRAPPERS[STORE]
        return make(target, request, work, run_tool=namespace.run, on_line=on_line)


def _request(call: Call, on_line: LineSink) -> AptRequest | None:
    """What APT is asked for; None where the real program would do something else."""
    if call.architecture not in ("", host_architecture()):
        return None
    try:
        # Of its own accord mmdebstrap trusts the host's keys, too: then it has the last word.
        # A key that is named is given as text, since APT's own user may not reach its file.
        signed_by = read_key(Path(call.keyring)) if call.keyring else keyring_for(call.suite)
    except PackageError as e:
        on_line("stdout", f"I: {e}")
        return None
    source = AptSource(("deb",), (call.mirror,), (call.suite,), call.components, signed_by)
    upgrades = (replace(one, types=("deb",), signed_by=signed_by) for one in call.upgrades)
    return AptRequest(
        suite=call.suite, packages=call.packages, sources=(source, *upgrades),
        settings=read_apt_settings(),
        architecture=call.architecture, variant=call.variant, tool=STORE,
        store=state_directory() / "packages",
    )  # fmt: skip


def _is_empty(target: Path) -> bool:
    """Whether there is nothing in the tree but what the kernel's file systems are mounted on."""
    if not target.is_dir():
        return not target.exists()
    return all(one.name == "lost+found" or _is_mount_point(one) for one in target.iterdir())


def _is_mount_point(place: Path) -> bool:
    return place.name in _KERNELS and place.is_dir() and not any(place.iterdir())
