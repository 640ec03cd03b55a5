"""Packer's records: one line each, commas and line ends written out."""

import csv
import re

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Output, Progress, Said, StepStarted
from goldsmith.ui.machine import MachineRenderer

NAME = "image.debian"


@pytest.fixture
def records(capsys):
    """The records printed so far without their times, which must be whole numbers."""

    def read():
        lines = capsys.readouterr().out.splitlines()
        assert all(re.match(r"\d+,", line) for line in lines)
        return [line.partition(",")[2] for line in lines]

    return read


@pytest.mark.parametrize(
    ("event", "record"),
    [
        (Said(build=NAME, text="Hi"), ",ui,say,==> image.debian: Hi"),
        (Said(build=NAME, text="Hi", level="message"), ",ui,message,==> image.debian: Hi"),
        (Said(build=NAME, text="Hi", level="error"), ",ui,error,==> image.debian: Hi"),
        (Said(build=NAME, text="Hi", level="warning"), ",ui,say,==> image.debian: Hi"),
        (Said(text="Hi"), ",ui,say,Hi"),
        (StepStarted(build=NAME, step="s", label="Go"), ",ui,say,==> image.debian: Go"),
        (
            Output(build=NAME, step="s", stream="stdout", line="o"),
            ",ui,say,==> image.debian: o",
        ),
        (Output(build=NAME, step="s", stream="stderr", line="e"), ",ui,error,==> image.debian: e"),
        (
            Said(text="a,b\nc\r\n%!(x)"),
            r",ui,say,a%!(PACKER_COMMA)b\nc\r\n%!(x)",
        ),
    ],
)
def test_events(event, record, records):
    MachineRenderer().render(event)
    assert records() == [record]


@pytest.mark.parametrize(
    "event",
    [
        Output(build=NAME, step="s", stream="stdout", line="apt", routine=True),
        Progress(build=NAME, step="s", what="copy", done=1),
    ],
)
def test_what_has_no_record(event, records):
    MachineRenderer().render(event)
    assert records() == []


def test_the_summary(records):
    artifact = Artifact(builder_id="gold.image", id="debian", string="Image 'a', b",
                        files=("/o/a.raw", "/o/a,b.json"))  # fmt: skip
    failed = BuildResult("b", errors=[GoldsmithError("no\nway")], duration_s=1)
    renderer = MachineRenderer()
    renderer.result(failed)
    renderer.result(BuildResult(NAME, duration_s=2))
    renderer.summary([BuildResult(NAME, [artifact]), failed, BuildResult("c")], 3)
    assert records() == [
        r",ui,error,Build 'b' errored after 1 second: no\nway",
        ",ui,say,Build 'image.debian' finished after 2 seconds.",
        r",ui,say,\n==> Wait completed after 3 seconds",
        ",error-count,1",
        r",ui,error,\n==> Some builds didn't complete successfully and had errors:",
        r"b,error,no\nway",
        r",ui,error,--> b: no\nway",
        r",ui,say,\n==> Builds finished. The artifacts of successful builds are:",
        "image.debian,artifact-count,1",
        "image.debian,artifact,0,builder-id,gold.image",
        "image.debian,artifact,0,id,debian",
        "image.debian,artifact,0,string,Image 'a'%!(PACKER_COMMA) b",
        "image.debian,artifact,0,files-count,2",
        "image.debian,artifact,0,file,0,/o/a.raw",
        "image.debian,artifact,0,file,1,/o/a%!(PACKER_COMMA)b.json",
        "image.debian,artifact,0,end",
        ",ui,say,--> image.debian: Image 'a'%!(PACKER_COMMA) b",
    ]


def test_a_run_without_artifacts_says_so(records):
    MachineRenderer().summary([BuildResult("c")], 1)
    assert records()[-1] == r",ui,say,\n==> Builds finished but no artifacts were created."


def test_lines_and_errors_for_people_are_records_too(records):
    renderer = MachineRenderer()
    renderer.announce(["a"])
    renderer.line("\nAll done")
    renderer.error(GoldsmithError("no", hint="do, then"))
    renderer.close()
    assert records() == [r",ui,say,\nAll done", r",ui,error,no\ndo%!(PACKER_COMMA) then"]


def test_a_record_is_one_line_whose_commas_part_it(capsys):
    MachineRenderer().record("t", "k", "a,b", "c\nd", "")
    (line,) = capsys.readouterr().out.splitlines()
    assert [len(row) for row in csv.reader([line])] == [6]
