"""What the engine makes of builds that run elsewhere."""

import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.build import Build, Component
from goldsmith.core.engine import Engine
from goldsmith.core.post_processor import PostProcessed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import BootTestFailed, Interrupted, Position, SourceRange
from goldsmith.events import ArtifactMade
from goldsmith.host.cancellation import pause
from goldsmith.host.journal import RunDirectory
from goldsmith.redact import Redactor

NOWHERE = SourceRange("t", Position(1, 1, 0), Position(1, 1, 0))


class Quiet:
    """Interrupts of a user who lets everything run."""

    first = None
    count = 0

    def held(self):
        return nullcontext()

    heeded = held


class Finished:
    """A build that has made its artifact elsewhere."""

    def __init__(self, made, name="image.a"):
        self.artifact = made
        self.name = name

    def deliver(self, sink):
        sink(ArtifactMade(build=self.name, artifact=self.artifact.to_wire()))

    def wait(self, timeout_s):
        return 0

    def cancel(self, signal_name):
        """It has ended."""


class Complaining:
    """A post-processor whose error tells what a machine has printed."""

    def post_process(self, artifact, context):
        error = BootTestFailed("no login prompt; its last lines: s3cret", hint="see s3cret")
        error.add_note("s3cret too")
        raise error


def component(kind):
    return Component(kind=kind, type="image", name="a", config=None, range=NOWHERE)


def prepared(post_processor, name="a"):
    build = Build(name=f"image.{name}", build_name="", source_type="image", source_name=name,
                  source=component("builder"))  # fmt: skip
    chains = ((PostProcessorCall(component("post-processor"), post_processor),),)
    return PreparedBuild(build, SimpleNamespace(needs_worker=True), chains)


def engine_of(tmp_path, told, interrupts=None, **more):
    @contextmanager
    def spawn(one):
        yield Finished(ARTIFACT, one.build.name)

    return Engine(
        spawn=spawn, run_directory=RunDirectory(tmp_path, -1), directory=tmp_path,
        sink=lambda event: None, ask=lambda asked: None, redactor=Redactor(["s3cret"]),
        interrupts=interrupts or Quiet(), on_result=told.append, **more,
    )  # fmt: skip


ARTIFACT = Artifact(builder_id="i", id="a", string="a", files=(), native=True)


def test_errors_of_post_processors_tell_no_secret(tmp_path):
    told = []
    (result,) = engine_of(tmp_path, told).run([prepared(Complaining())])
    (error,) = result.errors
    assert told == [result]
    assert isinstance(error, BootTestFailed)
    assert str(error) == "no login prompt; its last lines: <sensitive>"
    assert (error.hint, error.__notes__) == ("see <sensitive>", ["<sensitive> too"])


class Meeting:
    """Post-processors that end only when all of them have begun."""

    def __init__(self, count):
        self.all = threading.Barrier(count, timeout=60)

    def post_process(self, artifact, context):
        self.all.wait()
        return PostProcessed(artifact, keep=True)


def test_post_processors_of_several_builds_run_at_once(tmp_path):
    meeting, told = Meeting(3), []
    results = engine_of(tmp_path, told).run([prepared(meeting, name) for name in "abc"])
    assert [result.errors for result in results] == [[], [], []]
    assert [len(result.artifacts) for result in results] == [1, 1, 1]
    assert {result.name for result in told} == {"image.a", "image.b", "image.c"}


class Broken:
    def post_process(self, artifact, context):
        raise ZeroDivisionError("s3cret")


def test_a_defect_of_a_post_processor_fails_its_build_alone(tmp_path):
    builds = [prepared(Broken(), "a"), prepared(Meeting(1), "b")]
    results = engine_of(tmp_path, []).run(builds)
    errors = {result.name: result.errors for result in results}
    assert errors["image.b"] == []
    (error,) = errors["image.a"]
    assert "ZeroDivisionError: <sensitive>" in str(error) and "defect" in error.hint


class Waiting:
    """A post-processor that waits until somebody interrupts it."""

    def __init__(self, interrupts):
        self.interrupts = interrupts

    def post_process(self, artifact, context):
        self.interrupts.first, self.interrupts.count = "SIGTERM", 1
        pause(60)


def test_an_interrupt_reaches_post_processors_and_leaves_the_artifact(tmp_path):
    interrupts, cancels, told = Quiet(), [], []
    engine = engine_of(tmp_path, told, interrupts, on_cancel=lambda *given: cancels.append(given))
    with pytest.raises(Interrupted):
        engine.run([prepared(Waiting(interrupts), "a"), prepared(Meeting(1), "b")])
    ((signal_name, count, _),) = cancels
    assert (signal_name, count) == ("SIGTERM", 1)
    assert "image.a" not in {result.name for result in told}
