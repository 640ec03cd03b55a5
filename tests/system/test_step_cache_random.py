"""Random steps, built with the cache, edited and built again, against a plain directory.

The cache may never show: whatever was kept of the first build, the second one leaves what the same
steps leave in a directory without overlays, layers and keys.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from bare_trees import NoEntrance, no_namespace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_trees import CAPABILITY, describe
from private_namespace import run_privately

from goldsmith.core import layer_stack, tree_entrance
from goldsmith.core.step import StepTraits, TreeContext
from goldsmith.core.step_cache import StepCache
from goldsmith.core.tree_build import TreeBuild
from goldsmith.events import Emitter, Event
from goldsmith.host import kernel, mounts
from goldsmith.layers.keys import StepKey, canonical
from goldsmith.layers.method import OVERLAY, PLAIN, LayerMethod
from goldsmith.layers.overlay import clamp_times
from goldsmith.layers.store import Store
from goldsmith.layers.verify import verify_store

pytestmark = pytest.mark.root

EPOCH_S = 1_700_000_000
Operation = tuple[str, str, str, int]
"""What is done, to which path, with which other path, and how."""


class Operations:
    """What a step may do to a tree; what cannot be done there is left."""

    @staticmethod
    def write(path: Path, other: Path, number: int) -> None:
        path.write_bytes(b"%d" % number * (number + 1))

    @staticmethod
    def append(path: Path, other: Path, number: int) -> None:
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(b"+%d" % number)

    @staticmethod
    def truncate(path: Path, other: Path, number: int) -> None:
        os.truncate(path, number * 3)

    @staticmethod
    def sparse(path: Path, other: Path, number: int) -> None:
        with path.open("wb") as file:
            file.truncate(200_000)
            file.seek(100_000 + number)
            file.write(b"data")

    @staticmethod
    def mkdir(path: Path, other: Path, number: int) -> None:
        path.mkdir(parents=True)

    @staticmethod
    def unlink(path: Path, other: Path, number: int) -> None:
        path.unlink()

    @staticmethod
    def rmtree(path: Path, other: Path, number: int) -> None:
        shutil.rmtree(path)

    @staticmethod
    def replace_directory(path: Path, other: Path, number: int) -> None:
        shutil.rmtree(path)
        path.mkdir()
        if number % 2:
            (path / "new").write_text("only this")

    @staticmethod
    def rename(path: Path, other: Path, number: int) -> None:
        os.rename(path, other)

    @staticmethod
    def rename_twice(path: Path, other: Path, number: int) -> None:
        os.rename(path, other)
        os.rename(other, path.with_name("moved"))

    @staticmethod
    def link(path: Path, other: Path, number: int) -> None:
        os.link(path, other, follow_symlinks=False)

    @staticmethod
    def symlink(path: Path, other: Path, number: int) -> None:
        path.symlink_to(("nowhere", "a", "../b")[number % 3])

    @staticmethod
    def chmod(path: Path, other: Path, number: int) -> None:
        if not path.is_symlink():
            path.chmod((0o600, 0o755, 0o4755, 0o2711, 0o1777, 0)[number % 6])

    @staticmethod
    def chown(path: Path, other: Path, number: int) -> None:
        os.lchown(path, number, number + 1)

    @staticmethod
    def setxattr(path: Path, other: Path, number: int) -> None:
        name = ("trusted.one", "user.two", "security.three")[number % 3]
        os.setxattr(path, name, b"%d" % number, follow_symlinks=False)

    @staticmethod
    def removexattr(path: Path, other: Path, number: int) -> None:
        os.removexattr(path, "trusted.one", follow_symlinks=False)

    @staticmethod
    def capability(path: Path, other: Path, number: int) -> None:
        if not path.is_symlink() and path.is_file():
            os.setxattr(path, "security.capability", CAPABILITY)

    @staticmethod
    def utime(path: Path, other: Path, number: int) -> None:
        times = (EPOCH_S - number, EPOCH_S - number)
        os.utime(path, times, follow_symlinks=False)

    @staticmethod
    def node(path: Path, other: Path, number: int) -> None:
        kinds = (stat.S_IFIFO | 0o600, stat.S_IFCHR | 0o666, stat.S_IFBLK | 0o660)
        os.mknod(path, kinds[number % 3], os.makedev(1, 3))


KINDS = sorted(name for name in vars(Operations) if not name.startswith("_"))


def apply(operations: Sequence[Operation], top: Path) -> None:
    """Do all that can be done."""
    for kind, path, other, number in operations:
        action: Callable[[Path, Path, int], None] = getattr(Operations, kind)
        with contextlib.suppress(OSError):
            action(top / path, top / other, number)


@dataclass(frozen=True)
class RandomStep(StepTraits):
    """A step of operations; `ran` gathers the names of those that really ran."""

    number: int
    operations: tuple[Operation, ...]
    ran: list[str]
    network: bool = False
    enters: bool = True
    label: ClassVar[str] = "a random step"

    @property
    def name(self) -> str:
        return f"provisioner-{self.number}"

    def key(self) -> StepKey:
        return StepKey({"type": "random/1", "operations": canonical(self.operations)})

    def run(self, context: TreeContext) -> None:
        self.ran.append(self.name)
        apply(self.operations, context.tree)


Description = dict[str, tuple[object, ...]]


def built(
    top: Path, steps: Sequence[tuple[Operation, ...]], method: LayerMethod
) -> tuple[Description, list[str]]:
    """What the tree of a build on the store of `top` looks like, and which steps ran."""
    events: list[Event] = []
    ran: list[str] = []
    work = Path(tempfile.mkdtemp(dir=top))
    cache = StepCache(Store.open(top / "store"), method=method.name)
    with TreeBuild(
        directory=work, method=method, emitter=Emitter("b", events.append), cache=cache,
        entrance=NoEntrance(), environment={}, epoch_s=EPOCH_S, ask=lambda text, choices: None,
    ) as trees:  # fmt: skip
        for number, operations in enumerate(steps):
            trees.run(RandomStep(number, operations, ran))
        with trees.view() as tree:
            found = describe(tree)
    assert not [event for event in events if event.kind == "said"], events
    shutil.rmtree(work)
    return found, ran


def plain(top: Path, steps: Sequence[tuple[Operation, ...]]) -> Description:
    """The same in a directory."""
    directory = Path(tempfile.mkdtemp(dir=top))
    directory.chmod(0o755)
    for operations in steps:
        apply(operations, directory)
        clamp_times(directory, EPOCH_S)
    found = describe(directory)
    shutil.rmtree(directory)
    return found


NAMES = st.sampled_from(["a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/a/a", "a/b/c", "b/a/b"])
OPERATION = st.tuples(st.sampled_from(KINDS), NAMES, NAMES, st.integers(0, 11))
STEP = st.lists(OPERATION, min_size=1, max_size=8).map(tuple)
# Something to work on: files with several names in directories.
START: tuple[Operation, ...] = (
    ("mkdir", "a/a", "a", 0), ("mkdir", "b/a", "a", 0), ("write", "a/a/a", "a", 3),
    ("link", "a/a/a", "b/a/b", 0), ("link", "a/a/a", "c", 0), ("write", "a/b", "a", 5),
    ("chmod", "a/a", "a", 4), ("setxattr", "a/b", "a", 0),
)  # fmt: skip


@st.composite
def edited(
    draw: st.DrawFn,
) -> tuple[list[tuple[Operation, ...]], list[tuple[Operation, ...]], int]:
    """Steps, the same after one edit, and how many at the beginning are as they were."""
    steps = [START, *draw(st.lists(STEP, min_size=1, max_size=4))]
    at = draw(st.integers(1, len(steps) - 1))
    kind = draw(st.sampled_from(["change", "insert", "remove", "swap", "nothing"]))
    after = list(steps)
    if kind == "change":
        after[at] = draw(STEP)
    elif kind == "insert":
        after.insert(at, draw(STEP))
    elif kind == "remove":
        del after[at]
    elif kind == "swap" and at > 1:
        after[at - 1], after[at] = after[at], after[at - 1]
    same = 0
    while same < min(len(steps), len(after)) and steps[same] == after[same]:
        same += 1
    return steps, after, same


def compare_builds(examples: int, *, derandomize: bool) -> None:
    """Build and edit so many random builds, on a disk in memory, and hold them against plain."""
    profile = settings(
        max_examples=examples, deadline=None, database=None, derandomize=derandomize,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @profile
    @given(builds=edited(), lowers=st.sampled_from([2, 3, 32]),
           method=st.sampled_from([OVERLAY, OVERLAY, OVERLAY, PLAIN]))  # fmt: skip
    def holds(builds: Any, lowers: int, method: LayerMethod) -> None:
        before, after, same = builds
        layer_stack.MOST_LOWERS = lowers
        with tempfile.TemporaryDirectory(dir=memory) as name:
            top = Path(name)
            found, ran = built(top, before, method)
            assert found == plain(top, before)
            found, ran = built(top, after, method)
            assert found == plain(top, after)
            assert not {f"provisioner-{number}" for number in range(same)} & set(ran)
            found, ran = built(top, after, method)
            assert found == plain(top, after)
            assert ran == []
            assert not verify_store(Store.open(top / "store"))

    with tempfile.TemporaryDirectory() as name:
        memory = Path(name)
        with mounts.mounted("tmpfs", memory, "tmpfs", options="size=256m"):
            holds()


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_entrance, "step_namespace", no_namespace)
    monkeypatch.setattr(layer_stack, "MOST_LOWERS", layer_stack.MOST_LOWERS)


def test_a_build_with_the_cache_is_one_on_a_plain_directory(without_namespaces):
    run_privately(lambda: compare_builds(60, derandomize=True))


@pytest.mark.nightly
def test_many_builds_with_the_cache_are_as_on_a_plain_directory(without_namespaces):
    run_privately(lambda: compare_builds(600, derandomize=False))


def many_steps(count: int) -> tuple[list[str], list[str], list[str], bool]:
    """The steps that run of many: at first, again, and with one more when no flat tree is left."""
    steps: list[tuple[Operation, ...]] = [
        (("write", f"file-{n}", "", n % 12), ("link", f"file-{n - 1}", f"again-{n}", 0))
        for n in range(count)
    ]
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        with mounts.mounted("tmpfs", top, "tmpfs", options="size=1g"):
            first = built(top, steps, OVERLAY)[1]
            again = built(top, steps, OVERLAY)[1]
            store = Store.open(top / "store")
            assert store.flat_records()
            for record in store.flat_records():
                store.forget(record)
            last = (*steps, (("write", "last", "", 1),))
            found, more = built(top, last, OVERLAY)
            return first, again, more, found == plain(top, last)


def test_hundreds_of_steps_in_one_build(without_namespaces):
    """Far more layers than an overlay can hold, and more locks than the usual soft limit."""
    count = 300

    def body() -> Any:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        kernel.allow_many_descriptors()
        return many_steps(count)

    first, again, more, equal = run_privately(body)
    assert len(first) == count
    assert again == []
    assert more == [f"provisioner-{count}"]
    assert equal
