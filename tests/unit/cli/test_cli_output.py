"""Which form the output of a build has, and where its logs lie."""

import json

import pytest

from goldsmith.cli import build
from goldsmith.cli.flags import FlagError, read_flags
from goldsmith.cli.output import OUTPUT_FLAGS, choose_renderer
from goldsmith.ui.human import HumanRenderer
from goldsmith.ui.jsonl import JsonLinesRenderer
from goldsmith.ui.machine import MachineRenderer

FAILING = """
source "file" "f" {
  content = "x"
  target  = "f"
}
variable "token" {
  default   = "s3cr3t"
  sensitive = true
}
build {
  sources = ["file.f"]
  post-processor "checksum" {
    name           = "of-${var.token}"
    checksum_types = ["md5"]
    output         = "/dev/null/sum"
  }
}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    for name in ("GOLDSMITH_LOG_FORMAT", "GOLDSMITH_LOG_DIR", "GOLDSMITH_LOG", "PACKER_LOG",
                 "PACKER_LOG_PATH", "GOLDSMITH_LOG_PATH"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "variable", "machine_readable", "kind"),
    [
        ([], None, False, HumanRenderer),
        (["-log-format=jsonl"], None, False, JsonLinesRenderer),
        ([], "jsonl", False, JsonLinesRenderer),
        (["-log-format=text"], "jsonl", False, HumanRenderer),
        ([], "", False, HumanRenderer),
        ([], None, True, MachineRenderer),
        ([], "jsonl", True, MachineRenderer),
    ],
)
def test_flag_then_environment_choose(monkeypatch, words, variable, machine_readable, kind):
    if variable is not None:
        monkeypatch.setenv("GOLDSMITH_LOG_FORMAT", variable)
    flags = read_flags(OUTPUT_FLAGS, words)
    assert isinstance(choose_renderer(flags, machine_readable=machine_readable), kind)


@pytest.mark.parametrize(
    ("words", "variable", "machine_readable"),
    [
        (["-log-format=xml"], None, False),
        ([], "xml", False),
        (["-log-format=jsonl"], None, True),
    ],
)
def test_what_is_no_format_is_refused(monkeypatch, words, variable, machine_readable):
    if variable is not None:
        monkeypatch.setenv("GOLDSMITH_LOG_FORMAT", variable)
    flags = read_flags(OUTPUT_FLAGS, words)
    with pytest.raises(FlagError, match=r"log-format|GOLDSMITH_LOG_FORMAT"):
        choose_renderer(flags, machine_readable=machine_readable)


def run(tmp_path, capsys, text, *words):
    (tmp_path / "t.pkr.hcl").write_text(text)
    status = build.run([*words, "t.pkr.hcl"], False)
    return status, capsys.readouterr().out


def good(text):
    return text.replace("/dev/null/sum", "sum")


def test_a_failed_build_says_where_its_log_is(tmp_path, capsys):
    status, said = run(tmp_path, capsys, FAILING)
    assert status == 1
    (log,) = (tmp_path / "state/logs").iterdir()
    assert said.count(f"Log: {log}") == 2
    assert log.name.startswith("file.f-")


def test_a_build_that_succeeds_leaves_no_log(tmp_path, capsys):
    assert run(tmp_path, capsys, good(FAILING))[0] == 0
    assert list((tmp_path / "state/logs").iterdir()) == []


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_named_directory_keeps_every_log_without_secrets(tmp_path, capsys, monkeypatch, by_flag):
    words = ["-log-directory=logs/here"] if by_flag else []
    if not by_flag:
        monkeypatch.setenv("GOLDSMITH_LOG_DIR", "logs/here")
    assert run(tmp_path, capsys, good(FAILING), *words)[0] == 0
    assert run(tmp_path, capsys, FAILING, *words)[0] == 1
    logs = [path.read_text() for path in (tmp_path / "logs/here").iterdir()]
    assert len(logs) == 2
    assert all("Running post-processor" in one for one in logs)
    assert all("of-<sensitive>" in one and "s3cr3t" not in one for one in logs)


def test_packers_variables_of_logs_are_honoured(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PACKER_LOG", "1")
    monkeypatch.setenv("PACKER_LOG_PATH", "run.log")
    assert run(tmp_path, capsys, good(FAILING))[0] == 0
    assert " file.f: ==> Running post-processor" in (tmp_path / "run.log").read_text()


def test_a_whole_run_is_lines_of_json(tmp_path, capsys):
    status, said = run(tmp_path, capsys, FAILING, "-log-format=jsonl")
    events = [json.loads(line) for line in said.splitlines()]
    assert status == 1
    assert [event["type"] for event in events if event["type"] not in ("said", "output")] == [
        "run-started", "step-started", "step-finished", "failed", "build-finished",
        "run-finished",
    ]  # fmt: skip
    assert events[-2]["log"].startswith(str(tmp_path / "state/logs"))
    assert "s3cr3t" not in said


def test_a_broken_template_is_lines_of_json_too(tmp_path, capsys):
    status, said = run(tmp_path, capsys, "a = = 1", "-log-format=jsonl")
    assert status == 1
    types = [json.loads(line)["type"] for line in said.splitlines()]
    assert types == ["diagnostic", "run-finished"]
