"""What `build` and `plan` share: the flags about caches, and asking a builder for its plan."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from goldsmith.cli.flags import Flag, FlagError, Flags
from goldsmith.cli.templates import LoadedTemplate, directory_of
from goldsmith.core.caching import CachePolicy
from goldsmith.core.plan import BuildPlan, PlanContext
from goldsmith.core.prepare import PreparedBuild, resolve_provisioners
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.core.registry import Registry
from goldsmith.errors import GoldsmithError
from goldsmith.redact import Redactor
from goldsmith.values.world import World

CACHE_FLAGS: Final = {
    "no-cache": Flag("bool", "run every step, whatever is kept; results are kept again"),
    "refresh": Flag("many", "run this step again (bootstrap, provisioner-2, ...); repeatable"),
    "offline": Flag("bool", "ask for no Release files: they count as unchanged"),
    "verify-cache": Flag("bool", "read the whole content of a kept result before it is used"),
    "secrets-in-image": Flag("text", "a secret found in the tree: warn (default) or error"),
}
# What a build may see of the caller's environment; values are secrets' neighbours, not secrets.
_ENVIRONMENT: Final = (
    "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH",
)  # fmt: skip


_CLOUDS: Final = ("AWS_", "VAULT_")
_STEP_NAME: Final = re.compile(
    r"bootstrap|source|packages|configure|finish|initramfs|provisioner-[1-9][0-9]*"
    r"|(?:root|extra-data|(?:pre-|post-)?install|post-root)\.d"
)


def cache_policy(flags: Flags) -> CachePolicy:
    """The policy of the flags; raises FlagError."""
    secrets = flags.text("secrets-in-image", "warn")
    if secrets not in ("warn", "error"):
        raise FlagError(
            f'invalid value "{secrets}" for flag -secrets-in-image: it is warn or error'
        )
    for name in flags.many("refresh"):
        if not _STEP_NAME.fullmatch(name):
            raise FlagError(
                f'invalid value "{name}" for flag -refresh: steps are called bootstrap, source, '
                "packages, configure, provisioner-1 and so on, finish and initramfs, and phases of "
                "elements root.d and so on"
            )
    return CachePolicy(
        use=not flags.on("no-cache"), refresh=tuple(flags.many("refresh")),
        verify=flags.on("verify-cache"), offline=flags.on("offline"), secrets_in_image=secrets,
    )  # fmt: skip


def host_environment() -> dict[str, str]:
    """What builders may see besides, and their provisioners may not: how clouds are reached."""
    return {name: value for name, value in os.environ.items() if name.startswith(_CLOUDS)}


def build_environment(world: World) -> dict[str, str]:
    """What builds may see of the caller's environment; raises GoldsmithError for a wrong epoch."""
    given = {name: world.env(name) for name in _ENVIRONMENT}
    environment = {name: value for name, value in given.items() if value is not None}
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    if epoch and not epoch.isdecimal():
        raise GoldsmithError(
            f"SOURCE_DATE_EPOCH is {epoch!r}", hint="it is a number of seconds since 1970"
        )
    return environment


def plan_context(
    prepared: PreparedBuild,
    loaded: LoadedTemplate,
    registry: Registry,
    *,
    policy: CachePolicy,
    redactor: Redactor,
    state: Path,
    estimate: bool = False,
) -> PlanContext:
    """What a builder needs to plan; raises GoldsmithError."""
    build, template, directory = prepared.build, loaded.template, directory_of(loaded.world)

    def provisioners(run_values: Mapping[str, str]) -> Sequence[ProvisionerCall]:
        return resolve_provisioners(
            build, registry, directory, run_values, template.sources,
            template_path=template.path, world=loaded.world,
        )  # fmt: skip

    return PlanContext(
        name=build.name, source_name=build.source_name, directory=directory,
        provisioners=provisioners, environment=build_environment(loaded.world), policy=policy,
        redactor=redactor, state=state, estimate=estimate,
    )  # fmt: skip


def touch_kept(plan: BuildPlan, state: Path) -> None:
    """Note that the results of a plan were used, so that `cache prune` knows."""
    from goldsmith.layers.store import Store

    store = Store.open(state / "store")
    for step in plan.steps:
        record = store.find(step.key) if step.key is not None else None
        if record is not None:
            store.touch(record)
