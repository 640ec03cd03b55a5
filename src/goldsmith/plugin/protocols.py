"""What components of plugins are to goldsmith, in this process or in another one.

Both ends of the wire speak of the same objects: `services` serves whatever follows these protocols,
and gives objects that follow them for what a process on the other side serves. Every method raises
GoldsmithError where it fails; over the wire only the text of the error survives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from goldsmith.plugin.cancel import Cancel
from goldsmith.plugin.wire.hcl_spec import ObjectSpec
from goldsmith.values.value import Value

RawConfig = Mapping[str, Any] | Value | None
"""One layer of a component's configuration, later ones win key by key.

A mapping comes from Packer itself or from a JSON template (its numbers are floats, its Go templates
are not rendered); a `Value`, an object, is the decoded body of an HCL2 block, null where an
attribute was left out.
"""


class Reader(Protocol):
    """Bytes to be read, b"" at the end; every binary file is one."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, at least one unless it is the end."""
        ...


class Writer(Protocol):
    """Where bytes are written; every binary file is one."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""
        ...


class ProgressBar(Protocol):
    """How far a transfer is."""

    def add(self, count: int) -> None:
        """So many bytes more have been moved."""
        ...


class Ui(Protocol):
    """How a component speaks to the user."""

    def say(self, text: str) -> None:
        """Tell what happens."""
        ...

    def message(self, text: str) -> None:
        """Tell a detail."""
        ...

    def error(self, text: str) -> None:
        """Tell of a failure."""
        ...

    def ask(self, question: str) -> str:
        """The user's answer; raises GoldsmithError when nobody can answer."""
        ...

    def machine(self, category: str, args: Sequence[str]) -> None:
        """Tell machines only."""
        ...

    def progress(
        self, name: str, *, current: int = 0, total: int = 0
    ) -> AbstractContextManager[ProgressBar]:
        """Show a transfer as long as the block runs; `total` is 0 where it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known of a file that is uploaded; `mode` has the permission bits of Unix."""

    name: str
    size: int
    mode: int = 0o644
    modified_ns: int | None = None
    """Nanoseconds since 1970, None where it is not known."""


class RunningCommand(Protocol):
    """A command that has been started."""

    def wait(self) -> int:
        """Wait until it has ended and its output was written; its exit status."""
        ...


class Communicator(Protocol):
    """The channel to a machine or tree; may be used from several threads at once."""

    def start(
        self,
        command: str,
        *,
        stdin: Reader | None = None,
        stdout: Writer | None = None,
        stderr: Writer | None = None,
    ) -> RunningCommand:
        """Start a shell line there; the streams are used until `wait` returns."""
        ...

    def upload(self, path: str, content: Reader, info: FileInfo | None = None) -> None:
        """Write a file there."""
        ...

    def download(self, path: str, to: Writer) -> None:
        """Read a file from there."""
        ...

    def upload_directory(self, destination: str, source: str, exclude: Sequence[str] = ()) -> None:
        """Copy a directory of this host there; with `/` at the end of `source` its content only."""
        ...

    def download_directory(
        self, source: str, destination: str, exclude: Sequence[str] = ()
    ) -> None:
        """Copy a directory from there to this host."""
        ...


class Hook(Protocol):
    """What a builder calls where others join in: "packer_provision", "packer_cleanup_provision"."""

    def run(
        self, name: str, ui: Ui, communicator: Communicator, data: Mapping[str, Any] | None
    ) -> None:
        """Run what waits for this event; `data` is what the builder fills of `build.*`."""
        ...

    def cancel(self) -> None:
        """Make a `run` that runs on another thread end soon; with none it does nothing."""
        ...


class Artifact(Protocol):
    """The result of a builder or post-processor."""

    @property
    def builder_id(self) -> str:
        """What kind of thing it is."""
        ...

    @property
    def id(self) -> str:
        """What identifies it."""
        ...

    @property
    def string(self) -> str:
        """What the user reads about it."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """Its files on this host."""
        ...

    def state(self, name: str) -> Any:
        """What it tells under this name, plain data; None when it knows nothing of it."""
        ...

    def destroy(self) -> None:
        """Remove it."""
        ...


class Prepared(NamedTuple):
    """What a builder says after it has read its configuration."""

    generated: Sequence[str] = ()
    """The names of `build.*` that it will fill, besides the fixed ones."""
    warnings: Sequence[str] = ()


class Builder(Protocol):
    """A builder; `prepare` may be called again and then replaces what it was told before."""

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; never fails."""
        ...

    def prepare(self, configs: Sequence[RawConfig]) -> Prepared:
        """Read and check the configuration; changes nothing outside."""
        ...

    def run(self, ui: Ui, hook: Hook, cancel: Cancel) -> Artifact | None:
        """Build; None where there is nothing to hand on."""
        ...


class Provisioner(Protocol):
    """A provisioner; `prepare` may be called again and then replaces what it was told before."""

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; never fails."""
        ...

    def prepare(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; changes nothing outside."""
        ...

    def provision(
        self, ui: Ui, communicator: Communicator, generated: Mapping[str, Any], cancel: Cancel
    ) -> None:
        """Do the work; `generated` is what the builder filled of `build.*`."""
        ...


class PostProcessed(NamedTuple):
    """What a post-processor hands on."""

    artifact: Artifact | None
    keep: bool = False
    """Whether the artifact that it was given stays."""
    force_keep: bool = False
    """Whether `keep` holds against what the template says."""


class PostProcessor(Protocol):
    """A post-processor; `configure` may be called again and then replaces what it was told."""

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; never fails."""
        ...

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; changes nothing outside."""
        ...

    def post_process(self, ui: Ui, artifact: Artifact, cancel: Cancel) -> PostProcessed:
        """Make an artifact of an artifact, which may be the given one."""
        ...


class Datasource(Protocol):
    """A data source."""

    def config_spec(self) -> ObjectSpec:
        """The options as HCL2 has them; never fails."""
        ...

    def configure(self, configs: Sequence[RawConfig]) -> None:
        """Read and check the configuration; asks nothing of the outside."""
        ...

    def output_spec(self) -> ObjectSpec:
        """The attributes that `execute` will give, with their types."""
        ...

    def execute(self) -> Value:
        """The object that `data.TYPE.NAME` is."""
        ...


class Command(Protocol):
    """A command of goldsmith's that comes from elsewhere; Packer knows none."""

    @property
    def help(self) -> str:
        """What `goldsmith NAME -help` prints."""
        ...

    @property
    def synopsis(self) -> str:
        """The line of it that `goldsmith -help` prints."""
        ...

    def run(self, args: Sequence[str], ui: Ui) -> int:
        """Run it with these words; returns the exit code."""
        ...


Component = Builder | Provisioner | PostProcessor | Datasource | Hook | Command
"""What a plugin's process can serve."""
