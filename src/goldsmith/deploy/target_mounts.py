"""The target's file systems, mounted as one tree, and taken away again.

Names and behaviour are fuel-agent's (`mount_target`, `umount_target`, `mount_bind`). The tree was
copied from an image that somebody else made: every place in it is resolved inside it. The caller's
mount namespace must be private.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from goldsmith.deploy.node_facts import read_facts
from goldsmith.deploy.scheme import Scheme, TargetFilesystem
from goldsmith.errors import GoldsmithError
from goldsmith.host import mounts
from goldsmith.host.confined import confined, make_directory, read_confined, write_confined
from goldsmith.host.teardown import Teardown

Say = Callable[[str], None]

PSEUDO_FILE_SYSTEMS: Final = ("/sys", "/dev", "/proc")
MTAB: Final = "/etc/mtab"
_MTAB_MARK: Final = "# while the target is mounted, in place of a link to "


class TargetMounts(AbstractContextManager["TargetMounts"]):
    """A mounted target; leaving the block unmounts it.

    `missing` are the file systems that this host's kernel cannot mount: their places in the tree
    belong to the file system above.
    """

    def __init__(self, chroot: Path, teardown: Teardown) -> None:
        self.chroot = chroot
        self.missing: list[TargetFilesystem] = []
        self._teardown = teardown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._teardown.__exit__(kind, error, trace)

    def close(self) -> None:
        """Unmount; a second call does nothing."""
        self._teardown.__exit__(None, None, None)


def mount_target(
    scheme: Scheme,
    chroot: Path,
    treat_mtab: bool = True,
    pseudo: bool = True,
    *,
    warn: Say = lambda _: None,
) -> TargetMounts:
    """Mount a scheme's file systems by depth below `chroot`, swap left out.

    With `pseudo` the host's /sys, /dev and /proc are bound into the tree. With `treat_mtab` a
    symlinked /etc/mtab is a file with the tree's mounts until `umount_target`. A file system that
    this kernel does not know is left out, and `warn` told so. Raises GoldsmithError, after what
    was mounted has been unmounted again.
    """
    if scheme.root() is None:
        raise GoldsmithError("the scheme has no file system at /: there is no target to mount")
    teardown = Teardown()
    target = TargetMounts(chroot, teardown)
    try:
        chroot.mkdir(parents=True, exist_ok=True)
        for filesystem in scheme.by_depth():
            _mount(target, teardown, filesystem, warn)
        for path in PSEUDO_FILE_SYSTEMS if pseudo else ():
            teardown.enter(f"unmount {path}", mount_bind(chroot, path))
        if treat_mtab:
            teardown.enter(f"restore {MTAB}", _mtab_file(chroot))
    except BaseException as e:
        teardown.__exit__(type(e), e, e.__traceback__)
        raise
    return target


def umount_target(target: TargetMounts) -> None:
    """Undo `mount_target`: mtab, pseudo file systems, then the file systems, deepest first."""
    target.close()


@contextmanager
def mount_bind(chroot: Path, path: str, path2: str | None = None) -> Iterator[Path]:
    """Show the host's `path` in the tree, at `path2` where that is given, while the block runs.

    The place in the tree is made where it is missing; its links are followed inside the tree.
    """
    source = Path(path)
    place = confined(chroot, path2 or path, follow_last=True)
    if source.is_dir():
        make_directory(chroot, str(place.relative_to(chroot)))
    elif not os.path.lexists(place):
        write_confined(chroot, str(place.relative_to(chroot)), b"")
    if source.is_dir() != mounts.is_directory(str(place)):
        raise GoldsmithError(f"{path} cannot be shown at {path2 or path} of the target: "
                             "one is a directory, the other is not")  # fmt: skip
    with mounts.bound(source, place):
        yield place


def _mount(
    target: TargetMounts, teardown: Teardown, filesystem: TargetFilesystem, warn: Say
) -> None:
    mount = filesystem.mount or "/"
    kind = read_facts(filesystem.node).type or filesystem.type
    place = make_directory(target.chroot, mount)
    try:
        teardown.enter(f"unmount {mount}", mounts.mounted(filesystem.node, place, kind))
    except GoldsmithError as e:
        reason = e.__cause__.errno if isinstance(e.__cause__, OSError) else None
        if reason != errno.ENODEV or mount == "/":
            sound = f"does {filesystem.node} hold a sound {kind}?"
            hint = sound if reason == errno.EINVAL else None
            raise GoldsmithError(f"{filesystem.node} cannot be mounted at {mount} of the target: "
                                 f"{e}", hint=hint) from e  # fmt: skip
        target.missing.append(filesystem)
        warn(f"this host's kernel has no {kind}: {mount} of the target is not mounted")


@contextmanager
def _mtab_file(chroot: Path) -> Iterator[None]:
    """Put a file with the tree's mounts in place of a linked /etc/mtab, for old boot loaders.

    Its first line tells what it was a link to: one that a killed run has left becomes it again.
    """
    linked_to = _link_of_mtab(chroot)
    if linked_to is None:
        yield
        return
    text = f"{_MTAB_MARK}{linked_to}\n{mtab_text(chroot, mounts.list_mounts())}"
    write_confined(chroot, MTAB, os.fsencode(text))
    try:
        yield
    finally:
        place = confined(chroot, MTAB)
        place.unlink(missing_ok=True)
        place.symlink_to(linked_to)


def _link_of_mtab(chroot: Path) -> str | None:
    place = confined(chroot, MTAB)
    if place.is_symlink():
        linked_to = os.readlink(place)
        return None if "\n" in linked_to else linked_to
    first = os.fsdecode(read_confined(chroot, MTAB) or b"").partition("\n")[0]
    return first.removeprefix(_MTAB_MARK) if first.startswith(_MTAB_MARK) else None


def mtab_text(chroot: Path, listed: Sequence[mounts.MountPoint]) -> str:
    """The lines of mtab for the mounts of a tree as a program in it sees them, rootfs left out."""
    base = os.path.realpath(chroot)
    lines = []
    for point in listed:
        inside = "/" if point.path == base else point.path.removeprefix(f"{base}/")
        if point.kind == "rootfs" or inside == point.path:
            continue
        flag = "ro" if point.read_only else "rw"
        place = "/" + inside.lstrip("/")
        lines.append(f"{_escaped(point.source)} {_escaped(place)} {point.kind} {flag} 0 0\n")
    return "".join(lines)


def _escaped(field: str) -> str:
    """getmntent(3): blanks, newlines and backslashes are written in octal."""
    return re.sub(r"[\\\s#]", lambda match: f"\\{ord(match[0]):03o}", field, flags=re.ASCII)
