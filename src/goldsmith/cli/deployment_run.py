"""Runs a deployment in a worker, and hands its events on: for `deploy` and all `fa-*` verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping

from goldsmith.cli.clean import finish_dead_runs
from goldsmith.cli.components import undo_functions
from goldsmith.deploy.copying.images import CopyLimits
from goldsmith.deploy.deployment import STAGES, Stage
from goldsmith.deploy.disks import HostDisk
from goldsmith.deploy.scheme import Deployment
from goldsmith.deploy.wire import deployment_to_wire, limits_to_wire
from goldsmith.errors import Interrupted, NotRootError, WorkerError
from goldsmith.events import EventSink, Failed
from goldsmith.host.journal import open_run, state_directory
from goldsmith.host.signals import Interrupts
from goldsmith.host.watcher import start_watcher
from goldsmith.host.worker import Worker, spawn_worker


class DeploymentFailed(WorkerError):
    """A deployment that failed in its worker; `failed` has the exit code of what it was."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.error, failed.message, hint=failed.hint or None)
        self.failed = failed


def require_root(verb: str) -> None:
    """Raise NotRootError for an ordinary user."""
    if os.geteuid() != 0:
        raise NotRootError(verb)


def run_deployment(
    name: str,
    deployment: Deployment,
    disks: Mapping[str, HostDisk],
    sink: EventSink,
    interrupts: Interrupts,
    *,
    say: Callable[[str], None],
    stages: Collection[Stage] = STAGES,
    limits: CopyLimits = CopyLimits(),  # noqa: B008 (frozen)
) -> None:
    """Carry out a deployment to its end, onto the disks that were shown; its events have `name`.

    Raises DeploymentFailed, Interrupted after everything was given back, WorkerError for a worker
    that has died.
    """
    state = state_directory()
    finish_dead_runs(state, say)
    with start_watcher(), open_run(state, name, undo_functions()) as run_directory:
        document = {
            "name": name, "deployment": deployment_to_wire(deployment), "stages": list(stages),
            "scratch": str(run_directory.path / "deploy"), "locks": str(state / "locks"),
            "secrets": list(deployment.secrets), "limits": limits_to_wire(limits),
            "sequences": {device: disk.sequence for device, disk in disks.items()},
        }  # fmt: skip
        argv = [sys.executable, "-P", "-m", "goldsmith", "_deploy"]
        with spawn_worker(argv, document, lock_fd=run_directory.lock_fd) as worker:
            _follow(worker, sink, interrupts)


def _follow(worker: Worker, sink: EventSink, interrupts: Interrupts) -> None:
    try:
        failed = _hand_on(worker, sink)
    except Interrupted as e:
        # Only the first signal raises: the worker has all the time that its cleanup takes.
        worker.cancel(e.signal_name)
        failed = _hand_on(worker, sink)
        if failed is not None and failed.error != Interrupted.__name__:
            raise DeploymentFailed(failed) from None
        raise
    finally:
        interrupts.settle()
    status = worker.running.popen.wait()
    if failed is not None:
        raise DeploymentFailed(failed)
    if status != 0:
        raise WorkerError("WorkerDied", f"the worker ended with status {status} and said nothing",
                          hint="deploy once more: it begins anew")  # fmt: skip


def _hand_on(worker: Worker, sink: EventSink) -> Failed | None:
    failed = None
    for event in worker.events():
        if isinstance(event, Failed):
            failed = event
        else:
            sink(event)
    return failed
