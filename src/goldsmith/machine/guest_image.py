"""The guest's kernel and initramfs: made once from Debian packages, then kept in the state.

What is made depends on a recipe (names of packages, programs, modules, our scripts), so a kept
guest needs neither network nor APT. Its own packages are written down beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.host import process
from goldsmith.host.digests import file_digest
from goldsmith.host.journal import remove_tree, state_directory
from goldsmith.host.sparse import full_file_system_named
from goldsmith.machine.guest_init import INIT, RUN_COMMAND
from goldsmith.machine.guest_initramfs import CONFIGURATION, PROGRAMS, make_initramfs
from goldsmith.machine.guest_kernel import startable_kernel
from goldsmith.machine.guest_modules import ASKED_FOR_BY_NAME, WANTED_MODULES
from goldsmith.machine.guest_protocol import GuestError
from goldsmith.packages.apt_settings import read_apt_settings
from goldsmith.packages.download import Download, FetchedPackage, PackageRecord, fetch_packages
from goldsmith.packages.installed import os_release
from goldsmith.packages.mirrors import sources_for

ARCHITECTURE: Final = "amd64"
"""The guest is what our QEMU emulates, whatever the host is."""

PACKAGES: Final = (
    "linux-image-cloud-amd64", "busybox-static", "dash", "tar", "coreutils", "util-linux", "mount",
    "fdisk", "lvm2", "dmsetup", "mdadm", "e2fsprogs", "dosfstools", "xfsprogs", "btrfs-progs",
)  # fmt: skip

MAKER_TOOLS: Final = ("apt-get", "apt-cache", "apt-config", "dpkg-deb")
"""The programs of this host that make a guest."""

_FORMAT: Final = 1
"""To be raised when the way in which a guest is made from its recipe changes."""

_KERNEL, _INITRAMFS, _MANIFEST = "kernel", "initramfs.cpio", "manifest.json"


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A guest that can be started; `digest` is that of its bytes, for keys of steps."""

    kernel: Path
    initramfs: Path
    digest: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRecipe:
    """All that decides what a guest consists of, but for the versions that APT has today."""

    suite: str
    packages: Sequence[str] = PACKAGES
    programs: Sequence[str] = PROGRAMS
    modules: Sequence[str] = (*WANTED_MODULES, *ASKED_FOR_BY_NAME)
    configuration: Mapping[str, str]
    scripts: Sequence[str] = (INIT, RUN_COMMAND)
    format: int = _FORMAT

    def digest(self) -> str:
        """The name by which a guest of this recipe is kept."""
        text = json.dumps(asdict(self), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def host_recipe() -> GuestRecipe:
    """The recipe for this host: packages of its own suite; raises GuestError where it has none."""
    suite = os_release(Path("/")).get("VERSION_CODENAME", "")
    if not suite:
        raise GuestError("this host's /etc/os-release names no VERSION_CODENAME to make a guest of")
    return GuestRecipe(suite=suite, configuration=CONFIGURATION)


def require_guest_image(*, state: Path | None = None) -> None:
    """Raise HostError or GuestError when there is no guest and none could be made on this host.

    Nothing is made or fetched: whether APT has the packages is known when it is asked.
    """
    recipe = host_recipe()
    if _read((state or state_directory()) / "guest" / recipe.digest()) is None:
        for tool in MAKER_TOOLS:
            process.get_tool(tool)


def open_guest_image(
    *, state: Path | None = None, report: Callable[[str], None] | None = None
) -> GuestImage:
    """The guest of this host, made now if it is not kept yet.

    `state` is goldsmith's state directory unless another is given. Making it takes 10 to 20 s,
    60 MB of download and 100 MB of disk; others who need it meanwhile wait. `report` is told of it.
    Raises PackageError when APT cannot fetch the packages, GuestError when they do not make a
    guest, GoldsmithError when the state cannot be written.
    """
    recipe = host_recipe()
    directory = (state or state_directory()) / "guest"
    place = directory / recipe.digest()
    kept = _read(place)
    if kept is not None:
        return kept
    with _only_maker(directory), full_file_system_named(directory):
        kept = _read(place)
        if kept is not None:
            return kept
        if report is not None:
            report("Making the guest from Debian packages, once for this host")
        # What a killed maker has left: the lock says that nobody works on it.
        for left in directory.glob("*.new"):
            remove_tree(left)
        if place.exists():  # something in it is missing or cut off
            remove_tree(place)
        fresh = directory / f"{place.name}.new"
        try:
            make_guest_image(fresh, recipe)
            os.rename(fresh, place)
        finally:
            if fresh.exists():
                remove_tree(fresh)
    made = _read(place)
    if made is None:
        raise GuestError(f"the guest was made, but {place} does not hold it")
    return made


@contextmanager
def _only_maker(directory: Path) -> Iterator[None]:
    """Hold the lock of those who make guests; waits for it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise GoldsmithError(
            f"cannot use {directory}: {e.strerror}",
            hint="set GOLDSMITH_CACHE_DIR to a directory that you can write to",
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(place: Path) -> GuestImage | None:
    """The guest that is kept in a directory, None when there is none or it is not whole."""
    try:
        manifest: dict[str, Any] = json.loads((place / _MANIFEST).read_text())
        sizes = {name: (place / name).stat().st_size for name in (_KERNEL, _INITRAMFS)}
        if manifest["sizes"] != sizes:
            return None
        return GuestImage(
            kernel=place / _KERNEL, initramfs=place / _INITRAMFS,
            digest=str(manifest["digest"]), packages=dict(manifest["packages"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_guest_image(directory: Path, recipe: GuestRecipe) -> None:
    """Make a guest's files in a new directory: packages fetched, unpacked and chosen from.

    Raises PackageError, GuestError, MissingToolError.
    """
    directory.mkdir(mode=0o755)
    fetched = _fetch(directory / "packages", recipe)
    tree = directory / "tree"
    tree.mkdir()
    for package in fetched:
        process.run(["dpkg-deb", "--extract", package.path, tree])
    image, modules = _kernel_in(tree)
    with open(directory / _INITRAMFS, "wb") as stream:
        make_initramfs(tree, modules, programs=recipe.programs).write(stream)
    (directory / _KERNEL).write_bytes(startable_kernel(image.read_bytes()))
    names = (_KERNEL, _INITRAMFS)
    digests = "".join(file_digest(directory / name) for name in names)
    manifest = {
        "digest": hashlib.sha256(digests.encode()).hexdigest(),
        "sizes": {name: (directory / name).stat().st_size for name in names},
        "packages": {p.record.name: p.record.version for p in fetched},
    }
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    remove_tree(tree)
    remove_tree(directory / "packages")
    for name in (*names, _MANIFEST):
        _sync(directory / name)
    _sync(directory)


def _fetch(directory: Path, recipe: GuestRecipe) -> Sequence[FetchedPackage]:
    directory.mkdir()
    download = Download(
        directory=directory, architecture=ARCHITECTURE, settings=read_apt_settings(),
        sources=sources_for(recipe.suite, "", architecture=ARCHITECTURE),
    )  # fmt: skip
    return fetch_packages(recipe.packages, download, follow=_is_needed)


def _is_needed(record: PackageRecord) -> bool:
    """Libraries, and the kernel that a name without version stands for; nothing gets installed."""
    return record.section == "libs" or record.name.startswith("linux-image-")


def _kernel_in(tree: Path) -> tuple[Path, Path]:
    """The kernel's image and the directory of its modules."""
    images = list((tree / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise GuestError(f"the guest's packages have {len(images)} kernels, not one")
    version = images[0].name.removeprefix("vmlinuz-")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", version):
        raise GuestError(f"{version!r} is not a kernel's version")
    candidates = (tree / base / "modules" / version for base in ("lib", "usr/lib"))
    modules = next((path for path in candidates if path.is_dir()), None)
    if modules is None:
        raise GuestError(f"the guest's kernel {version} has no modules")
    return images[0], modules


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
