"""The tree's mdadm.conf: the arrays of its own disk, by their identifiers.

An array that it lists is the machine's own whatever its host name, and the initramfs starts it
under its name. Debian's own file would list the arrays of the build host instead, and is dated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.model import Layout

CONFIG_FILE: Final = "/etc/mdadm/mdadm.conf"

_FOREIGN: Final = re.compile(r"^(ARRAY\s|# This configuration was auto-generated)", re.IGNORECASE)
_DEFAULT: Final = "HOMEHOST <system>\nMAILADDR root\n"


def render(layout: Layout, identity: DiskIdentity, existing: str = "") -> str:
    """The file for the arrays of a layout: other settings in the existing one stay."""
    arrays = [
        f"ARRAY /dev/md/{raid.name} metadata=1.2 UUID={_mdadm_form(identity.array_uuid(raid.name))}"
        for raid in layout.raids
    ]
    return render_lines(arrays, existing)


def render_lines(arrays: Sequence[str], existing: str = "") -> str:
    """The file with these lines of arrays: other settings in the existing one stay."""
    lines = [line for line in (existing or _DEFAULT).splitlines() if not _FOREIGN.match(line)]
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join([*lines, "", *arrays, ""])


def _mdadm_form(uuid: str) -> str:
    """A UUID as mdadm writes it: four groups of eight digits."""
    return ":".join(re.findall(".{8}", uuid.replace("-", "")))
