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
    def __init__(self, *, on_error="cleanup", answers=(), debug=False, connects=False):
        self.ran, self.events, self.seen, self.asked = [], [], [], []
        self.on_error, self.answers = on_error, list(answers)
        self.debug, self.connects, self.undone = debug, connects, 0
        self.calls, self.cleanup = [], None

    def add(self, name, *errors, **keys):
        self.calls.append(ProvisionerCall(Fake(name, self.ran, *errors), **keys))

    def clean_up(self, *errors, **keys):
        self.cleanup = ProvisionerCall(Fake("cleanup", self.ran, *errors), **keys)

    def ask(self, question, choices):
        self.asked.append(question)
        return self.answers.pop(0) if self.answers else None

    def undo(self):
        self.undone += 1

    def provisioners(self, run_values):
        self.seen.append(dict(run_values))
        return self.calls

    def run(self):
        build = BuildContext(
            name="null.a", source_name="a", emitter=Emitter("null.a", self.events.append),
            run=RunDirectory(Path("/nowhere"), -1), work=Path("/nowhere"),
            provisioners=self.provisioners, directory=Path("/nowhere"), force=False, epoch_s=0,
            environment={}, ask=self.ask, on_error=self.on_error, run_uuid="uuid",
            error_cleanup=lambda run_values: self.cleanup, debug=self.debug,
        )  # fmt: skip
        hook = ProvisionHook(build, None, "null", connects=self.connects, undo=self.undo)
        hook.run({"ID": "Null"})

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
    assert world.said == [
        'Provisioner failed with "first", retrying with 1 trie(s) left', "retry limit reached.",
    ]  # fmt: skip


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


FIRST_OF_CLEANUP = "Provisioning step had errors: Running the cleanup provisioner, if present..."


@pytest.mark.parametrize(
    ("on_error", "answers", "cleaned", "undone"),
    [("cleanup", [], True, 1), ("abort", [], False, 0), ("run-cleanup-provisioner", [], True, 0),
     ("ask", ["c"], True, 1), ("ask", ["a"], False, 0), ("ask", [None], True, 1)],
)  # fmt: skip
def test_on_error_says_what_follows_a_failure(on_error, answers, cleaned, undone):
    world = World(on_error=on_error, answers=answers)
    world.add("a", GoldsmithError("no"))
    world.clean_up()
    with fails("no"):
        world.run()
    assert world.names == (["a", "cleanup"] if cleaned else ["a"])
    assert (FIRST_OF_CLEANUP in world.said) == cleaned
    assert world.undone == undone


def test_the_cleanup_provisioner_runs_as_a_step_of_its_own_and_only_after_an_error():
    world = World()
    world.add("a")
    world.clean_up()
    world.run()
    assert (world.names, world.undone) == (["a"], 0)
    world.calls[0].provisioner.errors.append(GoldsmithError("no"))
    with fails("no"):
        world.run()
    assert world.ran[-1] == ("cleanup", "error-cleanup-provisioner", "uuid")


def test_a_cleanup_that_fails_tells_of_both_errors():
    world = World()
    world.add("a", GoldsmithError("no", hint="mend it"))
    world.clean_up(GoldsmithError("worse"), GoldsmithError("worst"), max_retries=1)
    with fails("Cleanup failed: worst. Original Provisioning error: no"):
        world.run()
    assert world.names == ["a", "cleanup", "cleanup"]
    assert world.undone == 1


def test_nothing_is_cleaned_up_by_provisioners_after_an_interrupt():
    world = World()
    world.add("a", Interrupted())
    world.clean_up()
    with pytest.raises(Interrupted):
        world.run()
    assert (world.names, world.undone) == (["a"], 1)


def test_aborting_tells_which_steps_are_left():
    world = World(on_error="abort", connects=True)
    world.add("a", GoldsmithError("no"))
    with fails("no"):
        world.run()
    assert world.said == [
        "no", 'Step "StepProvision" failed, aborting...',
        'aborted: skipping cleanup of step "StepConnect"',
    ]  # fmt: skip


def test_running_only_the_cleanup_provisioner_tells_so():
    world = World(on_error="run-cleanup-provisioner", connects=True)
    world.add("a", GoldsmithError("no"))
    with fails("no"):
        world.run()
    assert world.said == [FIRST_OF_CLEANUP, "no", 'Step "StepConnect" failed, aborting...']


def test_errors_that_do_not_matter_are_told_after_all_tries():
    world = World(on_error="ask")
    world.add("a", GoldsmithError("no"), GoldsmithError("still"), max_retries=1,
              continue_on_error=True)  # fmt: skip
    world.add("b")
    world.run()
    assert world.names == ["a", "a", "b"]
    assert world.said[-1] == (
        'Provisioner failed with "still"; going on, as continue_on_error says'
    )
    assert world.asked == []


def test_debugging_asks_before_each_provisioner_and_after_each_step():
    world = World(debug=True, connects=True)
    world.add("a")
    world.add("b")
    world.run()
    before = "Pausing before the next provisioner . Press enter to continue."
    assert world.asked == [
        "Pausing after run of step 'StepConnect'. Press enter to continue.", before, before,
        "Pausing after run of step 'StepProvision'. Press enter to continue.",
        "Pausing before cleanup of step 'StepProvision'. Press enter to continue.",
        "Pausing before cleanup of step 'StepConnect'. Press enter to continue.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(0, "0s"), (1, "1s"), (1.5, "1.5s"), (20, "20s"), (60, "1m0s"), (90, "1m30s"),
     (100, "1m40s"), (3600, "1h0m0s"), (36000.25, "10h0m0.25s"), (0.3, "300ms"),
     (0.0015, "1.5ms"), (2e-6, "2µs"), (7e-9, "7ns")],
)  # fmt: skip
def test_durations_are_written_as_go_does(duration_s, text):
    assert go_duration(duration_s) == text
