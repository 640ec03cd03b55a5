"""The phases of elements as steps on a build directory, each with a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from goldsmith.builders.elements import bound_mounts, resolver
from goldsmith.builders.elements.cache_turns import cache_turn
from goldsmith.builders.elements.entrance import words_outside
from goldsmith.builders.elements.initramfs_step import InitramfsStep, divert
from goldsmith.communicators.chroot import ChrootCommunicator
from goldsmith.core.caching import Caching
from goldsmith.core.step import StepTraits, TreeContext, TreeStep
from goldsmith.elements import environment as snippets
from goldsmith.elements.description import Description
from goldsmith.elements.hook_directory import generated_for, laid_out
from goldsmith.elements.hook_environment import hook_environment, in_tree, working_directory
from goldsmith.elements.phase_keys import packages_inputs, phase_inputs
from goldsmith.elements.phase_runner import HookPlace, PhaseRun, run_phase
from goldsmith.elements.phases import Phase, Place, Tree, phase_named
from goldsmith.elements.places import IN_TARGET, RECORDS, Places
from goldsmith.elements.setup import Setup
from goldsmith.errors import CommandFailed, GoldsmithError, Interrupted
from goldsmith.host import chroot, process
from goldsmith.host.namespaces import StepNamespace
from goldsmith.layers.keys import StepKey
from goldsmith.packages import lent_connections

TREE_STEPS: Final = (
    "root.d", "extra-data.d", "pre-install.d", "install.d", "packages", "post-install.d",
    "initramfs", "post-root.d",
)  # fmt: skip
"""The names of all steps of a tree, in their order."""
_LAST_LINES: Final = 20
_NOT_A_SYSTEM: Final = frozenset({"lost+found", "tmp"})

Words = Callable[[Sequence[str]], list[str]]


class OpenShell(Protocol):
    """Opens a shell for the user at a break, and returns when it is left."""

    def __call__(self, where: str, words: Words, environment: Mapping[str, str]) -> None:
        """`words` turns the words of a program into those that run it where the phase runs."""
        ...


@dataclass(frozen=True, slots=True)
class HookSurroundings:
    """What all phases of one image have in common."""

    description: Description
    setup: Setup
    places: Places
    more: Mapping[str, str] = field(default_factory=dict)
    """Variables that come from elsewhere: labels and file systems of the disk."""

    def environment(self, phase: Phase) -> dict[str, str]:
        """What the hooks of a phase are given before `environment.d` is sourced."""
        given = hook_environment(self.description, self.setup, self.places, **self.more)
        if phase.names_target_root:
            given["TARGET_ROOT"] = str(self.places.mount)
        return in_tree(given) if phase.place is Place.IN_TREE else given

    def place(self, phase: Phase, namespace: StepNamespace, hooks: Path) -> HookPlace:
        """Where the hooks of a phase run; `hooks` is their directory as this process sees it."""
        if phase.place is Place.IN_TREE:
            return HookPlace(hooks, IN_TARGET, self.words(phase, namespace))
        return HookPlace(hooks, str(self.places.hooks), self.words(phase, namespace))

    def words(self, phase: Phase, namespace: StepNamespace) -> Words:
        """What turns the words of a program into those that run it where a phase's hooks run."""
        if phase.place is Place.IN_TREE:
            return lambda argv: namespace.entering(chroot.chroot_argv(self.places.mount, argv))
        directory = working_directory(self.places)
        return lambda argv: words_outside(namespace, directory, argv)

    def steps(self, open_shell: OpenShell | None = None) -> list[TreeStep]:
        """Every step of the tree that is known of beforehand.

        A phase for which no element has hooks is among them only if a shell is wanted there.
        """
        steps: list[TreeStep] = []
        for name in TREE_STEPS:
            if name == "packages":
                if self.description.packages:
                    ttl = Caching(ttl_s=self.description.cache_ttl_s)
                    steps.append(PackagesStep(self, caching=ttl))
            elif name == "initramfs":
                # Whether there is one shows in the tree: any element may bring dpkg.
                steps.append(InitramfsStep())
            elif name == TREE_STEPS[0] or self._is_wanted(phase_named(name)):
                steps.append(self.phase_step(phase_named(name), open_shell))
        return steps

    def phase_step(self, phase: Phase, open_shell: OpenShell | None = None) -> PhaseStep:
        """The step of a phase; what the user does in a shell is not known beforehand."""
        reuse = not self._breaks_at(phase)
        caching = Caching(reuse=reuse, ttl_s=self.description.cache_ttl_s)
        beside = phase.tree is Tree.EMPTY
        return PhaseStep(phase, self, open_shell, caching=caching, runs_beside=beside)

    def _is_wanted(self, phase: Phase) -> bool:
        start = f"{phase.name}/"
        return self._breaks_at(phase) or any(
            place.startswith(start) for place in self.setup.hooks.files
        )

    def _breaks_at(self, phase: Phase) -> bool:
        breaks = self.description.breaks
        return breaks.at("before", phase) or breaks.at("after", phase)


