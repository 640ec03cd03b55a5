"""Which files and artifacts are left after chains of post-processors: Packer's rules."""

import errno
from pathlib import Path

import pytest

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.build import Build, Component
from goldsmith.core.post_processing import PostProcessing
from goldsmith.core.post_processor import PostProcessed
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import GoldsmithError, Interrupted, Position, SourceRange
from goldsmith.events import Said, StepFinished
from goldsmith.host.journal import RunDirectory
from goldsmith.redact import Redactor

NOWHERE = SourceRange("t", Position(1, 1, 0), Position(1, 1, 0))


class Fake:
    """Writes a file of its name and returns an artifact of it, or with it (`adds`)."""

    def __init__(self, name, *, keep=False, force=False, adds=False, error=None):
        self.name, self.keep, self.force, self.adds, self.error = name, keep, force, adds, error
        self.seen = []

    def post_process(self, artifact, context):
        self.seen.append((artifact.id, all(Path(f).exists() for f in artifact.files)))
        assert context.scratch.is_dir()
        if self.error is not None:
            raise self.error
        path = context.directory / self.name
        path.touch()
        if self.adds:
            return PostProcessed(artifact.with_files((str(path),)), self.keep, self.force)
        made = Artifact(builder_id="fake", id=self.name, string=self.name, files=(str(path),))
        return PostProcessed(made, self.keep, self.force)


def call(fake, **keys):
    component = Component(
        kind="post-processor", type="fake", name=fake.name, config=None, range=NOWHERE, **keys
    )
    return PostProcessorCall(component, fake)


@pytest.fixture
def process(tmp_path):
    """Runs chains over a builder's artifact of one file; tells artifacts, errors and files left."""
    run, work = tmp_path / "run", tmp_path / "work"
    run.mkdir()
    work.mkdir()

    def go(*chains, events=None, native=True, results=None):
        image = work / "image"
        image.touch()
        source = Component(kind="builder", type="image", name="a", config=None, range=NOWHERE)
        build = Build(name="image.a", build_name="", source_type="image", source_name="a",
                      source=source)  # fmt: skip
        given = tuple(
            tuple(c if isinstance(c, PostProcessorCall) else call(c) for c in chain)
            for chain in chains
        )
        processing = PostProcessing(
            PreparedBuild(build, None, given), RunDirectory(run, -1), work,
            (events if events is not None else []).append, Redactor(), results=results,
        )  # fmt: skip
        artifact = Artifact(
            builder_id="image", id="image", string="i", files=(str(image),), native=native
        )
        artifacts, errors = processing.process(artifact)
        left = sorted(path.name for path in work.iterdir())
        return [artifact.id for artifact in artifacts], [str(e) for e in errors], left

    return go


def test_without_chains_the_image_is_the_artifact(process):
    assert process() == (["image"], [], ["image"])


@pytest.mark.parametrize(
    ("wish", "keep", "force", "kept"),
    [
        (None, False, False, False),
        (None, True, False, True),
        (True, False, False, True),
        (False, True, False, False),
        (False, True, True, True),
        (True, True, True, True),
    ],
)
def test_the_input_is_kept_by_wish_unless_that_is_forced(process, wish, keep, force, kept):
    one = call(Fake("one", keep=keep, force=force), keep_input_artifact=wish)
    artifacts, errors, left = process([one])
    assert errors == []
    assert artifacts == (["image", "one"] if kept else ["one"])
    assert left == (["image", "one"] if kept else ["one"])


def test_a_chain_hands_on_and_destroys_what_stands_between(process):
    two = Fake("two")
    assert process([Fake("one"), two]) == (["two"], [], ["two"])
    assert two.seen == [("one", True)]


def test_a_kept_input_in_the_middle_is_an_artifact_too(process):
    assert process([Fake("one"), Fake("two", keep=True)]) == (["one", "two"], [], ["one", "two"])


def test_each_chain_starts_from_the_image_which_stays_if_one_keeps_it(process):
    b = Fake("b")
    artifacts, _, left = process([Fake("a", keep=True)], [b])
    assert b.seen == [("image", True)]
    assert (artifacts, left) == (["image", "a", "b"], ["a", "b", "image"])


def test_the_image_lives_until_all_chains_have_had_it(process):
    b = Fake("b")
    assert process([Fake("a")], [b]) == (["a", "b"], [], ["a", "b"])
    assert b.seen == [("image", True)]


