"""What the steps of a build have left for those that follow, under the names Packer gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from goldsmith.host.teardown import Handle


@dataclass(slots=True)
class VolumeState:
    """Empty at first; each step fills in its own. A `…_cleanup` releases what its step acquired."""

    source_image: Mapping[str, Any] | None = None
    """As DescribeImages tells of it; None from scratch."""
    device: str = ""
    """The name that EC2 is told, but for `xvd` in place of `sd`; "" where no volume is attached."""
    node: str = ""
    """What this host calls the disk."""
    volume_id: str = ""
    mount_path: str = ""
    snapshot_id: str = ""
    flock_cleanup: Handle | None = None
    attach_cleanup: Handle | None = None
    mount_device_cleanup: Handle | None = None
    mount_below_cleanups: list[Handle] = field(default_factory=list)
    """Of file systems that are mounted below the root."""
    mount_extra_cleanup: Handle | None = None
    copy_files_cleanup: Handle | None = None

    @property
    def early_cleanups(self) -> list[Handle]:
        """What the early cleanup lets go of, in the order of acquisition."""
        found = (self.attach_cleanup, self.mount_device_cleanup, *self.mount_below_cleanups,
                 self.mount_extra_cleanup, self.copy_files_cleanup)  # fmt: skip
        return [one for one in found if one is not None]
