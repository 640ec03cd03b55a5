"""Builds at a terminal: questions and their answers, Ctrl-C, lines that live."""

from __future__ import annotations

from pathlib import Path

import pytest
from build_terminal import build_at_a_terminal
from small_image import Project, hcl, shell
from test_components_threads import assert_nothing_is_left

QUESTION = "[r] retry step (build may fail even if retry succeeds)?"
NULL = 'source "null" "a" {\n  communicator = "none"\n}\n'
FILE = 'source "file" "a" {\n  target  = "made"\n  content = "x"\n}\n'


def local(*commands: str, more: str = "", kind: str = "provisioner") -> str:
    lines = ", ".join(map(hcl, commands))
    return f'  {kind} "shell-local" {{\n    inline = [{lines}]\n{more}  }}\n'


CLEANUP = local("echo cleaned >> log", kind="error-cleanup-provisioner")
NEEDS_OK = local("echo try >> log; test -e ok || exit 3")


def template(*parts: str, source: str = NULL) -> str:
    kind = "null" if source == NULL else "file"
    return f'{source}build {{\n  sources = ["{kind}.a"]\n{"".join(parts)}}}\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


@pytest.mark.parametrize(
    ("answers", "status", "log", "stays"),
    [
        (["c"], 1, "try\ncleaned\n", False),
        ([""], 1, "try\ncleaned\n", False),
        (["a"], 1, "try\n", True),
        (["x", "r"], 0, "try\ntry\n", True),
    ],
    ids=["clean up", "enter", "abort", "retry"],
)
def test_who_is_asked_after_an_error_decides(
    place: Path, answers: list[str], status: int, log: str, stays: bool
) -> None:
    (place / "t.pkr.hcl").write_text(template(NEEDS_OK, CLEANUP, source=FILE))
    with build_at_a_terminal(place, place / "cache", "-on-error=ask") as terminal:
        for answer in answers:
            terminal.read_to(QUESTION)
            if answer == "r":
                (place / "ok").touch()
            terminal.type(f"{answer}\r")
        assert terminal.end() == status
    assert (place / "log").read_text() == log
    assert (place / "made").exists() == stays
    assert_nothing_is_left(place)


def test_the_user_is_asked_after_the_last_try(place: Path) -> None:
    again = local("echo try >> log; exit 3", more="    max_retries = 2\n")
    (place / "t.pkr.hcl").write_text(template(again, CLEANUP))
    with build_at_a_terminal(place, place / "cache", "-on-error=ask") as terminal:
        terminal.read_to(QUESTION)
        assert (place / "log").read_text() == "try\n" * 3
        terminal.type("c\r")
        assert terminal.end() == 1
    assert 'Step "StepProvision" failed' in terminal.shown


@pytest.mark.root
@pytest.mark.parametrize("kind", ["shell", "shell-local"])
@pytest.mark.parametrize(("answer", "status", "cleaned"), [("c", 1, True), ("a", 1, False),
                                                           ("r", 0, False)])  # fmt: skip
def test_a_build_in_a_worker_asks_too(
    tmp_path: Path, small_tree: Path, goldsmith, kind: str, answer: str, status: int,
    cleaned: bool,
) -> None:  # fmt: skip
    project = Project(tmp_path, small_tree, goldsmith)
    (tmp_path / "s.sh").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "s.sh").chmod(0o755)
    failing = f'  provisioner "{kind}" {{\n    script = "s.sh"\n  }}\n'
    project.write(failing + CLEANUP)
    with build_at_a_terminal(tmp_path, project.state, "-on-error=ask") as terminal:
        terminal.read_to(QUESTION)
        (tmp_path / "s.sh").write_text("#!/bin/sh\nexit 0\n")
        terminal.type(f"{answer}\r")
        assert terminal.end() == status, terminal.shown
    assert (tmp_path / "log").exists() == cleaned
    assert project.leftovers() == []


def test_debugging_stops_between_the_steps(place: Path) -> None:
    (place / "t.pkr.hcl").write_text(template(local("echo one"), local("echo two")))
    with build_at_a_terminal(place, place / "cache", "-debug") as terminal:
        terminal.read_to("Debug mode enabled. Builds will not be parallelized.")
        terminal.read_to("Pausing after run of step 'StepConnect'. Press enter to continue.")
        terminal.type("\r")
        for name in ("one", "two"):
            terminal.read_to("Pausing before the next provisioner . Press enter to continue.")
            terminal.type("\r")
            terminal.read_to(f"==> null.a: {name}")
        terminal.read_to("Pausing after run of step 'StepProvision'. Press enter to continue.")
        terminal.type("\r")
        for step in ("StepProvision", "StepConnect"):
            terminal.read_to(f"Pausing before cleanup of step '{step}'. Press enter to continue.")
            terminal.type("\r")
        assert terminal.end() == 0


