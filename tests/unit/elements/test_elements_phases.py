"""The order of phases, and the places where a shell can be asked for."""

import pytest

from goldsmith.elements.catalog import ElementError
from goldsmith.elements.phases import PHASES, Breaks, Place, phase_named


def test_phases_have_upstreams_order():
    assert [phase.name for phase in PHASES if phase.place is Place.IN_TREE] == [
        "pre-install.d", "install.d", "post-install.d", "finalise.d"
    ]  # fmt: skip
    assert [phase.name for phase in PHASES if phase.names_target_root] == ["root.d", "cleanup.d"]


def test_a_phase_has_its_name_with_and_without_the_ending():
    assert phase_named("install") is phase_named("install.d")
    with pytest.raises(ElementError, match="no phase setup"):
        phase_named("setup")


def test_breaks_are_a_list_of_places():
    breaks = Breaks.of({"break": "before-root, after-install.d,after-error"})
    assert breaks.at("before", phase_named("root"))
    assert breaks.at("after", phase_named("install"))
    assert not breaks.at("before", phase_named("install"))
    assert breaks.after_error
    assert not Breaks.of({}).words


@pytest.mark.parametrize("word", ["before", "before-setup", "after-errors", "root"])
def test_a_break_that_would_never_come_is_refused(word):
    with pytest.raises(ElementError, match="no such place"):
        Breaks.of({"break": word})


def test_the_program_of_a_break_is_read_as_a_shells_words():
    given = {"break": "after-error", "break_cmd": "bash -c 'echo here'"}
    assert Breaks.of(given).command == ("bash", "-c", "echo here")
    assert Breaks.of({**given, "break_cmd": "  "}).command == ()
    with pytest.raises(ElementError, match="break_cmd=bash -c 'echo: No closing quotation"):
        Breaks.of({**given, "break_cmd": "bash -c 'echo"})
    assert Breaks.of({"break_cmd": "it's of no break"}).command == ()
