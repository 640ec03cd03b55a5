"""A post-processor: makes an artifact of an artifact, or proves something about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.options import Finding, Options

if TYPE_CHECKING:
    from goldsmith.events import Emitter
    from goldsmith.host.journal import RunDirectory
    from goldsmith.layers.keys import StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessContext:
    """What a running post-processor is given."""

    emitter: Emitter
    build_name: str
    builder_type: str
    scratch: Path
    """A directory that goes away at the end."""
    directory: Path
    scratch_file: Callable[[Path], AbstractContextManager[Path]]
    """Journals a file outside `scratch` (a context manager) until it was renamed or removed."""
    run_uuid: str = ""
    """What PACKER_RUN_UUID says: the same in all builds of one command."""
    force: bool = False
    run: RunDirectory | None = None
    """The run directory, for effects elsewhere that are journalled; None while it is planned."""


@dataclass(frozen=True, slots=True)
class PostProcessed:
    """The new artifact; `keep` says whether the one it was made of stays.

    `force_keep` means that the template cannot decide otherwise.
    """

    artifact: Artifact
    keep: bool = False
    force_keep: bool = False


class PostProcessor(Protocol):
    """One `post-processor` block."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]

    def __init__(self, options: Options) -> None: ...

    def check(self, directory: Path) -> Sequence[Finding]:
        """Findings that need the host; nothing is changed."""
        ...

    def preflight(self, given: ExpectedArtifact) -> ExpectedArtifact:
        """Raise an error when it cannot work on this host, or on such an artifact.

        Returns what is known of the artifact that it will hand on.
        """
        ...

    def key(self, artifact: Artifact, context: PostProcessContext) -> StepKey | None:
        """What identifies the result, besides the artifact's files; None when it always runs.

        Asked for artifacts of goldsmith's own sources only: all others are treated as Packer does.
        """
        ...

    def post_process(self, artifact: Artifact, context: PostProcessContext) -> PostProcessed:
        """Do the work; raises GoldsmithError."""
        ...
