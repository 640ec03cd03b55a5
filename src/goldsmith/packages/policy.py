"""No service starts while a tree is built: policy-rc.d says so to every maintainer script.

Source: invoke-rc.d(8); 101 is "action not allowed".
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from goldsmith.host.confined import confined, read_confined, remove_confined, write_confined

POLICY_FILE: Final = "/usr/sbin/policy-rc.d"
POLICY: Final = b"""#!/bin/sh
# goldsmith: no service starts while this image is built
exit 101
"""


def forbid_services(tree: Path) -> bool:
    """Write policy-rc.d unless the tree has one of its own; returns whether ours stands there."""
    place = confined(tree, POLICY_FILE)
    if place.is_symlink() or place.exists():
        return read_confined(tree, POLICY_FILE) == POLICY
    write_confined(tree, POLICY_FILE, POLICY, mode=0o755)
    return True


def allow_services(tree: Path) -> bool:
    """Remove policy-rc.d if it is still ours; returns whether it was."""
    return read_confined(tree, POLICY_FILE) == POLICY and remove_confined(tree, POLICY_FILE)
