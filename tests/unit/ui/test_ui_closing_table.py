"""The table at the end of a run."""

import re

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import StepFinished
from goldsmith.ui.closing_table import closing_table


def step(label, duration_s, outcome="ran"):
    return StepFinished(build="a", step="s", label=label, duration_s=duration_s, outcome=outcome)


IMAGE = Artifact(builder_id="g", id="i", string="Image", files=("/out/a.qcow2", "/out/a.json"))
RESULTS = [
    BuildResult("image.a", [IMAGE], steps=[step("Bootstrap [x]", 61.5), step("Go", 0, "cached")],
                duration_s=62),
    BuildResult("null.b", errors=[GoldsmithError("x")], duration_s=1),
    BuildResult("null.c", cancelled=True, duration_s=1),
]  # fmt: skip


def rows(text):
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if "─" not in line]


def test_steps_then_builds():
    text = closing_table(RESULTS, width=100, color=False)
    assert [row for row in rows(text) if row != [""]] == [
        ["Build", "Step", "Time", "Result"],
        ["image.a", "Bootstrap [x]", "61.50 s", "ran"],
        ["Go", "0.00 s", "cached"],
        ["Build", "Result", "Time", "Artifacts"],
        ["image.a", "ok", "1 minute 2 seconds", "a.qcow2, a.json"],
        ["null.b", "failed", "1 second"],
        ["null.c", "cancelled", "1 second"],
    ]
    assert not text.startswith("\n")
    assert not text.endswith("\n")


def test_without_steps_there_are_only_builds():
    text = closing_table([BuildResult("a")], width=80, color=False)
    assert rows(text)[0] == ["Build", "Result", "Time", "Artifacts"]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_it_fits_the_terminal(width):
    results = [BuildResult("b" * 50, [IMAGE], steps=[step("L" * 100, 1)])]
    text = closing_table(results, width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("L") == 100


def test_colours_are_there_when_wanted():
    assert "\x1b[1;31mfailed" in closing_table(RESULTS, width=100, color=True)
    assert "\x1b" not in closing_table(RESULTS, width=100, color=False)


def test_labels_cannot_steer_the_terminal():
    results = [BuildResult("a", steps=[step("x\x1b[2Jy", 1)])]
    assert "xy" in closing_table(results, width=80, color=False)
