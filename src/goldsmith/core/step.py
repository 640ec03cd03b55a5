"""A step: a named unit of a build with typed inputs and one result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from goldsmith.core.caching import NO_WISHES, Caching
from goldsmith.core.communicator import Communicator
from goldsmith.events import Emitter
from goldsmith.host.namespaces import RunTool
from goldsmith.host.process import Completed
from goldsmith.layers.keys import StepKey

R_co = TypeVar("R_co", covariant=True)


class RunInTree(Protocol):
    """Runs a program inside the tree, in the step's namespaces, with a clean environment."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
    ) -> Completed:
        """Raises CommandFailed for a status other than 0."""
        ...


class KeptPart(Protocol):
    """What an earlier build may have left of a part of a step (see `kept_files`)."""

    @property
    def files(self) -> Path | None:
        """The directory of its files; None where it must be made."""
        ...

    @property
    def reason(self) -> str:
        """Why it must be made."""
        ...

    def keep(self, fill: Callable[[Path], None]) -> None:
        """Keep what `fill` puts into an empty directory."""
        ...


class KeptParts(Protocol):
    """Parts of a step that have keys of their own."""

    def part(
        self, name: str, label: str, inputs: Mapping[str, str]
    ) -> AbstractContextManager[KeptPart]:
        """Look a part up by its inputs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What every step is given besides its own inputs."""

    emitter: Emitter
    scratch: Path
    """A directory of the run, on the file system of the layers, that goes away at the end."""
    epoch_s: int
    """The time (seconds since 1970) that everything a build makes is dated at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeContext(StepContext):
    """What a step that changes the tree is given: the tree, mounted, and ways into it."""

    tree: Path
    communicator: Communicator
    run_in_tree: RunInTree
    run_tool: RunTool
    """Runs a program of this host in the step's namespaces, so that it ends with the step."""
    environment: Mapping[str, str]
    """What programs in the tree get, before a step adds its own."""
    kept: KeptParts | None = None
    """Where parts of the step are kept that have keys of their own."""
    epoch_is_given: bool = True
    """Whether other builds of the same inputs have this epoch; not where the clock gave it."""
    is_bare: bool = False
    """Whether the tree only ever is the lower directory of an overlay: nobody writes into it."""
    beside: Callable[[Emitter], AbstractContextManager[TreeContext]] | None = None
    """Opens the tree once more, as the step has found it, without network and with an emitter.

    What is changed in it is thrown away. To be entered by the main thread, and used by any one.
    None where that would take a copy.
    """
    contents: dict[tuple[int, int, int], str] = field(default_factory=dict)
    """SHA-256 of its files that the step has read, by device, inode number and change time (ns).

    For a bare tree: nobody reads these again to publish it, unless they were touched since.
    """


class Step(Protocol[R_co]):
    """A step outside the tree: assemble, convert."""

    @property
    def name(self) -> str:
        """The step's name in events, the same in every build."""
        ...

    @property
    def label(self) -> str:
        """What the user reads when it starts."""
        ...

    def run(self, context: StepContext) -> R_co:
        """Do the work; raises GoldsmithError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTraits:
    """What the cache asks of a step besides its key, as most steps answer it (see `KeyedStep`)."""

    caching: Caching = NO_WISHES
    chance: tuple[str, ...] = ()
    declared: bool = False
    given_secrets: bool = False
    reads_only: bool = False
    fills: bool = False
    runs_apt: bool = True
    runs_beside: bool = False
    """Whether its programs run on the host, beside a tree in which none can be run yet."""
    parts: tuple[str, ...] = ()


class KeyedStep(Protocol):
    """What is known of a step that changes the tree before it runs, and what the cache asks."""

    @property
    def name(self) -> str:
        """The step's name in events, the same in every build."""
        ...

    @property
    def label(self) -> str:
        """What the user reads when it starts."""
        ...

    @property
    def network(self) -> bool:
        """Whether its programs see the host's network, or an empty one."""
        ...

    @property
    def enters(self) -> bool:
        """Whether programs run in the tree at all: a bootstrap starts without one to enter."""
        ...

    @property
    def caching(self) -> Caching:
        """What the template says of its result."""
        ...

    @property
    def chance(self) -> tuple[str, ...]:
        """What of clock and chance is in its options: another run would see something else."""
        ...

    @property
    def declared(self) -> bool:
        """Whether all that it takes from the network is packages, so that Release files say it."""
        ...

    @property
    def given_secrets(self) -> bool:
        """Whether it may have left a secret of the template in the tree."""
        ...

    @property
    def reads_only(self) -> bool:
        """Whether it leaves the tree as it is: then it runs each time, and no layer comes of it."""
        ...

    @property
    def fills(self) -> bool:
        """Whether it makes the first files of a tree itself: in a directory, without an overlay.

        It may put files there that have other names outside, so nobody writes into them.
        """
        ...

    @property
    def runs_apt(self) -> bool:
        """Whether it may run APT in the tree, which is then offered downloaded packages."""
        ...

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts with keys of their own that it may have; to refresh one it runs again."""
        ...

    def key(self) -> StepKey | None:
        """What identifies the result, without the layer below; None when nothing can."""
        ...


class TreeStep(KeyedStep, Protocol):
    """A step that changes the tree; its result is the layer that it leaves."""

    def run(self, context: TreeContext) -> None:
        """Change the tree; raises GoldsmithError."""
        ...