@dataclass(frozen=True, slots=True)
class PhaseStep(StepTraits):
    """Runs the hooks of one phase on the build directory, which is the tree of this step."""

    phase: Phase
    surroundings: HookSurroundings
    open_shell: OpenShell | None = None
    network: bool = True
    given_secrets: bool = field(default=True, kw_only=True)
    """Snippets of environment.d may have made some, besides those of the caller's environment."""

    @property
    def name(self) -> str:
        """The phase's: "install.d"."""
        return self.phase.name

    @property
    def label(self) -> str:
        """Says which hooks, and whose."""
        return f"Running the hooks of {self.phase.name}"

    @property
    def enters(self) -> bool:
        """Whether there is a tree to enter."""
        return self.phase.tree is not Tree.EMPTY

    def key(self) -> StepKey | None:
        """Hooks, elements, environment, and what hooks read beside them."""
        around = self.surroundings
        return StepKey(phase_inputs(self.phase, around.description, around.setup,
                                    around.environment(self.phase),
                                    around.places.directory))  # fmt: skip

    def run(self, context: TreeContext) -> None:
        """Run the hooks; raises HookFailed that names the element, the hook and what it said."""
        around, build = self.surroundings, context.tree
        if not self.enters:
            _begin(build)
        if self.phase.name == "pre-install.d":
            divert(context)
        hooks, records = build / "hooks", build / RECORDS
        generated = generated_for(self.phase, around.setup, around.description.install_type)
        namespace = _namespace(context)
        turn = cache_turn(around.places, around.setup, context.emitter)
        with turn, laid_out(around.setup.hooks, hooks, generated, records):
            self._run_hooks(context, namespace, hooks)
            _keep_mounts(context, namespace, around.places, records)
        if not self.enters:
            _require_system(build / "mnt")
            resolver.save(build / "mnt")

    def _run_hooks(self, context: TreeContext, namespace: StepNamespace, hooks: Path) -> None:
        around, phase, emitter = self.surroundings, self.phase, context.emitter
        environment = around.environment(phase)
        breaks = around.description.breaks
        self._shell("before", namespace, environment, wanted=breaks.at("before", phase))
        run = PhaseRun(phase, around.place(phase, namespace, hooks), around.setup.hooks,
                       environment, lambda stream, line: emitter.output(line, stream),
                       emitter.redactor.add,
                       partial(lent_connections.lent, context.tree / "mnt"))  # fmt: skip
        if (hooks / phase.name).is_dir():
            emitter.output(f"Running hooks from {run.place.seen_at}/{phase.name}")
        try:
            run_phase(run)
        except Interrupted:
            raise
        except GoldsmithError as e:
            if breaks.after_error:
                emitter.error(str(e))
                self._shell("after-error", namespace, environment, wanted=True)
            raise
        self._shell("after", namespace, environment, wanted=breaks.at("after", phase))

    def _shell(
        self, when: str, namespace: StepNamespace, environment: Mapping[str, str], *, wanted: bool
    ) -> None:
        if not wanted or self.open_shell is None:
            return
        around, phase = self.surroundings, self.phase
        where = when if when == "after-error" else f"{when}-{phase.name[:-2]}"
        outside = around.description.environment.get("break_outside_target")
        if when == "after-error" and outside and phase.place is Place.IN_TREE:
            phase = phase_named("post-root.d")
            environment = around.environment(phase)
        self.open_shell(where, around.words(phase, namespace), environment)


