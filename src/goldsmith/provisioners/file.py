"""The `file` provisioner: files and directories, into the tree and out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.digests import bytes_digest, file_digest
from goldsmith.layers.keys import StepKey, canonical


class FileOptions(Options):
    """Options of the `file` provisioner."""

    nul_allowed: ClassVar[frozenset[str]] = frozenset({"content"})

    source: str | None = Field(
        None, description="A file or directory; a directory that ends in / gives its content only."
    )
    sources: tuple[str, ...] = Field((), description="Several files or directories.")
    content: str | None = Field(None, description="The text of the file, in place of a source.")
    destination: str = Field(
        description="Where it goes; a path that ends in / is a directory, and must exist."
    )
    direction: Literal["upload", "download"] = Field(
        "upload", description="Into the tree, or out of it onto this host."
    )
    generated: bool = Field(
        False, description="The source is made while building: do not look for it before."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> FileOptions:
        kinds = [self.source is not None, bool(self.sources), self.content is not None]
        if sum(kinds) != 1:
            raise ValueError("exactly one of source, sources and content must be given")
        if self.content is not None and self.direction == "download":
            raise ValueError("content cannot be downloaded: name a source in the tree")
        if self.content is not None and self.destination.endswith("/"):
            raise ValueError("with content, destination must name a file, not a directory")
        return self


class FileProvisioner:
    """Copies files between this host and the tree."""

    type_name: ClassVar[str] = "file"
    options_model: ClassVar[type[Options]] = FileOptions
    changes_tree: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        assert isinstance(options, FileOptions)
        self.options = options
        self.network = False

    @property
    def _sources(self) -> tuple[str, ...]:
        return (self.options.source,) if self.options.source is not None else self.options.sources

    @property
    def label(self) -> str:
        """Names what goes where."""
        what = ", ".join(self._sources) or "content"
        verb = "Uploading" if self.options.direction == "upload" else "Downloading"
        return f"{verb} {what} => {self.options.destination}"

    def check(self, directory: Path) -> Sequence[Finding]:
        """Every source of an upload must be there."""
        if self.options.direction == "download" or self.options.generated:
            return []
        findings = []
        for number, name in enumerate(self._sources):
            if not os.path.exists(directory / name):
                at = ("source",) if self.options.source is not None else ("sources", number)
                findings.append(
                    Finding(
                        f"Bad source {name!r}: there is no such file or directory",
                        at,
                        f"It is looked for in {directory}.",
                    )
                )
        return findings

    def key(self, directory: Path) -> StepKey | None:
        """Content, modes and names of what is uploaded; a download has no key: it has to happen."""
        if self.options.direction == "download":
            return None
        inputs = {"type": "file/1", "config": canonical({"destination": self.options.destination})}
        if self.options.content is not None:
            inputs["content"] = bytes_digest([self.options.content.encode()])
        for name in self._sources:
            try:
                inputs.update(_digests(name, Path(os.path.realpath(directory / name))))
            except OSError as e:
                raise GoldsmithError(f"cannot upload {name}: {e.filename}: {e.strerror}") from e
        return StepKey(inputs)

    def provision(self, context: ProvisionContext) -> None:
        """Copy every source in order; raises GoldsmithError that names the one that failed."""
        if self.options.content is not None:
            context.communicator.upload(
                self.options.content.encode("utf-8", "surrogateescape"), self.options.destination
            )
        for name in self._sources:
            if self.options.direction == "upload":
                self._upload(name, context)
            else:
                self._download(name, context)

    def _upload(self, name: str, context: ProvisionContext) -> None:
        source, destination = context.directory / name, self.options.destination
        communicator = context.communicator
        if source.is_dir():
            # As with rsync: without the trailing slash the directory itself arrives.
            if not name.endswith("/"):
                destination = f"{destination.rstrip('/')}/{source.name}"
            communicator.upload_directory(source, destination)
            return
        if not source.is_file():
            raise GoldsmithError(f"cannot upload {name}: there is no such file or directory")
        if destination.endswith("/") or communicator.is_directory(destination):
            destination = f"{destination.rstrip('/')}/{source.name}"
        communicator.upload(source, destination)

    def _download(self, name: str, context: ProvisionContext) -> None:
        destination = context.directory / self.options.destination
        if context.communicator.is_directory(name):
            if not name.endswith("/"):
                destination = destination / os.path.basename(name)
            context.communicator.download_directory(name, destination)
            return
        if self.options.destination.endswith("/") or destination.is_dir():
            destination = destination / os.path.basename(name)
        destination.parent.mkdir(parents=True, exist_ok=True)
        context.communicator.download(name, destination)


def _digests(name: str, top: Path) -> Iterator[tuple[str, str]]:
    """The mode and content of a file, or of everything below a directory, by its name.

    Raises GoldsmithError for what cannot be uploaded: opening a FIFO would wait for ever.
    """
    for path in _files_below(top):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            digest = "link:" + os.readlink(path)
        elif stat.S_ISDIR(status.st_mode):
            digest = "directory"
        elif stat.S_ISREG(status.st_mode):
            digest = file_digest(path)
        else:
            raise GoldsmithError(f"{path} is neither a file, a directory nor a link")
        relative = os.path.relpath(path, top)
        yield f"file:{name}:{relative}", f"{stat.S_IMODE(status.st_mode):o}:{digest}"


def _files_below(path: Path) -> Iterator[Path]:
    """A file itself, or everything below a directory, in name order."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            yield from _files_below(entry)
