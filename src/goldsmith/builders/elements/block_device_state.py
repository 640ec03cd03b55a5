"""What `goldsmith block-device` keeps between its verbs: devices and mounts that outlive each call.

Parameters and state are the files that upstream's program has, so that hooks which call the one or
read the other's results find what they know. Within a build only `getval` has something to tell.
Source: `specs/diskimage-builder.md`, A12; upstream's `block_device`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from goldsmith.builders.elements.attached_disk import AttachedDisk, attach, detach
from goldsmith.builders.elements.device_files import STATE_FILE, STATES
from goldsmith.builders.elements.disk import write_fstab
from goldsmith.builders.elements.disk_size import empty_plan
from goldsmith.builders.elements.disk_wishes import (
    CONFIG_VARIABLE,
    DiskWishes,
    disk_variables,
    read_wishes,
)
from goldsmith.disk.assemble import assemble
from goldsmith.disk.block_devices.layouts import chosen_uuids, fstab_text
from goldsmith.disk.block_devices.sizes import parse_bytes
from goldsmith.disk.block_devices.yaml_text import read_yaml
from goldsmith.disk.disk_plan import DiskPlan
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.ways import needs_guest
from goldsmith.errors import Diagnostics, GoldsmithError, UsageError
from goldsmith.host.journal import remove_tree
from goldsmith.machine.disk_guest import DiskGuest

SYMBOLS: Final = (
    "root-label", "root-fstype", "boot-label", "mount-points", "image-path", "image-block-device",
    "image-block-devices",
)  # fmt: skip
_REQUIRED: Final = ("config", "image-dir", "mount-base", "build-dir")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The file of parameters: where everything lies, and what the root takes from outside."""

    config: Path
    image_directory: Path
    mount_base: Path
    build: Path
    root_type: str = "ext4"
    root_label: str = ""
    root_options: str = ""
    size_bytes: int | None = None

    @classmethod
    def read(cls, path: Path) -> Parameters:
        """Read the file; raises TemplateError with all findings, GoldsmithError without it."""
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as e:
            told = e.strerror if isinstance(e, OSError) else "it is no text"
            raise GoldsmithError(f"{path}: the parameters cannot be read: {told}") from e
        findings = Diagnostics()
        item = read_yaml(text, str(path), findings)
        given = {name: one.value for name, one in (item.entries if item else {}).items()}
        for name in _REQUIRED:
            if not isinstance(given.get(name), str):
                findings.error(f"the parameters have no {name}", "", item.place if item else None)
        findings.raise_if_errors({str(path): text})
        size = given.get("image-size")
        return cls(
            Path(str(given["config"])), Path(str(given["image-dir"])),
            Path(str(given["mount-base"])), Path(str(given["build-dir"])),
            root_type=str(given.get("root-fs-type") or "ext4"),
            root_label=str(given.get("root-label") or ""),
            root_options=str(given.get("root-fs-opts") or ""),
            size_bytes=None if size is None else parse_bytes(str(size)),
        )  # fmt: skip


