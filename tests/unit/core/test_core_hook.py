"""Provisioners of a build without a tree: order, retries, pauses, limits, questions."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from goldsmith.core.builder import BuildContext
from goldsmith.core.hook import ProvisionHook, go_duration
from goldsmith.core.provisioner import ProvisionerCall
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.events import Emitter
from goldsmith.host.journal import RunDirectory


class Fake:
    """Notes when it runs and fails as often as told."""

    def __init__(self, name, log, *errors):
        self.name, self.log, self.errors = name, log, list(errors)

    def provision(self, context):
        self.log.append((self.name, context.emitter.step, context.run_uuid))
        if self.errors:
            raise self.errors.pop(0)


class World:
    def __init__(self, *, on_error="cleanup", answers=()):
        self.ran, self.events, self.seen = [], [], []
        self.on_error, self.answers = on_error, list(answers)
        self.calls = []

    def add(self, name, *errors, **keys):
        self.calls.append(ProvisionerCall(Fake(name, self.ran, *errors), **keys))

    def provisioners(self, run_values):
        self.seen.append(dict(run_values))
        return self.calls

    def run(self):
        build = BuildContext(
            name="null.a", source_name="a", emitter=Emitter("null.a", self.events.append),
            run=RunDirectory(Path("/nowhere"), -1), work=Path("/nowhere"),
            provisioners=self.provisioners, directory=Path("/nowhere"), force=False, epoch_s=0,
            environment={}, ask=lambda question, choices: self.answers.pop(0),
            on_error=self.on_error, run_uuid="uuid",
        )  # fmt: skip
        ProvisionHook(build, None, "null").run({"ID": "Null"})

    @property
    def names(self):
        return [name for name, *_ in self.ran]

    @property
    def said(self):
        return [event.text for event in self.events]


@contextmanager
def fails(text):
    with pytest.raises(GoldsmithError) as caught:
        yield
    assert str(caught.value) == text


def test_all_run_in_order_with_what_the_builder_fills():
    world = World()
    world.add("a")
    world.add("b")
    world.run()
    assert world.seen == [{"ID": "Null"}]
    assert world.ran == [("a", "provisioner-1", "uuid"), ("b", "provisioner-2", "uuid")]
    assert world.said == []


def test_the_first_failure_ends_it():
    world = World()
    world.add("a", GoldsmithError("no"))
    world.add("b")
    with fails("no"):
        world.run()
    assert world.names == ["a"]


def test_retries_report_the_last_error():
    world = World()
    world.add("a", GoldsmithError("first"), GoldsmithError("last"), max_retries=1)
    with fails("last"):
        world.run()
    assert world.names == ["a", "a"]
    assert world.said == ["Provisioner failed with 'first', retrying with 1 trie(s) left"]


def test_a_retry_may_succeed_and_the_pause_comes_before_each_try():
    world = World()
    world.add("a", GoldsmithError("first"), max_retries=5, pause_before_s=0.001, timeout_s=90.0)
    world.add("b")
    world.run()
    assert world.names == ["a", "a", "b"]
    assert world.said.count("Pausing 1ms before the next provisioner...") == 2
    assert world.said.count("Setting a 1m30s timeout for the next provisioner...") == 2


def test_an_interrupt_is_not_retried():
    world = World(on_error="ask")
    world.add("a", Interrupted(), max_retries=3)
    with pytest.raises(Interrupted):
        world.run()
    assert world.names == ["a"]


@pytest.mark.parametrize("answer", ["c", "a", None])
def test_who_is_asked_may_give_up(answer):
    world = World(on_error="ask", answers=[answer])
    world.add("a", GoldsmithError("no"))
    with fails("no"):
        world.run()
    assert world.said == ["no"]


def test_who_is_asked_may_have_it_run_again():
    world = World(on_error="ask", answers=["r", "r"])
    world.add("a", GoldsmithError("one"), GoldsmithError("two"))
    world.run()
    assert world.names == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0, "0s"), (1, "1s"), (1.5, "1.5s"), (20, "20s"), (60, "1m0s"), (90, "1m30s"),
     (100, "1m40s"), (3600, "1h0m0s"), (36000.25, "10h0m0.25s"), (0.3, "300ms"),
     (0.0015, "1.5ms"), (2e-6, "2µs"), (7e-9, "7ns")],
)  # fmt: skip
def test_durations_are_written_as_go_does(duration_s, text):
    assert go_duration(duration_s) == text
