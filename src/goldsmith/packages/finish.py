"""The last step on a tree: everything that belongs to the build, not to the image, goes.

Each action stands alone, works on files inside the tree, and may be done twice. The initramfs
(`initramfs.generate`) comes before, as it writes logs and runs programs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import (
    confined,
    make_directory,
    read_confined,
    remove_confined,
    write_confined,
)
from goldsmith.packages.apt_sources import LOCAL_SCHEMES, AptSource, render_sources
from goldsmith.packages.build_files import (
    KEY_DIRECTORY,
    KEY_PREFIX,
    place_keys,
    read_build_sources,
    remove_build_files,
)
from goldsmith.packages.identity import clear_machine_id, clear_seeds, finish_resolv_conf
from goldsmith.packages.installed import installed_names
from goldsmith.packages.policy import allow_services
from goldsmith.packages.repositories import AptPin, render_pins
from goldsmith.packages.ssh_host_keys import finish_host_keys

SOURCES_FILE: Final = "/etc/apt/sources.list.d/debian.sources"
PINS_FILE: Final = "/etc/apt/preferences.d/image.pref"

_LOGS: Final = (
    "/var/log/dpkg.log",
    "/var/log/alternatives.log",
    "/var/log/bootstrap.log",
    "/var/log/apt/history.log",
    "/var/log/apt/term.log",
    "/var/log/apt/eipp.log.xz",
)
_CACHES: Final = (
    "/var/cache/ldconfig/aux-cache",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
)
_BACKUPS: Final = (
    # What a file was before its last change: it depends on the way, and may hold old passwords.
    *(f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
    *(f"/var/lib/dpkg/{name}-old" for name in ("status", "diversions", "statoverride")),
    *(f"/var/cache/debconf/{name}-old" for name in ("config.dat", "templates.dat",
                                                    "passwords.dat")),
)  # fmt: skip
_VOLATILE: Final = (("/dev", 0o755), ("/run", 0o755), ("/tmp", 0o1777))  # noqa: S108 (in the tree)


@dataclass(frozen=True, slots=True)
class FinishPlan:
    """What the finished image's APT uses, in order of precedence.

    `apt_sources` when given (empty: none, on purpose), the build's own with `keep_build_sources`,
    `mirror_sources` when the template names a mirror. `kept_sources` are there in any case, with
    `pins`; `build_only` ones never are.
    """

    apt_sources: tuple[AptSource, ...] | None = None
    keep_build_sources: bool = False
    mirror_sources: tuple[AptSource, ...] = ()
    kept_sources: tuple[AptSource, ...] = ()
    build_only: tuple[AptSource, ...] = ()
    pins: tuple[AptPin, ...] = ()


def finish_tree(tree: Path, plan: FinishPlan, *, host_root: Path = Path("/")) -> tuple[str, ...]:
    """Do every action below; returns warnings. Raises GoldsmithError when one cannot be done."""
    warnings = [
        *finish_sources(tree, plan, host_root=host_root),
        *finish_host_keys(tree, installed_names(tree)),
    ]
    clean_apt(tree)
    allow_services(tree)
    clear_machine_id(tree)
    clear_seeds(tree)
    finish_resolv_conf(tree, host_root)
    remove_leftovers(tree)
    empty_volatile(tree)
    return tuple(warnings)


def finish_sources(tree: Path, plan: FinishPlan, *, host_root: Path = Path("/")) -> tuple[str, ...]:
    """Replace the build's sources by the image's, with their keys; returns warnings.

    Sources that provisioners wrote stay. Passwords in addresses never go into the image.
    """
    building = bool(read_build_sources(tree))
    chosen, warnings = _image_sources(tree, plan)
    public = [source.without_passwords() for source in chosen]
    if public != chosen:
        warnings.append("the passwords in the image's APT sources were left out")
    # Keys are looked up before the build's are removed: both may be the same.
    placed = place_keys(tree, public, host_root=host_root)
    remove_build_files(tree)
    if text := render_pins(plan.pins):
        write_confined(tree, PINS_FILE, text.encode())
    if placed:
        write_confined(tree, SOURCES_FILE, render_sources(placed).encode())
    elif plan.apt_sources is None and building and not _has_sources(tree):
        warnings.append(
            "the image has no APT sources, as those of this host are not for it: "
            "set apt_sources, or keep_build_sources = true"
        )
    return tuple(warnings)


def _image_sources(tree: Path, plan: FinishPlan) -> tuple[list[AptSource], list[str]]:
    if plan.apt_sources is not None:
        return [*plan.apt_sources, *plan.kept_sources], []
    if plan.keep_build_sources:
        unwanted = {_address(source) for source in (*plan.build_only, *plan.kept_sources)}
        build = (s for s in read_build_sources(tree) if _address(s) not in unwanted)
        return [*(_with_durable_keys(tree, source) for source in build), *plan.kept_sources], []
    offered = (*plan.mirror_sources, *plan.kept_sources)
    warnings = [
        f"{uri} is on this host and does not go into the image"
        for source in offered
        for uri in source.uris
        if uri.partition(":")[0] in LOCAL_SCHEMES
    ]
    return [source for source in offered if not source.is_local], warnings


def _address(source: AptSource) -> tuple[tuple[str, ...], ...]:
    """What tells a source from others, without its key: that has another path in the tree."""
    return source.uris, source.suites, source.components


def _with_durable_keys(tree: Path, source: AptSource) -> AptSource:
    """A source of the build, its keys copied to names that stay when the build's are removed."""
    words = []
    for word in source.signed_by.split() if not source.inline_key else []:
        name = os.path.basename(word)
        key = read_confined(tree, word) if name.startswith(KEY_PREFIX) else None
        if key is None:
            words.append(word)
            continue
        place = f"{KEY_DIRECTORY}/{name.removeprefix(KEY_PREFIX)}"
        write_confined(tree, place, key)
        words.append(place)
    return replace(source, signed_by=" ".join(words)) if words else source


