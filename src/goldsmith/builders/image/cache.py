"""The caches of the `image` source, and its plan: what of them an unchanged template needs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from goldsmith.core.artifact import Artifact
from goldsmith.core.caching import CachePolicy
from goldsmith.core.kept_trees import KeptTree, KeptTrees
from goldsmith.core.plan import BuildPlan, PlanContext, PlannedStep
from goldsmith.core.post_results import REUSED
from goldsmith.core.results import Result, Results
from goldsmith.core.step import KeyedStep
from goldsmith.core.step_cache import NO_CACHE, UNKNOWN_PARENT, StepCache
from goldsmith.errors import GoldsmithError, Interrupted, explain_os_error
from goldsmith.layers.method import FORCED, OVERLAY, PLAIN
from goldsmith.layers.records import Record
from goldsmith.layers.store import Store
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.host_apt import download_bytes
from goldsmith.packages.release_files import ReleaseState, release_digests
from goldsmith.redact import Redactor

IMAGE_LABEL: Final = "Making the image"
CHANGED: Final = "it was not made of this tree with these options, or its files were changed"
MADE_ANEW: Final = "the tree is made anew"
STANDS: Final = "tree and options unchanged, the files are as they were made"


def open_cache(
    state: Path,
    policy: CachePolicy,
    request: AptRequest | None,
    redactor: Redactor,
    method: str,
    build: str,
) -> StepCache:
    """The store of this user, with the Release files of a request's sources as they are now.

    Fetches those that changed; raises HostError for a store that is not safe.
    """
    store = Store.open(state / "store")

    def look_again() -> Mapping[str, ReleaseState]:
        if request is None:
            return {}
        return release_digests(
            request.sources, request.settings, cache=state / "releases", offline=policy.offline
        )

    releases = look_again()
    return StepCache(
        store, policy, releases, method, redactor, look_again=look_again, build=build,
        private="" if request is None else _private(request),
    )  # fmt: skip


def _private(request: AptRequest) -> str:
    """The settings and passwords that are shown to steps with network."""
    settings = request.settings
    return settings.private_text() + settings.private_netrc().decode(errors="surrogateescape")


def open_results(state: Path, store: Store) -> Results:
    """The records of finished images and of what was made of them."""
    return Results(state / "results", store.keyed)


def expected_method() -> str:
    """How a worker of this user will put trees on each other, unless overlays fail it."""
    plain = os.environ.get(FORCED) == PLAIN.name or os.geteuid() != 0
    return PLAIN.name if plain else OVERLAY.name


def reused(found: Result) -> Artifact:
    """An artifact of which nothing was made in this run."""
    made = Artifact.from_wire(found.value)
    return replace(made, state={**made.state, REUSED: True})


def look_up(
    cache: StepCache, results: Results, key: str | None, ttl_s: float | None = None
) -> tuple[Result | None, str]:
    """The finished image of a key, if it may be used, and why it may or has to be made.

    `ttl_s` is how long one may be used that network had a part in beside its tree; None for ever.
    """
    if key is None:
        return None, MADE_ANEW
    if not cache.policy.use:
        return None, NO_CACHE
    found = results.find(key)
    if found is None:
        return None, CHANGED
    if ttl_s is not None and not cache.policy.any_age:
        expired = cache.why_expired(found.made_s, ttl_s)
        if expired:
            return None, expired
    return found, STANDS


def image_step(build: str) -> str:
    """What the making of a build's image is called where its time is kept."""
    return f"image of {build}"


