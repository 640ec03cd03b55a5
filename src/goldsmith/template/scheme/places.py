"""From a scheme file to the scheme that it means on the disks that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from goldsmith.deploy.disks import HostDisk
from goldsmith.deploy.scheme import (
    Array,
    ConfigDriveData,
    Deployment,
    Group,
    PhysicalVolume,
    Scheme,
    TargetDisk,
    TargetFilesystem,
    TargetPartition,
    Volume,
    partition_node,
)
from goldsmith.deploy.scheme_sizes import group_bytes
from goldsmith.disk import mbr, planner
from goldsmith.disk.disk_plan import EXTENT_BYTES, DiskPlan
from goldsmith.disk.model import AutoSize, ExactSize, Layout, parse_partition_size
from goldsmith.disk.needs import Claim, Need, divide
from goldsmith.errors import LayoutError, UsageError
from goldsmith.template.scheme.options import (
    SchemeDisk,
    SchemeLogicalVolume,
    SchemeOptions,
    SchemePartition,
    SchemeRaid,
)
from goldsmith.units import MIB

_SMALLEST_BYTES: Final = 512
_DISK_TOO_SMALL: Final = "make the partitions smaller, or name a larger disk"
_CanBeFormatted = SchemePartition | SchemeRaid | SchemeLogicalVolume


def devices_of(options: SchemeOptions, given: Mapping[str, str]) -> dict[str, str]:
    """The device of each disk by its name in the file; what the command line gives wins.

    Raises UsageError for a disk without one, and for a name that the file does not have.
    """
    names = [disk.name for disk in options.disk]
    if unknown := [name for name in given if name not in names]:
        raise UsageError(f'the scheme has no disk "{unknown[0]}"',
                         hint=f"it has {', '.join(names)}" if names else None)  # fmt: skip
    found = {}
    for disk in options.disk:
        device = given.get(disk.name) or disk.device
        if not device:
            raise UsageError(f'nothing says which disk "{disk.name}" is',
                             hint=f"write device in the scheme, or --disk {disk.name}=/dev/..."
                             )  # fmt: skip
        found[disk.name] = device
    return found


def to_deployment(options: SchemeOptions, disks: Mapping[str, HostDisk]) -> Deployment:
    """The deployment of a file onto disks, by their names in it; it has no images yet.

    Raises LayoutError with every reason why the disks cannot be divided like that.
    """
    reasons: list[str] = []
    hints: list[str] = []
    targets: list[TargetDisk] = []
    for disk in options.disk:
        try:
            targets.append(_disk(disk, disks[disk.name]))
        except LayoutError as e:
            reasons += [f'disk "{disk.name}": {text}' for text in e.findings]
            hints += [e.hint] if e.hint else []
    if reasons:
        raise LayoutError(reasons, hint=next(iter(hints), None))
    names = _Names(options, tuple(targets))
    scheme = names.scheme()
    if names.unknown:
        raise LayoutError(names.unknown, hint='partitions are named "DISK.PARTITION"')
    wants_drive = any(p.config_drive for p in scheme.partitions())
    return Deployment(
        scheme, firmware=options.firmware, kernel_cmdline=options.kernel_cmdline,
        grub_timeout_s=options.grub_timeout, hostname=options.hostname,
        config_drive=_cloud_init(options),
        seed=options.cloud_init is not None and not wants_drive,
    )  # fmt: skip


def _cloud_init(options: SchemeOptions) -> ConfigDriveData | None:
    wanted = options.cloud_init
    if wanted is None:
        return None
    hostname = options.hostname or (wanted.fqdn or "").partition(".")[0] or "localhost"
    return ConfigDriveData(
        hostname, wanted.fqdn or hostname, wanted.name_servers, wanted.search_domain,
        wanted.ssh_keys, wanted.timezone,
    )  # fmt: skip


def _disk(options: SchemeDisk, disk: HostDisk) -> TargetDisk:
    target = TargetDisk(disk.path, options.label, options.policy, (), options.boot_loader)
    if options.label == "none":
        if options.partition:
            raise LayoutError(['label "none" is an image on the whole disk: remove partitions'])
        return target
    if options.policy == "keep":
        return replace(target, partitions=tuple(_kept(p, disk) for p in options.partition))
    auto = [p.name for p in options.partition
            if isinstance(parse_partition_size(p.size), AutoSize)]  # fmt: skip
    if auto:
        raise LayoutError([f'partition "{name}": a target has no automatic sizes' for name in auto],
                          hint='write a size, a share such as "40%", or "rest"')  # fmt: skip
    layout = Layout(
        options.label, disk.size_bytes // disk.sector_bytes * disk.sector_bytes,
        tuple(p.to_layout() for p in options.partition), has_root=False,
    )  # fmt: skip
    try:
        plan = planner.plan(layout, {}, sector_bytes=disk.sector_bytes)
    except LayoutError as e:
        # The planner is of images too, whose disks may have the size "auto".
        hint = e.hint if '"auto"' not in (e.hint or "") else _DISK_TOO_SMALL
        raise LayoutError(e.findings, hint=hint) from None
    return replace(target, partitions=_planned(plan, options, disk))


def _planned(plan: DiskPlan, options: SchemeDisk, disk: HostDisk) -> tuple[TargetPartition, ...]:
    flagged = mbr.bootable_index(plan.layout) if options.label == "mbr" else None
    found = [
        TargetPartition(
            disk.path, planned.number, planned.offset_bytes, planned.size_bytes, given.type,
            ("boot",) if index == flagged else (), given.type_id,
            given.name if options.label == "gpt" else None, given.keep_data, given.config_drive,
        )
        for index, (planned, given) in enumerate(
            zip(plan.partitions, options.partition, strict=True)
        )
    ]  # fmt: skip
    if plan.extended is not None:
        whole = plan.extended
        found.append(
            TargetPartition(disk.path, whole.number, whole.start_sector * disk.sector_bytes,
                            whole.size_sectors * disk.sector_bytes, "extended")
        )  # fmt: skip
    return tuple(found)


def _kept(given: SchemePartition, disk: HostDisk) -> TargetPartition:
    """A partition that is there: its place is that of the table; a missing one is refused later."""
    if given.number is None:
        raise LayoutError([f'partition "{given.name}": on a disk of policy keep it needs number'])
    size = parse_partition_size(given.size)
    found = disk.partition(given.number)
    least = size.size_bytes if isinstance(size, ExactSize) else _SMALLEST_BYTES
    here = found.size_bytes if found is not None else 0
    return TargetPartition(
        disk.path, given.number, found.begin_bytes if found is not None else 0, max(here, least),
        given.type, (), given.type_id, given.name, given.keep_data, given.config_drive,
    )  # fmt: skip


class _Names:
    """Resolves the names of a file into nodes, and notes those that mean nothing."""

    def __init__(self, options: SchemeOptions, targets: tuple[TargetDisk, ...]) -> None:
        self.options = options
        self.targets = targets
        self.unknown: list[str] = []
        self._nodes: dict[str, str] = {}
        for disk, target in zip(options.disk, targets, strict=True):
            # What is extended comes last and has no name.
            for given, made in zip(disk.partition, target.partitions, strict=False):
                self._nodes[f"{disk.name}.{given.name}"] = made.node
        self._nodes |= {raid.name: _array_node(raid.name) for raid in options.raid}

    def node(self, name: str, user: str) -> str:
        """The node of "DISK.PARTITION" or of an array."""
        if name not in self._nodes:
            self.unknown.append(f'{user}: there is no "{name}"')
        return self._nodes.get(name, name)

    def scheme(self) -> Scheme:
        """The whole scheme."""
        options = self.options
        arrays = tuple(
            Array(
                _array_node(raid.name), raid.level,
                tuple(self.node(name, f'raid "{raid.name}"') for name in raid.members),
                tuple(self.node(name, f'raid "{raid.name}"') for name in raid.spares),
                raid.metadata,
            )
            for raid in options.raid
        )  # fmt: skip
        groups = tuple(
            Group(group.name, tuple(self.node(name, f'volume group "{group.name}"')
                                    for name in group.physical_volumes))
            for group in options.volume_group
        )  # fmt: skip
        physical = tuple(
            PhysicalVolume(node, given.metadata_mib * MIB, given.metadata_copies)
            for given, group in zip(options.volume_group, groups, strict=True)
            for node in group.physical_volumes
        )
        disks = tuple(self._typed(disk, arrays, physical) for disk in self.targets)
        scheme = Scheme(disks, arrays, physical, groups)
        scheme = replace(scheme, volumes=tuple(self._volumes(scheme)))
        return replace(scheme, filesystems=tuple(self._filesystems()))

    def _typed(
        self, disk: TargetDisk, arrays: tuple[Array, ...], physical: tuple[PhysicalVolume, ...]
    ) -> TargetDisk:
        members = {node for array in arrays for node in (*array.members, *array.spares)}
        volumes = {volume.node for volume in physical}

        def typed(p: TargetPartition) -> TargetPartition:
            kind = "raid" if p.node in members else "lvm" if p.node in volumes else p.type
            return replace(p, type=kind)

        return replace(disk, partitions=tuple(map(typed, disk.partitions)))

    def _volumes(self, scheme: Scheme) -> list[Volume]:
        found = []
        for group in scheme.groups:
            inside = [v for v in self.options.logical_volume if v.volume_group == group.name]
            claims = [Claim(v.name, parse_partition_size(v.size), Need(0, 0)) for v in inside]
            sizes = divide(claims, group_bytes(scheme, group), EXTENT_BYTES)
            found += [Volume(v.name, group.name, size)
                      for v, size in zip(inside, sizes, strict=True)]  # fmt: skip
        names = {group.name for group in scheme.groups}
        for v in self.options.logical_volume:
            if v.volume_group not in names:
                self.unknown.append(
                    f'logical volume "{v.name}": there is no volume group "{v.volume_group}"'
                )
        return found

    def _filesystems(self) -> list[TargetFilesystem]:
        found: list[TargetFilesystem | None] = []
        for disk, target in zip(self.options.disk, self.targets, strict=True):
            for given, made in zip(disk.partition, target.partitions, strict=False):
                node = partition_node(target.device, made.number)
                found.append(_filesystem(given, node, keep=given.keep_data))
        found += [_filesystem(raid, _array_node(raid.name)) for raid in self.options.raid]
        found += [_filesystem(v, Volume(v.name, v.volume_group, 0).node)
                  for v in self.options.logical_volume]  # fmt: skip
        return [one for one in found if one is not None]


def _array_node(name: str) -> str:
    return f"/dev/{name}"


def _filesystem(
    given: _CanBeFormatted, node: str, *, keep: bool = False
) -> TargetFilesystem | None:
    fs = given.file_system()
    if fs is None:
        return None
    mount = "swap" if fs.type == "swap" else given.mount
    return TargetFilesystem(node, mount, fs.type, fs.label or "", " ".join(fs.options), keep,
                            given.mount_options)  # fmt: skip
