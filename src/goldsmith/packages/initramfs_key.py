"""What goes into the initramfs of a tree: named inputs, so that an earlier one can stand for it.

The rule is to take too much. By system-call trace mkinitramfs reads 26 packages of a small Debian;
here count all packages that ship anything for the boot, with all that they need or suggest. Files
of packages count by size and time, which dpkg sets; one that may have been changed since it was
laid, and everything that no package has laid, by content. An absent file counts by having no input.

What an initramfs really holds is compared with this afterwards (`initramfs_contents`).
Source: mkinitramfs(8), initramfs-tools(7), hooks of Debian 12, a trace of mkinitramfs 0.142.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.host.confined import ConfinedPathError, confined
from goldsmith.packages.build_files import DPKG_FILE
from goldsmith.packages.initramfs import configured
from goldsmith.packages.initramfs_identities import MOST_IDENTITY_BYTES, PLACES, name_in
from goldsmith.packages.package_closure import PackageFiles, closure, package_files

TYPE: Final = "initramfs/4"

NAMED: Final = tuple(
    f"/etc/{name}"
    for name in (
        "initramfs-tools", "initramfs", "modprobe.d", "modules", "modules-load.d", "depmod.d",
        "udev", "systemd/network", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "localtime",
        "dpkg", "fstab", "fstab.d", "crypttab", "cryptsetup-initramfs", "mdadm", "lvm", "kernel",
        "kernel-img.conf", "e2fsck.conf", "multipath", "multipath.conf", "iscsi", "nvme",
        "dropbear", "plymouth", "zfs", "hostid", "bcache.conf", "console-setup", "vconsole.conf",
        "selinux", "default/keyboard", "default/console-setup", "default/cryptdisks",
        "default/mdadm",
    )
)  # fmt: skip
"""Everything in them counts by content, whoever laid it."""

HARDWARE: Final = ("/etc/udev/hwdb.bin", "/lib/udev/hwdb.bin", "/usr/lib/udev/hwdb.bin")
"""Where udev's hardware database may be."""
_NO_INPUTS: Final = frozenset({*HARDWARE, DPKG_FILE})
"""Made of files that count, or not in the finished image; an initramfs with one is not kept."""
_LOCAL: Final = ("/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/usr/local/lib32",
                 "/usr/local/lib64")  # fmt: skip
_STRANGERS: Final = tuple(
    f"{prefix}/{name}"
    for prefix in ("/lib", "/usr/lib")
    for name in ("udev", "modprobe.d", "modules-load.d", "depmod.d", "systemd/network", "kernel")
)
"""Places of packages in which what is not theirs counts too."""
_TOP: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot")
_PROGRAMS: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_TRIPLET: Final = re.compile(r"[a-z0-9_]+-linux-[a-z0-9]+")

_ROOT_PATHS: Final = re.compile(
    r"(/usr)?/(etc|lib|share)/("
    r"initramfs-tools|modules|firmware|udev|modprobe\.d|modules-load\.d|depmod\.d|kernel"
    r"|systemd/network)/"
    r"|(/usr)?/s?bin/fsck\.|/usr/lib/[^/]+/glibc-hwcaps/"
)
_ROOT_NAMES: Final = frozenset({
    "initramfs-tools", "initramfs-tools-core", "cpio", "kmod", "klibc-utils", "busybox",
    "busybox-static", "gzip", "pigz", "zstd", "xz-utils", "lz4", "lzop", "bzip2", "lzma", "mawk",
    "gawk", "original-awk",
})  # fmt: skip
"""Programs that mkinitramfs runs if they are there, whatever it depends on."""
_NOT_READ: Final = ("/etc/", "/var/", "/usr/share/doc/", "/usr/share/man/", "/usr/share/info/",
                    "/usr/share/locale/", "/usr/share/lintian/", "/usr/share/bug/",
                    "/usr/share/zoneinfo/", "/usr/include/", "/usr/src/")  # fmt: skip
_MODULES_ANYWHERE: Final = ("most", "netboot", "list")


