"""What the build of an image set leaves in its output directory, and how it knows earlier work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldsmith.builders.image.output import OutputFiles
from goldsmith.builders.image.set_options import BLOCK_MAP_ENDING, DOCUMENT_ENDINGS
from goldsmith.core.results import FileDigests
from goldsmith.disk.image_set import ImageSet, ImageSetError, read_image_set


@dataclass(frozen=True, slots=True)
class SetOutputs(OutputFiles):
    """The images of a set with their block maps, then the metadata as JSON and as YAML."""

    directory: Path
    metadata_name: str
    names: tuple[str, ...]
    """The file names of the images."""
    digests: FileDigests

    @property
    def images(self) -> dict[str, Path]:
        """Each image and its block map, by file name."""
        names = [*self.names, *(block_map_name(name) for name in self.names)]
        return {name: self.directory / name for name in names}

    @property
    def documents(self) -> tuple[Path, ...]:
        """The two files of metadata; whoever waits for the YAML has everything."""
        return tuple(self.directory / f"{self.metadata_name}{end}" for end in DOCUMENT_ENDINGS)

    def known(self) -> Mapping[str, Any]:
        """What the metadata that is there says of its files."""
        described = self.read()
        if described is None:
            return {}
        found: dict[str, Any] = {}
        for image in described.images:
            found[image.container_name] = {
                "size_bytes": image.container_size_bytes, "sha256": image.container_sha256,
            }  # fmt: skip
            if image.block_map_name is not None:
                found[image.block_map_name] = {"sha256": image.block_map_sha256}
        return found

    def read(self) -> ImageSet | None:
        """The metadata that is there, None for none of ours."""
        place = self.documents[-1]
        try:
            described = read_image_set(place.read_text(), place.name)
        except (OSError, UnicodeDecodeError, ImageSetError):
            return None
        return described if described.schema_version else None


def block_map_name(name: str) -> str:
    """The file name of an image's block map, where bmaptool looks for it."""
    return f"{name}{BLOCK_MAP_ENDING}"
