"""A tree that looks like a small Debian to whoever only reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

KERNEL = "6.1.0-1"
LAID_S = 2_000_000
"""When dpkg has laid the packages; their files are older."""

PACKAGES: dict[str, tuple[str, Sequence[str]]] = {
    "base-files": ("Essential: yes", ["/etc/issue", "/etc/motd.dpkg", "/usr/lib/os-release"]),
    "initramfs-tools": (
        "Depends: kmod (>= 1), libfoo1 | libfoo0\nSuggests: busybox",
        ["/usr/sbin/update-initramfs", "/usr/share/initramfs-tools/init",
         "/etc/initramfs-tools/initramfs.conf"],
    ),
    "kmod": ("Pre-Depends: libkmod2", ["/bin/kmod", "/etc/modprobe.d/kmod.conf"]),
    "libkmod2": ("Multi-Arch: same", ["/lib/x86_64-linux-gnu/libkmod.so.2"]),
    "libfoo0": ("", ["/usr/lib/x86_64-linux-gnu/libfoo.so.0"]),
    "linux-image": ("", [f"/lib/modules/{KERNEL}/kernel/x.ko", f"/boot/config-{KERNEL}",
                         f"/boot/vmlinuz-{KERNEL}"]),
    "mawk": ("", ["/usr/bin/mawk"]),
    "udev": ("", ["/lib/udev/rules.d/60-block.rules", "/etc/udev/udev.conf"]),
    "tmux": ("Depends: libkmod2", ["/usr/bin/tmux", "/usr/share/doc/tmux/copyright"]),
}  # fmt: skip


def lay(tree: Path, path: str, content: str = "", *, mtime_s: int = 1_000_000) -> Path:
    """Write a file as a package has it."""
    place = tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content or f"content of {path}\n")
    os.utime(place, (mtime_s, mtime_s))
    return place


def debian_tree(tree: Path) -> Path:
    """Make the tree: a merged /usr, dpkg's database, a kernel, and files of nobody."""
    for name in ("bin", "sbin", "lib"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    write_status(tree)
    for name, (fields, paths) in PACKAGES.items():
        for path in paths:
            lay(tree, path)
        stem = f"{name}:amd64" if "Multi-Arch: same" in fields else name
        listed = "\n".join(["/.", "/usr", *paths])
        lay(tree, f"/var/lib/dpkg/info/{stem}.list", f"{listed}\n", mtime_s=LAID_S)
    lay(tree, f"/lib/modules/{KERNEL}/modules.dep", "x.ko:\n", mtime_s=LAID_S)
    lay(tree, "/etc/fstab", "UUID=1 / ext4\n", mtime_s=LAID_S)
    lay(tree, "/etc/motd", "hello\n", mtime_s=LAID_S)
    lay(tree, "/etc/ld.so.cache", mtime_s=LAID_S)
    lay(tree, "/usr/share/zoneinfo/Etc/UTC")
    (tree / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    lay(tree, "/var/lib/dpkg/alternatives/awk",
        "auto\n/usr/bin/awk\n\n/usr/bin/mawk\n5\n/usr/bin/gawk\n10\n")  # fmt: skip
    lay(tree, "/var/lib/dpkg/alternatives/editor", "auto\n/usr/bin/editor\n\n/usr/bin/vi\n5\n")
    (tree / "etc/alternatives").mkdir()
    (tree / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (tree / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    return tree


def write_status(tree: Path, **versions: str) -> None:
    """dpkg's status file, with other versions of some packages."""
    paragraphs = [
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
        f"Version: {versions.get(name, '1.0')}\n{fields}\n"
        for name, (fields, _) in PACKAGES.items()
    ]
    paragraphs.append("Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n")
    lay(tree, "/var/lib/dpkg/status", "\n".join(p.replace("\n\n", "\n") for p in paragraphs))
