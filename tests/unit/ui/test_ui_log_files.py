"""A file for each build: what is in it, who may read it, and when it stays."""

import os
import re

import pytest

from goldsmith.core.engine import BuildResult
from goldsmith.errors import GoldsmithError
from goldsmith.events import Output, Progress, Said, StepFinished, StepStarted
from goldsmith.ui import log_files
from goldsmith.ui.log_files import LogFiles, RunLog, log_path, wants_log

NAME = "image.debian"


@pytest.fixture
def warned():
    return []


@pytest.fixture
def make(warned):
    made = []

    def make(directory, keep=False):
        made.append(LogFiles(directory, keep=keep, warn=warned.append))
        return made[-1]

    yield make
    for files in made:
        files.close()


def line(text, build=NAME):
    return Output(build=build, step="s", stream="stdout", line=text, routine=True, at_s=0.25)


def failed(name=NAME):
    return BuildResult(name, errors=[GoldsmithError("broke\nhere", hint="mend")], duration_s=2)


def test_the_log_of_a_build_that_fails_has_every_line(make, tmp_path):
    files = make(tmp_path / "logs")
    for event in (
        Said(build=NAME, text="a\nb", at_s=0.25),
        StepStarted(build=NAME, step="s", label="Go", key="k", cache="miss", reason="new", at_s=1),
        line("\x1b[31mred\x1b[0m\x07"),
        Progress(build=NAME, step="s", what="w", done=1),
        StepFinished(build=NAME, step="s", label="Go", duration_s=1, outcome="failed", at_s=2),
    ):
        files.write(NAME, event)
    path = files.finish(failed())
    assert re.fullmatch(r"image\.debian-\d{8}-\d{6}\.log", path.name)
    assert path.parent == tmp_path / "logs"
    *lines, broke, here, mend, ended = path.read_text().splitlines()
    assert lines == [
        "1970-01-01T00:00:00.250Z say: a",
        "1970-01-01T00:00:00.250Z say: b",
        "1970-01-01T00:00:01.000Z ==> Go (key k) (cache miss: new)",
        "1970-01-01T00:00:00.250Z [s stdout] red",
        "1970-01-01T00:00:02.000Z <== Go: failed in 1.00 s",
    ]
    assert [text.partition(" ")[2] for text in (broke, here, mend, ended)] == [
        "failed: broke", "failed: here", "failed: -> mend", "failed in 2.00 s",
    ]  # fmt: skip


def test_only_the_owner_reads_it(make, tmp_path):
    before = os.umask(0)
    try:
        files = make(tmp_path / "logs")
        files.write(NAME, line("x"))
    finally:
        os.umask(before)
    (path,) = (tmp_path / "logs").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_line_is_there_at_once(make, tmp_path):
    """The log of a build that is killed has what it said."""
    make(tmp_path).write(NAME, line("x"))
    assert next(tmp_path.iterdir()).read_text().endswith("x\n")


@pytest.mark.parametrize(
    ("keep", "result", "stays"),
    [
        (False, BuildResult(NAME), False), (True, BuildResult(NAME), True),
        (False, failed(), True), (True, failed(), True),
        (False, BuildResult(NAME, cancelled=True), True),
    ],
)  # fmt: skip
def test_which_logs_stay(make, tmp_path, keep, result, stays):
    files = make(tmp_path / "logs", keep)
    files.write(NAME, line("x"))
    path = files.finish(result)
    assert (path is not None) == stays
    assert list((tmp_path / "logs").iterdir()) == ([path] if stays else [])


def test_the_newest_logs_of_earlier_commands_stay(make, tmp_path):
    for number in range(25):
        path = tmp_path / f"b-{number:02}.log"
        path.touch()
        os.utime(path, (number, number))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "dir.log").mkdir()
    make(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"b-{n:02}.log" for n in range(5, 25)} | {"notes.txt", "dir.log"}