def test_an_artifact_that_holds_the_image_replaces_it_in_the_list(process):
    added = Fake("sum", keep=True, force=True, adds=True)
    artifacts, _, left = process([added])
    assert (artifacts, left) == (["image"], ["image", "sum"])


def test_a_shared_file_survives_the_artifact_that_goes(process):
    added = Fake("sum", adds=True)
    assert process([added])[2] == ["image", "sum"]


def test_a_later_one_does_not_destroy_the_image_that_an_earlier_one_kept(process):
    checksum, compress = Fake("sum", keep=True, force=True, adds=True), Fake("gz")
    artifacts, _, left = process([checksum, compress])
    assert (artifacts, left) == (["image", "gz"], ["gz", "image"])


def test_a_failure_ends_its_chain_and_keeps_the_image(process):
    after, other = Fake("after"), Fake("other")
    artifacts, errors, left = process([Fake("x", error=GoldsmithError("no")), after], [other])
    assert (artifacts, errors) == (["image", "other"], ["no"])
    assert left == ["image", "other"]
    assert after.seen == []


def test_an_interrupt_is_no_failure_of_a_chain(process):
    other = Fake("other")
    with pytest.raises(Interrupted):
        process([Fake("x", error=Interrupted())], [other])
    assert other.seen == []


@pytest.mark.parametrize("keys", [{"only": ("image.b",)}, {"except_": ("image.a",)}])
def test_those_for_other_sources_take_no_part(process, keys):
    skipped, used = Fake("skipped"), Fake("used")
    assert process([call(skipped, **keys)]) == (["image"], [], ["image"])
    assert process([call(skipped, **keys), used]) == (["used"], [], ["used"])
    assert skipped.seen == []


def test_each_runs_as_a_step_of_its_own(process):
    events = []
    process([Fake("one"), Fake("two", error=GoldsmithError("no"))], events=events)
    ended = [(e.build, e.label, e.outcome) for e in events if isinstance(e, StepFinished)]
    assert ended == [
        ("image.a", "Running post-processor: one (type fake)", "ran"),
        ("image.a", "Running post-processor: two (type fake)", "failed"),
    ]


def test_of_a_foreign_artifact_every_result_is_listed_as_packer_does(process):
    added = Fake("sum", keep=True, force=True, adds=True)
    assert process([added], native=False) == (["image", "image"], [], ["image", "sum"])
    again = Fake("again", keep=True, force=True, adds=True)
    artifacts, _, left = process([added, again], native=False)
    assert (artifacts, left) == (["image", "image", "image"], ["again", "image", "sum"])


def test_a_foreign_artifact_goes_when_the_only_post_processor_fails(process):
    failing = Fake("x", error=GoldsmithError("no"))
    assert process([failing], native=False) == ([], ["no"], [])
    keeper = Fake("k", keep=True)
    artifacts, errors, left = process([failing], [keeper], native=False)
    assert (artifacts, errors, left) == (["image", "k"], ["no"], ["image", "k"])


def late(name, make):
    component = call(Fake(name)).component
    return PostProcessorCall(component, None, make)


def test_one_that_waits_for_the_run_is_made_with_what_the_builder_told(tmp_path):
    made = Fake("late")
    looked_at = []
    made.preflight = looked_at.append
    seen = []
    waiting = late("late", lambda values: seen.append(dict(values)) or made)
    given = ExpectedArtifact(("raw",), ("uefi",))
    assert waiting.made({"ID": "Null"}, given) is made
    assert looked_at == [given]
    assert seen == [{"ID": "Null"}]


def test_without_what_the_builder_tells_there_is_the_id_of_the_run(process):
    seen = []
    made = Fake("late", keep=True)
    made.preflight = lambda given: given
    _, errors, _ = process([late("late", lambda values: seen.append(dict(values)) or made)])
    assert (errors, seen) == ([], [{"PackerRunUUID": ""}])


def test_what_was_made_stands_where_its_record_cannot_be_written(process):
    class Full:
        def key(self, made, artifact, context):
            return "k" * 64

        def find(self, key):
            return None

        def keep(self, *args, **keys):
            raise OSError(errno.ENOSPC, "No space left on device", "/state")

    events = []
    artifacts, errors, left = process([Fake("one")], events=events, results=Full())
    assert (artifacts, errors, left) == (["one"], [], ["one"])
    (warning,) = [event.text for event in events if isinstance(event, Said)]
    assert "No space left on device" in warning
