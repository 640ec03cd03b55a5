"""The whole order of a deployment: disks, config drive, images, and what makes a machine of them.

It runs in a worker, whose mount namespace takes every mount with it however the worker ends. Each
stage can be run again from its beginning, so a deployment that was killed is simply repeated.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from goldsmith.deploy.config_drive import place_config_drive
from goldsmith.deploy.copying.copy import copy_image
from goldsmith.deploy.copying.grow import grow_filesystem
from goldsmith.deploy.copying.images import CopyLimits, image_of_request
from goldsmith.deploy.copying.reachable import unreachable
from goldsmith.deploy.copying.sources import shown_address
from goldsmith.deploy.copying.whole_disk import finish_disk
from goldsmith.deploy.disks import HostDisk, pinned
from goldsmith.deploy.partitioning import announce, partition_disks, with_found_places
from goldsmith.deploy.refusals import DeployRefused, read_disks, require_allowed
from goldsmith.deploy.scheme import Deployment, ImageRequest
from goldsmith.deploy.target import finish_target
from goldsmith.events import Emitter
from goldsmith.host.cancellation import check_cancelled
from goldsmith.host.locks import try_lock
from goldsmith.host.teardown import Teardown
from goldsmith.units import format_size

Stage = Literal["partition", "config_drive", "copy", "boot_loader"]
STAGES: Final[tuple[Stage, ...]] = ("partition", "config_drive", "copy", "boot_loader")
_LABELS: Final = {
    "partition": "Partitioning disks", "config_drive": "Writing the config drive",
    "copy": "Copying images", "boot_loader": "Configuring the target",
}  # fmt: skip


def prepare_deployment(
    deployment: Deployment, stages: Collection[Stage] = STAGES
) -> tuple[Deployment, dict[str, HostDisk]]:
    """Read the disks, and refuse what must not be done; changes nothing.

    Kept partitions get the places that they have. Raises DeployRefused, HostError.
    """
    disks = read_disks(deployment.scheme)
    placed = with_found_places(deployment.scheme, disks)
    deployment = replace(deployment, scheme=placed)
    require_allowed(deployment, disks, partitions="partition" in stages)
    return deployment, disks


def deploy(
    deployment: Deployment,
    *,
    scratch: Path,
    locks: Path,
    emitter: Emitter,
    stages: Collection[Stage] = STAGES,
    limits: CopyLimits = CopyLimits(),  # noqa: B008 (frozen)
    sequences: Mapping[str, str] | None = None,
) -> None:
    """Carry out the stages of a deployment.

    `scratch` is a private directory; files below `locks` keep two deployments from one disk. The
    disks are read again, since they may have changed since somebody agreed: they must still have
    the `sequences` of then (HostDisk), by their names. Before they are divided, servers are asked
    whether they have the images. Raises GoldsmithError.
    """
    with Teardown() as teardown:
        _lock_disks(deployment, locks, teardown)
        deployment, disks = prepare_deployment(deployment, stages)
        _require_same(disks, sequences or {})
        if {"partition", "copy"} <= {*stages}:
            _require_images(deployment, emitter, limits)
        for found in disks.values():
            teardown.enter(f"close {found.device}", pinned(found))
        if "partition" not in stages:
            for disk in deployment.scheme.disks:
                announce(disk)
        for stage in STAGES:
            if stage in stages and _has_work(deployment, stage):
                check_cancelled()
                with emitter.running(stage, _LABELS[stage], takes_long=True):
                    _run(stage, deployment, disks, scratch, emitter, limits)


def _require_same(disks: Mapping[str, HostDisk], sequences: Mapping[str, str]) -> None:
    """Raise DeployRefused for a name that means another disk than when somebody agreed."""
    changed = [
        f"{name} is another disk now than the one that was shown"
        for name, disk in disks.items()
        if sequences.get(name, disk.sequence) != disk.sequence
    ]
    if changed:
        raise DeployRefused(tuple(changed))


def _require_images(deployment: Deployment, emitter: Emitter, limits: CopyLimits) -> None:
    """Raise DeployRefused for images that no server has, while the disks are as they were."""
    wanted = [
        image_of_request(image, may_be_unverified=deployment.allow_unverified)
        for image in deployment.images
    ]
    if reasons := tuple(unreachable(wanted, emit=emitter, limits=limits)):
        raise DeployRefused(reasons)


def _lock_disks(deployment: Deployment, locks: Path, teardown: Teardown) -> None:
    """Hold a lock for each disk by its numbers, in one order for everybody."""
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    numbers = dict[str, str]()
    for disk in deployment.scheme.disks:
        try:
            device = os.stat(disk.device).st_rdev
        except OSError as e:
            raise DeployRefused((f"there is no disk {disk.device}: {e.strerror}",)) from e
        numbers[f"disk-{os.major(device)}-{os.minor(device)}"] = disk.device
    for name, device_name in sorted(numbers.items()):
        fd = try_lock(locks / name)
        if fd is None:
            raise DeployRefused((f"another deployment works on {device_name}",))
        teardown.defer(f"unlock {device_name}", partial(os.close, fd))


def _has_work(deployment: Deployment, stage: Stage) -> bool:
    scheme = deployment.scheme
    if stage == "config_drive":
        return scheme.config_drive_node() is not None and not deployment.seed
    if stage == "copy":
        return bool(deployment.images)
    if stage == "boot_loader":
        return scheme.root() is not None
    return True


def _run(
    stage: Stage,
    deployment: Deployment,
    disks: Mapping[str, HostDisk],
    scratch: Path,
    emitter: Emitter,
    limits: CopyLimits,
) -> None:
    if stage == "partition":
        partition_disks(deployment, disks, emitter.message)
    elif stage == "config_drive":
        place_config_drive(deployment, scratch=scratch, say=emitter.message)
    elif stage == "copy":
        for image in deployment.images:
            check_cancelled()
            _copy(deployment, image, emitter, limits)
    else:
        finish_target(deployment, scratch=scratch, say=emitter.message, warn=emitter.warn)


def _copy(
    deployment: Deployment, image: ImageRequest, emitter: Emitter, limits: CopyLimits
) -> None:
    is_whole = any(disk.device == image.node for disk in deployment.scheme.disks)
    wanted = image_of_request(image, may_be_unverified=deployment.allow_unverified)
    emitter.message(f"Copying {shown_address(image.uris[0]).rpartition('/')[2]} to {image.node}")
    copied = copy_image(wanted, Path(image.node), emit=emitter, limits=limits)
    emitter.message(f"Copied {format_size(copied.size_bytes)}, of which "
                    f"{format_size(copied.written_bytes)} had to be written")  # fmt: skip
    if is_whole:
        finish_disk(Path(image.node))
        return
    fs = deployment.scheme.by_node(image.node)
    kind = image.format or (fs.type if fs is not None else "")
    if image.grow and kind:
        grow_filesystem(Path(image.node), kind)
