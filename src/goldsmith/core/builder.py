"""A builder: turns a source into an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.caching import DEFAULT_POLICY, CachePolicy
from goldsmith.core.options import Finding, Options

if TYPE_CHECKING:
    from goldsmith.core.plan import BuildPlan, PlanContext
    from goldsmith.core.provisioner import ProvisionerCall
    from goldsmith.events import Emitter
    from goldsmith.host.journal import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What a running builder is given."""

    name: str
    source_name: str
    emitter: Emitter
    run: RunDirectory
    """The run directory; the parent command made it and removes it."""
    work: Path
    """This build's own directory in it, which does not exist yet."""
    provisioners: Callable[[Mapping[str, str]], Sequence[ProvisionerCall]]
    """Resolves the provisioners with what the builder announces for `build.*`."""
    error_cleanup: Callable[[Mapping[str, str]], ProvisionerCall | None] = lambda run_values: None
    """Resolves, likewise, the provisioner that runs when another one has failed."""
    directory: Path
    """The directory to which relative paths of the template refer."""
    force: bool
    epoch_s: int
    environment: Mapping[str, str]
    """What the build may see of the caller's environment: proxies, SOURCE_DATE_EPOCH."""
    ask: Callable[[str, tuple[str, ...]], str | None]
    """Asks the user; None when nobody can be asked."""
    on_error: str
    """What a failed provisioner leads to: "cleanup", "abort", "ask", "run-cleanup-provisioner"."""
    run_uuid: str
    """What PACKER_RUN_UUID says: the same in all builds of one command."""
    host_environment: Mapping[str, str] = field(default_factory=dict)
    """What the builder itself may see besides: credentials of AWS.

    Provisioners in the tree do not see it; shell-local and plugins, on this host, do.
    """
    policy: CachePolicy = DEFAULT_POLICY
    template: str = ""
    """The template, as the command line names it."""
    state: Path = Path()
    """Where runs and caches lie."""
    debug: bool = False
    """Whether the user wants to be asked to go on between the steps."""
    commit: Callable[[], None] = lambda: None
    """To be called before results are put in place: an interrupt comes too late from then on."""


@runtime_checkable
class Receiving(Protocol):
    """A builder whose worker makes something that only its options tell how to remove."""

    def received(self, wire: Mapping[str, Any]) -> Artifact:
        """The artifact that a worker has made, from its wire form."""
        ...


class Builder(Protocol):
    """One `source` of a template."""

    type_name: ClassVar[str]
    options_model: ClassVar[type[Options]]
    needs_worker: ClassVar[bool]
    """Whether it touches the kernel and so runs as a worker in namespaces of its own, as root."""
    announces: ClassVar[tuple[str, ...]]
    """The names of `build.*` that it fills while it runs, besides the fixed ones."""

    @property
    def communicates(self) -> bool:
        """Whether there is a machine or tree in which provisioners can run commands."""
        ...

    @property
    def expected(self) -> ExpectedArtifact:
        """What is known of its artifact before it is made."""
        ...

    def __init__(self, options: Options, name: str) -> None: ...

    def check(self) -> Sequence[Finding]:
        """Findings about the meaning of the options; nothing is changed."""
        ...

    def preflight(self, directory: Path, *, force: bool) -> None:
        """Raise an error when the host cannot build this, or a foreign file is in the way."""
        ...

    def claims(self, directory: Path) -> Sequence[Path]:
        """Files that no other build of the same command may write."""
        ...

    def plan(self, context: PlanContext) -> BuildPlan:
        """What `build` would do; nothing is changed. Raises GoldsmithError."""
        ...

    def build(self, context: BuildContext) -> Artifact:
        """Make the artifact; raises GoldsmithError and leaves nothing half made."""
        ...
