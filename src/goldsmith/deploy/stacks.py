"""Arrays and logical volumes on target disks: taken down, and made, by argument lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from goldsmith.deploy.disks import HostDisk, Stacked
from goldsmith.deploy.scheme import Array, Group, PhysicalVolume, Scheme, Volume
from goldsmith.deploy.scheme_sizes import is_made
from goldsmith.errors import GoldsmithError
from goldsmith.host.process import run

TIMEOUT_S: Final = 600.0
_DEFAULT_METADATA: Final = "1.2"


def take_down(disks: Iterable[HostDisk], say: Callable[[str], None]) -> None:
    """Stop what the kernel has assembled of these disks, the topmost first.

    Raises CommandFailed where one is busy, and GoldsmithError for what is neither an array nor a
    logical volume: nothing has been written then.
    """
    stopped: set[str] = set()
    for disk in disks:
        for stacked in disk.stacked:
            if stacked.name not in stopped:
                stopped.add(stacked.name)
                say(f"Stopping {stacked.node}, which lies on {disk.device}")
                run(stop_words(stacked), timeout_s=TIMEOUT_S)


def stop_words(stacked: Stacked) -> list[str]:
    """What stops an array or logical volume; raises GoldsmithError for anything else."""
    if stacked.kind == "md":
        return ["mdadm", "--stop", stacked.node]
    if stacked.kind == "lvm":
        return ["dmsetup", "remove", "--retry", stacked.node]
    raise GoldsmithError(f"{stacked.node} lies on a target disk, and it is not known how to end it")


def make_stacks(scheme: Scheme, say: Callable[[str], None]) -> None:
    """Make the arrays, then physical volumes, groups and logical volumes of a scheme.

    On disks whose tables stay they are there already, and stay.
    """
    for array in scheme.arrays:
        if is_made(scheme, array.members):
            say(f"Making {array.node}: RAID {array.level} of {', '.join(array.members)}")
            run(array_words(array), timeout_s=TIMEOUT_S)
    for physical in scheme.physical_volumes:
        if is_made(scheme, [physical.node]):
            run(physical_words(physical), timeout_s=TIMEOUT_S)
    made = [group for group in scheme.groups if is_made(scheme, group.physical_volumes)]
    for group in made:
        say(f"Making volume group {group.name} of {', '.join(group.physical_volumes)}")
        run(group_words(group), timeout_s=TIMEOUT_S)
    for volume in scheme.volumes:
        if any(group.name == volume.group for group in made):
            run(volume_words(volume), timeout_s=TIMEOUT_S)


def array_words(array: Array) -> list[str]:
    """The words of mdadm that make an array; spares are given to it."""
    metadata = _DEFAULT_METADATA if array.metadata == "default" else array.metadata
    words = ["mdadm", "--create", array.node, "--run", "--force", f"--level={array.level}",
             f"--metadata={metadata}", f"--raid-devices={len(array.members)}"]  # fmt: skip
    if array.spares:
        words.append(f"--spare-devices={len(array.spares)}")
    return [*words, *array.members, *array.spares]


def physical_words(physical: PhysicalVolume) -> list[str]:
    """The words of pvcreate."""
    return ["pvcreate", "--yes", "--force", "--force", "--zero", "y",
            f"--metadatasize={physical.metadata_bytes}b",
            f"--pvmetadatacopies={physical.metadata_copies}", physical.node]  # fmt: skip


def group_words(group: Group) -> list[str]:
    """The words of vgcreate."""
    return ["vgcreate", "--yes", group.name, *group.physical_volumes]


def volume_words(volume: Volume) -> list[str]:
    """The words of lvcreate."""
    return ["lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--name", volume.name,
            f"--size={volume.size_bytes}b", volume.group]  # fmt: skip
