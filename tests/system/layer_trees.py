"""Trees with everything that a layer promises to keep, and their description for comparisons."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Any

from goldsmith.layers.keys import StepKey
from goldsmith.layers.records import MadeStep

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
EPOCH_S = 1_700_000_000
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (0x01, 7, 0xFFFFFFFF), (0x02, 5, 1234), (0x04, 5, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)  # fmt: skip
"""posix_acl_xattr: user::rwx user:1234:r-x group::r-x mask::r-x other::---"""


def make_rich_tree(top: Path) -> None:
    """Fill an existing directory with a file of every kind, and every attribute."""
    for name in ("etc/deep", "opaque/below", "moved", "gone"):
        (top / name).mkdir(parents=True)
    (top / "etc/passwd").write_text("root:x:0:0\n")
    (top / "etc/deep/setuid").write_bytes(b"\x7fELF")
    (top / "etc/deep/setuid").chmod(0o4755)
    os.chown(top / "etc/passwd", 5, 6)
    os.link(top / "etc/passwd", top / "etc/again")
    os.link(top / "etc/passwd", top / "a-first")
    (top / "link").symlink_to("etc/\tpasswd")
    os.lchown(top / "link", 7, 8)
    os.mkfifo(top / "fifo")
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 3))
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "socket", stat.S_IFSOCK | 0o755)
    for name, value in (("user.b", b"2"), ("trusted.own", b"\0"), ("user.a", b"1"),
                        ("security.capability", CAPABILITY),
                        ("system.posix_acl_access", _ACL)):  # fmt: skip
        os.setxattr(top / "etc/deep/setuid", name, value)
    os.setxattr(top / "etc", "system.posix_acl_default", _ACL)
    os.setxattr(top / "link", "trusted.link", b"1", follow_symlinks=False)
    with (top / "sparse").open("wb") as sparse:
        sparse.truncate(5 << 20)
        sparse.seek(3 << 20)
        sparse.write(b"data")
    (top / "sparse").chmod(0o600)
    (top / "opaque/below/file").write_text("hidden later")
    (top / "moved/file").write_text("moved")
    (top / "gone/file").write_text("removed later")
    (top / "name\nwith\ttabs\\").write_text("odd")
    os.close(os.open(os.fsencode(top) + b"/no-utf8-\xff", os.O_CREAT | os.O_WRONLY, 0o644))
    top.chmod(0o1755)
    for directory, names, files in os.walk(top, topdown=False):
        for name in (*names, *files):
            os.utime(Path(directory, name), (EPOCH_S, EPOCH_S), follow_symlinks=False)
    os.utime(top, (EPOCH_S, EPOCH_S))


def change_rich_tree(top: Path) -> None:
    """What a step does on it: links, renamed and replaced directories, removals, attributes."""
    (top / "etc/again").write_text("changed by its second name\n")
    os.rename(top / "moved", top / "etc/elsewhere")
    for name in ("opaque/below/file", "gone/file"):
        (top / name).unlink()
    (top / "opaque/below").rmdir()
    (top / "opaque").rmdir()
    (top / "opaque").mkdir()
    (top / "opaque/new").write_text("only this")
    (top / "gone").rmdir()
    (top / "null").unlink()
    os.setxattr(top / "etc/passwd", "user.added", b"1")
    os.link(top / "etc/deep/setuid", top / "second-name")


def describe(top: Path) -> dict[str, tuple[object, ...]]:
    """All that must be equal in equal trees, by relative path; link groups by their first name."""
    found: dict[str, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], str] = {}
    paths = [top, *sorted(top.rglob("*"))]
    for path in paths:
        relative, status = os.path.relpath(path, top), os.lstat(path)
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        first = relative
        if not stat.S_ISDIR(status.st_mode):
            first = groups.setdefault((status.st_dev, status.st_ino), relative)
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        found[relative] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev,
                           status.st_mtime_ns, content, xattrs, first)  # fmt: skip
    return found


def made(name: str = "step", parent: str = "", **fields: Any) -> MadeStep:
    """What a builder says of a step; another name is another key."""
    key = StepKey({"type": "shell/1", "config": name})
    given: dict[str, Any] = {"step": "shell", "label": name, "duration_s": 1.0, **fields}
    return MadeStep(key=key, parent=parent, **given)
