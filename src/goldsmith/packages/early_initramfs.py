"""A tree in which the initramfs can be made before the system is configured: a guess at that one.

Only the packages are configured whose scripts write what the initramfs is known by
(`initramfs_key`). If the finished tree has other inputs after all, what was made of this one is of
no use to it; so it need not be right, but it must not be right by chance. A hook that asks what no
input tells of is therefore left to the finished tree. Source: hooks of Debian 12 and Ubuntu 22.04.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, read_confined, write_confined
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import LineSink
from goldsmith.packages.initramfs import installed_kernels
from goldsmith.packages.initramfs_key import HARDWARE, NAMED, counted_packages
from goldsmith.packages.package_closure import package_files
from goldsmith.packages.unpacked.configuring import configure_early, laid_names

_GENERATOR: Final = "initramfs-tools-core"
_OTHER_GENERATORS: Final = frozenset({"dracut", "dracut-core", "booster", "tiny-initramfs"})
_WRITES: Final = re.compile(
    r"\bdepmod\b|dpkg/origins|/usr/local|/etc/environment|"
    # Of udev it is the hardware database, which is no input, and takes longest of all to make.
    + "|".join(rf"{re.escape(path)}\b" for path in NAMED if path != "/etc/udev")
)
"""What the postinst of a package says that makes an input."""
_CHOOSES: Final = "update-alternatives"
"""And of one that is an input itself."""
_RENAMES: Final = re.compile(r"^\s*dpkg-maintscript-helper.*$", re.MULTILINE)
"""Lines about upgrades."""
_HOOKS: Final = tuple(
    f"{folder}/{name}"
    for folder in ("/usr/share/initramfs-tools", "/etc/initramfs-tools")
    for name in ("hooks", "conf-hooks.d", "conf.d")
)
_STATE: Final = re.compile(
    r"/(?:etc|var|home|root|srv|opt)(?![\w.+@-])(?P<below>(?:/[\w.+@-]+){0,2})"
)
_ASKS: Final = re.compile(
    r"\b(?:getent|passwd|group|debconf|db_get|dpkg|ucf|systemctl|deb-systemd-\w+|hostname|useradd"
    r"|adduser|chown|chgrp|id(?=\s+-)|uname(?=\s+-\w*[an])"
    r"|install(?=[^\n;|&]*\s(?:-[og]|--owner|--group)))\b"
)
_IN_ITSELF: Final = re.compile(r"DESTDIR\}?\"?$")
"""What stands before a place in the initramfs."""
_CUT_OFF: Final = re.compile(r"/?\}")
"""What follows a directory that a shell takes away from the name of something in it."""
_SCRATCH: Final = "/var/tmp"  # noqa: S108 - a word in a script
_NOT_MADE_YET: Final = b"made when udev is configured\n"


def unsuitable(tree: Path) -> str:
    """Why the initramfs of a laid tree cannot be made before it is configured; "" if it can."""
    names = laid_names(tree)
    if _GENERATOR not in names:
        return f"{_GENERATOR} is not among the packages that were laid"
    if not installed_kernels(tree):
        return "there is no kernel among them"
    if others := sorted(names & _OTHER_GENERATORS):
        return f"{others[0]} makes it"
    for folder in _HOOKS:
        for hook in sorted(confined(tree, folder, follow_last=True).glob("*")):
            path = f"{folder}/{hook.name}"
            text = (read_confined(tree, path) or b"").decode(errors="replace")
            if found := _asked(text):
                return f"{path} asks for {found}"
    return ""


def _asked(hook: str) -> str:
    """What a hook may read that no input tells of, "" for nothing."""
    code = "\n".join(line for line in hook.splitlines() if not line.lstrip().startswith("#"))
    if word := _ASKS.search(code):
        return word.group()
    for match in _STATE.finditer(code):
        path = match.group()
        counts = path == _SCRATCH or any(
            path == named or path.startswith(f"{named}/") for named in NAMED
        )
        # A whole directory of the tree is more than what is named of it.
        is_name = not match["below"] and (
            _IN_ITSELF.search(code, 0, match.start()) or _CUT_OFF.match(code, match.end())
        )
        if not counts and not is_name:
            return path
    return ""


def configure_for_initramfs(tree: Path, *, run_tool: RunTool, on_line: LineSink) -> bool:
    """Write what the packages' scripts write of the inputs; False when one of them failed."""
    counted = {package.name for package in counted_packages(package_files(tree))}

    def is_wanted(name: str, postinst: str) -> bool:
        text = _RENAMES.sub("", postinst)
        return _WRITES.search(text) is not None or (name in counted and _CHOOSES in text)

    if not configure_early(tree, is_wanted, run_tool=run_tool, on_line=on_line):
        return False
    _stand_in_for_hardware(tree)
    return True


def _stand_in_for_hardware(tree: Path) -> None:
    """Put something where the finished tree has what is no input, so that no hook goes without.

    An initramfs that holds it came from what nothing tells of, so it is not kept.
    """
    for path in HARDWARE:
        place = confined(tree, path, follow_last=True)
        if place.parent.is_dir() and not os.path.lexists(place):
            status = place.parent.stat()
            write_confined(tree, path, _NOT_MADE_YET)
            # The time of a directory may be an input.
            os.utime(place.parent, ns=(status.st_atime_ns, status.st_mtime_ns))
