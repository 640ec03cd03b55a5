"""`goldsmith deploy`: divides disks by a scheme and writes images onto them.

What is on the named disks now and what will be is shown first; nothing is written before somebody
has agreed. See docs/how-to/deploy.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from goldsmith.cli.deployment_run import DeploymentFailed, require_root, run_deployment
from goldsmith.cli.native_flags import NativeParser
from goldsmith.core.engine import BuildResult
from goldsmith.deploy.change_plan import ChangePlan, plan_changes, plan_text
from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.deployment import prepare_deployment
from goldsmith.deploy.disks import HostDisk, read_disk
from goldsmith.deploy.image_requests import parse_given, requests_of, with_mirrors
from goldsmith.deploy.refusals import DeployRefused
from goldsmith.deploy.scheme import Deployment
from goldsmith.errors import GoldsmithError, Interrupted, UsageError
from goldsmith.events import Emitter
from goldsmith.host.signals import Interrupts, interruptible
from goldsmith.template.scheme.places import devices_of, to_deployment
from goldsmith.template.scheme.reading import read_scheme
from goldsmith.ui.diagnostics import render_error
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.jsonl import JsonLinesRenderer
from goldsmith.ui.terminal import ask_on_terminal, wants_color, write_line
from goldsmith.units import format_duration, parse_wait_s

NAME = "deploy"
_AGREED = ("y", "yes")
Renderer = HumanRenderer | JsonLinesRenderer


def run(words: list[str], machine_readable: bool) -> int:
    """Deploy; 0, 1 for a failure, 2 for usage, 4 for wrong bytes, 6 for the host, 128 + signal."""
    try:
        given = command_parser().parse_args(words)
    except SystemExit as e:
        return int(e.code or 0)
    renderer: Renderer = JsonLinesRenderer() if given.log_format == "jsonl" else HumanRenderer()
    with interruptible() as interrupts:
        try:
            return _deploy(given, renderer, interrupts)
        except Interrupted as e:
            interrupts.settle()
            renderer.cancelled() if given.log_format == "jsonl" else renderer.close()
            write_line(f"goldsmith deploy: {e}", stream=sys.stderr)
            return 128 + signal.Signals[e.signal_name]
        except GoldsmithError as e:
            interrupts.settle()
            _tell(e, renderer)
            return e.failed.exit_code if isinstance(e, DeploymentFailed) else e.exit_code


def _tell(error: GoldsmithError, renderer: Renderer) -> None:
    if isinstance(renderer, JsonLinesRenderer):
        renderer.error(error)
        return
    renderer.close()
    write_line(render_error(error, color=wants_color(sys.stderr, None)), stream=sys.stderr)


def command_parser() -> NativeParser:
    """The flags of the verb."""
    parser = NativeParser(
        prog="goldsmith deploy", allow_abbrev=False,
        description="Divides disks by a scheme and writes images onto them. Shows what is on each "
        "disk now and what will be, and asks before it writes.",
    )  # fmt: skip
    add = parser.add_argument
    add("--scheme", metavar="FILE", required=True, help="the scheme, in HCL2 (.hcl) or YAML")
    add("--image", metavar="IMAGE", action="append", default=[],
        help="the metadata of an image set (.yaml, .json), MOUNT=ADDRESS or NODE=ADDRESS for one "
             "image, or the address of a whole disk's image; files, http, https and s3; repeatable",
    )  # fmt: skip
    add("--mirror", metavar="ADDRESS", action="append", default=[],
        help="a directory that has the images too, asked when the first fails; repeatable",
    )  # fmt: skip
    add("--disk", metavar="NAME=DEVICE", action="append", default=[],
        help="which disk the scheme's disk of this name is; repeatable")  # fmt: skip
    add("--plan", action="store_true",
        help="show what would be done; goes on only after a yes at a terminal, or with --yes",
    )  # fmt: skip
    add("--yes", action="store_true", help="do not ask")
    add("--json", action="store_true", help="with --plan: print the plan as JSON, and stop")
    add("--allow-unverified", action="store_true",
        help="take images of which nothing says what their bytes must be")  # fmt: skip
    add("--distinct-disk", metavar="DEVICE", action="append", default=[],
        help="this disk of the scheme is one of its own, although another has the same identifier; "
             "repeatable",
    )  # fmt: skip
    add("--stall-timeout", metavar="TIME", type=_wait, default=CopyLimits().stall_s,
        help="how long a server may send nothing (30s)")  # fmt: skip
    add("--copy-timeout", metavar="TIME", type=_wait, help="how long each image may take")
    add("--log-format", choices=("text", "jsonl"), default="text", metavar="text|jsonl",
        help="jsonl: every event as a line of JSON")  # fmt: skip
    return parser


def _wait(text: str) -> float:
    try:
        return parse_wait_s(text)
    except GoldsmithError as e:
        raise argparse.ArgumentTypeError(f"{e}" + (f": {e.hint}" if e.hint else "")) from e


def _deploy(given: argparse.Namespace, renderer: Renderer, interrupts: Interrupts) -> int:
    if given.json and not given.plan:
        raise UsageError("--json is for --plan", hint="--log-format=jsonl tells events as JSON")
    require_root("goldsmith deploy")
    started_s = time.monotonic()
    limits = CopyLimits(stall_s=given.stall_timeout, total_s=given.copy_timeout)
    emitter = Emitter(NAME, renderer.render)
    deployment = _read(given, emitter, limits)
    deployment, disks = prepare_deployment(deployment)
    plan = plan_changes(deployment, disks)
    if not _agreed(given, plan, renderer.line):
        return 0
    renderer.announce([NAME])
    run_deployment(NAME, deployment, disks, renderer.render, interrupts, say=renderer.line,
                   limits=limits)  # fmt: skip
    took_s = time.monotonic() - started_s
    if isinstance(renderer, JsonLinesRenderer):
        result = BuildResult(NAME, duration_s=took_s)
        renderer.result(result)
        renderer.summary([result], took_s)
        return 0
    renderer.close()
    names = ", ".join(disk.device for disk in deployment.scheme.disks)
    renderer.line(f"==> Deployed to {names} after {format_duration(took_s)}")
    return 0


def _read(given: argparse.Namespace, emitter: Emitter, limits: CopyLimits) -> Deployment:
    """The deployment that files and flags describe, on the disks as they are."""
    images = [parse_given(word) for word in given.image]
    options = read_scheme(given.scheme)
    devices = devices_of(options, dict(map(_pair, given.disk)))
    deployment = to_deployment(options, _disks(devices))
    requests = requests_of(images, deployment.scheme, emitter, limits)
    requests = with_mirrors(requests, given.mirror)
    return replace(deployment, images=requests, allow_unverified=given.allow_unverified,
                   distinct_disks=tuple(given.distinct_disk))  # fmt: skip


def _pair(word: str) -> tuple[str, str]:
    name, equals, device = word.partition("=")
    if not equals or not name or not device:
        raise UsageError(f'"{word}" is not NAME=DEVICE')
    return name, device


def _disks(devices: dict[str, str]) -> dict[str, HostDisk]:
    found, missing = {}, []
    for name, device in devices.items():
        try:
            found[name] = read_disk(device)
        except GoldsmithError as e:
            missing.append(f'disk "{name}": {e}' + (f" ({e.hint})" if e.hint else ""))
    if missing:
        raise DeployRefused(tuple(missing))
    return found


def _agreed(given: argparse.Namespace, plan: ChangePlan, say: Callable[[str], None]) -> bool:
    """Show the plan and ask; False where nobody has agreed to more than looking at it."""
    if given.json:
        write_line(json.dumps(plan.to_json(), indent=2))
        return False
    say(plan_text(plan))
    if given.yes:
        return True
    answer = ask_on_terminal("Write to these disks? Only yes goes on:")
    if answer is None and not given.plan:
        raise UsageError("nobody can be asked here whether to write to these disks",
                         hint="--yes goes on without a question, --plan only looks")  # fmt: skip
    if answer is not None and answer.lower() not in _AGREED:
        say("Nothing was written.")
    return answer is not None and answer.lower() in _AGREED
