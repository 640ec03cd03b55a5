"""Bootstrap images: kernel, initramfs and squashfs root of a system that runs from memory.

The files and the fields of metadata.yaml are fuel-agent's. They are made of an image set whose
root is a squashfs and whose /boot is an ext2 of its own, so the root has no second kernel in it and
nothing is mounted to take one out.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from goldsmith.disk.containers import pack
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host.digests import stream_digests
from goldsmith.host.process import run

KERNEL: Final = "vmlinuz"
INITRAMFS: Final = "initrd.img"
ROOT: Final = "root.squashfs"
METADATA: Final = "metadata.yaml"
CONTAINERS: Final = ("tar.gz", "directory")
MODULE_NAMES: Final = {"kernel": KERNEL, "initrd": INITRAMFS, "rootfs": ROOT}
"""fuel-agent's names of the parts, and the files that they are by default."""

LARGEST_METADATA_BYTES: Final = 16 << 20
_TIMEOUT_S: Final = 600.0
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class BootstrapDescription:
    """What metadata.yaml says beside the files; `uris` are where each part will be published."""

    uuid: str
    label: str = ""
    extend_kopts: str = ""
    os: Mapping[str, Any] | None = None
    repos: Sequence[Mapping[str, Any]] = ()
    all_packages: Mapping[str, str] | None = None
    uris: Mapping[str, str] | None = None


def take_boot_files(boot_image: Path, directory: Path) -> None:
    """Copy the one kernel and its initramfs out of an ext2 image; nothing is mounted.

    Raises GoldsmithError unless there is exactly one of each.
    """
    names = _files_of(boot_image)
    for begin, target in (("vmlinuz", KERNEL), ("initrd", INITRAMFS)):
        found = [name for name in names if name.startswith(begin)]
        if len(found) != 1:
            what = ", ".join(found) if found else "none"
            raise GoldsmithError(f"/boot has to have exactly one {begin}*: it has {what}",
                                 hint="install one kernel package")  # fmt: skip
        if not _PLAIN_NAME.fullmatch(found[0]):
            raise GoldsmithError(f"{found[0]!r} in /boot is not a plain file name")
        place = directory / target
        run(["debugfs", "-R", f"dump /{found[0]} {target}", os.path.abspath(boot_image)],
            cwd=directory, timeout_s=_TIMEOUT_S)  # fmt: skip
        if not place.is_file() or not place.stat().st_size:
            raise GoldsmithError(f"{found[0]} cannot be read from {boot_image}")
        place.chmod(0o644)


def _files_of(image: Path) -> list[str]:
    """The regular files at the top of an ext2 image."""
    done = run(["debugfs", "-R", "ls -p /", os.path.abspath(image)], capture=True,
               timeout_s=_TIMEOUT_S)  # fmt: skip
    names = []
    for line in done.text.splitlines():
        # /inode/mode/uid/gid/name/size/; a regular file's mode begins with 10.
        fields = line.split("/")
        if len(fields) > 6 and fields[2].startswith("10"):
            names.append(fields[5])
    return sorted(names)


def write_bootstrap(
    parts: Mapping[str, Path], described: BootstrapDescription, output: Path, container: str
) -> Path:
    """Write a bootstrap image: a tar.gz, or a directory of that name; returns where it is.

    `parts` are the files by fuel-agent's names (kernel, initrd, rootfs). It has its name only when
    it is complete. Raises GoldsmithError when something is there already.
    """
    if container not in CONTAINERS:
        raise GoldsmithError(f"{container!r} is not a form of a bootstrap image",
                             hint=f"choose one of {', '.join(CONTAINERS)}")  # fmt: skip
    require_free(output)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
        place = Path(name, "image")
        place.mkdir()
        modules = {}
        for part, source in parts.items():
            target = place / MODULE_NAMES[part]
            _copy(source, target)
            modules[part] = _module(part, target, described)
        document = _document(described, modules)
        (place / METADATA).write_text(yaml.safe_dump(document, sort_keys=False))
        if container == "directory":
            os.rename(place, output)
        else:
            _write_archive(place, Path(name), output)
    _sync_directory(output.parent)
    return output


def require_free(output: Path) -> None:
    """Raise GoldsmithError unless a bootstrap image can be written under this name."""
    if os.path.lexists(output):
        raise GoldsmithError(f"{output} is there already", hint="remove it, or name another place")
    if not output.parent.is_dir():
        raise GoldsmithError(f"there is no directory {output.parent} to write {output.name} to")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        raise explain_os_error(e) from e


