"""Lines as diskimage-builder's users know them."""

import re

import pytest

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter, Output, Said, StepStarted
from goldsmith.ui.dib_lines import DibLines, dib_lines

AT_S = 1_700_000_000.25
STAMP = "2023-11-14 22:13:20.250 | "


def test_a_line_has_its_time_in_utc(capsys):
    DibLines().render(Output(build="x", at_s=AT_S, step="install.d", stream="stderr", line="+ ls"))
    assert capsys.readouterr().out == f"{STAMP}+ ls\n"


def test_lines_without_time_on_standard_output(capsys):
    DibLines(timestamps=False).render(Said(build="x", at_s=AT_S, text="two\nlines"))
    assert capsys.readouterr().out == "two\nlines\n"


def test_lines_about_tracing_are_dropped_as_upstream_does(capsys):
    lines = DibLines(timestamps=False)
    for text in ("+ set +o xtrace", "set +o errexit", "kept"):
        lines.render(Output(build="x", step="root.d", stream="stdout", line=text))
    assert capsys.readouterr().out == "kept\n"


def test_what_tools_chatter_is_not_shown(capsys):
    line = Output(build="x", step="image", stream="stdout", line="mkfs ...", routine=True)
    DibLines().render(line)
    assert capsys.readouterr().out == ""


def test_a_cached_step_says_so(capsys):
    DibLines(timestamps=False).render(
        StepStarted(build="x", step="root.d", label="Running root.d", cache="hit", reason="?")
    )
    assert capsys.readouterr().out == "Running root.d (cached)\n"


def test_the_directory_of_a_log_is_not_made(tmp_path):
    absent = tmp_path / "logs"
    opening = dib_lines(logfile=str(absent / "x.log"), quiet=True, timestamps=False)
    with pytest.raises(GoldsmithError, match="is not a directory") as caught, opening:
        pass
    assert caught.value.hint == f"make it first: mkdir -p {absent}"
    assert not absent.exists()


def test_a_log_has_every_line_with_its_time_and_quiet_prints_none(tmp_path, capsys):
    log = tmp_path / "build.log"
    with dib_lines(logfile=str(log), quiet=True, timestamps=False) as lines:
        Emitter("x", lines.render).say("Hello")
        lines.error(GoldsmithError("it broke", hint="mend it"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "ERROR: it broke\n  -> mend it\n"
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| "
    assert re.fullmatch(rf"{stamp}Hello\n{stamp}ERROR: it broke\n{stamp}  -> mend it\n",
                        log.read_text())  # fmt: skip


def test_an_earlier_log_stays(tmp_path):
    log = tmp_path / "build.log"
    log.write_text("before\n")
    with dib_lines(logfile=str(log), quiet=True, timestamps=True) as lines:
        lines.line("after")
    assert log.read_text().startswith("before\n2")


def test_the_end_is_upstreams(capsys):
    lines = DibLines(timestamps=False)
    lines.summary([BuildResult("x")], 1.0)
    assert capsys.readouterr().out == "Build completed successfully\n"
    lines.summary([BuildResult("x", errors=[GoldsmithError("no")])], 1.0)
    assert capsys.readouterr().out == ""
