"""Ways into a tree: namespaces in which a step runs, and what makes a tree enterable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from goldsmith.core.communicator import Communicator
from goldsmith.host.namespaces import RunTool, StepNamespace, step_namespace
from goldsmith.host.process import Completed, LineSink


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
    words_into: Callable[[Sequence[str]], list[str]]
    """The words that run a program of this host in the namespaces."""


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


@contextmanager
def entered(
    entrance: TreeEntrance,
    tree: Path,
    environment: Mapping[str, str],
    *,
    network: bool,
    enters: bool,
) -> Iterator[TreeAccess]:
    """Open namespaces on a mounted tree; all that runs in them ends with the block.

    Must be called from the main thread of a worker.
    """
    report: dict[str, Any] = {}

    def setup() -> dict[str, Any]:
        return entrance.set_up(tree, network=network, enters=enters)

    try:
        with step_namespace(setup, network=network) as namespace:
            report = namespace.report
            yield entrance.access(namespace, tree, environment)
    finally:
        entrance.tear_down(tree, report)
