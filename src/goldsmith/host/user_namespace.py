"""A user namespace in which an ordinary user is root over the ids that are his own.

Inside, id 0 is the user himself and the ids from 1 on are his subordinate ids (subuid(5)), so a
tree can have files of every owner, and what root inside writes outside of the tree belongs to the
user. Only newuidmap(1) and newgidmap(1) may map more than one id, and only from outside: so the
process that enters and the one that maps are two.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import HostError
from goldsmith.host import kernel, mounts, process
from goldsmith.host.process import find_tool, get_tool

_NOBODY: Final = 65534
NEEDED_IDS: Final = 65534
"""From 1 up to `nobody`, the highest id that Debian's packages give to a file."""

_FIRST_SUBORDINATE: Final = 100_000
_MAPPERS: Final = ("newuidmap", "newgidmap")
_SETTINGS: Final = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
    # Ubuntu since 23.10: what a program without a profile enters has no capabilities.
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)
"""Settings below /proc/sys, the value that forbids user namespaces, one that allows them."""

_PLACES: Final = ("/mnt", "/media", "/srv", "/root")


@dataclass(frozen=True, slots=True)
class IdRange:
    """Consecutive ids outside, which are 1 and following inside."""

    start: int
    count: int

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.start + self.count


@dataclass(frozen=True, slots=True)
class IdMap:
    """The ids of the namespace: the user's own, which are 0 inside, and his subordinate ones."""

    uid: int
    gid: int
    users: IdRange
    groups: IdRange

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The ids by which the namespace knows an owner and a group of the host."""
        return _inside(uid, self.uid, self.users), _inside(gid, self.gid, self.groups)

    def unshare_words(self) -> list[str]:
        """Options of unshare(1) (util-linux 2.38 or later) for a namespace with this map."""
        users, groups = (f"{r.start},1,{r.count}" for r in (self.users, self.groups))
        return ["--user", "--map-root-user", f"--map-users={users}", f"--map-groups={groups}"]


def _inside(number: int, own: int, others: IdRange) -> int:
    if number == own:
        return 0
    return number - others.start + 1 if number in others else _NOBODY


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something for want of which this user cannot have the namespace."""

    finding: str
    remedy: str
    packages: tuple[str, ...] = ()


def owners_inside() -> Callable[[int, int], tuple[int, int]] | None:
    """How owners of files will be seen where this user builds; None for a user who is root."""
    return None if os.geteuid() == 0 else id_map().inside


def is_inside() -> bool:
    """Whether this process is in a user namespace of somebody: root in it is not the host's."""
    words = Path("/proc/self/uid_map").read_text().split()
    return words != ["0", "0", "4294967295"]


def host_obstacles(
    root: Path = Path("/"), find: Callable[[str], str | None] = find_tool
) -> list[Obstacle]:
    """What keeps every ordinary user of the host whose files are below `root` from it."""
    found = []
    for name, forbidding, allowing in _SETTINGS:
        path = root / "proc/sys" / name
        if path.is_file() and path.read_text().strip() == forbidding:
            key = name.replace("/", ".")
            found.append(
                Obstacle(f"this host's {key} is {forbidding}", f"sysctl -w {key}={allowing}")
            )
    missing = [tool for tool in _MAPPERS if find(tool) is None]
    if missing:
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        found.append(Obstacle(what, "apt-get install uidmap", ("uidmap",)))
    return found


def user_obstacles(uid: int, name: str, root: Path = Path("/")) -> list[Obstacle]:
    """What keeps this user from it: subordinate ids that nobody has given to him."""
    found = []
    for file, option in (("subuid", "--add-subuids"), ("subgid", "--add-subgids")):
        path = root / "etc" / file
        if _range_of(path, uid, name) is None:
            start = _first_free(path)
            last = start + 65535
            found.append(
                Obstacle(
                    f"/etc/{file} gives {name} no {NEEDED_IDS} ids in a row",
                    f"usermod {option} {start}-{last} {name}",
                )
            )
    return found


def _entries(path: Path) -> Iterator[tuple[str, IdRange]]:
    """The owner (a name or a number) and the ids of each line of a file as in subuid(5)."""
    if not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        owner, *numbers = line.split(":")
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            yield owner, IdRange(int(numbers[0]), int(numbers[1]))


def _range_of(path: Path, uid: int, name: str) -> IdRange | None:
    """The user's first range that is long enough."""
    ranges = (ids for owner, ids in _entries(path) if owner in (name, str(uid)))
    return next((ids for ids in ranges if ids.count >= NEEDED_IDS), None)


