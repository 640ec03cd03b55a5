"""Provisioners that only wait: `breakpoint` for somebody, `sleep` for a time."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from goldsmith.cli.components import builtin_registry
from goldsmith.core.provisioner import ProvisionContext
from goldsmith.core.registry import UnknownComponent
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.provisioners import sleep
from goldsmith.provisioners.breakpoint import BreakpointOptions, BreakpointProvisioner
from goldsmith.provisioners.sleep import SleepOptions, SleepProvisioner

NOWHERE = Path("/nowhere")


def provisioned(provisioner, answer=""):
    """Run a provisioner; gives what it said and asked."""
    events, asked = [], []

    def ask(question, choices):
        asked.append(question)
        return answer

    context = ProvisionContext(
        communicator=None, emitter=Emitter("null.a", events.append), build_name="a",
        builder_type="null", environment={}, directory=NOWHERE, run_uuid="uuid",
        scratch_file=None, ask=ask,
    )  # fmt: skip
    provisioner.provision(context)
    return [event.text for event in events], asked


def stop(**options):
    return BreakpointProvisioner(BreakpointOptions(**options))


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "Pausing at breakpoint provisioner."),
     ({"note": "hm"}, 'Pausing at breakpoint provisioner with note "hm".')],
)  # fmt: skip
def test_a_breakpoint_waits_for_an_answer(options, said):
    assert provisioned(stop(**options)) == ([said], ["Press enter to continue."])


def test_a_disabled_breakpoint_says_so():
    said = ["Breakpoint provisioner disabled; continuing..."]
    assert provisioned(stop(disable=True), answer=None) == (said, [])


def test_a_breakpoint_fails_where_nobody_can_be_asked():
    with pytest.raises(GoldsmithError, match="no available tty"):
        provisioned(stop(), answer=None)


def test_sleeping_is_silent_and_takes_its_time(monkeypatch):
    waited = []
    monkeypatch.setattr(sleep, "pause", waited.append)
    provisioner = SleepProvisioner(SleepOptions(duration="1m30s"))
    assert provisioned(provisioner) == ([], [])
    assert waited == [90.0]


@pytest.mark.parametrize("wrong", [{}, {"duration": "soon"}, {"duration": "-1s"}])
def test_what_is_no_time_to_sleep(wrong):
    with pytest.raises(ValidationError):
        SleepOptions(**wrong)


@pytest.mark.parametrize("made", [stop(), SleepProvisioner(SleepOptions(duration="1s"))])
def test_neither_touches_a_tree_nor_is_cached(made):
    assert not made.changes_tree
    assert made.key(NOWHERE) is None
    assert made.check(NOWHERE) == []
    assert made.label


@pytest.mark.parametrize(
    ("kind", "name", "word"),
    [("provisioner", "hcp-sbom", "scanner"), ("post-processor", "provenance", "cosign"),
     ("provisioner", "chef-solo", "shell")],
)  # fmt: skip
def test_what_is_not_there_says_what_to_use(kind, name, word):
    with pytest.raises(UnknownComponent, match=name) as caught:
        builtin_registry().get(kind, name)
    assert word in (caught.value.hint or "")
