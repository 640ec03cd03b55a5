"""/etc/default/grub of the target: the deployment's parameters, and none of the image's lost."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from goldsmith.disk.bootloader.grub_config import shell_quoted
from goldsmith.host.confined import confined, read_confined, write_confined

DEFAULTS: Final = "/etc/default/grub"
DROP_IN_DIRECTORY: Final = "/etc/default/grub.d"
DROP_IN: Final = f"{DROP_IN_DIRECTORY}/zz-deploy.cfg"
"""Read after the image's own files of that directory, which would have the last word else."""

_ASSIGNMENT: Final = re.compile(r"^\s*(?:export\s+)?(GRUB_[A-Z_]+)=(.*)$")
_MADE: Final = "# Made when the machine was deployed."
_DROPPED: Final = ("GRUB_HIDDEN_TIMEOUT", "GRUB_TIMEOUT_STYLE")


def image_parameters(tree: Path) -> tuple[list[str], list[str]]:
    """The words of GRUB_CMDLINE_LINUX and of its _DEFAULT, as the image's files have them last.

    The files are shell scripts and are not run: a value made of other variables is left out.
    """
    values: dict[str, list[str]] = {}
    for text in _texts(tree):
        for line in text.splitlines():
            match = _ASSIGNMENT.match(line)
            if match is not None:
                name, value = match[1], match[2]
                values[name] = _words(value, values.get(name, []), name)
    return values.get("GRUB_CMDLINE_LINUX", []), values.get("GRUB_CMDLINE_LINUX_DEFAULT", [])


def _texts(tree: Path) -> Iterable[str]:
    directory = confined(tree, DROP_IN_DIRECTORY, follow_last=True)
    names = sorted(path.name for path in directory.glob("*.cfg")) if directory.is_dir() else []
    paths = [DEFAULTS, *(f"{DROP_IN_DIRECTORY}/{name}" for name in names)]
    for path in paths:
        content = None if path == DROP_IN else read_confined(tree, path)
        if content is not None:
            yield content.decode(errors="replace")


def _words(value: str, before: Sequence[str], name: str) -> list[str]:
    try:
        text = " ".join(shlex.split(value, comments=True))
    except ValueError:
        return list(before)
    text = re.sub(rf"\$\{{?{name}\}}?(?![A-Z_])", " ".join(before), text)
    return [word for word in text.split() if "$" not in word and "`" not in word]


def merged(image: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The image's parameters, then the deployment's: the kernel heeds the last of a name.

    What names the root of the machine that the image was made on is left out.
    """
    kept = [word for word in image if word not in wanted and not word.startswith("root=")]
    return [*kept, *wanted]


def changed_defaults(existing: str, parameters: Sequence[str], timeout_s: int) -> str:
    """/etc/default/grub with these parameters and this timeout, every other setting as it was."""
    values = _values(parameters, timeout_s)
    lines = []
    for line in existing.splitlines():
        match = _ASSIGNMENT.match(line)
        name = match[1] if match else ""
        if not name.startswith(_DROPPED) and name not in values:
            lines.append(line)
    return "\n".join([*lines, *_assignments(values), ""])


def _values(parameters: Sequence[str], timeout_s: int) -> dict[str, str]:
    return {
        "GRUB_CMDLINE_LINUX": shell_quoted(" ".join(parameters)),
        "GRUB_TIMEOUT": str(timeout_s), "GRUB_RECORDFAIL_TIMEOUT": str(timeout_s),
    }  # fmt: skip


def _assignments(values: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def write_defaults(tree: Path, parameters: Sequence[str], timeout_s: int) -> None:
    """Write /etc/default/grub, and a file that comes last where the tree has further ones."""
    existing = (read_confined(tree, DEFAULTS) or b"").decode(errors="replace")
    write_confined(tree, DEFAULTS, changed_defaults(existing, parameters, timeout_s).encode())
    if confined(tree, DROP_IN_DIRECTORY, follow_last=True).is_dir():
        lines = [_MADE, *_assignments(_values(parameters, timeout_s))]
        write_confined(tree, DROP_IN, "\n".join([*lines, ""]).encode())
