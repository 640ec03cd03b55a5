"""dpkg configures what was laid: the scripts that it would have run before, then its own pass.

Runs in the tree alone, where `/proc`, `/dev` and `/run` are mounted; everything that it needs was
left there by `unpacking`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.host import chroot
from goldsmith.host.confined import (
    confined,
    make_directory,
    read_confined,
    remove_confined,
    write_confined,
)
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink
from goldsmith.packages.errors import PackageError
from goldsmith.packages.host_apt import ToolFailed
from goldsmith.packages.package_store import Archive, PackageStore
from goldsmith.packages.policy import allow_services
from goldsmith.packages.unpacked.dpkg_state import DATABASE
from goldsmith.packages.unpacked.laid_paths import missing_paths
from goldsmith.packages.unpacked.laying import NEW_CONFFILE
from goldsmith.packages.unpacked.unpacking import ARCHIVES, STATE_FILE

_ENVIRONMENT: Final = {
    **chroot.CLEAN_ENVIRONMENT, "DEBCONF_NONINTERACTIVE_SEEN": "true",
}  # fmt: skip
_CONTROL_IN_USE: Final = f"{DATABASE}/tmp.ci"  # noqa: S108 - dpkg's own, in the tree
_FORCED: Final = "--force-unsafe-io"
_FSTAB: Final = b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"
"""What mmdebstrap writes besides, too."""
_LATE_S: Final = 0.02
_LINKER: Final = "/sbin/ldconfig"
_TRACES: Final = (
    "/var/log/dpkg.log", "/var/log/alternatives.log", "/var/cache/ldconfig/aux-cache",
    "/var/lib/dbus/machine-id", "/var/lib/dpkg/status-old", "/var/lib/dpkg/available-old",
    "/var/lib/dpkg/diversions-old", "/var/lib/dpkg/statoverride-old", "/var/lib/dpkg/available",
    STATE_FILE,
)  # fmt: skip


def configure(
    tree: Path, downloads: PackageStore | None, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make a system of what `unpack` has laid; False when a program failed, its lines say why."""
    state = json.loads(confined(tree, STATE_FILE).read_text())
    # The kernel's clock for files is some milliseconds late.
    making = _Making(tree, run_tool, on_line, time.time() - _LATE_S)
    try:
        on_line("stdout", "I: installing essential packages...")
        making.run_preinsts(state["first"])
        making.unpack(making.lost_archives(state["first"], state["archives"], downloads))
        making.dpkg("--force-depends", "--configure", *(one["info"] for one in state["first"]))
        on_line("stdout", "I: installing remaining packages...")
        making.run_preinsts(state["rest"])
        lost = making.lost_archives(state["rest"], state["archives"], downloads)
        making.unpack(lost)
        making.unpack_in_order(state["slow"])
        making.dpkg("--configure", "--pending")
    except ToolFailed:
        return False
    _finish(tree)
    return True


