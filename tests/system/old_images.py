"""Images of small systems, as other people have made them: by sfdisk, mkfs, mtools, qemu-img."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from private_namespace import run_privately

MIB = 1 << 20
ROOT_UUID = "11111111-2222-4333-8444-555555555555"
BOOT_UUID = "66666666-7777-4888-8999-000000000000"
ESP_ID = "ABCD1234"
FSTAB = f"""# <file system> <mount point> <type> <options> <dump> <pass>
UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1
UUID={BOOT_UUID} /boot ext2 defaults 0 2
UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1
/dev/disk/by-label/nowhere /srv ext4 nofail 0 2
tmpfs /tmp tmpfs defaults 0 0
"""


def call(*argv: str | Path, text: str | None = None) -> str:
    """Run a program and return what it prints."""
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True,
                          input=text).stdout  # fmt: skip


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked(archive: Path, target: Path) -> Path:
    """A directory with the small tree of the tests, and files of every kind in it."""
    target.mkdir()
    call("tar", "-xf", archive, "-C", target)
    (target / "old").mkdir(exist_ok=True)
    (target / "old/a").write_text("old a")
    (target / "old/linked").write_text("two names")
    (target / "old/other-name").hardlink_to(target / "old/linked")
    (target / "old/gone").write_text("goes away")
    (target / "old/directory").mkdir()
    (target / "old/directory/inside").write_text("inside")
    (target / "old/setuid").write_bytes(b"#!/bin/sh\n")
    (target / "old/setuid").chmod(0o4711)
    for name in ("boot/efi", "srv", "opt"):
        (target / name).mkdir(parents=True, exist_ok=True)
    return target


def made(file: Path, kind: str, size_mib: int, tree: Path | None, *, uuid: str = ROOT_UUID,
         label: str = "system") -> Path:  # fmt: skip
    """One file system in a file of its own; xfs is filled by mounting it privately."""
    with file.open("wb") as handle:
        handle.truncate(size_mib * MIB)
    filled = ["-d", str(tree)] if tree else []
    if kind.startswith("ext"):
        call(f"mkfs.{kind}", "-q", "-F", "-U", uuid, "-L", label, *filled, file)
    elif kind == "btrfs":
        root = ["--rootdir", str(tree)] if tree else []
        call("mkfs.btrfs", "-q", "-U", uuid, "-L", label, *root, file)
    elif kind == "xfs":
        call("mkfs.xfs", "-q", "-m", f"uuid={uuid}", "-L", label, file)
        if tree is not None:
            look(file, lambda top: call("cp", "-a", f"{tree}/.", f"{top}/"), kind="xfs", write=True)
    else:
        call("mkfs.vfat", "-i", ESP_ID, "-n", "ESP", file)
        for path in sorted(tree.rglob("*")) if tree else []:
            name = f"::/{path.relative_to(tree)}" if tree else ""
            call(*(["mmd", "-i", file, name] if path.is_dir() else
                   ["mcopy", "-i", file, path, name]))  # fmt: skip
    return file


def disk(path: Path, parts: list[tuple[Path | None, str]], *, label: str = "gpt",
         size_mib: int = 16) -> Path:  # fmt: skip
    """A partitioned raw image of these file systems, each with its type in sfdisk's words."""
    sizes = [part.stat().st_size // MIB if part else size_mib for part, _ in parts]
    with path.open("wb") as file:
        file.truncate((sum(sizes) + 2) * MIB)
    lines, starts, at = [f"label: {label}"], [], 1
    for size, (_, kind) in zip(sizes, parts, strict=True):
        lines.append(f"start={at * 2048}, size={size * 2048}, type={kind}")
        starts.append(at)
        at += size
    call("sfdisk", "--quiet", path, text="\n".join([*lines, ""]))
    for start, (part, _) in zip(starts, parts, strict=True):
        if part is not None:
            call("dd", f"if={part}", f"of={path}", "bs=1M", "conv=notrunc,sparse",
                 f"seek={start}")  # fmt: skip
    return path


def look(
    image: Path, body: Callable[[Path], Any], *, offset: int = 0, kind: str = "ext4",
    write: bool = False,
) -> Any:  # fmt: skip
    """What `body` finds in a file system of an image, mounted where only it sees the mount."""
    quiet = {"ext4": ",noload", "xfs": ",nouuid"}.get(kind, "")
    mode = ("rw" + (",nouuid" if kind == "xfs" else "")) if write else f"ro{quiet}"

    def inside() -> Any:
        place = image.with_name(f"{image.name}.mounted")
        place.mkdir()
        try:
            call("mount", "-t", kind, "-o", f"{mode},loop,offset={offset}", image, place)
            try:
                return body(place)
            finally:
                call("umount", place)
        finally:
            place.rmdir()

    return run_privately(inside)


def in_esp(image: Path, offset: int) -> dict[str, str]:
    """The files of a vfat in an image with their texts."""
    where = f"{image}@@{offset}"
    names = call("mdir", "-/", "-b", "-a", "-i", where, "::").splitlines()
    return {name.removeprefix("::/"): call("mtype", "-i", where, name)
            for name in names if not name.endswith("/")}  # fmt: skip


class Changing:
    """A directory with a template of a `chroot` source, and goldsmith run in it."""

    def __init__(self, path: Path, goldsmith: Any) -> None:
        self.path = path
        self.state = path / "cache"
        self._goldsmith = goldsmith

    def write(self, source: Path | str, provisioners: str = "", *, options: str = "",
              formats: str = '["raw"]', more: str = "") -> None:  # fmt: skip
        """Write `t.pkr.hcl`, of a source "new"."""
        (self.path / "t.pkr.hcl").write_text(
            f'source "chroot" "new" {{\n  source = "{source}"\n  formats = {formats}\n'
            f'{options}\n}}\nbuild {{\n  sources = ["source.chroot.new"]\n{provisioners}{more}}}\n'
        )

    def run(self, *words: str, after: tuple[str, ...] = ()) -> Any:
        """Any command on the template; `after` are words behind its name."""
        environment = {"GOLDSMITH_CACHE_DIR": str(self.state)}
        return self._goldsmith(*words, "t.pkr.hcl", *after, cwd=self.path, env=environment)

    def built(self, *flags: str) -> str:
        """Build, and insist that it works and leaves no run behind; returns its words."""
        result = self.run("build", *flags)
        text: str = result.stdout + result.stderr
        assert result.status == 0, text
        assert self.leftovers() == []
        return text

    def failed(self, *flags: str) -> str:
        """Build, and insist that it fails as it should and leaves no file; returns its words."""
        before = self._listing()
        result = self.run("build", *flags)
        text: str = result.stdout + result.stderr
        assert result.status == 1, text
        assert "Traceback" not in text
        assert "defect of goldsmith" not in text
        assert self._listing() == before
        assert self.leftovers() == []
        return text

    def _listing(self) -> set[str]:
        return {str(path) for path in self.path.rglob("*") if not path.is_relative_to(self.state)}

    def leftovers(self) -> list[str]:
        """Half-written files and run directories."""
        runs = self.state / "runs"
        found = list(self.path.rglob("*.partial"))
        if runs.is_dir():
            found += [path for path in runs.iterdir() if path.name != ".lock"]
        return [str(path) for path in found]

    @property
    def image(self) -> Path:
        """The new raw image."""
        return self.path / "output/new.raw"


def shell(*commands: str, more: str = "network = false") -> str:
    """A shell provisioner of these commands."""
    lines = ", ".join('"' + c.replace("\\", "\\\\").replace('"', '\\"') + '"' for c in commands)
    return f'  provisioner "shell" {{\n    inline = [{lines}]\n    {more}\n  }}\n'
