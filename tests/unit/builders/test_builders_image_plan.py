"""What the plan of an image says of inputs that cannot be read."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from goldsmith.builders.image.cache import Planner
from goldsmith.core.caching import CachePolicy
from goldsmith.core.plan import PlanContext
from goldsmith.core.step import StepTraits
from goldsmith.core.step_cache import StepCache
from goldsmith.errors import Interrupted
from goldsmith.layers.store import Store
from goldsmith.redact import Redactor


@dataclass(frozen=True)
class Unreadable(StepTraits):
    name: str = "bootstrap"
    label: str = "Taking the tree"
    network: bool = False
    enters: bool = False

    def key(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/tree/root")


@dataclass(frozen=True)
class Cut(Unreadable):
    def key(self):
        raise Interrupted("SIGINT")


@pytest.fixture
def planner(tmp_path):
    context = PlanContext(
        name="image.a", source_name="a", directory=Path("/"), provisioners=lambda values: (),
        environment={}, policy=CachePolicy(), redactor=Redactor(), state=tmp_path,
    )  # fmt: skip
    return Planner(StepCache(Store.open(tmp_path / "store")), context)


def test_an_interrupt_is_no_input_that_cannot_be_read(planner):
    with pytest.raises(Interrupted):
        planner.tree_step(Cut())


def test_an_input_that_cannot_be_read_is_named_in_the_reason(planner):
    planner.tree_step(Unreadable())
    (step,) = planner.steps
    assert step.state == "miss"
    assert "/tree/root: Permission denied" in step.reason
