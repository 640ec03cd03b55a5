"""`hook "NAME" { on = [...] }` in a build: hooks of plugins at the events of the build.

Packer had them in its templates until 0.5. A hook runs before the template's own components that
wait for the same event, hooks among themselves in the order of the template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from goldsmith.core.build import Component
from goldsmith.core.deferred import RawBody
from goldsmith.core.options import did_you_mean
from goldsmith.errors import Diagnostics, SourceRange
from goldsmith.template.hcl2.ast import Block
from goldsmith.template.hcl2.components import BuildContext, CommonKeys
from goldsmith.values.value import Value, object_of, string

PROVISION: Final = "packer_provision"
CLEANUP: Final = "packer_cleanup_provision"
EVENTS: Final = (PROVISION, CLEANUP)


@dataclass(frozen=True, slots=True)
class HookConfig:
    """What a hook is told: the event, and while the build runs what its builder fills."""

    event: str
    range: SourceRange

    def resolve(
        self, run_values: Mapping[str, Value] | None, announced: Iterable[str] = ()
    ) -> RawBody:
        """The event and the data."""
        told = {"event": string(self.event), "data": object_of(run_values or {})}
        return RawBody(told, range=self.range)


def hooks(block: Block, context: BuildContext, found: Diagnostics) -> dict[str, Component]:
    """The hook of a block by each of its events; findings are added to `found`."""
    keys = CommonKeys(block, context, found)
    events, known = keys.names("on"), len(found.errors)
    for attribute in block.body.attributes.values():
        if attribute.name not in ("on", "only", "except"):
            detail = f'A hook takes "on", "only" and "except", no "{attribute.name}".'
            found.error("Unsupported argument", detail, attribute.name_range, block.header)
    for unknown in [event for event in events if event not in EVENTS]:
        detail = f'A build has no event "{unknown}".{did_you_mean(unknown, EVENTS)}'
        where = block.body.attributes["on"].expression.range
        detail += f" Its events are {' and '.join(EVENTS)}."
        found.error("Unknown event", detail, where, block.header)
    if not events and len(found.errors) == known:
        detail = f'Write for what events it is called: on = ["{PROVISION}"].'
        found.error("Hook without events", detail, block.range, block.header)
    return {
        event: Component(
            kind="hook", type=block.labels[0].text, name=event,
            config=HookConfig(event, block.range), range=block.range,
            only=keys.names("only"), except_=keys.names("except"),
        )
        for event in dict.fromkeys(events)
        if event in EVENTS
    }  # fmt: skip
