"""What GitHub and GitLab read in the log of a job."""

import re

import pytest

from goldsmith.core.engine import BuildResult
from goldsmith.errors import (
    Diagnostic,
    GoldsmithError,
    Position,
    Severity,
    SourceRange,
    TemplateError,
)
from goldsmith.events import Output
from goldsmith.ui.annotations import annotations_for
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.machine import MachineRenderer, show_error


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_WORKSPACE", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def github(monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")


def finding(severity=Severity.ERROR):
    at = SourceRange("t.pkr.hcl", Position(3, 5, 20), Position(3, 9, 24))
    return Diagnostic("Wrong value, sadly: 50%", "first\nsecond", at, severity)


def commands(text):
    return [line for line in text.splitlines() if line.startswith("::")]


@pytest.mark.usefixtures("github")
def test_findings_have_their_place_in_the_repository(capsys):
    error = TemplateError([finding(), finding(Severity.WARNING)], {})
    HumanRenderer().error(error)
    place = "file=images/t.pkr.hcl,line=3,col=5,title=Wrong value%2C sadly%3A 50%25::first%0Asecond"
    assert commands(capsys.readouterr().out) == [f"::error {place}", f"::warning {place}"]
    show_error(error, machine_readable=False)
    assert len(commands(capsys.readouterr().out)) == 2


@pytest.mark.usefixtures("github")
def test_a_build_that_failed_is_an_error_with_its_remedy(capsys):
    renderer = HumanRenderer()
    renderer.announce(["null.a"])
    renderer.result(BuildResult("null.a", errors=[GoldsmithError("bad", hint="do this")]))
    text = capsys.readouterr().out
    assert commands(text) == ["::error title=Build null.a failed::bad%0Ado this"]
    assert "Build 'null.a' errored after" in text


@pytest.mark.usefixtures("github")
def test_nothing_that_others_say_is_a_command(capsys):
    renderer = HumanRenderer()
    renderer.render(Output(build="a", step="s", stream="stdout", line="::error::forged"))
    renderer.line("one\n::add-mask::x\n  ##[group]y")
    assert commands(capsys.readouterr().out) == []
    renderer.error(GoldsmithError("a\n::stop-commands::x"))
    text = capsys.readouterr().out
    assert commands(text) == ["::error title=goldsmith::a%0A::stop-commands::x"]


@pytest.mark.usefixtures("github")
def test_data_is_not_annotated(capsys):
    MachineRenderer().error(GoldsmithError("bad"))
    show_error(GoldsmithError("bad"), machine_readable=True)
    assert commands(capsys.readouterr().out) == []


def test_gitlab_folds_the_lines_of_the_builds(monkeypatch, capsys):
    monkeypatch.setenv("GITLAB_CI", "true")
    renderer = HumanRenderer()
    renderer.announce(["null.a", "null.b"])
    renderer.render(Output(build="null.a", step="s", stream="stdout", line="hello"))
    renderer.summary([], 1.0)
    text = capsys.readouterr().out
    sections = re.findall(r"\x1b\[0Ksection_(start|end):\d+:(goldsmith_\d+)\r\x1b\[0K(.*)", text)
    (start, name, header), (end, same, nothing) = sections
    assert (start, end, header, nothing, name) == ("start", "end", "goldsmith: 2 builds", "", same)
    assert text.index("hello") < text.index("section_end") < text.index("Wait completed")


@pytest.mark.parametrize("environment", [{}, {"GITHUB_ACTIONS": "false"}, {"CI": "true"}])
def test_elsewhere_there_is_nothing_besides(environment):
    nothing = annotations_for(environment)
    lines = [*nothing.begin(["a"]), *nothing.failed("a", GoldsmithError("x")), *nothing.end(),
             *nothing.found([finding()]), *nothing.stopped(GoldsmithError("x"))]  # fmt: skip
    assert lines == []
    assert nothing.harmless("::error::x") == "::error::x"
