"""What hooks can look up of the disk of a build: upstream's parameters, configuration and state.

`goldsmith block-device getval` reads these files, and so do hooks of one's own.
Source: `specs/diskimage-builder.md`, A2 step 5 and A12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from goldsmith.builders.elements.disk_wishes import DiskWishes
from goldsmith.elements.places import Places
from goldsmith.units import KIB

STATES: Final = "states/block-device"
"""Below the directory of a build: what is known of its devices."""
STATE_FILE: Final = "state.json"
_DIRECTORY: Final = "block-device"
_PARAMETERS_VARIABLE: Final = "DIB_BLOCK_DEVICE_PARAMS_YAML"


def write_parameters(
    build: Path, places: Places, wishes: DiskWishes, size_bytes: int
) -> dict[str, str]:
    """Write configuration and parameters of a disk of this size; returns what hooks are told.

    `build` is the directory of the build as this process sees it, `places` where hooks see it.
    """
    own, seen = build / _DIRECTORY, places.build / _DIRECTORY
    own.mkdir(exist_ok=True)
    (own / "config.yaml").write_text(wishes.config.text)
    parameters = {
        "config": str(seen / "config.yaml"), "image-dir": str(places.image),
        "root-fs-type": wishes.root.type, "root-label": wishes.root.label,
        "mount-base": str(places.mount), "build-dir": str(places.build),
        "image-size": f"{size_bytes // KIB}KiB", "root-fs-opts": " ".join(wishes.root.options),
    }  # fmt: skip
    # A text of JSON is one of YAML.
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in parameters.items()]
    (own / "params.yaml").write_text("".join(lines))
    return {_PARAMETERS_VARIABLE: str(seen / "params.yaml")}


def write_devices(build: Path, image: Path, names: Mapping[str, str]) -> None:
    """Write the devices of the disk by their names; `image` is its file as hooks see it."""
    devices: dict[str, dict[str, str]] = {name: {"device": one} for name, one in names.items()}
    devices["image0"]["image"] = str(image)
    state = build / STATES / STATE_FILE
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"blockdev": devices}, indent=1))