def test_a_breakpoint_waits_for_enter(place: Path) -> None:
    stop = '  provisioner "breakpoint" {\n    note = "look"\n  }\n'
    (place / "t.pkr.hcl").write_text(template(stop, local("echo after")))
    with build_at_a_terminal(place, place / "cache") as terminal:
        terminal.read_to('Pausing at breakpoint provisioner with note "look".')
        terminal.read_to("Press enter to continue.")
        terminal.type("\r")
        terminal.read_to("==> null.a: after")
        assert terminal.end() == 0


STUBBORN = "trap '' INT TERM; echo ready; sleep 300 & wait; sleep 300"


@pytest.mark.parametrize("where", ["provisioner", "post-processor"])
def test_ctrl_c_ends_everything_and_says_so(place: Path, where: str) -> None:
    text = template(local("sleep 300 & echo ready; wait", kind=where), CLEANUP, source=FILE)
    (place / "t.pkr.hcl").write_text(text)
    with build_at_a_terminal(place, place / "cache") as terminal:
        terminal.read_to(": ready")
        terminal.type("\x03")
        terminal.read_to("Cancelling build after receiving interrupt")
        terminal.read_to("Cleanly cancelled builds after being interrupted.")
        assert terminal.end() == 1
    assert not (place / "log").exists()
    assert_nothing_is_left(place)


@pytest.mark.parametrize("where", ["provisioner", "post-processor"])
def test_a_second_ctrl_c_hurries(place: Path, where: str) -> None:
    text = template(local(STUBBORN, kind=where), source=FILE)
    (place / "t.pkr.hcl").write_text(text)
    with build_at_a_terminal(place, place / "cache") as terminal:
        terminal.read_to(": ready")
        terminal.type("\x03")
        terminal.read_to("Cancelling build after receiving interrupt")
        terminal.type("\x03")
        assert terminal.end() == 1
    assert_nothing_is_left(place)


def test_ctrl_c_at_a_question_is_no_answer(place: Path) -> None:
    (place / "t.pkr.hcl").write_text(template(NEEDS_OK, CLEANUP))
    with build_at_a_terminal(place, place / "cache", "-on-error=ask") as terminal:
        terminal.read_to(QUESTION)
        terminal.type("\x03")
        terminal.read_to("Cleanly cancelled builds after being interrupted.")
        assert terminal.end() == 1
    assert (place / "log").read_text() == "try\n"
    assert_nothing_is_left(place)


def test_each_build_that_runs_has_a_live_line(place: Path) -> None:
    wait = local("echo begun; while ! test -e go; do sleep 0.1; done; echo over")
    sources = NULL + NULL.replace('"a"', '"b"')
    build = f'build {{\n  sources = ["null.a", "null.b"]\n{wait}}}\n'
    (place / "t.pkr.hcl").write_text(sources + build)
    with build_at_a_terminal(place, place / "cache", live=True) as terminal:
        terminal.read_to("\x1b[?25l")  # the cursor is hidden while something is drawn
        for name in "ab":
            terminal.read_to(f" null.{name}: Running local shell ")
        (place / "go").touch()
        terminal.read_to("\x1b[?25h")
        assert terminal.end() == 0
    assert terminal.shown.count("begun") == terminal.shown.count("over") == 2
    assert_nothing_is_left(place)


@pytest.mark.root
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_a_worker(
    tmp_path: Path, small_tree: Path, goldsmith, times: int
) -> None:  # fmt: skip
    project = Project(tmp_path, small_tree, goldsmith)
    project.write(shell("trap '' INT TERM; echo ready; sleep 300"))
    with build_at_a_terminal(tmp_path, project.state) as terminal:
        terminal.read_to("==> image.small: ready")
        for told in ("Cancelling build", "Interrupted again")[:times]:
            terminal.type("\x03")
            terminal.read_to(told)
        terminal.read_to("Cleanly cancelled builds after being interrupted.")
        assert terminal.end() == 1
    assert project.leftovers() == []
