"""The texts that GRUB reads: the first grub.cfg, and the defaults for those of update-grub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.errors import GoldsmithError

TIMEOUT_S: Final = 1
"""Long enough to press a key on a serial console, short enough for a cloud."""

_SERIAL = re.compile(r"(?:^|\s)console=ttyS(\d+)(?:,(\d+))?")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in the tree's /boot: its version and the names of its files there."""

    version: str
    image: str
    initrd: str | None = None


def find_kernels(tree: Path) -> list[Kernel]:
    """The kernels in a tree's /boot, newest first."""
    boot = tree / "boot"
    found = []
    for path in boot.glob("vmlinuz-*") if boot.is_dir() else ():
        version = path.name.removeprefix("vmlinuz-")
        initrd = next((name for name in (f"initrd.img-{version}", f"initramfs-{version}.img")
                       if (boot / name).is_file()), None)  # fmt: skip
        found.append(Kernel(version, path.name, initrd))
    return sorted(found, key=lambda kernel: _version_key(kernel.version), reverse=True)


def _version_key(version: str) -> list[tuple[int, int, str]]:
    """Numbers by value and words by letter, a number above a word as in 6.1.0 and 6.1-rc1."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part)
            for part in re.findall(r"\d+|[^\d.+~-]+", version)]  # fmt: skip


def render_grub_cfg(
    kernels: Sequence[Kernel],
    root_uuid: str,
    cmdline: str,
    *,
    boot_uuid: str | None = None,
    title: str = "GNU/Linux",
    timeout_s: int = TIMEOUT_S,
) -> str:
    """The first /boot/grub/grub.cfg; `boot_uuid` is given when /boot is a file system of its own.

    Raises GoldsmithError when there is no kernel to boot.
    """
    if not kernels:
        raise GoldsmithError("the tree has no kernel in /boot",
                             hint="add a package such as linux-image-cloud-amd64")  # fmt: skip
    directory = "" if boot_uuid else "/boot"
    lines = ["# Made when the image was built; update-grub replaces it.", *_serial_lines(cmdline)]
    lines += ["set default=0", f"set timeout={timeout_s}",
              f"search --no-floppy --fs-uuid --set=root {boot_uuid or root_uuid}", ""]  # fmt: skip
    for kernel in kernels:
        label = _quoted(f"{title}, with Linux {kernel.version}")
        words = " ".join(_quoted(word) for word in cmdline.split())
        kernel_line = (
            f"\tlinux {directory}/{_quoted(kernel.image)} root=UUID={root_uuid} ro {words}"
        )
        lines += [f"menuentry {label} --class gnu-linux {{", kernel_line.rstrip()]
        if kernel.initrd is not None:
            lines.append(f"\tinitrd {directory}/{_quoted(kernel.initrd)}")
        lines.append("}")
    return "\n".join([*lines, ""])


def _serial_lines(cmdline: str) -> list[str]:
    serial = _serial_console(cmdline)
    if serial is None:
        return []
    unit, speed = serial
    return [f"serial --unit={unit} --speed={speed}", "terminal_input console serial",
            "terminal_output console serial"]  # fmt: skip


def _serial_console(cmdline: str) -> tuple[str, str] | None:
    """Unit and speed of the first serial console that the kernel is told of."""
    match = _SERIAL.search(cmdline)
    return (match.group(1), match.group(2) or "115200") if match else None


def _quoted(word: str) -> str:
    """A word of GRUB's script language, which quotes as a shell does."""
    if "\n" in word or "\0" in word:
        raise GoldsmithError(f"{word!r} cannot stand in grub.cfg: it has more than one line")
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def render_default_grub(cmdline: str, *, timeout_s: int = TIMEOUT_S) -> str:
    """A file for /etc/default/grub.d, so that update-grub makes what we made.

    It is sourced by a shell. os-prober is off: other disks of a cloud are not to be searched.
    """
    if "\n" in cmdline:
        raise GoldsmithError("the kernel's command line has more than one line")
    lines = [
        "# The image's own settings; /etc/default/grub and later files here may change them.",
        f"GRUB_TIMEOUT={timeout_s}",
        "GRUB_RECORDFAIL_TIMEOUT=$GRUB_TIMEOUT",
        'GRUB_CMDLINE_LINUX_DEFAULT=""',
        f"GRUB_CMDLINE_LINUX={shell_quoted(cmdline)}",
        "GRUB_DISABLE_OS_PROBER=true",
    ]
    serial = _serial_console(cmdline)
    if serial is not None:
        unit, speed = serial
        lines += ['GRUB_TERMINAL="console serial"',
                  f'GRUB_SERIAL_COMMAND="serial --unit={unit} --speed={speed}"']  # fmt: skip
    return "\n".join([*lines, ""])


def shell_quoted(text: str) -> str:
    """A text between double quotes that a shell takes for nothing but itself."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", text) + '"'
