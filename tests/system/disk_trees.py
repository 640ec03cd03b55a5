"""Trees with every kind of file, and what a mounted or unpacked file system makes of them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from goldsmith.host import sparse
from goldsmith.host.process import search_path

MIB = 1 << 20
OLD_S = 1_600_000_000
LATE_S = 2_000_000_000


def tool(*argv: str | os.PathLike[str], ok: tuple[int, ...] = (0,)) -> str:
    """Run a program that reads; returns its output."""
    env = {"PATH": search_path(), "LC_ALL": "C.UTF-8", "TZ": "UTC0"}
    done = subprocess.run(argv, env=env, capture_output=True, check=False)
    text = done.stdout.decode(errors="surrogateescape")
    assert done.returncode in ok, done.stderr.decode(errors="replace") + text
    return text


def make_tree(tree: Path, *, owners: bool = False, holes: bool = True) -> Path:
    """Links, holes, attributes, odd names, modes; with `owners` what only root can make."""
    (tree / "etc").mkdir(parents=True)
    (tree / "many").mkdir()
    (tree / "with blank").mkdir()
    for number in range(200):
        (tree / f"many/{number:x}").write_text(f"{number}\n" * number)
    (tree / "etc/motd").write_text("hello")
    (tree / "etc/link").symlink_to("motd")
    (tree / "etc/long").symlink_to("x" * 200)
    (tree / "etc/large").write_bytes(os.urandom(3 * MIB))
    (tree / "etc/sudo").write_bytes(b"\x7fELF" * 3000)
    (tree / "with blank/a 'quoted' name").write_text("odd")
    Path(os.fsdecode(os.fsencode(tree) + b"/etc/\xff")).write_text("not text")
    os.mkfifo(tree / "etc/pipe")
    if holes:
        with open(tree / "etc/holes", "wb") as stream:
            stream.truncate(32 * MIB)
            stream.seek(16 * MIB)
            stream.write(b"data in the middle")
    os.setxattr(tree / "etc/motd", "user.one", b"1" * 100)
    os.link(tree / "etc/motd", tree / "many/motd")
    if owners:
        os.chown(tree / "etc/motd", 1234, 70000)
        os.mknod(tree / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.setxattr(tree / "etc/sudo", "security.capability",
                    b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12))  # fmt: skip
    (tree / "etc/sudo").chmod(0o4755)
    (tree / "many").chmod(0o1777)
    tree.chmod(0o2751)
    (tree / "etc/late").write_text("later than the image")
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, (OLD_S, OLD_S), follow_symlinks=False)
    os.utime(tree / "etc/late", (LATE_S, LATE_S))
    os.utime(tree, (OLD_S - 1, OLD_S - 1))
    return tree


def describe(top: Path, *, latest_s: int, ids: bool = True) -> dict[bytes, tuple[object, ...]]:
    """Everything below a directory and itself: mode, owner, size, links, time, contents, xattrs."""
    found: dict[bytes, tuple[object, ...]] = {}
    links: dict[tuple[int, int], bytes] = {}
    for directory, directories, files in os.walk(os.fsencode(top)):
        directories.sort()
        for name in sorted((b"", *directories, *files)):
            path = os.path.join(directory, name) if name else directory
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = hash(Path(os.fsdecode(path)).read_bytes())
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISCHR(status.st_mode):
                content = status.st_rdev
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if key != "security.selinux"
            }
            relative = os.path.relpath(path, os.fsencode(top))
            if relative == b"lost+found":
                continue
            first = relative
            if not stat.S_ISDIR(status.st_mode):
                first = links.setdefault((status.st_dev, status.st_ino), relative)
            found[relative] = (
                stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode),
                (status.st_uid, status.st_gid) if ids else None,
                min(int(status.st_mtime), latest_s), content, attributes, first,
            )  # fmt: skip
    found.pop(b"lost+found", None)
    return found


def cut(image: Path, offset_bytes: int, size_bytes: int, target: Path) -> Path:
    """A part of an image as a file of its own, sparse."""
    sparse.create_sparse(target, size_bytes)
    with open(image, "rb") as reading, open(target, "r+b") as writing:
        sparse.copy_extents(
            reading.fileno(), writing.fileno(),
            source_offset=offset_bytes, length=size_bytes,
        )  # fmt: skip
    return target
