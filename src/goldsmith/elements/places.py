"""Where an image is made, as its hooks see it: the same paths in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goldsmith.elements.description import Description
from goldsmith.host.journal import doorway

RECORDS: Final = ".goldsmith"
"""The directory of a build where phases leave word for the next."""
IN_TARGET: Final = "/tmp/in_target.d"  # noqa: S108
"""Where hooks in the tree see the hooks directory, which they cannot write to."""
_BUILD: Final = "dib_build.goldsmith"
_IMAGE: Final = "dib_image.goldsmith"


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one image.

    `build` and `image` are empty ones of the host at which a step's namespaces show the tree in
    the making and a directory of the run, so that hooks see the same paths in every run.
    """

    build: Path
    """TMP_BUILD_DIR."""
    image: Path
    """TMP_IMAGE_DIR."""
    cache: Path
    """DIB_IMAGE_CACHE: on the host, kept by hooks from run to run."""
    locks: Path
    """DIB_LOCKFILES."""
    directory: Path = Path("/")
    """Where the caller is: what hooks on the host write to relative paths lands here."""

    @property
    def mount(self) -> Path:
        """TMP_MOUNT_PATH: the image's tree."""
        return self.build / "mnt"

    @property
    def hooks(self) -> Path:
        """TMP_HOOKS_PATH: the merged hooks."""
        return self.build / "hooks"


def make_places(state: Path, description: Description, directory: Path) -> Places:
    """The places of an image for this user, made where they are missing; `state` is goldsmith's.

    Cache and locks are upstream's directories unless the caller names others.
    """
    base = doorway(state)
    given = description.environment
    home = Path(given.get("HOME") or "/root")
    cache = _place(description.image_cache or given.get("DIB_IMAGE_CACHE", ""), home, directory)
    locks = _place(given.get("DIB_LOCKFILES", ""), home, directory)
    places = Places(
        base / _BUILD, base / _IMAGE, cache or home / ".cache/image-create",
        locks or home / ".cache/dib/lockfiles", directory,
    )  # fmt: skip
    for place in (places.build, places.image):
        place.mkdir(mode=0o755, exist_ok=True)
    for place in (places.cache, places.locks):
        place.mkdir(parents=True, exist_ok=True)
    return places


def _place(text: str, home: Path, directory: Path) -> Path | None:
    if not text:
        return None
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return directory / text
