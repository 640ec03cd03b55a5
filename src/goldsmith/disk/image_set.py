"""The metadata of an image set: one image per mount point, and all that a deployment must know.

The file has every field of fuel-agent's (`os`, `packages`, `repos`, and of each image its
sizes and MD5 digests), so that whoever reads those reads ours, and fields of our own beside them:
what the set was made from, what is in it, and of each image its mount point, SHA-256 digests and
block map. It is written as YAML and as JSON, after the images. A file of fuel-agent's own is read
too: then what only we write is absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from goldsmith.errors import GoldsmithError

SCHEMA_VERSION: Final = 1
CONTAINERS: Final = ("raw", "gzip", "zstd")
LARGEST_METADATA_BYTES: Final = 32 << 20

_FILE_NAME: Final = re.compile(r"[^/\0-\x1f\x7f]{1,255}")
_DIGESTS: Final = {"md5": re.compile("[0-9a-f]{32}"), "sha256": re.compile("[0-9a-f]{64}")}


class ImageSetError(GoldsmithError):
    """The metadata of an image set is damaged, or of a kind that cannot be read."""


@dataclass(frozen=True, slots=True)
class SetImage:
    """One image of a set: the bare file system of one mount point, in its container.

    None is what the metadata does not say: fuel-agent's own has neither mount point nor SHA-256.
    `container_name` and `block_map_name` are file names beside the metadata.
    """

    container_name: str
    container: str
    format: str
    raw_size_bytes: int | None = None
    raw_md5: str | None = None
    raw_sha256: str | None = None
    container_size_bytes: int | None = None
    container_md5: str | None = None
    container_sha256: str | None = None
    mount: str | None = None
    uuid: str | None = None
    label: str | None = None
    block_map_name: str | None = None
    block_map_sha256: str | None = None
    contents_sha256: str | None = None
    """`disk.block_map.BlockMap.contents_sha256` of its map."""


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package of the tree."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ImageSet:
    """All images that were made of one tree, and what the tree was made of.

    `packages` are those that were asked for, `repos` and `os` are in fuel-agent's form.
    `inputs` has a digest of each thing that the set was made from, by its name, and
    `inputs_sha256` one of them all. `schema_version` 0 is fuel-agent's own metadata.
    """

    images: tuple[SetImage, ...]
    os: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    repos: tuple[Mapping[str, Any], ...] = ()
    schema_version: int = SCHEMA_VERSION
    goldsmith_version: str | None = None
    name: str | None = None
    architecture: str | None = None
    epoch_s: int | None = None
    inputs_sha256: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    os_release: Mapping[str, str] = field(default_factory=dict)
    installed_packages: tuple[InstalledPackage, ...] = ()

    def by_mount(self) -> dict[str, SetImage]:
        """The images whose mount point is known, by it."""
        return {image.mount: image for image in self.images if image.mount is not None}

    def by_container_name(self, name: str) -> SetImage | None:
        """The image in the file of this name, which is how fuel-agent finds one."""
        return next((image for image in self.images if image.container_name == name), None)


def to_document(image_set: ImageSet) -> dict[str, Any]:
    """The metadata as plain data, fuel-agent's fields first."""
    return {
        "os": dict(image_set.os), "packages": list(image_set.packages),
        "repos": [dict(repo) for repo in image_set.repos],
        "images": [_image_document(image) for image in image_set.images],
        "goldsmith_image_set": image_set.schema_version,
        "goldsmith_version": image_set.goldsmith_version, "name": image_set.name,
        "architecture": image_set.architecture, "epoch_s": image_set.epoch_s,
        "inputs_sha256": image_set.inputs_sha256, "inputs": dict(image_set.inputs),
        "os_release": dict(image_set.os_release),
        "installed_packages": [
            {"name": package.name, "version": package.version, "architecture": package.architecture}
            for package in image_set.installed_packages
        ],
    }  # fmt: skip


def _image_document(image: SetImage) -> dict[str, Any]:
    return {
        "raw_md5": image.raw_md5, "raw_size": image.raw_size_bytes, "raw_name": None,
        "container_name": image.container_name, "container_md5": image.container_md5,
        "container_size": image.container_size_bytes, "container": image.container,
        "format": image.format, "mount": image.mount, "uuid": image.uuid, "label": image.label,
        "raw_sha256": image.raw_sha256, "container_sha256": image.container_sha256,
        "block_map": image.block_map_name, "block_map_sha256": image.block_map_sha256,
        "contents_sha256": image.contents_sha256,
    }  # fmt: skip


def render_json(document: Mapping[str, Any]) -> str:
    """The text of the JSON file; `document` is that of `to_document`."""
    return json.dumps(document, indent=2) + "\n"


def render_yaml(document: Mapping[str, Any]) -> str:
    """The text of the YAML file; `document` is that of `to_document`."""
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return text


def read_image_set(text: str, origin: str = "the metadata") -> ImageSet:
    """Read metadata of ours or of fuel-agent's, in YAML or JSON; `origin` names it in messages.

    Fields that are not known are left alone. Raises ImageSetError with every reason.
    """
    return _Reader(origin).read(_parse(text, origin))


