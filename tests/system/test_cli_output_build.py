"""What programs and logs get of a build that runs in a worker: the same events, and no secret."""

import json

import pytest
from small_image import Project, shell

from goldsmith.ui.event_schema import event_schema

pytestmark = pytest.mark.root
VARIABLE = 'variable "token" {\n  sensitive = true\n  default = "s3cr3t-token"\n}\n'
SCHEMAS = event_schema()["$defs"]


@pytest.fixture
def project(tmp_path, goldsmith, small_tree):
    return Project(tmp_path, small_tree, goldsmith)


def events_of(text):
    """The events of lines, each with the fields of its schema and no other."""
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        assert set(event) == set(SCHEMAS[event["type"]]["properties"])
    return events


def test_events_of_a_worker_have_their_steps_and_are_masked(project):
    project.write(shell("echo of ${TOKEN:-} s3cr3t-token", "echo bad >&2"), before=VARIABLE)
    done = project.built("-log-format=jsonl")
    events = events_of(done.stdout)
    assert "s3cr3t-token" not in done.stdout
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-2:]) == ("run-started", ["build-finished", "run-finished"])
    assert kinds.count("step-started") == kinds.count("step-finished") >= 5
    lines = {event["line"]: event for event in events if event["type"] == "output"}
    assert (lines["bad"]["step"], lines["bad"]["stream"]) == ("provisioner-1", "stderr")
    assert "of <sensitive>" in " ".join(" ".join(lines).split())
    parts = {event["part"] for event in events if event["type"] == "progress"}
    assert "raw" in parts
    (artifact,) = (event["artifact"] for event in events if event["type"] == "artifact")
    assert str(project.image()) in {str(project.path / name) for name in artifact["files"]}


def test_the_log_of_a_failed_build_has_all_lines_and_stays(project):
    project.write(shell("echo s3cr3t-token", "echo last words", "exit 3"), before=VARIABLE)
    text = project.failed()
    (log,) = (project.state / "logs").iterdir()
    assert text.count(f"Log: {log}") == 2
    assert log.stat().st_mode & 0o777 == 0o600
    content = log.read_text()
    assert "[provisioner-1 stdout] last words" in content
    assert "failed: " in content
    assert "[provisioner-1 stdout] <sensitive>" in content
    assert "s3cr3t-token" not in content