@dataclass(frozen=True, slots=True)
class InitramfsInputs:
    """What identifies the initramfs of a tree.

    `named` are texts and digests by name, of the shape of `layers.keys`; `covered` is every path
    that they speak of (directories resolved, with a leading slash), regular files with their size,
    others with -1. `keyless` says why they do not suffice, "" when they do.
    """

    named: dict[str, str] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    keyless: str = ""
    identities: dict[str, bytes] = field(default_factory=dict)
    """Random names that packages have given this tree: contents by the place of their file.

    They are not in `named`. An initramfs that holds others must get these before it is used.
    """


def initramfs_inputs(
    tree: Path,
    kernels: Sequence[str],
    *,
    dated_s: int | None = None,
    replaces_names: bool = False,
) -> InitramfsInputs:
    """Read what goes into the initramfs of these kernels; `update-initramfs` must be the real one.

    mkinitramfs dates what it makes SOURCE_DATE_EPOCH and keeps the times of files that are older,
    so a date is in the bytes. Without a `dated_s` that the user has given, no time of a file counts
    and a reused initramfs keeps the dates of the build that made it. With it, the date and the
    older times are inputs: the same inputs give the same bytes. With `replaces_names` random names
    that packages have given the tree are no inputs, but `identities`.
    """
    packages = package_files(tree)
    inputs = InitramfsInputs({"type": TYPE, "kernels": " ".join(kernels)}, keyless=_keyless(tree))
    if not packages:
        return InitramfsInputs(keyless="dpkg has no database in the tree")
    if dated_s is not None:
        inputs.named["date"] = str(dated_s)
    reader = _Reader(tree, inputs, dated_s, replaces_names)
    reader.top()
    for place in NAMED:
        reader.files(place)
    reader.packages(packages)
    for place in _LOCAL:
        reader.all_below(place)
    for kernel in kernels:
        reader.all_below(f"/lib/modules/{kernel}", strangers=True)
        reader.files(f"/boot/config-{kernel}", strangers=True)
    reader.all_below("/lib/firmware", strangers=True)
    for place in ("/usr/share/initramfs-tools", *_STRANGERS):
        reader.files(place, strangers=True)
    reader.programs()
    reader.alternatives()
    return inputs


def _keyless(tree: Path) -> str:
    modules = configured(tree, "MODULES", "most")
    if modules not in _MODULES_ANYWHERE:
        return f"MODULES={modules} takes what the building machine needs"
    with contextlib.suppress(ConfinedPathError):
        hooks = confined(tree, "/etc/initramfs/post-update.d", follow_last=True)
        if hooks.is_dir() and any(hooks.iterdir()):
            return "programs in /etc/initramfs/post-update.d run whenever it is made"
    return ""


def counted_packages(packages: Sequence[PackageFiles]) -> list[PackageFiles]:
    """The packages that are inputs, sorted: who ships anything for the boot, and what it needs."""
    return sorted(closure(packages, _is_root), key=lambda one: one.shown)


def _is_root(package: PackageFiles) -> bool:
    return (
        package.essential
        or package.name in _ROOT_NAMES
        or any(_ROOT_PATHS.match(path) for path in package.paths)
    )