def _nearest_existing(path: Path) -> Path:
    """The path, or the nearest above it that is there and can be looked at."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            if place.exists():
                return place
    return Path("/")


@dataclass(slots=True)
class Planner:
    """Asks the cache about one step after the other, as the build will."""

    cache: StepCache
    context: PlanContext
    steps: list[PlannedStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tree_id: str | None = ""
    """The id of the tree so far; None once a step has to run."""
    request: AptRequest | None = None
    """What packages are asked for, to tell how much of them has to be fetched."""
    inside: str = ""
    """Where the image's tree lies in what the steps change."""
    _kept: list[KeptTree] = field(default_factory=list)
    _with_network: set[str] = field(default_factory=set)
    _parts: set[str] = field(default_factory=set)
    _recipe: str = ""
    _history: list[Record] | None = None

    def tree_step(self, step: KeyedStep) -> None:
        """Add a step that changes the tree."""
        try:
            question = self.cache.question(step, self.context.environment, self._recipe)
        except Interrupted:
            raise
        except (GoldsmithError, OSError) as e:
            # Something earlier may make the file: the build looks when it comes to the step.
            told = explain_os_error(e) if isinstance(e, OSError) else e
            self._add(step, "miss", f"not known before it runs: {told}")
            self._kept.append(KeptTree(step.name, step.label, None, None))
            self.tree_id = None
            return
        self._recipe = question.recipe
        parent = self.tree_id
        if question.key is None:
            self._add(step, "always", question.reason)
            if not step.reads_only:
                self.tree_id = None
                self._kept.append(KeptTree(step.name, step.label, None, None))
            return
        waits = parent is None and self.cache.store.has_own(question.key.digest)
        answer = self.cache.answer(question, UNKNOWN_PARENT if parent is None else parent)
        reason = (
            "only if the steps before it leave another tree than before" if waits else answer.reason
        )
        self._add(step, "hit" if answer.hit else "miss", reason,
                  None if parent is None else question.key.on(parent))  # fmt: skip
        self.tree_id = answer.record.id if answer.record is not None else None
        failed = None
        if parent is not None and not answer.hit:
            failed = self.cache.store.find_failed(question.key.on(parent))
        self._kept.append(KeptTree(step.name, step.label, answer.record, failed))

    def kept_trees(self) -> KeptTrees:
        """What is kept of the steps so far."""
        return KeptTrees(self.cache.store, tuple(self._kept), self.inside)

    def local_step(self, step: KeyedStep) -> None:
        """Add a provisioner that works on this host's files."""
        self._add(step, "always", "it works on this host, of which no key can tell")
        self.notes.append(
            f"{step.name} may change files on this host that later steps use: for those the plan "
            "holds as the files stand now"
        )

    def finished(
        self,
        results: Results,
        key: str | None,
        writes: Sequence[Path],
        ttl_s: float | None = None,
    ) -> BuildPlan:
        """The whole plan, with the image that `key` identifies; `ttl_s` is as for `look_up`."""
        found, reason = look_up(self.cache, results, key, ttl_s)
        kind = image_step(self.context.name)
        self.steps.append(
            PlannedStep(name="image", label=IMAGE_LABEL, state="hit" if found else "miss",
                        reason=reason, key=key, predicted_s=results.latest_s(kind))
        )  # fmt: skip
        names = {*self._parts, *(step.name for step in self.steps)}
        self.notes += [f"-refresh={name}: this build has no such step"
                       for name in self.cache.policy.refresh if name not in names]  # fmt: skip
        always = any(step.state == "always" for step in self.steps)
        place = _nearest_existing(writes[0])
        fetched = self._download_bytes()
        return BuildPlan(
            build=self.context.name, steps=tuple(self.steps), notes=tuple(self.notes),
            writes=() if found else tuple(str(path) for path in writes),
            download_bytes=fetched, disk_needed_bytes=self._needed_bytes(results),
            disk_free_bytes=min(shutil.disk_usage(place).free,
                                shutil.disk_usage(self.cache.store.directory.path).free),
            finished=reused(found) if found and not always else None,
        )  # fmt: skip

    def _download_bytes(self) -> int | None:
        """What is fetched of packages, None if not known; what else may be is told in a note."""
        running = {step.name for step in self.steps if step.state != "hit"}
        packages = running & {"bootstrap", "packages"}
        others = sorted((running - packages) & self._with_network)
        if others:
            what = f"what {', '.join(others)} may fetch is not counted: network = true"
            self.notes.append(what)
        if not packages or self.request is None:
            return 0
        if self.context.estimate and not self.cache.policy.offline:
            with contextlib.suppress(GoldsmithError):
                return download_bytes(self.request, self.context.state)
        return None

    def _needed_bytes(self, results: Results) -> int | None:
        """What the results of the steps that run took when they were made last."""
        total_bytes = 0
        for step in self.steps:
            if step.state == "hit":
                continue
            known = (
                results.latest_bytes(image_step(self.context.name))
                if step.name == "image"
                else self._size_bytes(step)
            )
            if known is None:
                return None
            total_bytes += known
        return total_bytes

    def _size_bytes(self, step: PlannedStep) -> int | None:
        alike = self._of_this_build(step.name)
        return alike[-1].size_bytes if alike else None

    def _of_this_build(self, step: str) -> list[Record]:
        return [r for r in self._records() if r.step == step and r.build == self.context.name]

    def _records(self) -> list[Record]:
        if self._history is None:
            self._history = self.cache.store.records()
        return self._history

    def _add(self, step: KeyedStep, state: str, reason: str, key: str | None = None) -> None:
        self._parts.update(step.parts)
        if step.network:
            self._with_network.add(step.name)
        predicted_s = 0.0 if state == "hit" else self._predicted_s(step)
        self.steps.append(
            PlannedStep(name=step.name, label=self.context.redactor.redact(step.label),
                        state=state, reason=reason, key=key,  # type: ignore[arg-type]
                        predicted_s=predicted_s)
        )  # fmt: skip

    def _predicted_s(self, step: KeyedStep) -> float | None:
        """What the same step took when it was made last."""
        alike = self._of_this_build(step.name)
        same = [record for record in alike if record.label == step.label] or alike
        return same[-1].duration_s if same else None