def configure_early(
    tree: Path, is_wanted: Callable[[str, str], bool], *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Configure only some packages of what `unpack` has laid, whatever they depend on.

    `is_wanted` is asked with a package's name and the text of its postinst; base-passwd, which
    makes users and groups, is always one. Then the configuration files of all others get their
    names, too, and the dynamic linker is told of all libraries. False when a program failed. Not
    for a tree that anybody uses.
    """
    state = json.loads(confined(tree, STATE_FILE).read_text())
    making = _Making(tree, run_tool, on_line, 0.0)
    everything = [*state["first"], *state["rest"]]
    users = [one for one in everything if one["name"] == "base-passwd"]
    wanted = [one["info"] for one in everything if is_wanted(one["name"], _postinst(tree, one))]
    try:
        making.run_preinsts(users)
        names = dict.fromkeys([*(one["info"] for one in users), *wanted])
        making.dpkg("--force-depends", "--no-triggers", "--configure", *names)
        for package in everything:
            _name_conffiles(tree, package)
        # A trigger would; without it ldd(1) misses what lies in directories of ld.so.conf.
        if confined(tree, _LINKER, follow_last=True).is_file():
            making.run([_LINKER])
    except ToolFailed:
        return False
    return True


def _name_conffiles(tree: Path, package: Mapping[str, Any]) -> None:
    for conffile in package["conffiles"]:
        path = confined(tree, conffile)
        new = path.with_name(path.name + NEW_CONFFILE)
        if os.path.lexists(new) and not os.path.lexists(path):
            new.rename(path)


def laid_names(tree: Path) -> frozenset[str]:
    """The names of the packages that were laid."""
    state = json.loads(confined(tree, STATE_FILE).read_text())
    return frozenset(one["name"] for one in (*state["first"], *state["rest"]))


def _postinst(tree: Path, package: Mapping[str, Any]) -> str:
    text = read_confined(tree, f"/{DATABASE}/info/{package['info']}.postinst")
    return (text or b"").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Making:
    """One tree in the making."""

    tree: Path
    run_tool: RunTool
    on_line: LineSink
    since_s: float
    """When the first script began: what a package has is older than that."""

    def run_preinsts(self, packages: Sequence[Mapping[str, Any]]) -> None:
        """Run what dpkg runs before it unpacks a package that was never there."""
        info = confined(self.tree, f"{DATABASE}/info", follow_last=True)
        names = frozenset(os.listdir(info))
        for package in packages:
            if f"{package['info']}.preinst" not in names:
                continue
            files = [info / name for name in _control_files(names, package["info"])]
            own = {
                "DPKG_MAINTSCRIPT_PACKAGE": package["name"],
                "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
                "DPKG_MAINTSCRIPT_ARCH": package["architecture"],
                "DPKG_MAINTSCRIPT_NAME": "preinst", "DPKG_ROOT": "",
                "DPKG_ADMINDIR": f"/{DATABASE}", "DPKG_MAINTSCRIPT_DEBUG": "0",
            }  # fmt: skip
            # debconf tells by this directory of dpkg's whose script it is that asks.
            here = confined(self.tree, _CONTROL_IN_USE)
            here.mkdir()
            for file in files:
                own_name = file.name.removeprefix(f"{package['info']}.")
                shutil.copy(file, here / own_name, follow_symlinks=False)
            try:
                self.run([f"/{_CONTROL_IN_USE}/preinst", "install"], own)
            finally:
                shutil.rmtree(here)

    def lost_archives(
        self,
        packages: Sequence[Mapping[str, Any]],
        archives: Mapping[str, Any],
        downloads: PackageStore | None,
    ) -> list[str]:
        """The files, put into the tree, of packages of which a script removed or wrote a path.

        Asked before they are configured: dpkg would have laid that path after the script.
        """
        found = []
        folders: dict[str, str] = {}
        for package in packages:
            path = next(missing_paths(self.tree, package, self.since_s, folders), None)
            if path is None:
                continue
            self.on_line(
                "stdout",
                f"{package['name']} is unpacked by dpkg: a script removed or changed {path}",
            )
            archive = Archive(*archives[package["info"]])
            folder = make_directory(self.tree, ARCHIVES)
            if downloads is None or not downloads.give(archive, folder):
                raise PackageError(
                    f"a script of the packages removed or changed files of {package['info']}, "
                    "whose package file is not kept any more",
                    hint="goldsmith build -refresh=unpack fetches it again",
                )
            found.append(archive.name)
        return found

    def unpack(self, names: Sequence[str]) -> None:
        """Let the tree's own dpkg unpack these files of ARCHIVES."""
        if names:
            inside = [f"{ARCHIVES}/{name}" for name in names]
            self.dpkg("--force-depends", "--unpack", *inside)

    def unpack_in_order(self, slow: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Unpack files of ARCHIVES, each once the packages are configured that it names."""
        waiting: list[str] = []
        done: set[str] = set()
        for name, needed in slow:
            if early := [one for one in needed if one not in done]:
                self.unpack(waiting)
                waiting = []
                self.dpkg("--force-depends", "--no-triggers", "--configure", *early)
                done.update(early)
            waiting.append(name)
        self.unpack(waiting)

    def dpkg(self, *words: str) -> None:
        """Run the tree's own dpkg."""
        self.run(["dpkg", _FORCED, *words])

    def run(self, words: Sequence[str], own: Mapping[str, str] | None = None) -> None:
        """Run a program of the tree, with an environment of its `own`; raises ToolFailed."""
        argv = chroot.chroot_argv(self.tree, words)
        environment = {**_ENVIRONMENT, **(own or {})}
        done = self.run_tool(argv, env=environment, check=False, on_line=self.on_line)
        if done.status != 0:
            raise ToolFailed


def _control_files(names: Iterable[str], info_name: str) -> list[str]:
    """Those names below `info` that are a package's, but its list of paths."""
    before = f"{info_name}."
    owned = ((name, name[len(before) :]) for name in names if name.startswith(before))
    # python3.11.list is no file of python3.
    return sorted(name for name, own in owned if own != "list" and "." not in own)


def _finish(tree: Path) -> None:
    """Leave nothing that tells how the tree was made."""
    allow_services(tree)
    shutil.rmtree(confined(tree, ARCHIVES))
    for path in _TRACES:
        remove_confined(tree, path)
    if not os.path.lexists(confined(tree, "/etc/fstab")):
        write_confined(tree, "/etc/fstab", _FSTAB)
    machine_id = confined(tree, "/etc/machine-id")
    if machine_id.is_file() and not machine_id.is_symlink():
        write_confined(tree, "/etc/machine-id", b"")
