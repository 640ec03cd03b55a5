"""A provisioner: changes the tree or machine before it becomes an image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from goldsmith.core.caching import NO_WISHES, Caching
from goldsmith.core.options import Finding, Options

if TYPE_CHECKING:
    from goldsmith.core.communicator import Communicator
    from goldsmith.events import Emitter
    from goldsmith.layers.keys import StepKey


@contextmanager
def temporary_directory(place: Path | None = None) -> Iterator[Path]:
    """A fresh directory in `place`, or where temporary files lie, that goes away with its block."""
    with tempfile.TemporaryDirectory(prefix="goldsmith-", dir=place) as name:
        yield Path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionContext:
    """What a running provisioner is given."""

    communicator: Communicator
    emitter: Emitter
    build_name: str
    """The source's name without its type, as PACKER_BUILD_NAME has it."""
    builder_type: str
    environment: Mapping[str, str]
    directory: Path
    """The directory to which relative paths of the template refer."""
    run_uuid: str
    """What PACKER_RUN_UUID says: the same in all builds of one command."""
    scratch_file: Callable[[Path], AbstractContextManager[Path]]
    """Journals a file on the host (a context manager) until it was renamed or removed."""
    run_values: Mapping[str, str] = field(default_factory=dict)
    """What the builder has announced and filled of `build.*`."""
    ask: Callable[[str, tuple[str, ...]], str | None] = lambda question, choices: None
    """Asks the user; None when nobody can be asked."""
    scratch_directory: Callable[[], AbstractContextManager[Path]] = temporary_directory
    """A directory of the run (a context manager) that goes away with its block."""


class Provisioner(Protocol):
    """One `provisioner` block: made from its options, checked, keyed, run."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]
    changes_tree: ClassVar[bool]
    """Whether it works through the communicator; else on this host's files alone, outside of any
    tree and its layers."""

    network: bool
    """Whether its programs see the host's network, or an empty one."""
    reads_only: bool
    """Whether it leaves the tree as it is, as a download does."""

    def __init__(self, options: Options) -> None: ...

    @property
    def label(self) -> str:
        """What the user reads when it starts."""
        ...

    def check(self, directory: Path) -> Sequence[Finding]:
        """Findings that need the host's files; nothing is changed."""
        ...

    def key(self, directory: Path) -> StepKey | None:
        """What identifies its effect on a tree."""
        ...

    def provision(self, context: ProvisionContext) -> None:
        """Do the work; raises GoldsmithError."""
        ...


@runtime_checkable
class KeyedOnRequest(Protocol):
    """A provisioner without a key of its own, that has one where the template has a `cache_key`."""

    def inputs_beside_cache_key(self) -> Mapping[str, str]:
        """What identifies it besides that."""
        ...


@runtime_checkable
class NeedsPackages(Protocol):
    """A provisioner that cannot work in a tree without certain packages."""

    @property
    def needed_packages(self) -> tuple[str, ...]:
        """Debian's names; one of a name's own packages (NAME-…) will do as well."""
        ...


@dataclass(frozen=True, slots=True)
class ProvisionerCall:
    """A provisioner of this build with the keys that every provisioner has."""

    provisioner: Provisioner
    pause_before_s: float = 0.0
    max_retries: int = 0
    timeout_s: float | None = None
    caching: Caching = NO_WISHES
    chance: tuple[str, ...] = ()
    """What in its options another run would see otherwise: clock and chance, readable."""
    continue_on_error: bool = False
    """Whether the build goes on when it has failed, after all tries."""
