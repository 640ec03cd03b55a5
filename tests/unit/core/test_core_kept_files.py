"""Parts of a step that have keys of their own."""

import pytest

from goldsmith.core.kept_files import KeptFiles
from goldsmith.core.step_cache import StepCache
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.events import Emitter
from goldsmith.layers.store import Store


@pytest.fixture
def events():
    return []


@pytest.fixture
def kept(tmp_path, events):
    cache = StepCache(Store.open(tmp_path / "store"))
    return KeptFiles(cache, Emitter("b", events.append), {}, "finish")


def fill(place):
    (place / "file").write_text("content")


def fail_with(error):
    def fill(place):
        raise error

    return fill


def test_a_part_is_found_again_by_its_inputs(kept):
    with kept.part("part", "A part", {"type": "part/1"}) as first:
        assert first.files is None
        first.keep(fill)
    with kept.part("part", "A part", {"type": "part/1"}) as again:
        assert (again.files / "file").read_text() == "content"
    with kept.part("part", "A part", {"type": "part/2"}) as other:
        assert other.files is None


def test_what_cannot_be_kept_is_told_and_the_step_goes_on(kept, events):
    with kept.part("part", "A part", {"type": "part/1"}) as part:
        part.keep(fail_with(GoldsmithError("no room")))
    assert ["no room" in event.text for event in events] == [True]


def test_an_interrupt_is_not_taken_for_something_that_cannot_be_kept(kept, events):
    with (
        pytest.raises(Interrupted),
        kept.part("part", "A part", {"type": "part/1"}) as part,
    ):
        part.keep(fail_with(Interrupted("SIGINT")))
    assert events == []
