"""A tree from the store of unpacked packages: files are copied, and dpkg only configures them.

APT of this host resolves and fetches, and checks signatures and digests. Then: the files of every
package that allows it, dpkg's database with all of them `unpacked`, the scripts that dpkg would
have run before unpacking, and `dpkg --configure` of the tree's own dpkg, in the order in which
packages may depend on the essential ones. Runs where `/proc`, `/dev` and `/run` are mounted.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.host import chroot
from goldsmith.host.confined import confined, make_directory, remove_confined, write_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.errors import PackageError
from goldsmith.packages.host_apt import HostApt, ToolFailed
from goldsmith.packages.initramfs import DIVERTED, STUB, STUB_CONTENT
from goldsmith.packages.package_store import Archive
from goldsmith.packages.policy import allow_services, forbid_services
from goldsmith.packages.unpacked.content_store import STORE_NAME, ContentStore, UnpackedPackage
from goldsmith.packages.unpacked.dpkg_state import DATABASE, write_automatic, write_database
from goldsmith.packages.unpacked.laying import lay_tree, lost_paths
from goldsmith.packages.unpacked.tree_plan import TreePlan, is_first, names, plan_tree

_DIVERSIONS: Final = {STUB: DIVERTED}
_ENVIRONMENT: Final = {
    **chroot.CLEAN_ENVIRONMENT, "DEBCONF_NONINTERACTIVE_SEEN": "true",
}  # fmt: skip
_CONTROL_IN_USE: Final = f"{DATABASE}/tmp.ci"  # noqa: S108 - dpkg's own, in the tree
_ESSENTIAL: Final = (
    "-oPkgCacheGen::ForceEssential=,", "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=",
    "?essential",
)  # fmt: skip
"""APT counts itself among the essential packages unless it is told not to."""
_FORCED: Final = "--force-unsafe-io"
_SSH_KEY_KINDS: Final = ("rsa", "dsa", "ecdsa", "ed25519")
_EMPTY_SYSTEM: Final = {
    "/etc/fstab": b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n", "/etc/machine-id": b"",
}  # fmt: skip
"""What mmdebstrap writes besides, too."""
_TRACES: Final = (
    "/var/log/dpkg.log", "/var/log/alternatives.log", "/var/cache/ldconfig/aux-cache",
    "/var/lib/dbus/machine-id", "/var/lib/dpkg/status-old", "/var/lib/dpkg/available-old",
    "/var/lib/dpkg/diversions-old", "/var/lib/dpkg/statoverride-old", "/var/lib/dpkg/available",
)  # fmt: skip


def run_store(
    target: Path, request: AptRequest, work: Path, *, run_tool: RunTool, on_line: LineSink
) -> bool:
    """Make the tree; False when a program failed, its lines then say why.

    `work` is a private directory: files with passwords stand in it meanwhile. Raises PackageError
    for a set of packages that only dpkg itself can unpack.
    """
    target.mkdir(parents=True, exist_ok=True)
    apt = HostApt(request, work, on_line)
    try:
        apt.update()
        words = replace(request, later=()).wanted()
        # Before anything is fetched: what lies in the archives is not listed.
        now, essential = apt.listed(words), apt.listed(_ESSENTIAL)
        if not essential:
            # Else a tree without dpkg would fail only where that is run.
            raise PackageError("the sources have no essential packages: is the component right?")
        on_line("stdout", "I: downloading packages with apt")
        archives = apt.fetch(())
        kept = request.store.parent if request.store is not None else work
        store = ContentStore(kept / STORE_NAME)
        with store.in_use():
            on_line("stdout", "I: extracting archives...")
            packages = store.take_all((archive, apt.archives / archive.name) for archive in now)
            plan = plan_tree(packages)
            _require_first(plan)
            for slow in plan.slow:
                on_line("stdout", str(slow))
            on_line("stdout", "I: installing essential packages...")
            made = _Making(target, plan, apt.architecture, run_tool, on_line)
            made.lay()
            made.configure_first()
            on_line("stdout", "I: installing remaining packages...")
            made.configure_rest({one.sha256: apt.archives / one.name for one in archives})
        made.finish(apt.directory / "lists", _automatic(packages, essential, words, apt))
    except ToolFailed:
        return False
    return True


def _require_first(plan: TreePlan) -> None:
    """Packages that others need without saying so must be there before dpkg can unpack any."""
    for slow in plan.slow:
        if is_first(slow.package):
            raise PackageError(
                f"the store cannot make this tree: {slow.package.name} is essential, and "
                f"{slow.reason}",
                hint='write engine = "mmdebstrap"',
            )


def _automatic(
    packages: Sequence[UnpackedPackage],
    essential: Sequence[Archive],
    words: Sequence[str],
    apt: HostApt,
) -> list[UnpackedPackage]:
    """Those that nobody has asked for by name or by a pattern, and that no essential one needs.

    mmdebstrap installs the essential ones by dpkg alone, so APT takes them as asked for.
    """
    asked = {re.split(r"[:=/^]", word)[0] for word in words}
    by_dpkg = {archive.sha256 for archive in essential}
    # The index may give a package another priority than its own control file does.
    records = apt.records([package.name for package in packages])
    found = []
    for package in packages:
        priority = records.get(package.name, package.fields).get("priority", "")
        by_pattern = f"?priority({priority})" in words
        if package.name not in asked and package.digest not in by_dpkg and not by_pattern:
            found.append(package)
    return found


@dataclass(frozen=True, slots=True)
class _Making:
    """One tree in the making."""

    tree: Path
    plan: TreePlan
    architecture: str
    run_tool: RunTool
    on_line: LineSink

    def lay(self) -> None:
        """Put the files and dpkg's database in place; nothing has run yet."""
        moved = {path.lstrip("/"): place.lstrip("/") for path, place in _DIVERSIONS.items()}
        lay_tree(self.plan, self.tree, moved=moved)
        write_database(
            self.tree, self.plan.laid, diversions=_DIVERSIONS, architecture=self.architecture
        )
        write_confined(self.tree, STUB, STUB_CONTENT, mode=0o755)
        for kind in _SSH_KEY_KINDS:
            # openssh-server makes no key that is there already; these are removed afterwards.
            write_confined(self.tree, f"/etc/ssh/ssh_host_{kind}_key", b"")
        forbid_services(self.tree)

    def configure_first(self) -> None:
        """Configure the packages that others rely on without a dependency."""
        first = self.plan.first
        # It makes the files of users and groups that the other scripts need.
        ordered = sorted(first, key=lambda package: package.name != "base-passwd")
        self._run_preinsts(ordered)
        self._dpkg("--force-depends", "--configure", *names(first))

    def configure_rest(self, files: Mapping[str, Path]) -> None:
        """Configure all others; those that only dpkg may unpack come in by it."""
        first = {package.digest for package in self.plan.first}
        self._run_preinsts([one for one in self.plan.laid if one.digest not in first])
        moved = {path.lstrip("/"): place.lstrip("/") for path, place in _DIVERSIONS.items()}
        lost = self._owners_of(lost_paths(self.plan, self.tree, moved))
        again = [slow.package for slow in self.plan.slow] + lost
        if again:
            self._unpack_by_dpkg(again, files)
        self._dpkg("--configure", "--pending")

    def _owners_of(self, places: Sequence[str]) -> list[UnpackedPackage]:
        """The packages whose files a script has removed: dpkg would have unpacked them after it."""
        owners = {self.plan.paths[place][0].digest: self.plan.paths[place][0] for place in places}
        for package in owners.values():
            self.on_line("stdout", f"{package.name} is unpacked by dpkg: a script removed files")
        return list(owners.values())

    def _unpack_by_dpkg(
        self, packages: Sequence[UnpackedPackage], files: Mapping[str, Path]
    ) -> None:
        folder = make_directory(self.tree, "/var/cache/apt/archives")
        inside = []
        for package in packages:
            file = files[package.digest]
            shutil.copyfile(file, folder / file.name)
            inside.append(f"/var/cache/apt/archives/{file.name}")
        self._dpkg("--force-depends", "--unpack", *inside)

    def _run_preinsts(self, packages: Sequence[UnpackedPackage]) -> None:
        for package in packages:
            if package.control("preinst") is None:
                continue
            own = {
                "DPKG_MAINTSCRIPT_PACKAGE": package.name,
                "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
                "DPKG_MAINTSCRIPT_ARCH": package.architecture,
                "DPKG_MAINTSCRIPT_NAME": "preinst", "DPKG_ROOT": "",
                "DPKG_ADMINDIR": f"/{DATABASE}", "DPKG_MAINTSCRIPT_DEBUG": "0",
            }  # fmt: skip
            # debconf tells by this directory of dpkg's whose script it is that asks.
            here = self.tree / _CONTROL_IN_USE
            shutil.copytree(package.directory / "control", here)
            try:
                self._run([f"/{_CONTROL_IN_USE}/preinst", "install"], own)
            finally:
                shutil.rmtree(here)

    def _dpkg(self, *words: str) -> None:
        self._run(["dpkg", _FORCED, *words], {})

    def _run(self, words: Sequence[str], own: Mapping[str, str]) -> None:
        argv = chroot.chroot_argv(self.tree, words)
        environment = {**_ENVIRONMENT, **own}
        done = self.run_tool(argv, env=environment, check=False, on_line=self.on_line)
        if done.status != 0:
            raise ToolFailed

    def finish(self, lists: Path, automatic: Sequence[UnpackedPackage]) -> None:
        """Leave what APT needs, and nothing that tells how the tree was made."""
        allow_services(self.tree)
        for path in _TRACES:
            remove_confined(self.tree, path)
        write_automatic(self.tree, automatic)
        for path, content in _EMPTY_SYSTEM.items():
            if not os.path.lexists(confined(self.tree, path)):
                write_confined(self.tree, path, content)
        if not confined(self.tree, "/etc/machine-id").is_symlink():
            write_confined(self.tree, "/etc/machine-id", b"")
        place = make_directory(self.tree, "/var/lib/apt/lists")
        for file in lists.iterdir():
            if file.is_file() and file.name != "lock":
                shutil.copy2(file, place / file.name)