@dataclass(frozen=True, slots=True)
class PackagesStep(StepTraits):
    """Installs the packages of `-p` in the tree, by the program that the elements put there."""

    surroundings: HookSurroundings
    name: str = "packages"
    network: bool = True
    enters: bool = True
    given_secrets: bool = field(default=True, kw_only=True)

    @property
    def label(self) -> str:
        """Names the packages."""
        return f"Installing {', '.join(self.surroundings.description.packages)}"

    def key(self) -> StepKey | None:
        """The list and the environment."""
        around = self.surroundings
        environment = around.environment(phase_named("install.d"))
        return StepKey(packages_inputs(around.description, around.setup, environment))

    def run(self, context: TreeContext) -> None:
        """Install; raises GoldsmithError with the last lines of the program."""
        around, build = self.surroundings, context.tree
        phase, namespace = phase_named("install.d"), _namespace(context)
        hooks, records = build / "hooks", build / RECORDS
        generated = generated_for(phase, around.setup, around.description.install_type)
        turn = cache_turn(around.places, around.setup, context.emitter)
        with turn, laid_out(around.setup.hooks, hooks, generated, records):
            words = around.words(phase, namespace)
            given = snippets.sourced(
                hooks, around.environment(phase), words=words, seen_at=IN_TARGET,
                on_secrets=context.emitter.redactor.add, owners=around.setup.hooks,
            )  # fmt: skip
            with lent_connections.lent(build / "mnt"):
                install_packages(context, words, given, around.description.packages)
            _keep_mounts(context, namespace, around.places, records)


def install_packages(
    context: TreeContext, words: Words, environment: Mapping[str, str], packages: Sequence[str]
) -> None:
    """Run `install-packages` of the elements in the tree; raises GoldsmithError."""
    argv = ["install-packages", *packages]
    done = process.run(
        words(argv), env=environment, check=False,
        on_line=lambda stream, line: context.emitter.output(line, stream),
    )  # fmt: skip
    if done.status != 0:
        raise CommandFailed(argv, done.status, tail=done.tail[-_LAST_LINES:],
                            duration_s=done.duration_s)  # fmt: skip


def _namespace(context: TreeContext) -> StepNamespace:
    communicator = context.communicator
    assert isinstance(communicator, ChrootCommunicator), "PhaseEntrance gives no other"
    return communicator.namespace


def _begin(build: Path) -> None:
    """Make the empty tree and the hooks directory; owners of the tree's root are checked by some.

    Whoever may not enter the build itself cannot reach the tree: APT fetches as another user.
    """
    build.chmod(0o755)
    for name in ("mnt", "hooks"):
        (build / name).mkdir(mode=0o755)


def _require_system(mount: Path) -> None:
    if all(entry.name in _NOT_A_SYSTEM for entry in mount.iterdir()):
        raise GoldsmithError(
            "Failed to deploy the root element.",
            hint="no hook of root.d has put a system into $TARGET_ROOT; name an element that does",
        )


def _keep_mounts(
    context: TreeContext, namespace: StepNamespace, places: Places, records: Path
) -> None:
    """Write down what hooks have mounted in the tree, for the phases after this one."""
    left, unknown = bound_mounts.find_left(namespace.init_pid, places.build, places.mount)
    for target in unknown:
        context.emitter.warn(
            f"what is mounted at /{target} of the tree cannot be mounted again: later phases do "
            "not see it"
        )
    bound_mounts.keep(left, records)
