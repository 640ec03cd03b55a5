"""Every identifier on a disk, derived from one seed: the same seed gives the same disk.

Names of partitions go in, sizes never do: a disk made larger keeps its UUIDs.
"""

from __future__ import annotations

import hashlib
import string
import uuid
from dataclasses import dataclass
from typing import Final

_NAMESPACE: Final = uuid.UUID("6f1f6c58-3d0a-5c0e-8d8a-6b1f5b0b7a52")
"""The namespace of goldsmith's disk identifiers; it never changes."""

_LVM_LETTERS: Final = string.digits + string.ascii_letters
_LVM_GROUPS: Final = (6, 4, 4, 4, 4, 4, 6)


@dataclass(frozen=True, slots=True)
class DiskIdentity:
    """The identifiers that belong to a seed, for example an image's name and its tree's id."""

    seed: str
    filesystem_uuids: tuple[tuple[str, str], ...] = ()
    """Those that somebody has chosen, by the name of the partition or logical volume."""

    def _uuid(self, kind: str, name: str = "") -> uuid.UUID:
        # The lengths keep ("a", "b:c") and ("a:b", "c") apart.
        return uuid.uuid5(_NAMESPACE, f"{len(self.seed)}:{self.seed}:{kind}:{name}")

    @property
    def disk_uuid(self) -> str:
        """The GUID of the partition table."""
        return str(self._uuid("disk"))

    @property
    def mbr_id(self) -> int:
        """The 32-bit identifier of an MBR; zero would mean none."""
        return (self._uuid("mbr").int & 0xFFFFFFFF) or 1

    def table_id(self, label: str) -> str:
        """The identifier of a partition table as blkid writes it (PTUUID); "" for label "none"."""
        return {"gpt": self.disk_uuid, "mbr": f"{self.mbr_id:08x}"}.get(label, "")

    def partition_uuid(self, partition: str) -> str:
        """The GUID of a partition of a gpt disk (PARTUUID)."""
        return str(self._uuid("partition", partition))

    def part_uuid(self, label: str, partition: str, number: int) -> str:
        """PARTUUID of a partition: its GUID, or the MBR's identifier and its number."""
        if label == "mbr":
            return f"{self.mbr_id:08x}-{number:02x}"
        return self.partition_uuid(partition) if label == "gpt" else ""

    def array_uuid(self, array: str) -> str:
        """The UUID of a software RAID array."""
        return str(self._uuid("array", array))

    def member_uuid(self, partition: str) -> str:
        """The UUID of a member of an array as a device."""
        return str(self._uuid("member", partition))

    def lvm_uuid(self, kind: str, name: str) -> str:
        """The UUID of a "group", "physical" or "logical" volume, in the form that LVM has."""
        number = int.from_bytes(hashlib.sha256(self._uuid(f"lvm-{kind}", name).bytes).digest())
        groups = []
        for length in _LVM_GROUPS:
            letters = ""
            for _ in range(length):
                number, digit = divmod(number, len(_LVM_LETTERS))
                letters += _LVM_LETTERS[digit]
            groups.append(letters)
        return "-".join(groups)

    def hash_seed(self, partition: str) -> str:
        """The seed of ext4's directory hashes."""
        return str(self._uuid("hash-seed", partition))

    def vfat_serial(self, partition: str) -> int:
        """The 32-bit volume serial number of a vfat file system."""
        return self._uuid("vfat", partition).int & 0xFFFFFFFF

    def filesystem_uuid(self, partition: str, type: str) -> str:
        """The file system's UUID as blkid and fstab write it: "1A2B-3C4D" for vfat.

        squashfs has none: what is returned for it stands nowhere on the disk.
        """
        if type == "vfat":
            serial = f"{self.vfat_serial(partition):08X}"
            return f"{serial[:4]}-{serial[4:]}"
        return dict(self.filesystem_uuids).get(partition) or str(
            self._uuid("filesystem", partition)
        )
