"""Two trees of packages compared path by path, with the differences that are known and why.

Owners are compared by name: dynamic ids follow the order in which packages are configured, also
between two trees of mmdebstrap.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DAY_S = 24 * 3600
MOST_SHOWN_BYTES = 1 << 16

LEFT_OUT = re.compile(
    r"(dev|proc|sys|run)(/.*)?"  # mmdebstrap makes static devices, else the kernel's are mounted
    r"|tmp/.*"
    r"|var/log/.*"  # what mmdebstrap's own runs of dpkg and apt have logged
    r"|var/cache/(ldconfig/aux-cache|debconf/.*-old|apt|apt/.*)"
    r"|var/lib/dpkg/([a-z]+-old|lock|lock-frontend|triggers/Lock|available)"
    r"|var/lib/apt/(lists/(lock|partial|auxfiles)|periodic|mirrors/partial)"
    r"|etc/apt/preferences\.d"  # the package apt has it; mmdebstrap makes it in any tree
    r"|etc/(passwd|group|shadow|gshadow|subuid|subgid)-"  # the files before the last change
    # etckeeper commits /etc with the times of files, and with mmdebstrap's own that go at the end
    r"|etc/\.git/.*|etc/\.etckeeper"
)
"""Paths of which nothing is asked."""


def by_names(text: bytes) -> bytes:
    """passwd, group and the like without their dynamic numbers and dates, in order of names."""
    lines = [line.split(b":") for line in text.splitlines()]
    kept = [
        b":".join([line[0], *(field for field in line[1:] if not field.isdigit())])
        for line in lines
    ]
    return b"\n".join(sorted(kept))


def sorted_lines(text: bytes) -> bytes:
    return b"\n".join(sorted(text.splitlines()))


def without_owners(text: bytes) -> bytes:
    """debconf's database: mmdebstrap unpacks essential packages twice, which owns questions twice.

    Its paragraphs stand in the order of their making.
    """
    paragraphs = [re.sub(rb"(?m)^Owners: .*\n?", b"", one) for one in text.split(b"\n\n")]
    return b"\n\n".join(sorted(one.strip() for one in paragraphs))


NORMAL: dict[str, Callable[[bytes], bytes]] = {
    "etc/passwd": by_names, "etc/group": by_names, "etc/shadow": by_names,
    "etc/gshadow": by_names, "etc/shells": sorted_lines,
    "var/cache/debconf/config.dat": without_owners,
    "var/cache/debconf/templates.dat": without_owners,
    "var/lib/dpkg/triggers/File": sorted_lines,
    # APT writes it in the order of its hash table.
    "var/lib/apt/extended_states": without_owners,
    # Names of packages, and of the triggers that wait for them, in the order of reading.
    "var/lib/dpkg/diversions": sorted_lines,
}  # fmt: skip


def owners(tree: Path, name: str) -> dict[int, str]:
    place = tree / "etc" / name
    lines = place.read_text().splitlines() if place.exists() else []
    return {int(line.split(":")[2]): line.split(":")[0] for line in lines}


def described(tree: Path) -> dict[str, tuple[object, ...]]:
    """Every path with its kind, mode, owners by name, attributes and content."""
    users, groups = owners(tree, "passwd"), owners(tree, "group")
    found: dict[str, tuple[object, ...]] = {}
    for path in walk(tree):
        name = str(path.relative_to(tree))
        if LEFT_OUT.fullmatch(name):
            continue
        status = path.lstat()
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            # An ACL names groups by number.
            if key != "system.posix_acl_access"
        }
        found[name] = (
            stat.S_IFMT(status.st_mode), oct(stat.S_IMODE(status.st_mode)),
            users.get(status.st_uid, status.st_uid), groups.get(status.st_gid, status.st_gid),
            tuple(sorted(xattrs.items())), content(path, name, status), dated(status),
        )  # fmt: skip
    return found


def dated(status: os.stat_result) -> int:
    """The time of a file that a package has; none of what was made with the tree."""
    age_s = time.time() - status.st_mtime
    return int(status.st_mtime) if age_s > DAY_S and stat.S_ISREG(status.st_mode) else 0


def walk(tree: Path) -> Iterator[Path]:
    for directory, folders, files in os.walk(tree):
        for name in (*folders, *files):
            yield Path(directory, name)


def content(path: Path, name: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(status.st_mode):
        return ""
    return hashlib.sha256(NORMAL.get(name, bytes)(path.read_bytes())).hexdigest()


def differences(one: Path, other: Path) -> list[str]:
    """What is not alike, as a line for each path."""
    ours, theirs = described(one), described(other)
    told = [f"only in the first: {name}" for name in sorted(ours.keys() - theirs.keys())]
    told += [f"only in the second: {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            told.append(f"{name}: {ours[name]} is {theirs[name]}")
            told += lines_that_differ(one / name, other / name)
    return told


def lines_that_differ(one: Path, other: Path) -> list[str]:
    """The lines of small texts that only one of them has."""
    if not (one.is_file() and other.is_file()) or one.stat().st_size > MOST_SHOWN_BYTES:
        return []
    ours, theirs = (path.read_bytes().split(b"\n") for path in (one, other))
    told = [f"  first: {line!r}" for line in ours if line not in theirs]
    return told + [f"  second: {line!r}" for line in theirs if line not in ours]
