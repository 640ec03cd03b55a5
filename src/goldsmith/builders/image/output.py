"""What an image build leaves in its output directory, and how it knows its own earlier work."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.disk.formats import WrittenFormats, check_format
from goldsmith.errors import GoldsmithError, NoSpaceError, OutputInTheWay
from goldsmith.host.journal import RunDirectory
from goldsmith.host.sparse import full_file_system_named, hash_sparse
from goldsmith.host.teardown import Teardown

MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one image: one per format and the manifest, which is always the last one."""

    directory: Path
    image_name: str
    formats: tuple[str, ...]

    @property
    def manifest(self) -> Path:
        """`<name>.manifest.json`."""
        return self.directory / f"{self.image_name}.manifest.json"

    @property
    def images(self) -> dict[str, Path]:
        """The image file of each format."""
        return {
            name: self.directory / f"{self.image_name}.{check_format(name).extension}"
            for name in self.formats
        }

    def describe(self, written: WrittenFormats) -> dict[str, Any]:
        """What the manifest says of the files and of the raw image that is in each of them.

        The block map is that of the raw image, so of "raw" and of what "raw.gz" and "raw.zst" hold.
        """
        files = {
            path.name: {
                "format": name, "size_bytes": written.files[name].size_bytes,
                "sha256": written.files[name].sha256, "raw_sha256": written.raw.sha256,
            }
            for name, path in self.images.items()
        }  # fmt: skip
        raw = {
            "size_bytes": written.raw.size_bytes, "sha256": written.raw.sha256,
            "block_map": written.raw.block_map.to_json(),
        }  # fmt: skip
        return {"files": files, "raw": raw}

    def refuse_foreign_files(self) -> None:
        """Raise OutputInTheWay for files that goldsmith did not make, or that were changed since.

        An image is ours when the manifest beside it names its size and digest.
        """
        known = self._known()
        foreign = []
        for path in self.images.values():
            if os.path.lexists(path) and not _is_ours(path, known.get(path.name)):
                foreign.append(str(path))
        if os.path.lexists(self.manifest) and not known:
            foreign.append(str(self.manifest))
        if foreign:
            raise OutputInTheWay(foreign)

    def _known(self) -> Mapping[str, Any]:
        try:
            manifest = json.loads(self.manifest.read_text())
            files = manifest["files"]
            return files if manifest["goldsmith_manifest"] == MANIFEST_SCHEMA else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @contextmanager
    def being_written(self, run: RunDirectory) -> Iterator[dict[str, Path]]:
        """Temporary names for the images in the output directory, journalled before they exist.

        What was not renamed when the block is left is removed, directories that had to be made for
        it too.
        """
        with Teardown() as teardown:
            for directory in _missing(self.directory):
                teardown.enter(f"remove {directory}", _directory(directory, run))
            partial = {}
            for name, path in self.images.items():
                temporary = path.with_name(f".{path.name}.{run.id}.partial")
                teardown.enter(f"remove {temporary}", run.scratch_file(temporary))
                partial[name] = temporary
            yield partial

    def publish(
        self, partial: Mapping[str, Path], manifest: Mapping[str, Any], run: RunDirectory
    ) -> None:
        """Rename the finished images into place and write the manifest, last of all."""
        for name, path in self.images.items():
            os.replace(partial[name], path)
        text = json.dumps({"goldsmith_manifest": MANIFEST_SCHEMA, **manifest}, indent=2) + "\n"
        temporary = self.manifest.with_name(f".{self.manifest.name}.{run.id}.partial")
        with run.scratch_file(temporary), full_file_system_named(self.directory):
            with open(temporary, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.manifest)
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _is_ours(path: Path, entry: Mapping[str, Any] | None) -> bool:
    if entry is None or path.is_symlink() or not path.is_file():
        return False
    if path.stat().st_size != entry.get("size_bytes"):
        return False
    return hash_sparse(path)["sha256"] == entry.get("sha256")


def _missing(directory: Path) -> Sequence[Path]:
    """The directories to make, topmost first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    return missing[::-1]


@contextmanager
def _directory(path: Path, run: RunDirectory) -> Iterator[None]:
    """A directory that goes again at the end unless something is in it."""
    entry = run.record("directory", path=str(path.absolute()))
    try:
        path.mkdir(exist_ok=True)
    except OSError as e:
        run.forget(entry)
        error = NoSpaceError if e.errno == 28 else GoldsmithError
        raise error(
            f"cannot make the output directory {path}: {e.strerror}",
            hint="choose another output_directory",
        ) from e
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()
        run.forget(entry)
