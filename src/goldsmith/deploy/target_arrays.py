"""The target's mdadm.conf: its own arrays, by their identifiers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from goldsmith.deploy.scheme import Array, Scheme
from goldsmith.disk.array_config import CONFIG_FILE, render_lines
from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import confined, read_confined, write_confined
from goldsmith.host.process import run

_TIMEOUT_S: Final = 60.0


def write_array_config(scheme: Scheme, chroot: Path) -> None:
    """List the scheme's arrays in the target's mdadm.conf, in place of those of another machine.

    The initramfs stays as the image has it: it starts every array that it finds. Nothing is
    written where the target has no mdadm. Raises GoldsmithError for an array that does not run.
    """
    if not scheme.arrays or not _has_mdadm(chroot):
        return
    existing = (read_confined(chroot, CONFIG_FILE) or b"").decode(errors="replace")
    text = render_lines([array_line(array) for array in scheme.arrays], existing)
    write_confined(chroot, CONFIG_FILE, text.encode())


def _has_mdadm(chroot: Path) -> bool:
    return os.path.lexists(confined(chroot, "/sbin/mdadm"))


def array_line(array: Array) -> str:
    """The line of mdadm.conf for an array that runs."""
    argv = ["mdadm", "--detail", "--export", array.node]
    return parse_array(array.node, run(argv, capture=True, timeout_s=_TIMEOUT_S).text)


def parse_array(node: str, exported: str) -> str:
    """The line for what `mdadm --detail --export` says of an array."""
    pairs = dict(line.partition("=")[::2] for line in exported.splitlines())
    if "MD_UUID" not in pairs:
        raise GoldsmithError(f"{node} is no array that runs: mdadm names no UUID of it")
    return f"ARRAY {node} metadata={pairs.get('MD_METADATA', '1.2')} UUID={pairs['MD_UUID']}"
