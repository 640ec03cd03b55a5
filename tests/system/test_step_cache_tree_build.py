"""A tree in the making: what its steps are offered, and what an interrupt does to them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from bare_trees import NoEntrance, no_namespace
from private_namespace import run_privately

from goldsmith.core import tree_entrance
from goldsmith.core.step import StepTraits, TreeContext
from goldsmith.core.step_cache import StepCache
from goldsmith.core.tree_build import TreeBuild
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.events import Emitter
from goldsmith.host import mounts
from goldsmith.layers.keys import StepKey
from goldsmith.layers.method import OVERLAY
from goldsmith.layers.store import Store
from goldsmith.packages.package_store import Archive, PackageStore

pytestmark = pytest.mark.root

ARCHIVES = "var/cache/apt/archives"
DATA = b"a package"
ARCHIVE = Archive("data_1_all.deb", len(DATA), hashlib.sha256(DATA).hexdigest())
INDEX = (f"Package: data\nVersion: 1\nArchitecture: all\nSize: {ARCHIVE.size_bytes}\n"
         f"SHA256: {ARCHIVE.sha256}\n")  # fmt: skip


@dataclass(frozen=True)
class Step(StepTraits):
    """A step that does anything."""

    name: str
    do: Callable[[Path], object]
    network: bool = False
    keyed: Callable[[], object] = lambda: None
    enters: bool = True
    label: ClassVar[str] = "a step"

    def key(self) -> StepKey:
        self.keyed()
        return StepKey({"type": f"{self.name}/1"})

    def run(self, context: TreeContext) -> None:
        self.do(context.tree)


@contextmanager
def building() -> Iterator[TreeBuild]:
    """A build on a disk in memory, in the private namespace of the caller."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        with mounts.mounted("tmpfs", top, "tmpfs", options="size=64m"):
            (top / "work").mkdir()
            with TreeBuild(
                directory=top / "work", method=OVERLAY,
                emitter=Emitter("b", lambda event: None),
                cache=StepCache(Store.open(top / "store"), method=OVERLAY.name),
                entrance=NoEntrance(), environment={}, epoch_s=1_700_000_000,
                ask=lambda text, choices: None, packages=PackageStore(top / "packages"),
            ) as trees:  # fmt: skip
                yield trees
            for path in top.iterdir():
                shutil.rmtree(path)


@pytest.fixture(autouse=True)
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_entrance, "step_namespace", no_namespace)


def bootstrap(tree: Path) -> None:
    """A tree with APT, whose index names one package."""
    for folder in (ARCHIVES, "var/lib/apt/lists", "var/lib/dpkg"):
        (tree / folder).mkdir(parents=True)
    (tree / "var/lib/dpkg/status").touch()
    (tree / "var/lib/apt/lists/h_dists_x_main_binary-all_Packages").write_text(INDEX)


def test_what_a_step_fetches_is_kept_and_offered_to_later_ones():
    def body() -> list[list[str]]:
        seen: list[list[str]] = []

        def look(tree: Path) -> None:
            seen.append(sorted(path.name for path in (tree / ARCHIVES).glob("*.deb")))

        def fetch(tree: Path) -> None:
            look(tree)
            (tree / ARCHIVES / ARCHIVE.name).write_bytes(DATA)

        with building() as trees:
            trees.run(Step("bootstrap", bootstrap))
            trees.run(Step("packages", fetch, network=True))
            trees.run(Step("provisioner-1", look, network=True))
            trees.run(Step("provisioner-2", look))
            assert trees.packages is not None
            seen.append(sorted(trees.packages.digests()))
        return seen

    # A step without network is given nothing, and nothing of it stays in the tree.
    assert run_privately(body) == [[], [ARCHIVE.name], [], [ARCHIVE.sha256]]


def interrupting(call: int) -> Callable[[], None]:
    """Raises at the given call, as the handler of a signal would."""
    calls = iter(range(1, 100))

    def keyed() -> None:
        if next(calls) == call:
            raise Interrupted("SIGINT")

    return keyed


@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupt_while_inputs_are_read_ends_the_build(call):
    """At first, and when they are read again after the step has run: only one signal raises."""

    def body() -> str:
        with building() as trees:
            try:
                trees.run(Step("bootstrap", bootstrap, keyed=interrupting(call)))
            except GoldsmithError as e:
                return type(e).__name__
        return "nothing"

    assert run_privately(body) == "Interrupted"


def test_an_interrupt_while_a_failed_tree_is_kept_ends_the_build(monkeypatch):
    def interrupted(*args: object) -> None:
        raise Interrupted("SIGINT")

    monkeypatch.setattr("goldsmith.layers.publish.Draft.keep_failed", interrupted)

    def fail(tree: Path) -> None:
        raise GoldsmithError("it fails")

    def body() -> str:
        with building() as trees:
            trees.run(Step("bootstrap", bootstrap))
            try:
                trees.run(Step("provisioner-1", fail))
            except GoldsmithError as e:
                return type(e).__name__
        return "nothing"

    assert run_privately(body) == "Interrupted"
