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
from goldsmith.core.thread_runner import thread_run
from goldsmith.errors import BootTestFailed, GoldsmithError, Interrupted, Position, SourceRange
from goldsmith.events import ArtifactMade, Asked, Failed
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


class Unreadable:
    def post_process(self, artifact, context):
        raise FileNotFoundError(2, "No such file or directory", "s3cret")


def test_an_error_of_the_system_is_no_defect(tmp_path):
    (result,) = engine_of(tmp_path, []).run([prepared(Unreadable())])
    assert [str(error) for error in result.errors] == ["<sensitive>: No such file or directory"]


def test_a_build_on_a_thread_tells_errors_of_the_system():
    def build(context):
        raise PermissionError(13, "Permission denied", "/image")

    told = []
    with thread_run(prepared(None), lambda *given: None, Redactor([]), build=build) as run:
        run.deliver(told.append)
    ((kind, message),) = [(event.error, event.message) for event in told]
    assert (kind, message) == ("GoldsmithError", "/image: Permission denied")


@pytest.mark.parametrize("error", [GoldsmithError("s3cret is full"), OSError(28, "s3cret is full")])
def test_a_build_that_cannot_start_fails_alone(tmp_path, error):
    told = []
    engine = engine_of(tmp_path, told)
    start = engine.spawn

    def spawn(one):
        if one.build.name == "image.a":
            raise error
        return start(one)

    engine.spawn = spawn
    results = engine.run([prepared(Meeting(1), name) for name in "ab"])
    errors = {result.name: [str(one) for one in result.errors] for result in results}
    assert errors == {"image.a": ["<sensitive> is full"], "image.b": []}
    assert sorted(result.name for result in told) == ["image.a", "image.b"]


class Asking(Finished):
    """A build that asks, and notes in which order it hears what."""

    def __init__(self):
        super().__init__(ARTIFACT)
        self.heard = []
        self.ended = threading.Event()

    def deliver(self, sink):
        sink(Asked(build=self.name, id=7, question="Go on?"))
        assert self.ended.wait(60)
        sink(Failed(build=self.name, error="Interrupted", message="", hint="", exit_code=130))

    def cancel(self, signal_name):
        self.heard.append(signal_name)

    def answer(self, question_id, text):
        self.heard.append((question_id, text))
        self.ended.set()


def test_an_interrupt_at_a_question_comes_before_its_answer(tmp_path):
    interrupts, build = Quiet(), Asking()

    def ask(asked):
        interrupts.first, interrupts.count = "SIGINT", 1
        raise Interrupted("SIGINT")

    engine = engine_of(tmp_path, [], interrupts)
    engine.spawn, engine.ask = lambda one: nullcontext(build), ask
    with pytest.raises(Interrupted):
        engine.run([prepared(Meeting(1))])
    assert build.heard == ["SIGINT", (7, None)]


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
