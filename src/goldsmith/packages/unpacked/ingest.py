"""Unpacks package files, each into a directory of its digest's name: the work of `content_store`.

In processes of their own where there is much to do: threads of one interpreter wait for each other,
and so do their page faults; two were no quicker than one (Python 3.11, kernel 6.18).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import IO, Any, Final

from goldsmith.host.parallel import OnPercent, run_all
from goldsmith.host.process import Completed, run
from goldsmith.packages.deb822 import paragraphs
from goldsmith.packages.errors import PackageError
from goldsmith.packages.package_store import Archive
from goldsmith.packages.unpacked.deb_file import DebFile, Member, UnusualPackage
from goldsmith.packages.unpacked.sealed import sealed

INDEX: Final = "index"
VERSION: Final = 4
MOST_BYTES: Final = 512 << 20
"""A package file that is read into memory as a whole; larger ones are dpkg's."""
VERB: Final = "_unpack"
"""The hidden verb of such a process."""
_LITTLE_BYTES: Final = 4 << 20
"""So much is unpacked in the time in which a process starts."""
_CHUNK_BYTES: Final = 1 << 20
_FIELDS: Final = {
    "package": re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*"),
    "version": re.compile(r"[A-Za-z0-9.+:~-]+"),
    "architecture": re.compile(r"[a-z0-9][a-z0-9-]*"),
}  # fmt: skip
"""What must be right: names of files are made of it (deb-control(5))."""

Wanted = Sequence[tuple[Archive, Path]]
"""Packages, and their files."""


def unpack_all(wanted: Wanted, new: Path, processes: int) -> None:
    """Unpack packages, the largest of which come first, below an empty directory.

    Raises PackageError for a file whose content is not what the index says, and OSError.
    """
    if processes < 2 or sum(archive.size_bytes for archive, _ in wanted) < _LITTLE_BYTES:
        for archive, file in wanted:
            unpack_file(archive, file, new)
        return
    run_all({
        str(number): partial(_unpack_elsewhere, share, new)
        for number, share in enumerate(_shares(wanted, processes))
    })  # fmt: skip


def _shares(wanted: Wanted, count: int) -> list[list[tuple[Archive, Path]]]:
    """The packages in lists of about the same size."""
    shares: list[list[tuple[Archive, Path]]] = [[] for _ in range(min(count, len(wanted)))]
    sizes = [0] * len(shares)
    for one in wanted:
        least = sizes.index(min(sizes))
        shares[least].append(one)
        sizes[least] += one[0].size_bytes
    return shares


def _unpack_elsewhere(share: Wanted, new: Path, _on_percent: OnPercent) -> None:
    """Unpack in a process of its own, and raise here what was raised there."""
    rows = [[one.name, one.size_bytes, one.sha256, os.fspath(file)] for one, file in share]
    argv = [sys.executable, "-P", "-m", "goldsmith", VERB, os.fspath(new.absolute())]
    done = run(argv, input=json.dumps(rows).encode(), capture=True, check=False)
    if done.status == 0:
        return
    told: Any = None
    with contextlib.suppress(ValueError):
        told = json.loads(done.text)
    if not isinstance(told, dict):
        raise PackageError(_ended(done), hint="nothing of it is kept: build again")
    if "errno" in told:
        raise OSError(told["errno"], os.strerror(told["errno"]), told["file"])
    raise PackageError(told["error"], hint=told["hint"])


def _ended(done: Completed) -> str:
    """What is known of a process that could not tell by itself what went wrong."""
    if done.status < 0:
        short = ": the kernel does that where memory is short" if -done.status == SIGKILL else ""
        return f"a process that unpacked packages was killed by signal {-done.status}{short}"
    last = f": {done.tail[-1]}" if done.tail else ""
    return f"a process that unpacked packages ended with {done.status}{last}"


def run_share(new: Path, rows: bytes) -> dict[str, Any] | None:
    """The other side of `_unpack_elsewhere`: unpack; returns what went wrong, None for nothing."""
    try:
        for name, size_bytes, sha256, file in json.loads(rows):
            unpack_file(Archive(name, size_bytes, sha256), Path(file), new)
    except PackageError as e:
        return {"error": e.message, "hint": e.hint}
    except OSError as e:
        if e.errno is None:
            raise
        return {"errno": e.errno, "file": e.filename}
    return None


def _read(archive: Archive, file: Path) -> bytes:
    """The content of a package file, which is what is verified: nobody reads it again."""
    if archive.size_bytes > MOST_BYTES:
        raise PackageError(f"{archive.name} is larger than {MOST_BYTES >> 20} MiB")
    try:
        content = file.read_bytes()
    except OSError as e:
        raise PackageError(f"{file} cannot be read: {e.strerror}") from e
    if hashlib.sha256(content).hexdigest() != archive.sha256:
        raise PackageError(
            f"{archive.name} is not the package that the signed index names",
            hint="`goldsmith cache prune --all` removes packages that were kept",
        )
    return content


