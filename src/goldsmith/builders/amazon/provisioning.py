"""Provisioners on a mounted volume, each in namespaces of its own: no layers, nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from goldsmith.communicators.none import NoCommunicator
from goldsmith.core.builder import BuildContext
from goldsmith.core.hook import ProvisionHook
from goldsmith.core.provisioner import ProvisionContext, Provisioner, ProvisionerCall
from goldsmith.core.tree_entrance import TreeEntrance, entered


@dataclass(frozen=True, slots=True)
class InTree:
    """A provisioner that is let into a tree while it runs; what it starts ends with it."""

    inner: Any
    """A core.provisioner.Provisioner, whose class says what it is."""
    entrance: TreeEntrance
    tree: Path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def provision(self, context: ProvisionContext) -> None:
        """Run it; raises GoldsmithError."""
        inner = self.inner
        if not inner.changes_tree:
            inner.provision(context)
            return
        environment = context.environment if inner.network else {}
        with entered(
            self.entrance, self.tree, environment, network=inner.network, enters=True
        ) as access:
            inner.provision(replace(context, communicator=access.communicator))


def provision_tree(
    context: BuildContext, builder_type: str, entrance: TreeEntrance, tree: Path,
    run_values: Mapping[str, str],
) -> None:  # fmt: skip
    """Run the provisioners of a build on a tree.

    Raises the error of the first that fails, after the cleanup provisioner. A failure that is to
    leave all as it is (-on-error) carries the attribute `keeps`.
    """

    def let_in(call: ProvisionerCall) -> ProvisionerCall:
        provisioner = InTree(call.provisioner, entrance, tree)
        return replace(call, provisioner=cast(Provisioner, provisioner))

    def error_cleanup(values: Mapping[str, str]) -> ProvisionerCall | None:
        call = context.error_cleanup(values)
        return call and let_in(call)

    inside = replace(
        context, provisioners=lambda values: [let_in(one) for one in context.provisioners(values)],
        error_cleanup=error_cleanup,
    )  # fmt: skip
    undone: list[bool] = []
    hook = ProvisionHook(inside, NoCommunicator(), builder_type, undo=lambda: undone.append(True))
    try:
        hook.run(run_values)
    except BaseException as e:
        if not undone:
            e.keeps = True  # type: ignore[attr-defined]
        raise