def _parse(text: str, origin: str) -> Any:
    if len(text) > LARGEST_METADATA_BYTES:
        raise ImageSetError(f"{origin}: metadata of this size is not read")
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # a flow mapping of YAML begins so too
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise ImageSetError(f"{origin} is neither YAML nor JSON: {e}",
                            hint="fetch or build the image set again") from e  # fmt: skip


class _Reader:
    """Takes a document apart and collects what is wrong with it."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._findings: list[str] = []

    def read(self, document: Any) -> ImageSet:
        given = self._map(document, "the document")
        version = given.get("goldsmith_image_set", 0)
        if not isinstance(version, int) or not 0 <= version <= SCHEMA_VERSION:
            raise ImageSetError(
                f"{self._origin} is of version {version!r}; up to {SCHEMA_VERSION} can be read",
                hint="use a newer goldsmith",
            )
        images = tuple(
            self._image(self._map(entry, f"images[{number}]"), f"images[{number}]")
            for number, entry in enumerate(self._list(given, "images"))
        )
        if not images:
            self._findings.append("images: there are none")
        self._no_repetition([image.container_name for image in images], "container_name")
        self._no_repetition([image.mount for image in images if image.mount], "mount")
        found = ImageSet(
            images, self._optional_map(given, "os"),
            tuple(str(name) for name in self._list(given, "packages")),
            tuple(self._map(entry, f"repos[{number}]")
                  for number, entry in enumerate(self._list(given, "repos"))),
            version, self._text(given, "goldsmith_version"), self._text(given, "name"),
            self._text(given, "architecture"), self._number(given, "epoch_s"),
            self._digest(given, "inputs_sha256", "sha256"),
            {str(k): str(v) for k, v in self._optional_map(given, "inputs").items()},
            {str(k): str(v) for k, v in self._optional_map(given, "os_release").items()},
            tuple(self._package(entry, f"installed_packages[{number}]")
                  for number, entry in enumerate(self._list(given, "installed_packages"))),
        )  # fmt: skip
        if self._findings:
            told = "\n".join(f"{self._origin}: {finding}" for finding in self._findings)
            raise ImageSetError(told, hint="fetch or build the image set again")
        return found

    def _image(self, given: Mapping[str, Any], at: str) -> SetImage:
        container = given.get("container")
        if container not in CONTAINERS:
            self._findings.append(f"{at}.container: {container!r} is none of "
                                  f"{', '.join(CONTAINERS)}")  # fmt: skip
        name = self._file_name(given, "container_name", at)
        if name is None:
            self._findings.append(f"{at}.container_name: it is missing")
        mount = self._text(given, "mount", at)
        if mount is not None and not mount.startswith("/"):
            self._findings.append(f"{at}.mount: {mount!r} is not absolute")
        return SetImage(
            name or "", str(container), self._text(given, "format", at) or "",
            self._number(given, "raw_size", at), self._digest(given, "raw_md5", "md5", at),
            self._digest(given, "raw_sha256", "sha256", at),
            self._number(given, "container_size", at),
            self._digest(given, "container_md5", "md5", at),
            self._digest(given, "container_sha256", "sha256", at), mount,
            self._text(given, "uuid", at), self._text(given, "label", at),
            self._file_name(given, "block_map", at),
            self._digest(given, "block_map_sha256", "sha256", at),
            self._digest(given, "contents_sha256", "sha256", at),
        )  # fmt: skip

    def _package(self, entry: Any, at: str) -> InstalledPackage:
        given = self._map(entry, at)
        return InstalledPackage(*(self._text(given, name, at) or ""
                                  for name in ("name", "version", "architecture")))  # fmt: skip

    def _map(self, value: Any, at: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._findings.append(f"{at}: it is not a map")
        return {}

    def _optional_map(self, given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        return self._map(given[name], name) if given.get(name) is not None else {}

    def _list(self, given: Mapping[str, Any], name: str) -> Sequence[Any]:
        value = given.get(name)
        if value is None or isinstance(value, list):
            return value or []
        self._findings.append(f"{name}: it is not a list")
        return []

    def _text(self, given: Mapping[str, Any], name: str, at: str = "") -> str | None:
        value = given.get(name)
        if value is None or isinstance(value, str):
            return value
        self._findings.append(f"{_path(at, name)}: {value!r} is not a text")
        return None

    def _file_name(self, given: Mapping[str, Any], name: str, at: str) -> str | None:
        """A name in the directory of the metadata: it never leads out of it."""
        value = self._text(given, name, at)
        if value is not None and (value in (".", "..") or not _FILE_NAME.fullmatch(value)):
            self._findings.append(f"{_path(at, name)}: {value!r} is not a plain file name")
        return value

    def _number(self, given: Mapping[str, Any], name: str, at: str = "") -> int | None:
        value = given.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
            return value
        self._findings.append(f"{_path(at, name)}: {value!r} is not a whole number")
        return None

    def _digest(
        self, given: Mapping[str, Any], name: str, algorithm: str, at: str = ""
    ) -> str | None:
        value = self._text(given, name, at)
        if value is None:
            return None
        if not _DIGESTS[algorithm].fullmatch(value.lower()):
            self._findings.append(f"{_path(at, name)}: {value!r} is not a digest of {algorithm}")
        return value.lower()

    def _no_repetition(self, values: Sequence[str], name: str) -> None:
        for value in sorted({value for value in values if values.count(value) > 1}):
            self._findings.append(f"images: {name} {value!r} is there more than once")


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
