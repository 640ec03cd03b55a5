"""What an image build leaves in its output directory, and how it knows its own earlier work."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.core.results import FileDigests
from goldsmith.disk.formats import WrittenFormats, check_format
from goldsmith.errors import GoldsmithError, NoSpaceError, OutputInTheWay
from goldsmith.host.journal import RunDirectory
from goldsmith.host.sparse import full_file_system_named
from goldsmith.host.teardown import Teardown

MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one image: one per format and the manifest, which is always the last one."""

    directory: Path
    image_name: str
    formats: tuple[str, ...]
    digests: FileDigests

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

    def refuse_foreign_files(self, *, force: bool) -> None:
        """Raise OutputInTheWay for files that goldsmith did not make, or that were changed since.

        An image is ours when the manifest beside it names its size and digest. With `force` only
        what is no file is refused.
        """
        if os.path.lexists(self.directory) and not self.directory.is_dir():
            raise GoldsmithError(
                f"{self.directory} is not a directory", hint="choose another output_directory"
            )
        for path in (self.manifest, *self.images.values()):
            if path.is_dir() and not path.is_symlink():
                raise GoldsmithError(
                    f"{path} is a directory, and an output goes there",
                    hint="remove it, or choose another image_name",
                )
        if force:
            return
        known = self._known()
        foreign = []
        for path in self.images.values():
            if os.path.lexists(path) and not self._is_ours(path, known.get(path.name)):
                foreign.append(str(path))
        if os.path.lexists(self.manifest) and not known:
            foreign.append(str(self.manifest))
        if foreign:
            raise OutputInTheWay(foreign)

    def _outdated(self) -> list[Path]:
        """The images of an earlier build of ours that this one does not replace."""
        current = set(self.images.values())
        places = {self.directory / Path(name).name: entry for name, entry in self._known().items()}
        return [p for p, entry in places.items() if p not in current and self._is_ours(p, entry)]

    def _is_ours(self, path: Path, entry: Mapping[str, Any] | None) -> bool:
        if entry is None or path.is_symlink() or not path.is_file():
            return False
        if path.stat().st_size != entry.get("size_bytes"):
            return False
        return self.digests.of(path) == entry.get("sha256")

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
            for directory in missing_directories(self.directory):
                teardown.enter(f"remove {directory}", new_directory(directory, run))
            partial = {}
            for name, path in self.images.items():
                temporary = _partial_name(path, run)
                teardown.enter(f"remove {temporary}", run.scratch_file(temporary))
                partial[name] = temporary
            yield partial

    def publish(
        self,
        partial: Mapping[str, Path],
        manifest: Mapping[str, Any],
        run: RunDirectory,
        *,
        force: bool,
    ) -> None:
        """Rename the finished images into place, and the manifest last of all.

        The renames are journalled as one: if we are killed between two of them, `clean` or the
        next command completes them. Our own files of formats that are no longer made are removed.
        """
        self.refuse_foreign_files(force=force)
        outdated = self._outdated()
        text = json.dumps({"goldsmith_manifest": MANIFEST_SCHEMA, **manifest}, indent=2) + "\n"
        temporary = _partial_name(self.manifest, run)
        with run.scratch_file(temporary), full_file_system_named(self.directory):
            with open(temporary, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            pairs = [(partial[name], path) for name, path in self.images.items()]
            pairs.append((temporary, self.manifest))
            entry = run.record("renames", pairs=[[str(a), str(b)] for a, b in pairs])
            for source, target in pairs:
                os.replace(source, target)
            run.forget(entry)
        for path in outdated:
            path.unlink(missing_ok=True)
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _partial_name(path: Path, run: RunDirectory) -> Path:
    """A name beside the final one that no other build has, of this command or another one."""
    return path.with_name(f".{path.name}.{run.id}-{secrets.token_hex(3)}.partial")


def missing_directories(directory: Path) -> Sequence[Path]:
    """The directories to make, topmost first."""
    missing = []
    while not os.path.lexists(directory):
        missing.append(directory)
        directory = directory.parent
    return missing[::-1]


@contextmanager
def new_directory(path: Path, run: RunDirectory) -> Iterator[None]:
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
