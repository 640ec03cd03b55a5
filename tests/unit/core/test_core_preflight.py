"""Before the first build starts: each component hears what it will be given."""

from pathlib import Path

import pytest

from goldsmith.core.artifact import Artifact, ExpectedArtifact
from goldsmith.core.build import Build, Component
from goldsmith.core.preflight import preflight
from goldsmith.core.prepare import PostProcessorCall, PreparedBuild
from goldsmith.errors import Position, SourceRange

NOWHERE = SourceRange("t.hcl", Position(1, 1, 0), Position(1, 2, 0))
IMAGES = ExpectedArtifact(("qcow2", "raw"), ("bios",))


class Builder:
    expected = IMAGES

    def __init__(self):
        self.asked = []

    def preflight(self, directory, *, force):
        self.asked.append((directory, force))


class Hearer:
    """Hands on `makes`, or what it is given."""

    def __init__(self, makes=None):
        self.makes, self.heard = makes, []

    def preflight(self, given):
        self.heard.append(given)
        return given if self.makes is None else self.makes


def look(*chains, builder=None):
    source = Component(kind="builder", type="image", name="a", config=None, range=NOWHERE)
    build = Build(name="image.a", build_name="", source_type="image", source_name="a",
                  source=source)  # fmt: skip
    preflight(PreparedBuild(build, builder or Builder(), chains), Path("/t"), force=True)


def call(made, **keys):
    component = Component(
        kind="post-processor", type="x", name="", config=None, range=NOWHERE, **keys
    )
    return PostProcessorCall(component, made)


def test_each_hears_what_the_one_before_it_hands_on():
    builder, first, packer, after, other = (
        Builder(),
        Hearer(),
        Hearer(ExpectedArtifact()),
        Hearer(),
        Hearer(),
    )
    look((call(first), call(packer), call(after)), (call(other),), builder=builder)
    assert builder.asked == [(Path("/t"), True)]
    assert (first.heard, packer.heard, after.heard) == ([IMAGES], [IMAGES], [ExpectedArtifact()])
    assert other.heard == [IMAGES]


@pytest.mark.parametrize("keys", [{"only": ("image.b",)}, {"except_": ("image.a",)}])
def test_those_for_other_sources_are_not_asked(keys):
    skipped, after = Hearer(ExpectedArtifact()), Hearer()
    look((call(skipped, **keys), call(after)))
    assert (skipped.heard, after.heard) == ([], [IMAGES])


def test_one_that_is_made_while_building_is_passed_over():
    after = Hearer()
    look((call(None), call(after)))
    assert after.heard == [IMAGES]


def test_an_artifact_tells_what_would_have_been_expected_of_it():
    state = {"images": {"raw": "/a.raw"}, "firmware": ["uefi"]}
    made = Artifact(builder_id="b", id="i", string="s", state=state)
    assert made.expected == ExpectedArtifact(("raw",), ("uefi",))
    assert Artifact(builder_id="b", id="i", string="s").expected == ExpectedArtifact()
