"""`goldsmith fa-provision`: divides disks and writes images by fuel-agent's own input.

The other `fa-*` verbs of a deployment are stages of this one (`run_stages`). As with fuel-agent
nobody is asked: the input names the disks. What `deploy` refuses is refused here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from goldsmith.cli.deployment_run import require_root, run_deployment
from goldsmith.cli.fuel_arguments import (
    FuelArguments,
    fuel_parser,
    fuel_verb,
    log_of,
    read_arguments,
)
from goldsmith.cli.native_flags import NativeParser
from goldsmith.deploy.change_plan import plan_changes, plan_text
from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.deployment import STAGES, Stage, prepare_deployment
from goldsmith.deploy.disk_lookup import find_device
from goldsmith.deploy.image_requests import read_set
from goldsmith.deploy.scheme import Deployment
from goldsmith.disk.image_set import ImageSet
from goldsmith.events import Emitter, Event, Output, Said, StepStarted
from goldsmith.host.signals import interruptible
from goldsmith.redact import Redactor
from goldsmith.template.fuel.config import FuelConfig
from goldsmith.template.fuel.provision_input import (
    DRIVERS,
    image_requests,
    read_provision_input,
    to_deployment,
    to_scheme,
)
from goldsmith.template.fuel.spaces_input import DiskSpace

DESCRIPTION = (
    "Divides the disks that fuel-agent's input names, writes the config drive and the images, and "
    "installs the boot loader."
)


def run(words: list[str], machine_readable: bool) -> int:
    """Provision; 0, 2 for usage, 255 for every failure."""
    return run_stages(command_parser(), words, *STAGES)


def command_parser() -> NativeParser:
    """The flags of the verb."""
    return fuel_parser("fa-provision", DESCRIPTION)


def run_stages(parser: NativeParser, words: list[str], *stages: Stage) -> int:
    """Carry out stages of a deployment; 0, 2 for usage, 255 for every failure."""

    def read() -> FuelArguments:
        return read_arguments(parser, words, DRIVERS[0], DRIVERS)

    def body(arguments: FuelArguments) -> None:
        require_root(parser.prog)
        with log_of(arguments) as tell:
            _provision(arguments, stages, tell, parser.prog.rpartition(" ")[2])

    return fuel_verb(read, body)


def limits_of(config: FuelConfig) -> CopyLimits:
    """How patiently servers are asked, as the configuration says it.

    Its 0 retries stand for as many as it takes, which is as many as an hour has room for.
    """
    retries = config.http_max_retries or max(int(3600 // max(config.http_retry_delay, 0.1)), 1)
    return CopyLimits(
        stall_s=max(config.http_request_timeout, 1.0), rounds=retries + 1,
        pause_s=max(config.http_retry_delay, 0.1),
    )  # fmt: skip


def _provision(
    arguments: FuelArguments,
    stages: Collection[Stage],
    tell: Callable[[str], None],
    verb: str,
) -> None:
    with interruptible() as interrupts:
        try:
            sink = _sink(tell, debug=arguments.debug)
            limits = limits_of(arguments.config)
            deployment = _deployment(arguments, stages, Emitter(verb, sink), limits)
            deployment, disks = prepare_deployment(deployment, stages)
            if "partition" in stages:
                tell(plan_text(plan_changes(deployment, disks)))
            run_deployment(verb, deployment, disks, sink, interrupts, say=tell, stages=stages,
                           limits=limits)  # fmt: skip
        finally:
            interrupts.settle()
    tell("Done.")


def _deployment(
    arguments: FuelArguments, stages: Collection[Stage], emitter: Emitter, limits: CopyLimits
) -> Deployment:
    config, driver = arguments.config, arguments.data_driver
    given = read_provision_input(arguments.data, arguments.origin, driver)

    def find(disk: DiskSpace) -> str:
        return find_device(disk.name, disk.id, disk.extra)

    scheme = to_scheme(given, arguments.origin, driver, config, find)
    deployment = to_deployment(given, scheme, (), config, driver)
    emitter.redactor = Redactor(deployment.secrets)

    def fetch(address: str) -> ImageSet:
        return read_set(address, emitter, limits)

    # Without copying, the images only say which file systems are not made.
    copies = "copy" in stages
    images = image_requests(given, scheme, fetch if copies else None)
    return replace(deployment, images=images, allow_unverified=not copies)


def _sink(tell: Callable[[str], None], *, debug: bool) -> Callable[[Event], None]:
    """Events as lines of the log; what programs print only for --debug."""

    def take(event: Event) -> None:
        match event:
            case Said():
                level = "" if event.level in ("say", "message") else f"{event.level}: "
                tell(f"{level}{event.text}")
            case StepStarted():
                tell(f"==> {event.label}")
            case Output() if debug:
                tell(f"[{event.step}] {event.line}")
            case _:
                pass

    return take
