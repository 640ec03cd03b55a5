"""The kernel's file systems in a tree for programs of the host that chroot into it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goldsmith.errors import GoldsmithError
from goldsmith.host.confined import make_directory
from goldsmith.host.namespaces import RunTool


@contextmanager
def kernel_file_systems(tree: Path, run_tool: RunTool) -> Iterator[None]:
    """Mount /proc and /sys for the length of a block, where `run_tool` runs.

    They also end with its namespaces. A place that is no directory, or a link that leads elsewhere,
    is an error.
    """
    mounted: list[str] = []
    try:
        for kind, path in (("proc", "/proc"), ("sysfs", "/sys")):
            place = make_directory(tree, path)
            if not place.is_dir() or place != tree / path.lstrip("/"):
                raise GoldsmithError(f"{path} of the tree is not a directory")
            run_tool(["mount", "-t", kind, "-o", "nosuid,nodev,noexec", kind, str(place)])
            mounted.append(str(place))
        yield
    finally:
        for name in reversed(mounted):
            run_tool(["umount", name], check=False)