def _module(part: str, file: Path, described: BootstrapDescription) -> dict[str, Any]:
    with open(file, "rb") as stream:
        digests = stream_digests(stream, ("md5", "sha256"))
    module = {"raw_md5": digests["md5"], "raw_sha256": digests["sha256"],
              "raw_size": file.stat().st_size, "file": file.name}  # fmt: skip
    uri = (described.uris or {}).get(part)
    return module | ({"uri": uri} if uri else {})


def _document(described: BootstrapDescription, modules: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "modules": dict(modules), "uuid": described.uuid,
        "label": described.label or described.uuid, "extend_kopts": described.extend_kopts,
        "os": dict(described.os or {}), "repos": [dict(repo) for repo in described.repos],
        "all_packages": dict(described.all_packages or {}),
    }  # fmt: skip


def _write_archive(place: Path, scratch: Path, output: Path) -> None:
    """A tar with fixed owners and times, packed by all processors."""
    archive, packed = scratch / "image.tar", scratch / "image.tar.gz"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        # The metadata first: a reader knows what follows.
        for path in sorted(place.iterdir(), key=lambda p: (p.name != METADATA, p.name)):
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = path.stat().st_size, 0o644
            with open(path, "rb") as stream:
                tar.addfile(member, stream)
    pack(archive, packed, "gzip")
    os.rename(packed, output)


def import_bootstrap(archive: Path, directory: Path) -> Path:
    """Unpack a bootstrap image into a directory of its own, named by its UUID; returns that.

    Only the plain files that its metadata names are taken, and only if their sizes and digests are
    right. Raises GoldsmithError for anything else, and when the UUID is there already.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".import.", dir=directory) as name:
            place = Path(name, "image")
            place.mkdir(mode=0o755)
            with gzip.open(archive) as stream:
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    _unpack(tar, place, archive)
                while stream.read(1 << 20):  # to its checksum, which stands at the end
                    pass
            uuid = _check(place, archive)
            if os.path.lexists(directory / uuid):
                raise GoldsmithError(f"the bootstrap image {uuid} is in {directory} already")
            os.rename(place, directory / uuid)
            _sync_directory(directory)
            return directory / uuid
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as e:
        raise GoldsmithError(f"{archive} is not a whole tar.gz of a bootstrap image: {e}") from e
    except OSError as e:
        raise explain_os_error(e) from e


def _unpack(tar: tarfile.TarFile, place: Path, archive: Path) -> None:
    for member in tar:
        name = member.name.removeprefix("./")
        if member.isdir() and name in ("", "."):
            continue
        source = tar.extractfile(member) if member.isreg() and _PLAIN_NAME.fullmatch(name) else None
        if source is None:
            raise GoldsmithError(f"{archive} has {member.name!r}: an image has plain files only")
        with source, open(place / name, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            os.fsync(target.fileno())


def _check(place: Path, archive: Path) -> str:
    """Compare the files with their metadata, and remove those that it does not name."""
    document = _read_metadata(place / METADATA, archive)
    uuid, modules = document.get("uuid"), document.get("modules")
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid) or not isinstance(modules, dict):
        raise GoldsmithError(f"{METADATA} of {archive} names no UUID and modules")
    for part, module in modules.items():
        file = module.get("file") if isinstance(module, dict) else None
        if not isinstance(file, str) or not _PLAIN_NAME.fullmatch(file):
            raise GoldsmithError(f"{METADATA} of {archive}: {part} names no plain file")
        _check_file(place / file, module, archive)
    named = {METADATA, *(module["file"] for module in modules.values())}
    for path in place.iterdir():
        if path.name not in named:
            path.unlink()
    return uuid


def _read_metadata(path: Path, archive: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > LARGEST_METADATA_BYTES:
        raise GoldsmithError(f"{archive} has no {METADATA} of a bootstrap image")
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise GoldsmithError(f"{METADATA} of {archive} cannot be read: {e}") from e
    if not isinstance(document, dict):
        raise GoldsmithError(f"{METADATA} of {archive} is not a mapping")
    return document


def _check_file(path: Path, module: Mapping[str, Any], archive: Path) -> None:
    if not path.is_file():
        raise GoldsmithError(f"{archive} lacks {path.name}, which its metadata names")
    algorithm = "sha256" if "raw_sha256" in module else "md5"
    with open(path, "rb") as stream:
        digest = stream_digests(stream, (algorithm,))[algorithm]
    if path.stat().st_size != module.get("raw_size") or digest != module.get(f"raw_{algorithm}"):
        raise GoldsmithError(f"{path.name} of {archive} is not what its metadata says: "
                             "the file is damaged")  # fmt: skip


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