def test_a_directory_of_the_user_is_not_tidied(make, tmp_path):
    for number in range(25):
        (tmp_path / f"b-{number:02}.log").touch()
    make(tmp_path, keep=True)
    assert len(list(tmp_path.iterdir())) == 25


def test_nothing_that_lies_there_is_written_to(make, tmp_path, monkeypatch):
    monkeypatch.setattr(log_files.time, "strftime", lambda *_: "20240101-000000")
    target = tmp_path / "target"
    target.write_text("precious")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "image.debian-20240101-000000.log").symlink_to(target)
    (logs / "image.debian-20240101-000000-2.log").write_text("older")
    files = make(logs, keep=True)
    files.write(NAME, line("x"))
    assert files.finish(failed()).name == "image.debian-20240101-000000-3.log"
    assert target.read_text() == "precious"


def test_the_directory_of_ours_is_no_link(make, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GoldsmithError, match="cannot keep logs"):
        make(tmp_path / "logs")
    make(tmp_path / "logs", keep=True)


@pytest.mark.parametrize("name", ["../../etc/x", "a/b c", "..", ".hidden", "x" * 300, "naïve:\n"])
def test_any_name_of_a_build_is_a_file_in_the_directory(make, tmp_path, name):
    files = make(tmp_path / "logs")
    files.write(name, line("x", name))
    path = files.finish(failed(name))
    assert path.parent == tmp_path / "logs"
    assert path.is_file()
    assert re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*\.log", path.name)


def test_two_builds_have_two_files(make, tmp_path):
    files = make(tmp_path)
    for name in ("a", "b"):
        files.write(name, line(f"of {name}", name))
    first, second = files.finish(failed("a")), files.finish(failed("b"))
    assert "of a" in first.read_text()
    assert "of b" not in first.read_text()
    assert "of b" in second.read_text()


def test_a_log_that_cannot_be_written_is_told_once(make, tmp_path, warned, monkeypatch):
    files = make(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_files.os, "open", full)
    files.write("a", line("x"))
    files.write("b", line("x"))
    assert warned == ["the log of a is not complete: No space left on device"]


def test_a_directory_that_cannot_be_used_is_an_error(make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GoldsmithError) as caught:
        make(tmp_path / "file")
    assert "-log-directory" in caught.value.hint


@pytest.mark.parametrize(
    ("environment", "wanted", "path"),
    [
        ({}, False, None),
        ({"PACKER_LOG": "0", "PACKER_LOG_PATH": "x"}, False, None),
        ({"PACKER_LOG_PATH": "x"}, False, None),
        ({"PACKER_LOG": "1"}, True, None),
        ({"PACKER_LOG": "1", "PACKER_LOG_PATH": "x"}, True, "x"),
        ({"GOLDSMITH_LOG": "1", "GOLDSMITH_LOG_PATH": "y", "PACKER_LOG_PATH": "x"}, True, "y"),
    ],
)
def test_variables_of_logs(monkeypatch, environment, wanted, path):
    for name in ("GOLDSMITH_LOG", "PACKER_LOG", "GOLDSMITH_LOG_PATH", "PACKER_LOG_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_log() is wanted
    assert (None if log_path() is None else str(log_path())) == path


def test_the_log_of_the_run_has_all_builds_and_begins_anew(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("old\n" * 99)
    path.chmod(0o644)
    log = RunLog(path)
    log.write("a", line("x"))
    log.write("b", Said(build="b", text="y", at_s=0))
    log.close()
    assert path.read_text() == (
        "1970-01-01T00:00:00.250Z a: [s stdout] x\n1970-01-01T00:00:00.000Z b: say: y\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_of_the_run_is_not_written_through_a_link(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(GoldsmithError, match="through the link"):
        RunLog(tmp_path / "link")
    with pytest.raises(GoldsmithError, match="No such file"):
        RunLog(tmp_path / "no" / "x")
    assert (tmp_path / "target").read_text() == "precious"