@dataclass(slots=True)
class BlockDeviceState:
    """The verbs on one directory of a build."""

    parameters: Parameters
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def directory(self) -> Path:
        """Where the state lies."""
        return self.parameters.build / STATES

    @property
    def _state(self) -> Path:
        return self.directory / STATE_FILE

    def wishes(self) -> DiskWishes:
        """The configuration, checked; raises TemplateError with every finding."""
        given = self.parameters
        return read_wishes(
            {
                CONFIG_VARIABLE: f"file://{given.config}", "FS_TYPE": given.root_type,
                "ROOT_LABEL": given.root_label,
                "DIB_BLOCK_SIZE": self.environment.get("DIB_BLOCK_SIZE", ""),
            },
            (), root_words=given.root_options.split(),
        )  # fmt: skip

    def init(self) -> None:
        """Check the configuration and write it down as the nodes that it means."""
        nodes = [
            {type(node).__name__: {k: v for k, v in asdict(node).items() if k != "place"}}
            for node in self.wishes().devices.every()
        ]
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "config.json").write_text(json.dumps(nodes, indent=1, default=str))

    def getval(self, symbol: str) -> str:
        """What a symbol stands for; raises UsageError for a word that is none."""
        variables = {
            "root-label": "DIB_ROOT_LABEL", "root-fstype": "DIB_ROOT_FSTYPE",
            "boot-label": "DIB_BOOT_LABEL", "mount-points": "DIB_MOUNTPOINTS",
        }  # fmt: skip
        if symbol in variables:
            return disk_variables(self.wishes())[variables[symbol]]
        if symbol not in SYMBOLS:
            raise UsageError(f"Invalid symbol [{symbol}] for getval: {', '.join(SYMBOLS)}")
        devices = self._read()["blockdev"]
        if symbol == "image-path":
            return str(devices["image0"]["image"])
        if symbol == "image-block-device":
            return str(devices["image0"]["device"])
        return "".join(f" [{name}]={one['device']} " for name, one in devices.items())

    def create(self) -> None:
        """Make the image, its file systems, devices and mounts; an error leaves none of them."""
        wishes, given = self.wishes(), self.parameters
        if given.size_bytes is None and wishes.disk.size_bytes is None:
            raise GoldsmithError("the parameters have no image-size, and the disk has no size")
        if self._state.exists():
            raise GoldsmithError(f"{self.directory} has a disk already",
                                 hint="`block-device delete` removes it")  # fmt: skip
        planned = self._plan(wishes)
        image = Path(wishes.disk.directory or given.image_directory) / "image0.raw"
        guest = DiskGuest(given.image_directory) if needs_guest(planned.layout) else None
        self.directory.mkdir(parents=True, exist_ok=True)
        assemble(planned, {}, image, identity=_identity(wishes), epoch_s=0, guest=guest,
                 scratch=given.image_directory)  # fmt: skip
        try:
            attached = attach(
                planned, image, given.mount_base, self.directory,
                block_bytes=wishes.disk.block_size_bytes,
            )  # fmt: skip
            try:
                described = _described(wishes, attached, given.mount_base)
                self._state.write_text(json.dumps(described, indent=1))
            except BaseException:
                self._state.unlink(missing_ok=True)
                detach(attached, planned, identity=_identity(wishes),
                       scratch=given.image_directory)  # fmt: skip
                raise
        except BaseException:
            image.unlink()
            raise

    def _plan(self, wishes: DiskWishes) -> DiskPlan:
        return empty_plan(wishes, self.parameters.size_bytes or 0)

    def writefstab(self) -> None:
        """Write fstab into the tree that is to be copied."""
        text = fstab_text(self.wishes().devices)
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "fstab").write_text(text)
        tree = self.parameters.build / "built"
        tree.mkdir(exist_ok=True)
        write_fstab(tree, text)

    def umount(self) -> list[str]:
        """Unmount and detach, the image stays; returns what was trimmed. Nothing to do is fine."""
        if not self._state.exists():
            return []
        state = self._read()
        if "attached" not in state:
            return []
        attached = AttachedDisk.from_wire(state["attached"])
        told = detach(
            attached, self._plan(self.wishes()), identity=_identity(self.wishes()),
            scratch=self.parameters.image_directory,
        )  # fmt: skip
        del state["attached"]
        self._state.write_text(json.dumps(state, indent=1))
        return told

    def cleanup(self) -> None:
        """Remove the state; the image is the result and stays."""
        if not self._state.exists():
            raise GoldsmithError(f"{self.directory} has no disk: `block-device create` makes it")
        if "attached" in self._read():
            raise GoldsmithError("the disk is mounted still", hint="run `block-device umount`")
        remove_tree(self.directory)

    def delete(self) -> None:
        """Unmount, detach and remove everything, the image too."""
        image = Path(self.getval("image-path"))
        self.umount()
        image.unlink(missing_ok=True)
        self.cleanup()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._state.read_text())
        except FileNotFoundError as e:
            raise GoldsmithError("there is no disk yet", hint="run `block-device create`") from e
        except ValueError as e:
            raise GoldsmithError(f"{self._state} is damaged: {e}") from e
        if not isinstance(found, dict) or "blockdev" not in found:
            raise GoldsmithError(f"{self._state} is damaged")
        return found


def _identity(wishes: DiskWishes) -> DiskIdentity:
    return DiskIdentity("block-device", chosen_uuids(wishes.devices))


def _described(wishes: DiskWishes, attached: AttachedDisk, mount_base: Path) -> dict[str, Any]:
    """The state with upstream's names, and what is needed to take everything back."""
    devices = wishes.devices
    names = {name: {"device": device} for name, device in attached.names.items()}
    names["image0"]["image"] = str(attached.image)
    points = sorted(one.mount_point for one in devices.mounts)
    return {
        "blockdev": names,
        "filesys": {
            one.name: {"uuid": one.uuid, "label": one.label, "fstype": one.type,
                       "opts": list(one.options), "device": attached.names.get(one.base, "")}
            for one in devices.filesystems
        },
        "mount": {
            one.mount_point: {"name": one.name, "base": one.base,
                              "path": os.path.join(mount_base, one.mount_point.lstrip("/"))}
            for one in devices.mounts
        },
        "mount_order": points,
        "fstab": {
            one.base: {"name": one.name, "base": one.base, "options": one.options,
                       "dump-freq": one.dump_freq, "fsck-passno": one.fsck_passno}
            for one in devices.fstab
        },
        "attached": attached.to_wire(),
    }  # fmt: skip
