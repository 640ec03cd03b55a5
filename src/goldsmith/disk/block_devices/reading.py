"""From YAML to nodes: the graph notation, the tree notation, and both mixed.

In the tree notation an entry stands inside the one that it lies on; it is named after its plugin
and its base unless it has a name. All that is wrong is found in one go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.disk.block_devices.fields import Fields
from goldsmith.disk.block_devices.model import (
    BlockDevices,
    Extent,
    Fstab,
    Group,
    LocalLoop,
    Logical,
    Lvm,
    Mkfs,
    Mount,
    Node,
    PartitionEntry,
    Partitioning,
    PhysicalVolume,
)
from goldsmith.disk.block_devices.yaml_text import Item, read_yaml
from goldsmith.disk.findings import unknown
from goldsmith.errors import Diagnostics

ROOT_NODE: Final = "mkfs_root"
"""A file system of this name takes type, options and label from the command line."""
ROOT_LABELS: Final[Mapping[str, str]] = {"": "cloudimg-rootfs", "xfs": "img-rootfs"}
"""What it is called where nobody says so; the usual label is too long for xfs."""
BLOCK_SIZES: Final = (512, 4096)
FLAGS: Final = ("boot", "primary")


@dataclass(frozen=True, slots=True)
class RootDefaults:
    """What the node `mkfs_root` takes where it says nothing of its own."""

    type: str = "ext4"
    label: str = ""
    options: tuple[str, ...] = ()


def read_block_devices(
    text: str,
    filename: str,
    findings: Diagnostics,
    *,
    root: RootDefaults | None = None,
    environment: Mapping[str, str] = os.environ,
) -> BlockDevices:
    """The nodes of a configuration; what is wrong goes to `findings`, and is left out."""
    reader = _Reader(findings, root or RootDefaults(), environment)
    document = read_yaml(text, filename, findings)
    if document is not None:
        reader.read(document)
    return reader.devices()


@dataclass(slots=True)
class _Reader:
    findings: Diagnostics
    root: RootDefaults
    environment: Mapping[str, str]
    nodes: list[Node] = field(default_factory=list)

    def read(self, document: Item) -> None:
        if not isinstance(document.value, list):
            self.findings.error(
                "the configuration is not a list of entries",
                f"it is {document.kind}; write each entry as `- PLUGIN:`", document.place,
            )  # fmt: skip
            return
        for entry in document.value:
            if len(entry.entries) != 1:
                self.findings.error(
                    "an entry is a map with one key, the name of a plugin",
                    f"this one is {entry.kind} with {len(entry.entries)} keys"
                    if entry.entries else f"this one is {entry.kind}", entry.place,
                )  # fmt: skip
                continue
            ((plugin, values),) = entry.entries.items()
            if plugin not in _PLUGINS:
                self.findings.error(
                    f'"{plugin}" is not a plugin',
                    unknown(plugin, sorted(_PLUGINS)) or "",
                    entry.place,
                )
                continue
            self.entry(plugin, values, "")

    def entry(self, plugin: str, values: Item, parent: str) -> None:
        if not isinstance(values.value, dict):
            self.findings.error(
                f"{plugin} is not a map of its keys", f"it is {values.kind}", values.place
            )
            return
        fields = Fields(plugin, values, self.findings)
        base = "" if plugin in ("local_loop", "lvm") else fields.text("base", parent)
        if plugin == "lvm":
            fields.ignore("base")  # a list of what its physical volumes lie on; they say it too
        name = fields.text("name", f"{plugin}_{base}" if base else "")
        if not name:
            self.findings.error(f"{plugin} needs a name", "", values.place)
            name = plugin
        _PLUGINS[plugin](self, fields, name, base)
        for inner in _PLUGINS:
            if nested := fields.nested(inner):
                self.entry(inner, nested, name)
        fields.refuse_others(_PLUGINS)

    def local_loop(self, fields: Fields, name: str, base: str) -> None:
        block_size = fields.number("block_size", BLOCK_SIZES[0])
        given = self.environment.get("DIB_BLOCK_SIZE", "")
        if given:
            block_size = int(given) if given.isdecimal() else 0
        if block_size not in BLOCK_SIZES:
            self.findings.error(
                f"{name}: a block has 512 or 4096 bytes", f"not {given or block_size}", fields.place
            )
        self.nodes.append(
            LocalLoop(name=name, place=fields.place, size_bytes=fields.size_bytes("size"),
                      directory=fields.text("directory") or None, block_size_bytes=block_size)
        )  # fmt: skip

    def partitioning(self, fields: Fields, name: str, base: str) -> None:
        fields.require_base(base)
        label = fields.choice("label", ("mbr", "gpt"))
        align = fields.size_bytes("align") or 1 << 20
        partitions = []
        for item in fields.maps("partitions"):
            one = Fields("a partition", item, self.findings)
            part = one.required("name")
            size = one.extent("size")
            flags = tuple(one.texts("flags"))
            for flag in flags:
                if flag not in ("boot", "primary"):
                    one.wrong(
                        "flags", f'"{flag}" is not a flag', unknown(flag, ("boot", "primary"))
                    )
                elif flag == "primary" and label == "gpt":
                    one.wrong("flags", "only an mbr has primary partitions")
            kind = one.text("type") or None
            if size.of:
                one.wrong("size", f"%{size.of} is for logical volumes")
            partitions.append(
                PartitionEntry(name=part, base=name, place=one.place, size=size, type=kind,
                               flags=flags)
            )  # fmt: skip
            for inner in _PLUGINS:
                if nested := one.nested(inner):
                    self.entry(inner, nested, part)
            one.ignore("base")
            one.refuse_others(_PLUGINS)
        self.nodes.append(
            Partitioning(name=name, base=base, place=fields.place, label=label, align_bytes=align,
                         partitions=tuple(partitions))
        )  # fmt: skip

    def lvm(self, fields: Fields, name: str, base: str) -> None:
        physical = []
        for one in self._inner(fields, "pvs", "a physical volume"):
            physical.append(
                PhysicalVolume(name=one.required("name"), base=one.required("base"),
                               place=one.place, options=tuple(one.texts("options")))
            )  # fmt: skip
            one.refuse_others(())
        groups = []
        for one in self._inner(fields, "vgs", "a volume group"):
            groups.append(
                Group(name=one.required("name"), place=one.place,
                      volumes=tuple(one.texts("base", required=True)),
                      options=tuple(one.texts("options")))
            )  # fmt: skip
            one.refuse_others(())
        logical = []
        for one in self._inner(fields, "lvs", "a logical volume"):
            logical.append(self._logical(one))
            for inner in _PLUGINS:
                if nested := one.nested(inner):
                    self.entry(inner, nested, logical[-1].name)
            one.refuse_others(_PLUGINS)
        self.nodes.append(
            Lvm(name=name, place=fields.place, physical=tuple(physical), groups=tuple(groups),
                logical=tuple(logical))
        )  # fmt: skip

    def _logical(self, one: Fields) -> Logical:
        both = [key for key in ("size", "extents") if one.has(key)]
        if len(both) != 1:
            one.wrong(both[-1] if both else "", "it needs either size or extents")
        size = one.extent(both[0]) if both else Extent(size_bytes=0)
        for key in both[1:]:
            one.ignore(key)
        kind = one.text("type")
        if kind not in ("", "thin", "thin-pool"):
            one.wrong("type", f'"{kind}" is not a type', unknown(kind, ("thin", "thin-pool")))
        pool = one.text("thin-pool")
        if kind == "thin" and not pool:
            one.wrong("type", "a thin volume needs thin-pool, the pool that it lies in")
        return Logical(name=one.required("name"), base=one.required("base"), place=one.place,
                       size=size, options=tuple(one.texts("options")), type=kind,
                       thin_pool=pool)  # fmt: skip

    def _inner(self, fields: Fields, key: str, what: str) -> Iterator[Fields]:
        return (Fields(what, item, self.findings) for item in fields.maps(key))

    def mkfs(self, fields: Fields, name: str, base: str) -> None:
        fields.require_base(base)
        is_root = name == ROOT_NODE
        kind = fields.text("type", self.root.type if is_root else "") or fields.required("type")
        usual = self.root.label or ROOT_LABELS.get(kind, ROOT_LABELS[""]) if is_root else name
        label = fields.text("label") or usual
        options = tuple(fields.text("opts").split()) or (self.root.options if is_root else ())
        self.nodes.append(
            Mkfs(name=name, base=base, place=fields.place, type=kind,
                 label=label.upper() if kind == "vfat" else label, options=options,
                 uuid=fields.text("uuid"))
        )  # fmt: skip

    def mount(self, fields: Fields, name: str, base: str) -> None:
        fields.require_base(base)
        point = fields.required("mount_point")
        self.nodes.append(Mount(name=name, base=base, place=fields.place, mount_point=point))

    def fstab(self, fields: Fields, name: str, base: str) -> None:
        fields.require_base(base)
        self.nodes.append(
            Fstab(name=name, base=base, place=fields.place,
                  options=fields.text("options", "defaults"),
                  dump_freq=fields.number("dump-freq", 0),
                  fsck_passno=fields.number("fsck-passno", 2))
        )  # fmt: skip

    def devices(self) -> BlockDevices:
        def of(kind: type[Any]) -> tuple[Any, ...]:
            return tuple(node for node in self.nodes if isinstance(node, kind))

        return BlockDevices(
            of(LocalLoop), of(Partitioning), of(Lvm), of(Mkfs), of(Mount), of(Fstab)
        )


_PLUGINS: Final[Mapping[str, Callable[[_Reader, Fields, str, str], None]]] = {
    "local_loop": _Reader.local_loop, "partitioning": _Reader.partitioning, "lvm": _Reader.lvm,
    "mkfs": _Reader.mkfs, "mount": _Reader.mount, "fstab": _Reader.fstab,
}  # fmt: skip