def _first_free(path: Path) -> int:
    return max((ids.start + ids.count for _, ids in _entries(path)), default=_FIRST_SUBORDINATE)


def user_name(uid: int) -> str:
    """The name of a user, his number where he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def id_map(root: Path = Path("/")) -> IdMap:
    """The map of the user who runs this; raises HostError that names every obstacle."""
    uid = os.getuid()
    name = user_name(uid)
    found = [*host_obstacles(root), *user_obstacles(uid, name, root)]
    users = _range_of(root / "etc/subuid", uid, name)
    groups = _range_of(root / "etc/subgid", uid, name)
    if found or users is None or groups is None:
        remedies = "; ".join(dict.fromkeys(obstacle.remedy for obstacle in found))
        raise HostError(
            "building an image without root needs a user namespace, and "
            + "; ".join(obstacle.finding for obstacle in found),
            hint=f"as root: {remedies}; or run the same command as root (sudo)",
        )
    return IdMap(uid, os.getgid(), users, groups)


def require(root: Path = Path("/")) -> IdMap:
    """The map, after a namespace with it was made and left again; raises HostError."""
    ids = id_map(root)
    argv = ["unshare", *ids.unshare_words(), "--mount", "--pid", "--fork", "--mount-proc", "true"]
    done = process.run(argv, check=False)
    if done.status != 0:
        raise HostError(
            "building an image without root needs a user namespace with mounts of its own, and "
            "this host refuses it: " + ("; ".join(done.tail) or f"status {done.status}"),
            hint="in a container: allow user namespaces there, and do not mask /proc; "
            "or run the same command as root",
        )
    return ids


def run_inside(argv: Sequence[str | os.PathLike[str]]) -> None:
    """Run a program of this host as root of the namespace; raises CommandFailed, HostError."""
    process.run(["unshare", *id_map().unshare_words(), "--", *argv])


def map_ids(pid: int, ids: IdMap) -> None:
    """Give the namespace that a child of ours has entered its ids; raises CommandFailed."""
    for tool, own, range in (
        ("newuidmap", ids.uid, ids.users), ("newgidmap", ids.gid, ids.groups),
    ):  # fmt: skip
        lines = (0, own, 1, 1, range.start, range.count)
        process.run([get_tool(tool), str(pid), *map(str, lines)])


def enter(tell: Callable[[], object], wait: Callable[[], bool]) -> None:
    """Enter a new user namespace and become root in it.

    `tell` says to whoever maps the ids that it is time to, `wait` returns whether that is done.
    Supplementary groups stay, for the files that the user may read by them; inside they have no
    name. Raises HostError; clears the parent-death signal.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    except OSError as e:
        raise HostError(
            f"this host does not allow new user namespaces: {e.strerror}",
            hint="`goldsmith doctor` says what forbids them",
        ) from e
    tell()
    if not wait():
        raise HostError("nobody has mapped the ids of the build's user namespace")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def first_foreign(tree: Path, ids: IdMap) -> Path | None:
    """A file of a tree whose owner or group has no id in the namespace; None when all have.

    To be asked outside of the namespace, where such ids can be told apart. What is in directories
    that the user cannot read (one of his subordinate ids made them) is not looked at.
    """
    places = [tree]
    while places:
        place = places.pop()
        status = os.lstat(place)
        user_is_known = status.st_uid == ids.uid or status.st_uid in ids.users
        if not user_is_known or (status.st_gid != ids.gid and status.st_gid not in ids.groups):
            return place
        if mounts.is_directory(str(place)) and os.access(place, os.R_OK | os.X_OK):
            places += place.iterdir()
    return None


def make_doorway() -> Path | None:
    """An empty directory that every id of the namespace can reach, in this mount namespace only.

    APT fetches as a user of its own, who cannot enter a home directory. It is made in memory over
    a directory of the host that has nothing to be seen; None when there is no such directory.
    """
    for name in _PLACES:
        if _hides_nothing(name):
            mounts.mount("tmpfs", name, "tmpfs", flags=mounts.MS_NOSUID, options="mode=755")
            place = Path(name, "tree")
            place.mkdir(mode=0o755)
            return place
    return None


def _hides_nothing(directory: str) -> bool:
    try:
        return mounts.is_directory(directory) and not os.listdir(directory)
    except PermissionError:
        return True
