"""Runs tree steps one after the other, each on top of the tree that the earlier ones left."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Self

from goldsmith.core.after_error import ANSWERS_AFTER_ERROR, ASK_AFTER_ERROR
from goldsmith.core.kept_files import KeptFiles
from goldsmith.core.layer_stack import LayerStack
from goldsmith.core.step import StepTraits, TreeContext, TreeStep
from goldsmith.core.step_cache import (
    UNKNOWN_PARENT,
    Answer,
    Question,
    StepCache,
    given_environment,
)
from goldsmith.core.tree_entrance import TreeAccess, TreeEntrance, entered
from goldsmith.errors import GoldsmithError, Interrupted, StepFailed, explain_os_error
from goldsmith.events import Emitter
from goldsmith.host import mounts
from goldsmith.host.process import Completed
from goldsmith.host.search import find_texts
from goldsmith.host.signals import check_interrupted
from goldsmith.layers.method import LayerMethod
from goldsmith.layers.overlay import filled
from goldsmith.layers.publish import Draft
from goldsmith.layers.records import MadeStep, Record
from goldsmith.layers.store import LayerUnusable
from goldsmith.packages.package_offers import MOST_OFFERED_BYTES, offered_archives
from goldsmith.packages.package_store import PackageStore

KEPT_RESULT_LOST: Final = "the kept result is damaged, or was removed meanwhile"
_SHORTEST_SOUGHT: Final = 4
_OFFERED_TO_SCRIPTS_BYTES: Final = 64 << 20
"""Most scripts install little, and every offered package is copied."""
_SILENT_WAIT_S: Final = 1.0


@dataclass(slots=True)
class TreeBuild:
    """A tree in the making, below a directory of the run; a context manager.

    Its layers lie in the store from the start. Leaving the block waits until they are published,
    and removes those that nobody can use again.
    """

    directory: Path
    method: LayerMethod
    emitter: Emitter
    entrance: TreeEntrance
    cache: StepCache
    environment: Mapping[str, str]
    """What the build may see of the caller's: proxies, which only steps with network are given."""
    epoch_s: int
    ask: Callable[[str, tuple[str, ...]], str | None]
    on_error: str = "cleanup"
    packages: PackageStore | None = None
    """Downloaded packages, which steps with network find in APT's archives."""
    template: str = ""
    """The template, as the command line that opens a failed step's tree names it."""
    assignments: str = ""
    """Variables of the environment that this command line needs, before it."""
    doorway: Path | None = None
    """A directory that every user can reach: the first tree is bound there while it is made.

    The layers themselves are root's alone (they hold setuid programs), but APT fetches as a user
    of its own. The bind is seen in the worker's namespace only.
    """
    epoch_is_given: bool = True
    """Whether other builds of the same inputs have this epoch; not where the clock gave it."""
    stack: LayerStack = field(init=False)
    abandoned: bool = False
    """Whether the user, asked after an error, wants no cleanup."""
    inputs: list[Mapping[str, str] | None] = field(default_factory=list)
    """What each step so far was made from, None where that is not known."""
    _failed_tree: Path | None = None
    _names: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _scope: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.stack = LayerStack(self.cache.store, self.method, self.directory)

    def __enter__(self) -> Self:
        self._scope.enter_context(self.stack)
        return self

    def tell_unknown_refreshes(self) -> None:
        """Warn of steps that are to be made again and that there are not; called after the last."""
        for name in self.cache.policy.refresh:
            if name not in self._names:
                self.emitter.warn(f"-refresh={name}: this build has no such step")

    def __exit__(self, *error: object) -> None:
        self._scope.close()
        self._tell_warnings()

    def run(self, step: TreeStep, *, asks: bool = True) -> None:
        """Put a step's result on top: an earlier one, or that of running it. Raises StepFailed.

        With `on_error` "ask" the user may have a failed step run again, from the tree before it;
        not without `asks`, for callers that try on their own and ask after the last try.
        """
        check_interrupted()
        self._names.update((step.name, *step.parts))
        # Files may be mended while the user is asked, so each try looks the step up anew.
        while not self._tried(step, asks=asks and self.on_error == "ask"):
            pass

    def _tried(self, step: TreeStep, *, asks: bool) -> bool:
        """Whether the result is on top; False when it failed and the user wants another try."""
        try:
            question = self.cache.question(step, self.environment, self.stack.recipe)
        except Interrupted:
            raise
        except (GoldsmithError, OSError) as e:
            cause = explain_os_error(e) if isinstance(e, OSError) else e
            raise StepFailed(step.label, cause) from e
        answer, lost = self._answer(question), False
        with ExitStack() as held:
            if answer.record is not None:
                if self._reuse(answer.record, question, answer):
                    return True
                lost = True
            if question.key is not None:
                held.enter_context(
                    self.cache.store.making(question.recipe, partial(self._waiting, step, []))
                )
                # Another build may have made it while we waited.
                answer = self._answer(question)
                while answer.record is not None:
                    if self._reuse(answer.record, question, answer):
                        return True
                    answer, lost = self._answer(question), True
            if lost:
                answer = replace(answer, reason=KEPT_RESULT_LOST)
            try:
                self._make(step, question, answer, held)
                return True
            except Interrupted:
                raise
            except (GoldsmithError, OSError) as e:
                cause = explain_os_error(e) if isinstance(e, OSError) else e
                failed = StepFailed(step.label, cause)
                if not asks or not self.wants_retry(failed):
                    raise failed from e
        return False

    @property
    def tree_id(self) -> str | None:
        """What identifies the tree as it is; None when it cannot be known again. May wait."""
        return self.stack.top_id

    def _answer(self, question: Question) -> Answer:
        if question.key is None:
            return self.cache.answer(question, None)
        known = self.stack.known_top_id
        if known is None and not self.cache.store.has_own(question.key.digest):
            # Whatever the layer below turns out to be: nothing is kept of such a step.
            return self.cache.answer(question, UNKNOWN_PARENT)
        return self.cache.answer(question, self.stack.top_id)

    def _reuse(self, record: Record, question: Question, answer: Answer) -> bool:
        try:
            self.stack.push_kept(record, question.recipe, verify=self.cache.policy.verify)
        except LayerUnusable as e:
            self.emitter.warn(str(e))
            return False
        with self.emitter.running(
            question.step.name, question.step.label, key=record.key,
            parent=record.parent or None, cache="hit", reason=answer.reason,
        ):  # fmt: skip
            self.inputs.append(question.inputs)
            return True

    def _waiting(self, step: TreeStep, told: list[float], waited_s: float) -> None:
        """Say once that another build makes the same; a lock may be held for a moment by none."""
        if waited_s > _SILENT_WAIT_S and not told:
            told.append(waited_s)
            self.emitter.say(f"Waiting for another build that makes the same: {step.label}")

    def wants_retry(self, error: StepFailed) -> bool:
        """Tell the user of a failed step and ask what to do; notes if no cleanup is wanted."""
        self.emitter.error(str(error))
        answer = self.ask(ASK_AFTER_ERROR, ANSWERS_AFTER_ERROR)
        self.abandoned = answer == "a"
        return answer == "r"

    def run_after_failure(self, step: TreeStep) -> None:
        """Run a step in the tree as the last step left it when it failed; nothing of it is kept.

        Raises GoldsmithError.
        """
        failed = self._failed_tree
        whole = failed is not None and self.method.whole
        lowers = [] if whole else self.stack.lowers()
        if failed is not None:
            lowers = [failed, *lowers]
        with self.emitter.running(step.name, step.label, cache="none"):
            self._run_on_layers(step, self.stack.new_draft(), lowers)

    def _make(self, step: TreeStep, question: Question, answer: Answer, held: ExitStack) -> None:
        """Run a step; its layer is published beside the steps that follow."""
        self._tell_warnings()
        draft = self.stack.new_draft()
        keyed = question.key is not None
        parent = self.stack.known_top_id
        key = None if question.key is None or parent is None else question.key.on(parent)
        with self.emitter.running(
            step.name, step.label, takes_long=not step.enters, cache="miss" if keyed else "none",
            reason=answer.reason, key=key, parent=parent or None,
        ):  # fmt: skip
            started_s = time.monotonic()

            def describe(parent: str) -> MadeStep:
                return self.cache.made(question, parent, self.method.name, duration_s)

            try:
                self._failed_tree = None
                self._run_on_layers(step, draft, self.stack.lowers())
                duration_s = time.monotonic() - started_s
                refused = self._holds_secret(step, draft.tree)
            except (GoldsmithError, OSError) as e:
                duration_s = time.monotonic() - started_s
                self._failed_tree = draft.tree if draft.tree.is_dir() else None
                self._keep_failed(draft, question, describe, e)
                raise
        if step.reads_only:
            return
        if keyed and not refused and not self._inputs_changed(question):
            self.stack.push_made(draft, question, answer, describe, held.pop_all())
        else:
            self.stack.push_passing(draft, question.recipe)
        self.inputs.append(question.inputs)

    def _inputs_changed(self, question: Question) -> bool:
        """Whether an input is not any more what it was when the step was looked up.

        A file that was edited meanwhile has reached the tree in one form or the other, or in both.
        """
        try:
            now = self.cache.question(question.step, self.environment, self.stack.recipe)
            released = question.step.network and self.cache.releases_changed()
            if now.recipe == question.recipe and not released:
                return False
        except Interrupted:
            raise
        except (GoldsmithError, OSError):
            pass  # it was removed, or cannot be read any more
        self.emitter.warn(
            f"{question.step.label}: an input was changed while the step ran; its result is not "
            "kept for later builds"
        )
        return True

    def _keep_failed(
        self, draft: Draft, question: Question, describe: Callable[[str], MadeStep],
        error: Exception,
    ) -> None:  # fmt: skip
        """Keep the tree of a step that failed, for `goldsmith shell`."""
        if question.key is None or isinstance(error, Interrupted) or not draft.tree.is_dir():
            return
        parent = self.stack.top_id
        if parent is None or self._secrets_in(draft.tree):
            return
        try:
            draft.keep_failed(describe(parent), self.emitter.redactor.redact(str(error)))
        except Interrupted:
            raise
        except (GoldsmithError, OSError):
            return  # the step's own error is what counts
        beside = isinstance(question.step, StepTraits) and question.step.runs_beside
        if not (question.step.enters or beside):
            return  # there is nothing in it yet that could be run
        only = f"-only={self.emitter.build} -at={question.step.name}"
        if beside:
            only += " -outside"
        self.emitter.say(
            f"The tree as the step left it is kept: {self.assignments}goldsmith shell {only} "
            f"{shlex.quote(self.template)}"
        )

    def _holds_secret(self, step: TreeStep, tree: Path) -> bool:
        """Whether a secret lies in what a step has left: such a layer is not kept.

        Raises GoldsmithError where the user wants that.
        """
        if not step.given_secrets:
            return False
        found = self._secrets_in(tree)
        if found is None:
            return False
        text = f"a secret of this template is in /{found} of the image"
        if self.cache.policy.secrets_in_image == "error":
            raise GoldsmithError(text, hint="remove it in the script that needs it")
        self.emitter.warn(f"{step.label}: {text}; its result is not kept for later builds")
        return True

    def require_no_secrets(self) -> None:
        """Raise GoldsmithError when a secret is in the finished tree and the user wants none there.

        Whatever step it came from, and whether that one ran now or earlier.
        """
        redactor = self.emitter.redactor
        if self.cache.policy.secrets_in_image != "error" or not redactor.secrets:
            return
        with self.emitter.running("secrets", "Searching the tree for secrets"), self.view() as tree:
            found = self._secrets_in(tree)
        if found is not None:
            raise GoldsmithError(
                f"a secret of this template is in /{found} of the image",
                hint="remove it in the step that puts it there",
            )

    def _secrets_in(self, tree: Path) -> str | None:
        # Shorter ones are found in any binary.
        forms = self.emitter.redactor.forms
        return find_texts(tree, [text for text in forms if len(text) >= _SHORTEST_SOUGHT])

    def _tell_warnings(self) -> None:
        for text in self.stack.take_warnings():
            self.emitter.warn(text)

    def _run_on_layers(self, step: TreeStep, draft: Draft, lowers: Sequence[Path]) -> None:
        with self._layered(step, draft, lowers) as layered:
            with self._reachable(step, layered) as tree, self._offered(step, tree):
                environment = given_environment(step, self.environment)
                with entered(
                    self.entrance, tree, environment, network=step.network, enters=step.enters
                ) as access:
                    is_bare = self._is_bare(step, lowers)
                    contents = draft.contents if is_bare else {}
                    step.run(replace(
                        self._context(step, tree, access, self.emitter), is_bare=is_bare,
                        contents=contents, beside=self._besides(step, lowers),
                    ))  # fmt: skip

    def _besides(
        self, step: TreeStep, lowers: Sequence[Path]
    ) -> Callable[[Emitter], AbstractContextManager[TreeContext]] | None:
        if self.method.whole or not lowers:
            return None

        @contextmanager
        def beside(emitter: Emitter) -> Iterator[TreeContext]:
            # A step that failed may be tried again.
            place = self.directory / f"beside-{next(self._numbers):02d}"
            merged = self.directory / "tree-beside"
            epoch = "SOURCE_DATE_EPOCH"
            environment = {epoch: self.environment[epoch]} if epoch in self.environment else {}
            with (
                self.method.view(lowers, merged, place) as tree,
                entered(self.entrance, tree, environment, network=False, enters=True) as access,
            ):
                yield replace(self._context(step, tree, access, emitter), environment=environment)

        return beside

    def _is_bare(self, step: TreeStep, lowers: Sequence[Path]) -> bool:
        return step.fills and not lowers and not self.method.whole

    def _layered(
        self, step: TreeStep, draft: Draft, lowers: Sequence[Path]
    ) -> AbstractContextManager[Path]:
        """The tree as the step finds it."""
        if self._is_bare(step, lowers):
            return filled(draft.tree, clamp_to_s=self.epoch_s)
        number = next(self._numbers)
        return self.method.step(
            lowers, draft.tree, scratch=self.directory / f"mount-{number:02d}",
            merged=self.directory / "tree", clamp_to_s=self.epoch_s,
        )  # fmt: skip

    def _offered(self, step: TreeStep, tree: Path) -> AbstractContextManager[object]:
        """Downloaded packages for a step that may install some, and a place for new ones."""
        if self.packages is None or not (step.network and step.enters and step.runs_apt):
            return nullcontext()
        most_bytes = MOST_OFFERED_BYTES if step.declared else _OFFERED_TO_SCRIPTS_BYTES
        return offered_archives(self.packages, tree, most_bytes=most_bytes)

    @contextmanager
    def _reachable(self, step: TreeStep, tree: Path) -> Iterator[Path]:
        """The first tree where every user can reach it, later ones where they are.

        One that is filled as well: across mounts, be it of one file system, no links are made.
        """
        lowers = self.stack.lowers()
        if lowers or self.doorway is None or self._is_bare(step, lowers):
            yield tree
        else:
            with mounts.bound(tree, self.doorway) as bound:
                yield bound

    def _context(
        self, step: TreeStep, tree: Path, access: TreeAccess, emitter: Emitter
    ) -> TreeContext:
        scratch = self.directory / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)

        def run_in_tree(
            argv: Sequence[str],
            *,
            env: Mapping[str, str] | None = None,
            input: bytes | None = None,
        ) -> Completed:
            return access.run_in_tree(argv, env=env, input=input, on_line=tool_line)

        def tool_line(stream: str, line: str) -> None:
            emitter.output(line, stream, routine=True)

        return TreeContext(
            emitter=emitter, scratch=scratch, epoch_s=self.epoch_s, tree=tree,
            communicator=access.communicator, run_in_tree=run_in_tree, run_tool=access.run_tool,
            environment=given_environment(step, self.environment),
            kept=KeptFiles(self.cache, emitter, self.environment, step.name),
            epoch_is_given=self.epoch_is_given,
        )  # fmt: skip

    def entered(
        self, tree: Path, *, network: bool, enters: bool
    ) -> AbstractContextManager[TreeAccess]:
        """Open a step's namespaces on a mounted tree; all that runs in them ends with the block."""
        return entered(self.entrance, tree, self.environment, network=network, enters=enters)

    @contextmanager
    def view(self) -> Iterator[Path]:
        """The finished tree, mounted; what is changed in it is thrown away."""
        with self.method.view(
            self.stack.lowers(), self.directory / "tree", self.directory / "view"
        ) as tree:
            yield tree
