"""Snapshots, images and copies on the rig: what is made, what is taken back, what is journalled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aws_rig import Fault, Rig
from aws_rig.cloud import Volume
from goldsmith.cloud import calls, polling
from goldsmith.cloud.access_options import AccessOptions
from goldsmith.cloud.image_options import ImageOptions
from goldsmith.cloud.images import (
    DeregisterStep,
    Publishing,
    RegionCopyStep,
    RegisterStep,
    SnapshotStep,
)
from goldsmith.cloud.journal import Ledger, undo_resource
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.session import Account
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError
from goldsmith.events import Emitter, EventSink
from goldsmith.host.journal import RunDirectory, find_dead_runs, finish_run, open_run
from goldsmith.host.teardown import Teardown
from goldsmith.redact import Redactor

REQUEST = {
    "Name": "web", "RootDeviceName": "/dev/xvda", "Architecture": "x86_64",
    "VirtualizationType": "hvm",
}  # fmt: skip
UNDO = {"aws": undo_resource}


class Options(AccessOptions, ImageOptions):
    """What both halves need."""


@dataclass
class Place:
    """A rig and what builds on it."""

    rig: Rig
    state: Path

    def publishing(self, run: RunDirectory, teardown: Teardown, **given: object) -> Publishing:
        options = Options.model_validate({
            "ami_name": "web", "region": "us-east-1", "custom_endpoint_ec2": self.rig.url,
            "max_retries": 2, **given,
        })  # fmt: skip
        account = Account(options, Redactor())
        return Publishing(account, options, Waiting(1.0, 5), Ledger(run, account, "b"), teardown)

    def context(self) -> StepContext:
        sink: EventSink = lambda event: None  # noqa: E731
        return StepContext(emitter=Emitter("b", sink), scratch=self.state, epoch_s=0)

    def left(self) -> set[str]:
        cloud = self.rig.cloud
        return {*cloud.images, *cloud.snapshots} - {"vol-1"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with Rig(tmp_path / "rig", loops=False) as rig:
        for name, value in rig.environment.items():
            monkeypatch.setenv(name, value)
        file = rig.cloud.file(1, None)
        rig.cloud.volumes["vol-1"] = Volume("vol-1", "us-east-1", zone="a", size=1, file=file)
        yield Place(rig, tmp_path / "state")


def made(place: Place, publishing: Publishing) -> str:
    """A snapshot, its image and copies."""
    context = place.context()
    snapshot_id = SnapshotStep(publishing, "vol-1").run(context)
    ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id, "VolumeSize": 1}}
    request = {**REQUEST, "BlockDeviceMappings": [ebs]}
    if publishing.replaces:
        DeregisterStep(publishing, request).run(context)
    image_id = RegisterStep(publishing, request).run(context)
    if publishing.copy_regions:
        RegionCopyStep(publishing, image_id).run(context)
    return image_id


def test_what_is_kept_stays(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown, ami_regions=("eu-west-1",))
        made(place, publishing)
        publishing.keep()
    assert place.left() == {"snap-1", "ami-new", "ami-copy-eu-west-1", "snap-copy-eu-west-1"}
    marks = {one.tags["goldsmith:run"] for one in place.rig.cloud.images.values()}
    assert len(marks) == 2


def test_what_is_not_kept_goes_with_its_copies(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        made(place, place.publishing(run, teardown, ami_regions=("eu-west-1", "us-west-2")))
    assert place.left() == set()


def test_of_encrypted_copies_only_these_last(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown, encrypt_boot=True)
        made(place, publishing)
        publishing.keep()
    assert place.left() == {"ami-copy-us-east-1", "snap-copy-us-east-1"}
    assert place.rig.cloud.snapshots["snap-copy-us-east-1"].encrypted


def test_without_the_build_region_nothing_is_copied_back(place: Place) -> None:
    given = {"skip_save_build_region": True, "ami_regions": ("eu-west-1",)}
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown, **given)
        made(place, publishing)
        publishing.keep()
    assert place.left() == {"ami-copy-eu-west-1", "snap-copy-eu-west-1"}


def test_a_killed_run_is_finished_by_its_journal(place: Place) -> None:
    """The answers were lost, so that no id is known: the tag finds what was made."""
    with open_run(place.state, "test", {}) as alive:
        publishing = place.publishing(alive, Teardown(), ami_regions=("eu-west-1",))
        made(place, publishing)
        assert place.left()
        lines = (alive.path / "journal.jsonl").read_text()
        publishing.keep()
    assert "secret" not in lines
    dead = place.state / "runs/20000101-000000-abcdef"
    dead.mkdir()
    (dead / "journal.jsonl").write_text(lines)
    (found,) = find_dead_runs(place.state)
    assert finish_run(found, UNDO) == []
    assert place.left() == set()


@pytest.mark.parametrize("action", ["CreateSnapshot", "RegisterImage", "CopyImage"])
@pytest.mark.parametrize("after", [False, True])
def test_an_action_that_fails_once_is_repeated_and_never_done_twice(
    place: Place, action: str, after: bool
) -> None:
    place.rig.faults.append(Fault(action, "1", "InternalError", 500, after=after))
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown, ami_regions=("eu-west-1",))
        made(place, publishing)
        publishing.keep()
    assert place.left() == {"snap-1", "ami-new", "ami-copy-eu-west-1", "snap-copy-eu-west-1"}


ACTIONS = ("CreateSnapshot", "DescribeSnapshots", "RegisterImage", "DescribeImages", "CopyImage")


@pytest.mark.parametrize(
    ("action", "code", "after"),
    [
        *((action, "InternalError", False) for action in ACTIONS),
        *((action, "UnauthorizedOperation", False) for action in ACTIONS),
        ("CreateSnapshot", "RequestLimitExceeded", False),
        # The copy is there, and nobody has heard its id.
        ("CopyImage", "InternalError", True),
    ],
)
def test_an_action_that_always_fails_leaves_what_the_journal_removes(
    place: Place, monkeypatch: pytest.MonkeyPatch, action: str, code: str, after: bool
) -> None:
    """Once the cloud answers again: what cannot be taken back at once stays in the journal."""
    monkeypatch.setattr(calls, "pause", lambda _: None)
    monkeypatch.setattr(polling, "pause", lambda _: None)
    status = 403 if code == "UnauthorizedOperation" else 503
    place.rig.faults.append(Fault(action, "*", code, status, after=after))

    def undo(fields: dict[str, object]) -> None:
        place.rig.faults.clear()
        undo_resource(fields)

    with open_run(place.state, "test", {"aws": undo}) as run:
        with pytest.raises(GoldsmithError), Teardown() as teardown:
            made(place, place.publishing(run, teardown, ami_regions=("eu-west-1",)))
    assert place.left() == set()


def test_the_old_image_stays_where_the_new_one_could_not_be_registered(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown)
        made(place, publishing)
        publishing.keep()
    place.rig.faults.append(Fault("RegisterImage", "*", "InvalidParameterValue"))
    with open_run(place.state, "test", UNDO) as run:
        with pytest.raises(GoldsmithError, match="InvalidParameterValue"), Teardown() as teardown:
            publishing = place.publishing(
                run, teardown, force_deregister=True, force_delete_snapshot=True
            )
            made(place, publishing)
    assert place.left() == {"snap-1", "ami-new"}
