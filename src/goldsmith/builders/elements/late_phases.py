"""The phases that run in the final file system: pre-finalise.d, finalise.d and cleanup.d.

They run in one set of namespaces, so that what one of them mounts is there for the next, and
everything that they start or mount ends with them. Source: `specs/diskimage-builder.md`, A2, A3.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from goldsmith.builders.elements.entrance import mount_api, remove_hooks_place
from goldsmith.builders.elements.phase_steps import HookSurroundings, OpenShell, Words
from goldsmith.elements.hook_environment import in_tree
from goldsmith.elements.phase_runner import PhaseRun, run_phase
from goldsmith.elements.phases import Phase, Place, phase_named
from goldsmith.elements.places import IN_TARGET, Places
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.host import chroot, mounts
from goldsmith.host.confined import make_directory
from goldsmith.host.namespaces import StepNamespace, step_namespace
from goldsmith.host.process import LineSink

LATE_PHASES: Final = tuple(map(phase_named, ("pre-finalise.d", "finalise.d", "cleanup.d")))
BLOCK_DEVICE_PHASE: Final = phase_named("block-device.d")
_OUTSIDE: Final = phase_named("post-root.d")
_ANNOUNCED: Final = "IMAGE_BLOCK_DEVICE="


@dataclass(frozen=True, slots=True)
class LatePlace:
    """A build directory, the final tree beside it, and where hooks see both."""

    places: Places
    build: Path
    """The build directory: hooks, and the tree from which the disk was filled."""
    image: Path
    """What is seen as TMP_IMAGE_DIR."""
    final: Path | None = None
    """Where the file systems of the disk are mounted; None before there is one."""

    def set_up(self) -> dict[str, Any]:
        """Show everything where hooks expect it; runs as the init of a step's namespaces.

        What earlier hooks have mounted is gone, as it is for upstream: `apt-get clean` in
        finalise.d is not to empty a cache of the host.
        """
        places = self.places
        mounts.bind(str(self.build), str(places.build))
        mounts.bind(str(self.image), str(places.image))
        socket.sethostname(chroot.DEFAULT_HOST_NAME)
        mounts.mount("proc", "/proc", "proc")
        if self.final is not None:
            flags = mounts.MS_BIND | mounts.MS_REC
            mounts.mount(str(self.final), str(places.mount), "", flags=flags)
            mount_api(places.mount)
        return {}


@dataclass(frozen=True, slots=True)
class LateRun:
    """What the hooks of the last phases are given, and who is told of them."""

    surroundings: HookSurroundings
    place: LatePlace
    environment: Mapping[str, str]
    emitter: Emitter
    open_shell: OpenShell | None = None
    on_line: LineSink | None = None
    """Hears every line besides the emitter."""

    def run(self, phases: Sequence[Phase] = LATE_PHASES) -> None:
        """Run the phases in one set of namespaces; raises HookFailed, ElementError.

        Must be called from the main thread of a worker.
        """
        with step_namespace(self.place.set_up) as namespace:
            for phase in phases:
                shown = self._hooks_shown(namespace) if phase.place is Place.IN_TREE else None
                with shown or contextlib.nullcontext():
                    self._run_phase(phase, namespace)

    def _run_phase(self, phase: Phase, namespace: StepNamespace) -> None:
        around, breaks = self.surroundings, self.surroundings.description.breaks
        hooks = self.place.build / "hooks"
        environment = self.given(phase)
        run = PhaseRun(phase, around.place(phase, namespace, hooks), around.setup.hooks,
                       environment, self._tell, self.emitter.redactor.add)  # fmt: skip
        words = run.place.words
        if breaks.at("before", phase):
            self._shell(f"before-{phase.name[:-2]}", words, environment)
        if (hooks / phase.name).is_dir():
            self.emitter.output(f"Running hooks from {run.place.seen_at}/{phase.name}")
        try:
            run_phase(run)
        except GoldsmithError as e:
            if breaks.after_error:
                self.emitter.error(str(e))
                if around.description.environment.get("break_outside_target"):
                    words, environment = around.words(_OUTSIDE, namespace), self.given(_OUTSIDE)
                self._shell("after-error", words, environment)
            raise
        if breaks.at("after", phase):
            self._shell(f"after-{phase.name[:-2]}", words, environment)

    def given(self, phase: Phase) -> dict[str, str]:
        """What the hooks of a phase get, but for what snippets of environment.d add."""
        given = dict(self.environment)
        given.pop("TARGET_ROOT", None)
        if phase.names_target_root:
            given["TARGET_ROOT"] = str(self.place.places.mount)
        return in_tree(given) if phase.place is Place.IN_TREE else given

    def _shell(self, where: str, words: Words, environment: Mapping[str, str]) -> None:
        if self.open_shell is not None:
            self.open_shell(where, words, environment)

    def _tell(self, stream: str, line: str) -> None:
        self.emitter.output(line, stream)
        if self.on_line is not None:
            self.on_line(stream, line)

    @contextmanager
    def _hooks_shown(self, namespace: StepNamespace) -> Iterator[None]:
        """The hooks in the tree, which cannot write to them, while a phase runs there."""
        places, final = self.place.places, self.place.final
        assert final is not None, "a phase in the tree has a final one"
        own = make_directory(final, IN_TARGET)
        target = places.mount / own.relative_to(final)
        with namespace.bound(places.hooks, target, read_only=True):
            yield
        remove_hooks_place(final)


def run_block_device_hooks(run: LateRun) -> None:
    """Run block-device.d, where hooks once made the disk; without any a shell may be wanted there.

    Raises GoldsmithError for one that does: since upstream describes disks by block devices nothing
    puts the tree on such a device, and its own build fails when it is at its end.
    """
    breaks = run.surroundings.description.breaks
    wanted = any(breaks.at(when, BLOCK_DEVICE_PHASE) for when in ("before", "after"))
    if not wanted and not (run.place.build / "hooks" / BLOCK_DEVICE_PHASE.name).is_dir():
        return
    announced: list[str] = []

    def listen(stream: str, line: str) -> None:
        if stream == "stdout" and _ANNOUNCED in line:
            announced.append(line.strip())

    replace(run, on_line=listen).run((BLOCK_DEVICE_PHASE,))
    device = announced[-1].partition(_ANNOUNCED)[2].strip("'\"") if announced else ""
    if device:
        raise GoldsmithError(
            f"a hook of block-device.d made the device {device} itself, which nothing fills",
            hint="describe the disk by DIB_BLOCK_DEVICE_CONFIG, or in an element's "
            "block-device-default.yaml",
        )