def _has_sources(tree: Path) -> bool:
    main = confined(tree, "/etc/apt/sources.list", follow_last=True)
    parts = confined(tree, "/etc/apt/sources.list.d", follow_last=True)
    return (main.is_file() and bool(main.read_bytes().strip())) or any(
        path.suffix in (".list", ".sources") for path in parts.glob("*")
    )


def clean_apt(tree: Path) -> None:
    """Remove the lists of packages and the downloaded archives, as `apt-get clean` would.

    APT's own user keeps the directories of unfinished downloads: whose they are would tell whether
    APT could drop its privileges where the tree was made, and which id that user has on the host.
    """
    for folder in ("/var/lib/apt/lists", "/var/cache/apt/archives"):
        place = confined(tree, folder, follow_last=True)
        if not place.is_dir():
            continue
        for child in place.iterdir():
            if child.name == "partial" and child.is_dir() and not child.is_symlink():
                _remove_children(tree, child)
                os.chown(child, _apt_user(tree), 0)
                child.chmod(0o700)
            else:
                _remove(tree, child)


def _apt_user(tree: Path) -> int:
    """The id of the user as whom APT downloads in the tree; root's where there is none."""
    for line in (read_confined(tree, "/etc/passwd") or b"").splitlines():
        name, *fields = line.split(b":")
        if name == b"_apt" and len(fields) > 1 and fields[1].isdigit():
            return int(fields[1])
    return 0


def clamp_password_dates(tree: Path, epoch_s: int) -> None:
    """Let no account's password be changed after the build's time: shadow(5), field 3, in days.

    Programs of the bootstrap write today there, whatever SOURCE_DATE_EPOCH says.
    """
    path, latest_days = "/etc/shadow", epoch_s // 86400
    present = read_confined(tree, path)
    if present is None:
        return
    lines = []
    for line in present.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[2].isdigit() and int(fields[2]) > latest_days:
            fields[2] = str(latest_days).encode()
        lines.append(b":".join(fields))
    if b"\n".join(lines) != present:
        confined(tree, path, follow_last=True).write_bytes(b"\n".join(lines))


def remove_leftovers(tree: Path) -> None:
    """Remove the logs of package tools, caches that are made anew, and backups of databases."""
    for path in (*_LOGS, *_CACHES, *_BACKUPS):
        remove_confined(tree, path)


def empty_volatile(tree: Path) -> None:
    """Leave /dev, /run and /tmp as empty directories: a running system mounts over them."""
    for path, mode in _VOLATILE:
        place = confined(tree, path)
        if place.is_symlink():
            continue
        make_directory(tree, path)
        _remove_children(tree, place)
        place.chmod(mode)


def _remove_children(tree: Path, folder: Path) -> None:
    for child in folder.iterdir():
        _remove(tree, child)


def _remove(tree: Path, path: Path) -> None:
    """Remove a file, link or directory of the tree; what is mounted below it is an error."""
    if path.is_symlink() or not path.is_dir():
        try:
            path.unlink()
        except OSError as e:
            raise GoldsmithError(f"{path} cannot be removed: {e.strerror}") from e
        return
    for folder, _, _ in os.walk(path, onerror=_raise):
        if os.lstat(folder).st_dev != tree.stat().st_dev:
            raise GoldsmithError(
                f"{folder} is still mounted, so the tree cannot be finished",
                hint=f"umount {folder}",
            )
    shutil.rmtree(path)


def _raise(error: OSError) -> None:
    raise error
