"""The lines that people read, exactly."""

import re

import pytest

from goldsmith.core.artifact import Artifact
from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError, WorkerError
from goldsmith.events import Output, Progress, Said, StepFinished, StepStarted
from goldsmith.ui import human
from goldsmith.ui.human import HumanRenderer

NAME = "image.debian"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("GOLDSMITH_LOG", "PACKER_LOG", "NO_COLOR", "PACKER_NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


def finished(label, duration_s, outcome="ran"):
    return StepFinished(build=NAME, step="s", label=label, duration_s=duration_s, outcome=outcome)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (Said(build=NAME, text="Hello"), ["==> image.debian: Hello"]),
        (Said(build=NAME, text="a\nb  "), ["==> image.debian: a", "==> image.debian: b"]),
        (Said(build=NAME, text=""), ["==> image.debian: "]),
        (Said(build=NAME, text="x", level="message"), ["==> image.debian: x"]),
        (Said(build=NAME, text="x", level="warning"), ["==> image.debian: Warning: x"]),
        (Said(build=NAME, text="x", level="error"), ["==> image.debian: x"]),
        (StepStarted(build=NAME, step="s", label="Mounting"), ["==> image.debian: Mounting"]),
        (
            StepStarted(build=NAME, step="s", label="Booting", takes_long=True),
            ["==> image.debian: Booting..."],
        ),
        (
            StepStarted(build=NAME, step="s", label="Booting", takes_long=True, cache="hit"),
            ["==> image.debian: Booting (cached)"],
        ),
        (
            StepStarted(build=NAME, step="s", label="Booting", takes_long=True, cache="miss"),
            ["==> image.debian: Booting..."],
        ),
        (Output(build=NAME, step="s", stream="stdout", line=" in "), ["==> image.debian:  in"]),
        (Output(build=NAME, step="s", stream="stderr", line="no"), ["==> image.debian: no"]),
        (Output(build=NAME, step="s", stream="stdout", line="apt", routine=True), []),
        (finished("Mounting", 1.0), []),
        (Progress(build=NAME, step="s", what="copy", done=1), []),
    ],
)
def test_events(event, lines, capsys):
    HumanRenderer().render(event)
    assert capsys.readouterr().out.splitlines() == lines


def test_routine_output_is_logged_for_who_wants_it(monkeypatch, capsys):
    monkeypatch.setenv("GOLDSMITH_LOG", "1")
    HumanRenderer().render(Output(build=NAME, step="s", stream="stdout", line="x", routine=True))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "image.debian: x\n")


def test_timestamps_stand_before_each_line(capsys):
    HumanRenderer(timestamps=True).render(Said(build=NAME, text="a\nb"))
    for line, letter in zip(capsys.readouterr().out.splitlines(), "ab", strict=True):
        assert re.fullmatch(
            rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ: ==> image\.debian: {letter}", line
        )


def test_colours_are_given_in_order_and_errors_are_red(monkeypatch, capsys):
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    renderer = HumanRenderer(color=True)
    renderer.announce(["a", "b"])
    renderer.render(Said(build="b", text="x"))
    renderer.render(Said(build="b (checksum)", text="y"))
    renderer.render(Said(build="b", text="z", level="error"))
    assert capsys.readouterr().out.splitlines() == [
        "\033[1;32ma: output will be in this color.\033[0m",
        "\033[1;36mb: output will be in this color.\033[0m",
        "",
        "\033[1;36m==> b: x\033[0m",
        "\033[1;36m==> b (checksum): y\033[0m",
        "\033[1;31m==> b: z\033[0m",
    ]


def test_without_colour_nothing_is_announced(capsys):
    HumanRenderer(color=False).announce(["a", "b"])
    assert capsys.readouterr().out == ""


def test_how_a_build_ended(capsys):
    renderer = HumanRenderer()
    renderer.result(BuildResult(NAME, duration_s=65))
    error = WorkerError("CommandFailed", "mkfs exited with status 1", hint="look at dmesg")
    error.add_note("cleanup failed: unmount")
    renderer.result(BuildResult(NAME, errors=[error], duration_s=2))
    assert capsys.readouterr().out.splitlines() == [
        "Build 'image.debian' finished after 1 minute 5 seconds.",
        "Build 'image.debian' errored after 2 seconds: mkfs exited with status 1",
        "  cleanup failed: unmount",
        "  -> look at dmesg",
    ]


