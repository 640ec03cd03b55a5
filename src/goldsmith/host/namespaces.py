"""A PID and mount namespace for one step: whatever the step starts ends with it.

A second `unshare(CLONE_NEWPID)` in one process fails, so a keeper process is forked for each step;
its child is the init of the new namespaces. Commands enter through nsenter(1), which keeps their
process group, so that they can be ended like any other program.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from goldsmith.errors import CommandFailed, GoldsmithError, WorkerError
from goldsmith.host import kernel, mounts, process
from goldsmith.host.init import run_init
from goldsmith.host.process import Completed, LineSink, get_tool

Setup = Callable[[], dict[str, Any]]
"""Runs as the init of the new namespaces; what it returns (JSON values) reaches the caller."""


class RunTool(Protocol):
    """Runs a program of this host to its end, by its full path or its name, as `process.run` does.

    Where it runs is another matter: the directory in which it starts is not to be relied on.
    """

    def __call__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        on_line: LineSink | None = None,
    ) -> Completed:
        """Raises CommandFailed for a status other than 0 unless `check` is off."""
        ...


@dataclass(frozen=True, slots=True)
class StepNamespace:
    """The namespaces of a running step; `report` is what its setup returned."""

    init_pid: int
    report: dict[str, Any]
    network: bool

    def entering(self, argv: Sequence[str]) -> list[str]:
        """The words that run `argv` inside."""
        words = [get_tool("nsenter"), f"--target={self.init_pid}", "--mount", "--pid", "--uts"]
        if not self.network:
            words.append("--net")
        return [*words, "--", *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        on_line: LineSink | None = None,
    ) -> Completed:
        """Run a program of this host inside: what it mounts and leaves running ends with the step.

        It starts in `/`, as entering a mount namespace changes the directory (setns(2)). Errors
        and the result name the program without the way in.
        """
        words = self.entering([get_tool(argv[0]), *argv[1:]])
        done = process.run(words, env=env, check=False, on_line=on_line)
        if check and done.status != 0:
            raise CommandFailed(argv, done.status, tail=done.tail, duration_s=done.duration_s)
        return replace(done, argv=tuple(argv))

    @contextmanager
    def bound(
        self, source: Path, target: Path, *, read_only: bool = False, deep: bool = False
    ) -> Iterator[None]:
        """Show a directory at another place inside while the block runs; `deep` with its mounts.

        Both are paths as they are seen inside. What still uses it does not keep the block waiting.
        """
        self.run(["mount", "--rbind" if deep else "--bind", str(source), str(target)])
        try:
            if read_only:
                self.run(["mount", "-o", "remount,ro,bind", str(target)])
            yield
        finally:
            self.run(["umount", "--recursive", "--lazy", str(target)], check=False)

    def host_path(self, path: Path) -> Path:
        """Where a path of the step's mount namespace can be reached from outside; proc(5)."""
        return Path(f"/proc/{self.init_pid}/root") / path.relative_to("/")


_HELD_BACK = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@contextmanager
def step_namespace(setup: Setup, *, network: bool = True) -> Iterator[StepNamespace]:
    """Open namespaces below the worker's own; leaving the block kills all that runs in them.

    Must be called from the main thread of a worker. `network=False` gives an empty network
    namespace with nothing but loopback. Raises GoldsmithError when `setup` fails.
    """
    reader, writer = os.pipe()
    # Python runs handlers in the hooks of a fork too (those of `logging`), and drops what they
    # raise there: an interrupt that came just then would be lost.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    keeper = 0
    try:
        keeper = os.fork()
        if keeper == 0:
            os.close(reader)
            _keep(writer, setup, network=network, parent=os.getppid())
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        with os.fdopen(reader) as pipe:
            answer = json.loads(pipe.readline() or '{"error": "the step\'s init died"}')
        if "error" in answer:
            raise WorkerError(answer.get("kind", "GoldsmithError"), answer["error"])
        yield StepNamespace(answer["pid"], answer["report"], network)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if keeper > 0:
            # The keeper is killed, its init dies with it, and the kernel ends init only when
            # every other process of its namespace is gone: nothing can still write to the tree.
            _end(keeper)


def _end(keeper: int) -> None:
    os.kill(keeper, signal.SIGTERM)
    os.waitpid(keeper, 0)


def _keep(writer: int, setup: Setup, *, network: bool, parent: int) -> None:
    """The keeper: makes the namespaces, forks their init and waits until it may end it."""
    try:
        # Blocked until sigwait: a SIGTERM that comes early must not leave the init unreaped.
        waited = {signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, waited | _HELD_BACK)
        kernel.name_process("goldsmith-step")
        kernel.die_with_parent(parent)
        _close_all_but(writer)
        kernel.unshare(
            kernel.CLONE_NEWNS
            | kernel.CLONE_NEWPID
            | kernel.CLONE_NEWUTS
            | (0 if network else kernel.CLONE_NEWNET)
        )
        ready_reader, ready_writer = os.pipe()
        init = os.fork()
        if init == 0:
            os.close(ready_reader)
            os.close(writer)
            _be_init(ready_writer, setup, network=network)
        os.close(ready_writer)
        with os.fdopen(ready_reader) as pipe:
            answer = json.loads(pipe.read() or '{"error": "the step\'s init died"}')
        os.write(writer, (json.dumps({"pid": init, **answer}) + "\n").encode())
        os.close(writer)
        # A child that is stopped or goes on is told of by the same signal as one that has ended.
        while signal.sigwait(waited) == signal.SIGCHLD and not _has_ended(init):
            pass
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)
        os._exit(0)
    except OSError as e:
        os.write(writer, (json.dumps({"error": str(e)}) + "\n").encode())
    finally:
        os._exit(1)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _be_init(writer: int, setup: Setup, *, network: bool) -> None:
    answer: dict[str, Any]
    try:
        # Across a PID namespace getppid() is always 0; a keeper that has gone before this call
        # shows by its closed end of the pipe: the write below fails.
        kernel.die_with_parent(0)
        mounts.make_private()
        if not network:
            kernel.bring_loopback_up()
        answer = {"report": setup()}
    except (GoldsmithError, OSError) as e:
        answer = {"error": str(e), "kind": type(e).__name__}
    os.write(writer, json.dumps(answer).encode())
    os.close(writer)
    if "error" in answer:
        os._exit(1)
    run_init(None, name="goldsmith-init")


def _close_all_but(kept: int) -> None:
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, highest)
