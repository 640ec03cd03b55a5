"""What the plan of an image says of inputs that cannot be read."""

import errno
import hashlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from goldsmith.builders.image.cache import CHANGED, MADE_ANEW, STANDS, Planner, look_up
from goldsmith.core.artifact import Artifact
from goldsmith.core.caching import CachePolicy
from goldsmith.core.plan import PlanContext
from goldsmith.core.results import Results
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


HOUR_S = 3600.0


@pytest.fixture
def results(tmp_path):
    """The records of images, with one of the key "k" that was made now."""
    image = tmp_path / "image.raw"
    image.write_text("image")
    made = Results(tmp_path / "results", lambda data: hashlib.sha256(data).hexdigest())
    made.keep("k", Artifact(builder_id="b", id="i", string="s").to_wire(), [image])
    return made


@pytest.mark.parametrize(
    ("age_s", "ttl_s", "reason"),
    [
        (2 * HOUR_S, None, STANDS),
        (2 * HOUR_S, 3 * HOUR_S, STANDS),
        (2 * HOUR_S, HOUR_S, "expired: made 2 h ago, cache_ttl is 60 min"),
        (-2 * HOUR_S, HOUR_S, "its age is not known: by the clock it was never made"),
    ],
)
def test_an_image_that_hooks_with_network_finished_expires(
    planner, results, tmp_path, age_s, ttl_s, reason
):
    began_s = time.time()
    planner.cache.now = lambda: began_s + age_s
    found, told = look_up(planner.cache, results, "k", ttl_s)
    assert (found is not None, told) == (reason == STANDS, reason)
    step = planner.finished(results, "k", [tmp_path / "image.raw"], ttl_s).steps[-1]
    assert (step.state, step.reason) == ("hit" if found else "miss", reason)
    planner.cache.policy = replace(planner.cache.policy, any_age=True)
    assert look_up(planner.cache, results, "k", ttl_s)[1] == STANDS


def test_the_other_reasons_to_make_an_image(planner, results):
    assert look_up(planner.cache, results, None, 1.0) == (None, MADE_ANEW)
    assert look_up(planner.cache, results, "other", 1.0) == (None, CHANGED)
    planner.cache.policy = replace(planner.cache.policy, use=False)
    assert look_up(planner.cache, results, "k", 1.0) == (None, "-no-cache")