@dataclass(slots=True)
class _Reader:
    """Adds inputs of a tree; links are followed inside the tree alone."""

    tree: Path
    inputs: InitramfsInputs
    dated_s: int | None
    replaces_names: bool = False
    _folders: dict[str, str | None] = field(default_factory=dict)
    _owned: set[str] = field(default_factory=set)
    """What any package has laid."""
    _counted: set[str] = field(default_factory=set)
    """What a package has laid that is an input."""
    _walked: set[str] = field(default_factory=set)

    def top(self) -> None:
        """Add whether /usr is merged, and whether /boot is a link."""
        for path in _TOP:
            if (found := self._entry(path)) is not None:
                # The mode of a directory does not matter; where its link leads does.
                self.inputs.named[f"link:{path}"] = found if found.startswith("l") else "directory"

    def files(self, path: str, *, strangers: bool = False) -> None:
        """Add a file, or each one below a directory; of `strangers` only what no package laid."""
        place = self._place(path)
        if place is None or place in self._walked:
            return
        self._walked.add(place)
        for name, entry in self._walk(path, strangers=strangers, through=not strangers):
            if name in _NO_INPUTS:
                self.inputs.covered.pop(self._place(name) or "", None)
                continue
            self.inputs.named[f"file:{name}"] = self._identity(name) or entry

    def _identity(self, path: str) -> str | None:
        """What counts of a file with a random name, which is noted; None for every other file."""
        status = self._status(path) if self.replaces_names and path in PLACES else None
        if status is None or not stat.S_ISREG(status.st_mode) or self._place(path) != path:
            return None
        mtime_s = status.st_mtime_ns // 10**9
        dated = self.dated_s is not None and mtime_s < self.dated_s
        if dated or status.st_size > MOST_IDENTITY_BYTES:
            return None
        content = self._content(path)
        if not name_in(content):
            return None
        self.inputs.identities[path] = content
        return f"f {_owner(status)} a name of this tree"

    def all_below(self, path: str, *, strangers: bool = False) -> None:
        """Add everything below a directory as one input."""
        lines = [f"{name!r} {entry}" for name, entry in self._walk(path, strangers=strangers)]
        if lines:
            self.inputs.named[f"files below:{path}"] = _digest("\n".join(lines))

    def packages(self, packages: Sequence[PackageFiles]) -> None:
        """Add the closure of what ships anything for the boot, with its files as they are now."""
        for package in packages:
            self._owned |= self._places(package)
        counted = counted_packages(packages)
        for package in counted:
            self._counted |= self._places(package, _NOT_READ)
        for package in counted:
            lines = [package.version, *self._laid(package)]
            self.inputs.named[f"package:{package.shown}"] = _digest("\n".join(lines))

    def _places(self, package: PackageFiles, without: tuple[str, ...] = ()) -> set[str]:
        places = (self._place(path) for path in package.paths if not path.startswith(without))
        return {place for place in places if place is not None}

    def _laid(self, package: PackageFiles) -> Iterable[str]:
        for path in sorted(package.paths):
            place = None if path.startswith(_NOT_READ) else self._place(path)
            if place is None:
                continue
            status = self._status(place)
            if status is None:
                yield f"{path!r} absent"
            elif not stat.S_ISDIR(status.st_mode):
                if stat.S_ISREG(status.st_mode) and status.st_mtime_ns < package.laid_ns:
                    self.inputs.covered[place] = status.st_size
                    entry = f"{_owner(status)} {status.st_size} {status.st_mtime_ns}"
                else:
                    entry = self._entry(place) or ""
                yield f"{path!r} {entry}"

    def programs(self) -> None:
        """Add the programs and libraries on the usual paths that no package has laid."""
        folders = [*_PROGRAMS, *_LIBRARIES]
        folders += [f"{top}/{name}" for top in ("/lib", "/usr/lib") for name in self._names(top)
                    if _TRIPLET.fullmatch(name)]  # fmt: skip
        for folder in sorted({place for path in folders if (place := self._folder(path))}):
            library = not folder.endswith("bin")
            for name in self._names(folder):
                place = f"{folder}/{name}"
                status = self._status(place)
                if (
                    place in self._owned
                    or status is None
                    or stat.S_ISDIR(status.st_mode)
                    or (library and ".so" not in name)
                    or self._leads_to_alternative(place, status)
                ):
                    continue
                self.files(place, strangers=True)

    def _leads_to_alternative(self, place: str, status: os.stat_result) -> bool:
        return stat.S_ISLNK(status.st_mode) and self._target(place).startswith("/etc/alternatives/")

    def alternatives(self) -> None:
        """Add which program stands for each name that a counted package has one for."""
        folder = "/var/lib/dpkg/alternatives"
        for name in self._names(folder):
            text = self._content(f"{folder}/{name}").decode("utf-8", "surrogateescape")
            places = {self._place(line) for line in text.splitlines() if line.startswith("/")}
            if not places & self.inputs.covered.keys():
                continue
            for path, entry in self._walk(f"/etc/alternatives/{name}"):
                self.inputs.named[f"alternative:{os.path.basename(path)}"] = entry

    def _walk(
        self, path: str, *, strangers: bool = False, through: bool = False
    ) -> Iterable[tuple[str, str]]:
        """Each name from here on with its entry; `through` links to directories, too."""
        seen: set[str] = set()
        pending = [path]
        while pending:
            name = pending.pop()
            place = self._place(name)
            status = None if place is None else self._status(place)
            if place is None or status is None:
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if not (strangers and (is_directory or place in self._owned)):
                yield name, self._entry(place) or ""
            leads = self._resolved(place) if stat.S_ISLNK(status.st_mode) and through else place
            if leads not in seen and self._is_directory(leads):
                seen.add(leads)
                pending += sorted((f"{name}/{one}" for one in self._names(leads)), reverse=True)

    def _entry(self, place: str) -> str | None:
        """Kind, owner and content of a path, a link with what it leads to; None where none is."""
        status = self._status(place)
        if status is None:
            return None
        mtime_s = status.st_mtime_ns // 10**9
        # What is later is dated `dated_s`, which is an input of its own.
        date = f" {mtime_s}" if self.dated_s is not None and mtime_s < self.dated_s else ""
        self.inputs.covered[place] = -1
        if stat.S_ISREG(status.st_mode):
            self.inputs.covered[place] = status.st_size
            return f"f {_owner(status)} {self._digest_of(place)}{date}"
        if stat.S_ISLNK(status.st_mode):
            leads = self._resolved(place)
            led = None if leads in self._counted else self._status(leads)
            more = self._entry(leads) if led is not None and stat.S_ISREG(led.st_mode) else ""
            return f"l {_owner(status)} {self._target(place)!r}{date} {more}"
        if stat.S_ISDIR(status.st_mode):
            return f"d {_owner(status)}{date}"
        return f"o {_owner(status)} {status.st_rdev}"

    # ---- the tree, by paths from its root

    def _place(self, path: str) -> str | None:
        """A path with the links of its directories resolved; None where it cannot be there."""
        folder, _, name = path.rpartition("/")
        place = self._folder(folder)
        return None if place is None or name in ("", ".", "..") else f"{place}/{name}"

    def _folder(self, path: str) -> str | None:
        """A directory, its own last link resolved, too; "" for the root of the tree."""
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            base = self._folder(above) if above else ""
            status = None if base is None else self._status(f"{base}/{name}")
            if name in ("", ".", "..") or (status is not None and stat.S_ISLNK(status.st_mode)):
                self._folders[path] = self._confined(path)
            else:
                self._folders[path] = None if base is None else f"{base}/{name}"
        return self._folders[path]

    def _confined(self, path: str) -> str | None:
        try:
            found = str(confined(self.tree, path, follow_last=True).relative_to(self.tree))
        except ConfinedPathError:
            return None
        return "" if found == "." else f"/{found}"

    def _resolved(self, place: str) -> str:
        """Where a link leads in the end; itself where it leads nowhere."""
        found = self._confined(place)
        return place if found is None else found

    def _status(self, place: str) -> os.stat_result | None:
        try:
            return os.lstat(f"{self.tree}{place}")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            # ValueError: a NUL in a list of files.
            return None

    def _is_directory(self, place: str) -> bool:
        status = self._status(place)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def _names(self, path: str) -> list[str]:
        place = self._folder(path)
        if place is None or not self._is_directory(place):
            return []
        return sorted(os.listdir(f"{self.tree}{place}"))

    def _target(self, place: str) -> str:
        return os.readlink(f"{self.tree}{place}")

    def _content(self, path: str) -> bytes:
        place = self._place(path)
        status = None if place is None else self._status(place)
        if status is None or not stat.S_ISREG(status.st_mode):
            return b""
        return Path(f"{self.tree}{place}").read_bytes()

    def _digest_of(self, place: str) -> str:
        with open(f"{self.tree}{place}", "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def _owner(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):o} {status.st_uid} {status.st_gid}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
