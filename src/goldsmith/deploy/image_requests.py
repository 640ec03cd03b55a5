"""From the addresses of images, or of the metadata of a set, to requests with sizes and digests."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.copying.resuming import ResumingStream
from goldsmith.deploy.copying.sources import shown_address, source_of
from goldsmith.deploy.scheme import ImageRequest, Scheme
from goldsmith.disk.block_map import LARGEST_BMAP_BYTES, BlockMapError, parse_bmap
from goldsmith.disk.image_set import LARGEST_METADATA_BYTES, ImageSet, SetImage, read_image_set
from goldsmith.errors import GoldsmithError, UsageError, explain_os_error
from goldsmith.events import Emitter

METADATA_ENDINGS: Final = (".yaml", ".yml", ".json")
CONTAINER_ENDINGS: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".qcow2": "qcow2"}
_ADDRESS: Final = re.compile(r"(https?|s3|file)://|/|\.{1,2}/")


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image of a command line: where it goes ("" where it says so itself), where it is."""

    place: str
    address: str

    @property
    def is_set(self) -> bool:
        """Whether it is the metadata of a set."""
        return not self.place and self.address.endswith(METADATA_ENDINGS)


def parse_given(word: str) -> GivenImage:
    """Read `SET.yaml`, `MOUNT=ADDRESS`, `NODE=ADDRESS` or the ADDRESS of a whole disk's image."""
    place, equals, address = word.partition("=")
    if equals and address and place.startswith("/") and "://" not in place:
        return GivenImage(place, address)
    if not word:
        raise UsageError("an image has no address")
    return GivenImage("", word)


def absolute(address: str) -> str:
    """An address that means the same in any directory."""
    return address if "://" in address else str(Path(address).absolute())


def requests_of(
    given: Sequence[GivenImage], scheme: Scheme, emitter: Emitter, limits: CopyLimits
) -> tuple[ImageRequest, ...]:
    """The images for a scheme; raises GoldsmithError where one has no place, or cannot be read."""
    found: list[ImageRequest] = []
    for one in given:
        address = absolute(one.address)
        if one.is_set:
            found += of_set(read_set(address, emitter, limits), address, scheme)
        else:
            found.append(_alone(one.place, address, scheme))
    return tuple(found)


def with_mirrors(
    requests: Sequence[ImageRequest], mirrors: Sequence[str]
) -> tuple[ImageRequest, ...]:
    """The requests with further directories that have files of the same names."""

    def addresses(request: ImageRequest) -> tuple[str, ...]:
        name = re.sub(r"[?#].*", "", request.uris[0]).rpartition("/")[2]
        others = (f"{absolute(mirror).rstrip('/')}/{name}" for mirror in mirrors)
        return (*request.uris, *others)

    return tuple(replace(request, uris=addresses(request)) for request in requests)


def read_set(address: str, emitter: Emitter, limits: CopyLimits) -> ImageSet:
    """Fetch and read the metadata of a set."""
    source = source_of(address, stall_s=limits.stall_s, redactor=emitter.redactor)
    stream = ResumingStream([source], limits, is_proven=False, warn=emitter.warn)
    with io.BufferedReader(stream) as reading:
        data = reading.read(LARGEST_METADATA_BYTES + 1)
    try:
        return read_image_set(data.decode(), source.shown)
    except UnicodeDecodeError as e:
        raise GoldsmithError(f"{source.shown} is not a text in UTF-8") from e


def of_set(found: ImageSet, address: str, scheme: Scheme) -> list[ImageRequest]:
    """The images of a set that a scheme has places for; raises GoldsmithError for what it lacks."""
    base = address.rpartition("/")[0]
    requests = []
    for image in found.images:
        if image.mount is None:
            raise GoldsmithError(
                f"{shown_address(address)} does not say where {image.container_name} is mounted",
                hint="it is metadata of fuel-agent: name each image, --image MOUNT=ADDRESS",
            )
        fs = scheme.by_mount(image.mount)
        if fs is None:
            raise GoldsmithError(
                f"{shown_address(address)} has an image for {image.mount}, and the scheme has no "
                "file system there"
            )
        requests.append(request_of(image, f"{base}/{image.container_name}", fs.node, image.mount))
    return requests


def request_of(image: SetImage, uri: str, node: str, mount: str | None) -> ImageRequest:
    """The request for an image of a set, with all that its metadata says of it."""
    base = uri.rpartition("/")[0]
    block_map = f"{base}/{image.block_map_name}" if image.block_map_name else None
    return ImageRequest(
        (uri,), node, mount, image.container, image.format, image.raw_size_bytes, image.raw_md5,
        image.raw_sha256, image.container_size_bytes, image.container_sha256, image.container_md5,
        block_map, image.block_map_sha256, image.contents_sha256,
    )  # fmt: skip


def _alone(place: str, address: str, scheme: Scheme) -> ImageRequest:
    """An image without a set: a block map beside a file of this host is used, its size too."""
    fs = scheme.by_mount(place) if place else None
    node = fs.node if fs is not None else place
    if not place:
        whole = [disk.device for disk in scheme.disks if disk.label == "none"]
        if len(whole) != 1:
            raise GoldsmithError(
                f"{shown_address(address)}: no place is given for it",
                hint="write --image MOUNT=ADDRESS; a whole disk's image needs a scheme with one "
                'disk of label "none"',
            )
        node = whole[0]
    elif node not in scheme.nodes():
        raise GoldsmithError(
            f"{shown_address(address)}: the scheme has no file system or partition {place}"
        )
    ending = next((e for e in CONTAINER_ENDINGS if address.endswith(e)), "")
    map_path = Path(f"{address}.bmap")
    has_map = address.startswith("/") and map_path.is_file()
    size_bytes = _size_of_map(map_path) if has_map else None
    return ImageRequest(
        (address,), node, fs.mount if fs is not None else None,
        CONTAINER_ENDINGS.get(ending, "raw"), fs.type if fs is not None else "",
        size_bytes, block_map_uri=str(map_path) if has_map else None,
    )  # fmt: skip


def _size_of_map(path: Path) -> int:
    """The size of the image that a .bmap file is of; raises GoldsmithError for a damaged one."""
    try:
        with open(path, "rb") as file:
            return parse_bmap(file.read(LARGEST_BMAP_BYTES + 1)).size_bytes
    except OSError as e:
        raise explain_os_error(e) from e
    except BlockMapError as e:
        raise BlockMapError(f"{path}: {e}", hint=e.hint) from e
