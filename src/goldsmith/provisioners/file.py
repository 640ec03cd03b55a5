"""The `file` provisioner: files and directories, into the tree and out of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from goldsmith.core.caching import config_inputs, shown_path
from goldsmith.core.communicator import is_tree
from goldsmith.core.options import Finding, Options
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.errors import GoldsmithError
from goldsmith.host.digests import bytes_digest
from goldsmith.host.tree_digests import tree_digests
from goldsmith.layers.keys import StepKey


class FileOptions(Options):
    """Options of the `file` provisioner."""

    go_templates: ClassVar[bool] = True
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
        self.reads_only = options.direction == "download"

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
        inputs = {"type": "file/1", **config_inputs({"destination": self.options.destination})}
        if self.options.content is not None:
            content = self.options.content.encode("utf-8", "surrogateescape")
            inputs["config:content"] = bytes_digest([content])
        for number, name in enumerate(self._sources):
            inputs[f"config:source {number}"] = _name_that_arrives(name, directory)
            try:
                digests = tree_digests(directory / name)
            except OSError as e:
                raise GoldsmithError(f"cannot upload {name}: {e.filename}: {e.strerror}") from e
            top = shown_path(name, directory)
            for path, digest in digests.items():
                shown = f"file:{top}" if path == "." else f"file:{top}/{path}"
                # Sources outside of the directory may be called the same.
                while shown in inputs:
                    shown += f" ({number})"
                inputs[shown] = digest
        return StepKey(inputs)

    def provision(self, context: ProvisionContext) -> None:
        """Copy every source in order; raises GoldsmithError that names the one that failed."""
        if self.options.content is not None:
            self._say("Uploading", "content", context)
            context.communicator.upload(
                self.options.content.encode("utf-8", "surrogateescape"), self.options.destination
            )
        for name in self._sources:
            if self.options.direction == "upload":
                self._say("Uploading", name, context)
                self._upload(name, context)
            else:
                self._say("Downloading", name, context)
                self._download(name, context)

    def _say(self, verb: str, name: str, context: ProvisionContext) -> None:
        # In a tree it is a step, which has told it as its label.
        if not is_tree(context.communicator):
            context.emitter.say(f"{verb} {name} => {self.options.destination}")

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


def _name_that_arrives(name: str, directory: Path) -> str:
    """What of a source's path can be seen in the tree: its last part, or that it is left out.

    Of "." that is the name of the directory itself.
    """
    path = directory / name
    return "/" if name.endswith("/") and path.is_dir() else path.name
