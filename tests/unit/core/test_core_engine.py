"""What the engine makes of builds that run elsewhere."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

from goldsmith.core.artifact import Artifact
from goldsmith.core.build import Build, Component
from goldsmith.core.engine import Engine
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import BootTestFailed, Position, SourceRange
from goldsmith.events import ArtifactMade
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

    def __init__(self, artifact):
        self.artifact = artifact

    def deliver(self, sink):
        sink(ArtifactMade(build="image.a", artifact=self.artifact.to_wire()))

    def wait(self, timeout_s):
        return 0


class Complaining:
    """A post-processor whose error tells what a machine has printed."""

    def post_process(self, artifact, context):
        error = BootTestFailed("no login prompt; its last lines: s3cret", hint="see s3cret")
        error.add_note("s3cret too")
        raise error


def component(kind):
    return Component(kind=kind, type="image", name="a", config=None, range=NOWHERE)


def test_errors_of_post_processors_tell_no_secret(tmp_path):
    build = Build(name="image.a", build_name="", source_type="image", source_name="a",
                  source=component("builder"))  # fmt: skip
    chains = ((PostProcessorCall(component("post-processor"), Complaining()),),)
    prepared = PreparedBuild(build, SimpleNamespace(needs_worker=True), chains)
    artifact = Artifact(builder_id="i", id="a", string="a", files=(), native=True)
    told = []

    @contextmanager
    def spawn(one):
        yield Finished(artifact)

    engine = Engine(
        spawn=spawn, run_directory=RunDirectory(tmp_path, -1), directory=tmp_path,
        sink=lambda event: None, ask=lambda asked: None, redactor=Redactor(["s3cret"]),
        interrupts=Quiet(), on_result=told.append,
    )  # fmt: skip
    (result,) = engine.run([prepared])
    (error,) = result.errors
    assert told == [result]
    assert isinstance(error, BootTestFailed)
    assert str(error) == "no login prompt; its last lines: <sensitive>"
    assert (error.hint, error.__notes__) == ("see <sensitive>", ["<sensitive> too"])
