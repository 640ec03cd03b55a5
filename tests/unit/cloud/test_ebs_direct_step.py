"""The step that writes a snapshot, and what its journal says while it does."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aws_rig import Fault, Rig
from goldsmith.cloud.ebs_direct import steps
from goldsmith.cloud.ebs_direct.contents import Contents
from goldsmith.cloud.ebs_direct.digest_index import BLOCK_BYTES, DigestIndex
from goldsmith.cloud.ebs_direct.options import DirectOptions
from goldsmith.cloud.ebs_direct.steps import WriteSnapshotStep
from goldsmith.cloud.images import Publishing
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.session import Account
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter
from goldsmith.host.journal import RunDirectory, find_dead_runs
from goldsmith.host.teardown import Teardown
from goldsmith.redact import Redactor

MINUTES = 60.0


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """One whose command is dead, for who looks at it."""
    path = tmp_path / "state/runs/dead"
    path.mkdir(parents=True)
    return RunDirectory(path, -1)


def entries(run: RunDirectory) -> list[dict[str, Any]]:
    """What was written down of snapshots."""
    lines = (run.path / "journal.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, filter(None, lines)) if one.get("kind") == "aws"]


def may_go_on(run: RunDirectory) -> bool:
    (dead,) = find_dead_runs(run.path.parent.parent)
    return dead.may_go_on


@dataclass
class Place:
    """A rig and an image of 4 MiB for it."""

    rig: Rig
    run: RunDirectory
    top: Path

    def write(self, *, resumes: bool) -> None:
        """Write the image as a snapshot, as if the build were killed then: nothing is tidied up."""
        image, data = self.top / "image", b"x" * BLOCK_BYTES
        image.write_bytes(data * 8)
        index = DigestIndex(1)
        for number in range(8):
            index.append(number, hashlib.sha256(data).digest())
        options = DirectOptions.model_validate({
            "ami_name": "web", "region": "us-east-1", "custom_endpoint_ec2": self.rig.url,
            "connections": 2, "upload_timeout_minutes": 10,
        })  # fmt: skip
        account = Account(options, Redactor())
        ledger = Ledger(self.run, account, "web")
        publishing = Publishing(account, options, Waiting(1.0, 5), ledger, Teardown())
        contents = Contents(image, index, [])
        step = WriteSnapshotStep(publishing, options, contents, None, self.top / "state", resumes)
        emitter = Emitter("web", lambda event: None)
        step.run(StepContext(emitter=emitter, scratch=self.top, epoch_s=0))


@pytest.fixture
def place(tmp_path: Path, run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with Rig(tmp_path / "rig", loops=False) as rig:
        for name, value in rig.environment.items():
            monkeypatch.setenv(name, value)
        yield Place(rig, run, tmp_path)


@pytest.mark.parametrize("resumes", [True, False])
def test_an_upload_that_takes_long_can_be_gone_on_with_all_the_time(
    place: Place, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, resumes: bool
) -> None:
    monkeypatch.setattr(steps, "_PROLONGED_EVERY_S", -1.0)
    place.rig.faults.append(Fault("CompleteSnapshot", "*", "ValidationException"))
    with pytest.raises(GoldsmithError, match="CompleteSnapshot"):
        place.write(resumes=resumes)
    first, *more = entries(run)
    # The same entry, so that it is forgotten as a whole.
    assert bool(more) == resumes and {one["id"] for one in more} <= {first["id"]}
    until_s = entries(run)[-1]["resumes_until_s"]
    assert not resumes or until_s > first["resumes_until_s"] >= first["at_s"] + 10 * MINUTES
    assert may_go_on(run) == resumes
    monkeypatch.setattr(time, "time", lambda: until_s + 1)
    assert not may_go_on(run)


def test_a_complete_upload_of_a_killed_build_is_removed_by_the_next_command(
    place: Place, run: RunDirectory
) -> None:
    place.write(resumes=True)
    first, last = entries(run)
    assert first["id"] == last["id"] and first["resumes_until_s"] > time.time()
    assert not may_go_on(run)