def test_the_summary_of_success(tmp_path, capsys):
    image, dense, gone = tmp_path / "a.raw", tmp_path / "a.json", tmp_path / "gone"
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    dense.write_bytes(b"x" * 10)
    artifact = Artifact(
        builder_id="x", id="a", string="Image 'a'", files=tuple(map(str, (image, dense, gone))),
        state={"digests": {"a.json": "abcd"}}, native=True,
    )  # fmt: skip
    steps = [finished("Bootstrap", 61.239), finished("Configure", 0.004, "cached")]
    results = [BuildResult(NAME, [artifact], steps=steps)]
    HumanRenderer().summary(results, 125)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "==> Wait completed after 2 minutes 5 seconds",
        "",
        "==> Builds finished. The artifacts of successful builds are:",
        "--> image.debian: Image 'a'",
        f"      {image}  1 GiB (0 B on disk)",
        f"      {dense}  10 B  sha256:abcd",
        "",
        "==> Time of image.debian by step:",
        "       61.24 s  Bootstrap",
        "        0.00 s  Configure  (cached)",
    ]


def test_the_summary_of_failure_names_each_error_in_one_line(capsys):
    results = [
        BuildResult("a", errors=[GoldsmithError("first\nsecond"), GoldsmithError("")]),
        BuildResult("b"),
    ]
    HumanRenderer().summary(results, 0.5)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "==> Wait completed after 500 milliseconds",
        "",
        "==> Some builds didn't complete successfully and had errors:",
        "--> a: first",
        "--> a: ",
        "",
        "==> Builds finished but no artifacts were created.",
    ]


def test_files_of_foreign_artifacts_are_not_described(tmp_path, capsys):
    path = tmp_path / "o.txt"
    path.touch()
    artifact = Artifact(builder_id="f", id="a", string="Stored file: o.txt", files=(str(path),))
    HumanRenderer().summary([BuildResult("file.a", [artifact])], 1)
    assert capsys.readouterr().out.splitlines()[3:] == [
        "==> Builds finished. The artifacts of successful builds are:",
        "--> file.a: Stored file: o.txt",
    ]


def test_a_run_without_artifacts_says_so(capsys):
    HumanRenderer().summary([BuildResult("a")], 1)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "==> Builds finished but no artifacts were created."
    )


def test_an_error_that_ends_the_command_has_its_remedy(capsys):
    HumanRenderer().error(GoldsmithError("no", hint="yes"))
    assert capsys.readouterr().out == "Error: no\n  -> yes\n"


def test_sizes_on_disk_are_told_only_where_they_differ(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 5000)
    assert human._files([str(path)], {}) == [f"{path}  4.88 KiB"]


def test_the_summary_repeats_remedies_and_where_the_log_is(tmp_path, capsys):
    renderer = HumanRenderer()
    results = [BuildResult("a", errors=[GoldsmithError("broke\nso", hint="mend it")])]
    renderer.result(results[0], tmp_path / "a.log")
    renderer.summary(results, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "Build 'a' errored after 0 milliseconds: broke", "so", "  -> mend it",
        f"  Log: {tmp_path / 'a.log'}",
    ]  # fmt: skip
    start = lines.index("--> a: broke")
    assert lines[start + 1 : start + 3] == ["      -> mend it", f"      Log: {tmp_path / 'a.log'}"]


def test_output_that_steers_a_terminal_does_not_reach_a_pipe(capsys):
    line = "\x1b[2J\x1b[31mred\x1b[0m\x07"
    HumanRenderer().render(Output(build=NAME, step="s", stream="stdout", line=line))
    assert capsys.readouterr().out == "==> image.debian: red\n"


def test_a_log_with_a_path_is_not_on_standard_error(monkeypatch, capsys):
    monkeypatch.setenv("PACKER_LOG", "1")
    monkeypatch.setenv("PACKER_LOG_PATH", "x.log")
    HumanRenderer().render(Output(build=NAME, step="s", stream="stdout", line="x", routine=True))
    assert capsys.readouterr() == ("", "")
