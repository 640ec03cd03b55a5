"""Telling a component in a plugin its configuration, and hearing what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from goldsmith.core.foreign import ForeignOptions
from goldsmith.core.options import Finding
from goldsmith.errors import GoldsmithError, Interrupted, Severity
from goldsmith.plugin.protocols import Builder, Datasource, PostProcessor, Provisioner, RawConfig
from goldsmith.plugin.remote.configuration import RunSettings, configured
from goldsmith.plugin.remote.session import Use
from goldsmith.plugin.services.configs import encode_configs
from goldsmith.plugin.wire.errors import RemoteError

T = TypeVar("T")


def layers_for(
    options: ForeignOptions,
    component: Builder | Provisioner | PostProcessor | Datasource,
    settings: RunSettings,
) -> tuple[Sequence[RawConfig], list[Finding]]:
    """The layers of configuration for a component, and what its schema says against them."""
    in_hcl2 = options.surroundings.go_names is None
    schema = component.config_spec() if in_hcl2 else None
    made = configured(options.body, options.surroundings, schema, settings)
    return made.layers, made.found


def told(
    use: Use, options: ForeignOptions, settings: RunSettings,
    tell: Callable[[Sequence[RawConfig]], None],
) -> list[Finding]:  # fmt: skip
    """Tell a component its configuration unless it knows it; what its schema says against it.

    Some components add to what they were told before, such as the lists of files that Packer's own
    copy: who is told once more what it knows does its work twice.
    """
    layers, found = layers_for(options, use.component, settings)
    if found:
        return found
    now = encode_configs(layers)
    # A JSON template's options are rendered by the component itself, when it runs.
    in_json = options.surroundings.go_names is not None
    if use.told is None or (not in_json and use.told != now):
        use.told = None
        tell(layers)
        use.told = now
    return []


def checked(use: Use, prepare: Callable[[], Sequence[Finding]]) -> list[Finding]:
    """What preparing a component finds; what it raises is a finding too."""
    try:
        with use.phase("prepare"):
            return list(prepare())
    except Interrupted:
        raise
    except GoldsmithError as error:
        place = use.place
        if isinstance(error.__cause__, RemoteError):
            summary = f"The {place.kind} {place.name} refuses its options"
            return [Finding(summary, (), f"{error.__cause__}")]
        return [Finding(str(error), (), error.hint or "")]


def required(found: Sequence[Finding], what: str) -> None:
    """Raise GoldsmithError for findings that are errors: nothing can run with them."""
    wrong = [one for one in found if one.severity is Severity.ERROR]
    if wrong:
        told = "; ".join(f"{one.message}: {one.hint}" for one in wrong)
        raise GoldsmithError(f"{what}: {told}")
