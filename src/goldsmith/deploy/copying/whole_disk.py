"""What a disk still needs after an image of a whole disk was written to it.

The backup of a GPT stands where the image ended; it belongs at the end of the disk. The kernel must
read the table anew. Source: sfdisk(8) (`--relocate`), partx(8) of util-linux 2.38.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from goldsmith.deploy.copying.images import CopyError
from goldsmith.host.process import run


class NoTable(CopyError):
    """A disk has no partition table that can be read."""


def finish_disk(device: Path) -> int:
    """Move the backup GPT to the disk's end, and tell the kernel of the partitions.

    Returns how many there are. Raises NoTable where no table can be read, which is where an image
    of a bare file system was taken for that of a disk.
    """
    if _table(device).get("label") == "gpt":
        # Also renews the size that the protective MBR states.
        run(["sfdisk", "--no-reread", "--no-tell-kernel", "--relocate", "gpt-bak-std", device])
    table = _table(device)
    run(["partx", "--update", device])
    return len(table.get("partitions", []))


def _table(device: Path) -> dict[str, Any]:
    done = run(["sfdisk", "--json", device], check=False, capture=True)
    try:
        table: dict[str, Any] = json.loads(done.text)["partitiontable"]
    except (ValueError, KeyError) as e:
        said = " ".join(line for line in done.tail if line)
        raise NoTable(
            f"{device} has no partition table after the image was written: {said}".rstrip(": "),
            hint="is the image that of a whole disk?",
        ) from e
    return table
