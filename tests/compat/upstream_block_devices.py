"""What upstream's block device code does with configurations: a program of its own.

Reads JSON, a list of {"config": YAML, "size_bytes": N}, and writes the list of answers: the
commands that it would have run as root, its fstab, its values, and the MBR that it wrote itself;
or its error. Nothing is attached or mounted.
"""

import contextlib
import io
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from diskimage_builder.block_device import blockdevice
from diskimage_builder.block_device.level0 import localloop
from diskimage_builder.block_device.level1 import lvm, partitioning
from diskimage_builder.block_device.level2 import mkfs
from diskimage_builder.block_device.level3 import mount

VALUES = ("root-label", "root-fstype", "boot-label", "mount-points")


def answer(config: str, size_bytes: int, place: Path) -> dict:
    commands = []

    def tell(words):
        commands.append([word.replace(str(place), "PLACE") for word in words])
        return "/dev/loop7\n" if words[0] == "losetup" else ""

    for module in (blockdevice, localloop, lvm, partitioning, mkfs, mount):
        module.exec_sudo = tell
    (place / "config.yaml").write_text(config)
    device = blockdevice.BlockDevice({
        "config": str(place / "config.yaml"), "image-dir": str(place), "build-dir": str(place),
        "mount-base": str(place / "mnt"), "root-fs-type": "ext4", "root-label": None,
        "image-size": f"{size_bytes}B",
    })  # fmt: skip
    try:
        device.cmd_init()
        values = {name: value_of(device, name) for name in VALUES}
        device.cmd_create()
    except (Exception, SystemExit) as e:
        return {"error": f"{type(e).__name__}: {e}"}
    device.cmd_writefstab()
    fstab = (place / "states/block-device/fstab").read_text()
    table = subprocess.run(
        ["sfdisk", "--json", place / "image0.raw"], capture_output=True, text=True, check=False
    )
    read = json.loads(table.stdout)["partitiontable"]["partitions"] if table.stdout else []
    return {"commands": commands, "fstab": fstab, "values": values, "table": read}


def value_of(device, name):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            device.cmd_getval(name)
        except (AssertionError, KeyError):
            return None
    return said.getvalue().strip()


def main():
    logging.disable(logging.CRITICAL)
    answers = []
    for asked in json.load(sys.stdin):
        with tempfile.TemporaryDirectory() as place:
            answers.append(answer(asked["config"], asked["size_bytes"], Path(place)))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