def unpack_file(archive: Archive, file: Path, new: Path) -> None:
    """Unpack one package into a directory of its digest's name."""
    content = _read(archive, file)
    directory = new / archive.sha256
    directory.mkdir()
    try:
        _unpack(content, directory)
    except PackageError as e:
        raise PackageError(f"{archive.name} cannot be unpacked: {e.message}", hint=e.hint) from e
    directory.chmod(0o755)


def _unpack(content: bytes, directory: Path) -> None:
    package = DebFile.parse(content)
    control = directory / "control"
    control.mkdir()
    files_of_control = package.control_files()
    for name, file in files_of_control.items():
        (control / name).write_bytes(file.content)
        (control / name).chmod(file.mode)
        os.utime(control / name, (file.mtime_s, file.mtime_s))
    controls = [
        (name, file.mode, hashlib.sha256(file.content).hexdigest())
        for name, file in files_of_control.items()
    ]
    text = files_of_control["control"].content.decode("utf-8", "replace")
    fields = next(paragraphs(text), {})
    for name, pattern in _FIELDS.items():
        value = fields.get(name, "")
        if not pattern.fullmatch(value):
            raise PackageError(
                f"a package's control file has no {name} of the usual form: {value!r}"
            )
    members: list[Member] = []
    plain: dict[str, Member] = {}
    unusual = ""
    root, folders = directory / "root", {""}
    try:
        root.mkdir()
        with package.files() as files:
            for member, stream in files:
                _require_one_file(member, plain)
                members.append(_write(member, stream, os.fspath(root), folders))
                if member.kind == "f":
                    plain[member.path] = member
        for member in reversed(members):
            if member.kind == "d":
                os.chmod(root / member.path, member.mode)
    except UnusualPackage as e:
        unusual, members = str(e), []
        shutil.rmtree(root)
    rows = [[getattr(one, name) for name in Member.__slots__] for one in members]
    listed = files_of_control.get("conffiles")
    conffiles = listed.content.decode("utf-8", "surrogateescape") if listed else ""
    lines = [line.strip() for line in conffiles.split("\n") if line.strip()]
    text = json.dumps({
        "version": VERSION, "fields": fields, "members": rows, "conffiles": lines,
        "unusual": unusual, "controls": controls,
    })  # fmt: skip
    (directory / INDEX).write_text(sealed(text))


def _require_one_file(link: Member, plain: Mapping[str, Member]) -> None:
    """A second name must not change the file: dpkg takes mode, owner and time of the last one."""
    one = plain.get(link.target) if link.kind == "h" else None
    if one is not None:
        same = (one.mode, one.uid, one.gid, one.mtime_s)
        if (link.mode, link.uid, link.gid, link.mtime_s) != same:
            raise UnusualPackage(f"{link.path} is another name of {one.path}, and not alike")


def _write(member: Member, file: IO[bytes] | None, root: str, folders: set[str]) -> Member:
    """Write one member, and return it with its content's digest.

    `folders` are the directories so far. What is there already, or stands on a link, makes the
    package unusual.
    """
    place = f"{root}/{member.path}" if member.path else root
    try:
        _require_folder(member.path, folders)
        if member.kind == "d":
            if member.path:
                os.mkdir(place)
                folders.add(member.path)
            os.chown(place, member.uid, member.gid)
            return member
        if member.kind == "h":
            _require_folder(member.target, folders)
            if member.target in folders:
                raise UnusualPackage(f"{member.path} is a second name of a directory")
            os.link(f"{root}/{member.target}", place, follow_symlinks=False)
            return member
        if member.kind == "l":
            os.symlink(member.target, place)
            os.chown(place, member.uid, member.gid, follow_symlinks=False)
            os.utime(place, (member.mtime_s, member.mtime_s), follow_symlinks=False)
            return member
        return replace(member, sha256=_write_file(member, file, place))
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as e:
        raise UnusualPackage(f"{member.path}: {e.strerror}") from e


def _write_file(member: Member, file: IO[bytes] | None, place: str) -> str:
    """Write a plain file; returns the digest of its content."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(place, flags, 0o600)
    try:
        while file is not None and (data := file.read(_CHUNK_BYTES)):
            digest.update(data)
            left = memoryview(data)
            while left:
                # The last that fits on a disk is written in part, and without an error.
                left = left[os.write(fd, left) :]
        os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode)
        os.utime(fd, (member.mtime_s, member.mtime_s))
    finally:
        os.close(fd)
    return digest.hexdigest()


def _require_folder(path: str, folders: set[str]) -> None:
    """A link of the archive itself must never lead a later member out of its directory."""
    folder = path.rpartition("/")[0]
    if folder not in folders:
        raise UnusualPackage(f"{path} lies behind a link, or in a directory that is not there")
