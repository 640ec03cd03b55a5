"""What is copied, within which limits, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from goldsmith.deploy.scheme import ImageRequest
from goldsmith.disk.block_map import BlockMap
from goldsmith.errors import GoldsmithError

CONTAINERS: Final = ("raw", "gzip", "zstd", "qcow2")
"""What an image may be packed into. It is told, never guessed: a raw image may begin like any."""


class CopyError(GoldsmithError):
    """An image could not be copied onto its target."""


class ImageMismatch(CopyError):
    """The bytes are not those that were promised: nothing of them can be used."""

    exit_code = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToCopy:
    """An image, where it is to be had, and all that is known of its bytes.

    `uris` are mirrors of one file, tried in turn. Sizes are None and digests (algorithm ->
    hexadecimal) empty where nobody knows them; those of the container are of the file as it is
    sent, the others of what comes out of it. A block map is given, or to be had at
    `block_map_uris`; `contents_sha256` is `BlockMap.contents_sha256` of the right one, and stands
    for the `digests` where there is a map. Without any digest an image is refused unless it
    `may_be_unverified`.
    """

    uris: tuple[str, ...]
    container: str = "raw"
    size_bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    container_size_bytes: int | None = None
    container_digests: Mapping[str, str] = field(default_factory=dict)
    block_map: BlockMap | None = None
    block_map_uris: tuple[str, ...] = ()
    block_map_sha256: str | None = None
    contents_sha256: str | None = None
    may_be_unverified: bool = False

    def __post_init__(self) -> None:
        if not self.uris:
            raise CopyError("an image has no address")
        if self.container not in CONTAINERS:
            raise CopyError(
                f"{self.container!r} is not a container of images",
                hint=f"choose one of {', '.join(CONTAINERS)}",
            )

    @property
    def is_verifiable(self) -> bool:
        """Whether anything tells the right bytes from wrong ones."""
        return bool(self.digests or self.container_digests or self.block_map or self.block_map_uris)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLimits:
    """How long is waited for servers, and how often they are asked again.

    Within `stall_s` at least 1 KiB for each second must come. All mirrors have failed in turn
    for a round; `rounds` of them in a row, without anything new in between, are the end. The pause
    between two rounds doubles from `pause_s` to 30 s. `total_s` is the limit of one whole copy.
    """

    stall_s: float = 30.0
    total_s: float | None = None
    rounds: int = 6
    pause_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedImage:
    """A finished copy: the image's size and digests, and how much had to be written.

    `digests` are those of the whole that were compared, `sources` the addresses that it came from,
    fit to be shown.
    """

    target: Path
    size_bytes: int
    written_bytes: int
    digests: Mapping[str, str]
    sources: tuple[str, ...]
    duration_s: float


def _addresses_of_map(request: ImageRequest) -> tuple[str, ...]:
    """Where the block map is to be had: if it lies beside its image, then on every mirror."""
    if request.block_map_uri is None:
        return ()
    place, _, name = request.block_map_uri.rpartition("/")
    places = [uri.rpartition("/")[0] for uri in request.uris]
    if place != places[0]:
        return (request.block_map_uri,)
    return tuple(f"{one}/{name}" for one in places)


def image_of_request(request: ImageRequest, *, may_be_unverified: bool = False) -> ImageToCopy:
    """The image that a deployment asks for."""
    raw = {"md5": request.raw_md5, "sha256": request.raw_sha256}
    packed = {"md5": request.container_md5, "sha256": request.container_sha256}
    return ImageToCopy(
        uris=request.uris,
        container=request.container,
        size_bytes=request.raw_size_bytes,
        digests={name: digest for name, digest in raw.items() if digest},
        container_size_bytes=request.container_size_bytes,
        container_digests={name: digest for name, digest in packed.items() if digest},
        block_map_uris=_addresses_of_map(request),
        block_map_sha256=request.block_map_sha256,
        contents_sha256=request.contents_sha256,
        may_be_unverified=may_be_unverified,
    )
