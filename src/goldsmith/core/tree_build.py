"""Runs tree steps one after the other, each on an overlay over what the earlier ones left."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from goldsmith.core.communicator import Communicator
from goldsmith.core.step import TreeContext, TreeStep
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.events import Emitter
from goldsmith.host import mounts
from goldsmith.host.namespaces import RunTool, StepNamespace, step_namespace
from goldsmith.host.process import Completed, LineSink
from goldsmith.layers.overlay import stacked, step_overlay

ASK_AFTER_ERROR = (
    "[c] Clean up and exit, or [r] retry step (build may fail even if retry succeeds)?"
)
ANSWERS_AFTER_ERROR = ("c", "r")


class RunListened(Protocol):
    """Runs a program inside the tree and hands on its lines as they come."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        on_line: LineSink | None = None,
    ) -> Completed:
        """Raises CommandFailed for a status other than 0."""
        ...


@dataclass(frozen=True, slots=True)
class TreeAccess:
    """Ways into a tree while its namespaces are open; `run_tool` leads into these alone."""

    communicator: Communicator
    run_in_tree: RunListened
    run_tool: RunTool


class TreeEntrance(Protocol):
    """What makes a tree enterable: the API file systems, and a communicator for them."""

    def set_up(self, tree: Path, *, network: bool, enters: bool) -> dict[str, Any]:
        """Runs as the init of the step's namespaces; what it returns reaches `tear_down`."""
        ...

    def tear_down(self, tree: Path, report: Mapping[str, Any]) -> None:
        """Runs after every process of the step has ended, the tree still mounted."""
        ...

    def access(
        self, namespace: StepNamespace, tree: Path, environment: Mapping[str, str]
    ) -> TreeAccess:
        """The ways in."""
        ...


@dataclass(slots=True)
class TreeBuild:
    """A tree in the making: its layers so far, bottom first, below a directory of the run."""

    directory: Path
    emitter: Emitter
    entrance: TreeEntrance
    environment: Mapping[str, str]
    epoch_s: int
    ask: Callable[[str, tuple[str, ...]], str | None]
    on_error: str = "cleanup"
    doorway: Path | None = None
    """A directory that every user can reach: the first tree is bound there while it is made.

    The layers themselves are root's alone (they hold setuid programs), but APT fetches as a user
    of its own. The bind is seen in the worker's namespace only.
    """
    layers: list[Path] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, step: TreeStep) -> None:
        """Run a step; on success its layer is on top. Raises StepFailed.

        With `on_error` "ask" the user may have a failed step run again, from the tree before it.
        """
        while True:
            try:
                with self.emitter.running(step.name, step.label, takes_long=not step.enters):
                    self.layers.append(self._run_on_overlay(step))
                return
            except Interrupted:
                raise
            except (GoldsmithError, OSError) as e:
                cause = explain_os_error(e) if isinstance(e, OSError) else e
                if self.on_error != "ask" or not self._wants_retry(step, cause):
                    raise StepFailed(step.label, cause) from e

    def _wants_retry(self, step: TreeStep, error: GoldsmithError) -> bool:
        self.emitter.error(f"{step.label}: {error}")
        return self.ask(ASK_AFTER_ERROR, ANSWERS_AFTER_ERROR) == "r"

    def _run_on_overlay(self, step: TreeStep) -> Path:
        layers = self.directory / "layers"
        layers.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = next(self._numbers)
        upper = layers / f"{number:02d}"
        with step_overlay(
            self.layers[::-1], upper, scratch=self.directory / f"mount-{number:02d}",
            merged=self.directory / "tree", clamp_to_s=self.epoch_s,
        ) as layered:  # fmt: skip
            with self._reachable(layered) as tree:
                with self.entered(tree, network=step.network, enters=step.enters) as access:
                    step.run(self._context(tree, access))
        return upper

    @contextmanager
    def _reachable(self, tree: Path) -> Iterator[Path]:
        """The first tree where every user can reach it, later ones where they are."""
        if self.layers or self.doorway is None:
            yield tree
        else:
            with mounts.bound(tree, self.doorway) as bound:
                yield bound

    def _context(self, tree: Path, access: TreeAccess) -> TreeContext:
        scratch = self.directory / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)

        def run_in_tree(
            argv: Sequence[str],
            *,
            env: Mapping[str, str] | None = None,
            input: bytes | None = None,
        ) -> Completed:
            return access.run_in_tree(argv, env=env, input=input, on_line=self._tool_line)

        return TreeContext(
            emitter=self.emitter, scratch=scratch, epoch_s=self.epoch_s, tree=tree,
            communicator=access.communicator, run_in_tree=run_in_tree, run_tool=access.run_tool,
            environment=self.environment,
        )  # fmt: skip

    def _tool_line(self, stream: str, line: str) -> None:
        self.emitter.output(line, stream, routine=True)

    @contextmanager
    def entered(self, tree: Path, *, network: bool, enters: bool) -> Iterator[TreeAccess]:
        """Open a step's namespaces on a mounted tree; all that runs in them ends with the block."""
        report: dict[str, Any] = {}

        def setup() -> dict[str, Any]:
            return self.entrance.set_up(tree, network=network, enters=enters)

        try:
            with step_namespace(setup, network=network) as namespace:
                report = namespace.report
                yield self.entrance.access(namespace, tree, self.environment)
        finally:
            self.entrance.tear_down(tree, report)

    @contextmanager
    def view(self) -> Iterator[Path]:
        """The finished tree, mounted; what is changed in it is thrown away."""
        with stacked(
            self.layers[::-1], self.directory / "tree", self.directory / "layers" / "view"
        ) as tree:
            yield tree
