"""`goldsmith ramdisk-image-create`: a kernel and a ramdisk of elements, and no disk."""

from __future__ import annotations

from goldsmith.cli import disk_image_create

command_parser = disk_image_create.command_parser


def run(words: list[str], machine_readable: bool) -> int:
    """Make a ramdisk; 0, or 1 for everything that goes wrong, as upstream has it."""
    return disk_image_create.create_image("ramdisk-image-create", words).status
