"""When what a post-processor made is not made again."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import replace

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.plan import BuildPlan, PlannedStep
from goldsmith.core.post_processor import PostProcessContext, PostProcessed
from goldsmith.core.post_results import REUSED, PostResults, post_processed
from goldsmith.core.results import Results
from goldsmith.events import Emitter
from goldsmith.layers.keys import StepKey


class Fake:
    def __init__(self, inputs):
        self.inputs = inputs

    def key(self, artifact, context):
        return None if self.inputs is None else StepKey(self.inputs)


@pytest.fixture
def context(tmp_path):
    return PostProcessContext(
        emitter=Emitter("b", lambda event: None), build_name="b", builder_type="image",
        scratch=tmp_path, directory=tmp_path, scratch_file=contextlib.nullcontext,
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    return PostResults(Results(tmp_path / "results", lambda data: hashlib.sha256(data).hexdigest()))


@pytest.fixture
def image(tmp_path):
    (tmp_path / "image").write_text("image")
    return Artifact(builder_id="b", id="i", string="s", files=("image",), native=True)


def keep(results, image, context, fake):
    (context.directory / "sums").write_text("sums")
    made = PostProcessed(image.with_files(("sums",)), keep=True, force_keep=True)
    key = results.key(fake, image, context)
    results.keep(key, image, made, context, started_s=time.monotonic(), step="checksum")
    return key


def test_a_result_that_stands_is_found_with_all_that_it_handed_on(results, image, context):
    fake = Fake({"type": "checksum/1"})
    key = keep(results, image, context, fake)
    found = results.find(results.key(fake, image, context))
    assert key is not None and found is not None
    made = post_processed(found.value, image)
    assert made.artifact.files == image.with_files(("sums",)).files
    assert (made.keep, made.force_keep) == (True, True)
    again = post_processed(found.value, replace(image, state={REUSED: True}))
    assert again.artifact.state[REUSED] is True


@pytest.mark.parametrize(
    "change",
    [lambda path: (path / "image").write_text("other"), lambda path: (path / "sums").unlink(),
     lambda path: (path / "sums").write_text("wrong"), lambda path: (path / "image").unlink()],
)  # fmt: skip
def test_a_changed_file_ends_it(results, image, context, change):
    fake = Fake({"type": "checksum/1"})
    keep(results, image, context, fake)
    change(context.directory)
    assert results.find(results.key(fake, image, context)) is None


def test_what_identifies_a_result(results, image, context):
    fake = Fake({"type": "checksum/1"})
    key = results.key(fake, image, context)
    assert results.key(fake, replace(image, state={REUSED: True}), context) == key
    others = [
        results.key(Fake({"type": "checksum/2"}), image, context),
        results.key(fake, replace(image, id="other"), context),
        results.key(fake, replace(image, state={"a": 1}), context),
    ]
    assert key not in others
    assert len(set(others)) == 3


def test_what_always_runs(results, image, context):
    assert results.key(Fake(None), image, context) is None
    assert results.key(Fake({"type": "a"}), replace(image, native=False), context) is None
    assert results.find(None) is None
    keep(results, image, context, Fake(None))
    assert not (context.directory / "results").exists()


def test_without_the_cache_nothing_is_found_and_all_is_kept(results, image, context):
    fake = Fake({"type": "checksum/1"})
    unused = replace(results, use=False)
    key = keep(unused, image, context, fake)
    assert unused.find(key) is None
    assert results.find(key) is not None


# ---- plans


def step(state, predicted_s=None, **fields):
    return PlannedStep(name="a", label="A", state=state, predicted_s=predicted_s, **fields)


@pytest.mark.parametrize(
    ("steps", "nothing", "predicted_s"),
    [((), True, 0), ((step("hit"),), True, 0), ((step("hit"), step("miss", 2.0)), False, 2.0),
     ((step("always", 1.0), step("miss", 2.0)), False, 3.0),
     ((step("miss"), step("miss", 2.0)), False, None)],
)  # fmt: skip
def test_a_plan_knows_what_is_to_do(steps, nothing, predicted_s):
    plan = BuildPlan(build="image.a", steps=steps)
    assert (plan.nothing_to_do, plan.predicted_s) == (nothing, predicted_s)
    document = plan.to_json()
    assert document["nothing_to_do"] == nothing
    assert document["predicted_s"] == predicted_s
    assert "finished" not in document
