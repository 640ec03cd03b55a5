"""What an image build leaves in its output directory, and how it knows its own earlier work."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


class OutputFiles(ABC):
    """The files of one build: what is in `images`, and the documents about them, always last."""

    __slots__ = ()
    directory: Path
    digests: FileDigests

    @property
    @abstractmethod
    def images(self) -> dict[str, Path]:
        """The files that are made, each by a name of its own."""

    @property
    @abstractmethod
    def documents(self) -> tuple[Path, ...]:
        """What describes them, in the order in which it is written."""

    @abstractmethod
    def known(self) -> Mapping[str, Any]:
        """What the documents that are there say: `size_bytes` and `sha256` by file name."""

    @property
    def all_files(self) -> tuple[Path, ...]:
        """Everything, the documents last."""
        return (*self.images.values(), *self.documents)

    def refuse_foreign_files(self, *, force: bool) -> None:
        """Raise OutputInTheWay for files that goldsmith did not make, or that were changed since.

        An image is ours when a document beside it names its digest. With `force` only
        what is no file is refused.
        """
        if os.path.lexists(self.directory) and not self.directory.is_dir():
            raise GoldsmithError(
                f"{self.directory} is not a directory", hint="choose another output_directory"
            )
        for path in (*self.documents, *self.images.values()):
            if path.is_dir() and not path.is_symlink():
                raise GoldsmithError(
                    f"{path} is a directory, and an output goes there",
                    hint="remove it, or choose another image_name",
                )
        if force:
            return
        known = self.known()
        foreign = []
        for path in self.images.values():
            if os.path.lexists(path) and not self._is_ours(path, known.get(path.name)):
                foreign.append(str(path))
        if not known:
            foreign += [str(path) for path in self.documents if os.path.lexists(path)]
        if foreign:
            raise OutputInTheWay(foreign)

    def _outdated(self) -> list[Path]:
        """The images of an earlier build of ours that this one does not replace."""
        current = set(self.images.values())
        places = {self.directory / Path(name).name: entry for name, entry in self.known().items()}
        return [p for p, entry in places.items() if p not in current and self._is_ours(p, entry)]

    def _is_ours(self, path: Path, entry: Mapping[str, Any] | None) -> bool:
        if entry is None or path.is_symlink() or not path.is_file():
            return False
        if path.stat().st_size != entry.get("size_bytes", path.stat().st_size):
            return False
        return self.digests.of(path) == entry.get("sha256")

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
        texts: Mapping[Path, str],
        run: RunDirectory,
        *,
        force: bool,
    ) -> None:
        """Rename the finished images into place, and the documents after them.

        `texts` has what each document says. The renames are journalled as one: if we are killed
        between two of them, `clean` or the next command completes them. Our own files that are no
        longer made are removed.
        """
        self.refuse_foreign_files(force=force)
        outdated = self._outdated()
        with ExitStack() as stack:
            pairs = [(partial[name], path) for name, path in self.images.items()]
            for path in self.documents:
                temporary = _partial_name(path, run)
                stack.enter_context(run.scratch_file(temporary))
                stack.enter_context(full_file_system_named(self.directory))
                with open(temporary, "w") as file:
                    file.write(texts[path])
                    file.flush()
                    os.fsync(file.fileno())
                pairs.append((temporary, path))
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


@dataclass(frozen=True, slots=True)
class Outputs(OutputFiles):
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
    def documents(self) -> tuple[Path, ...]:
        """The manifest."""
        return (self.manifest,)

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

    def known(self) -> Mapping[str, Any]:
        """What the manifest that is there says of its files."""
        try:
            manifest = json.loads(self.manifest.read_text())
            files = manifest["files"]
            return files if manifest["goldsmith_manifest"] == MANIFEST_SCHEMA else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def manifest_text(self, manifest: Mapping[str, Any]) -> str:
        """The text of the manifest."""
        return json.dumps({"goldsmith_manifest": MANIFEST_SCHEMA, **manifest}, indent=2) + "\n"


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
