"""Snapshots, images and copies on the rig: what is made, what is taken back, what is journalled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aws_rig import Fault, Image, Rig, Snapshot
from aws_rig.cloud import ACCOUNT, Volume
from goldsmith.cloud import calls, journal, polling
from goldsmith.cloud.access_options import AccessOptions
from goldsmith.cloud.calls import Service
from goldsmith.cloud.image_options import ImageOptions
from goldsmith.cloud.images import (
    DeregisterStep,
    Publishing,
    RegionCopyStep,
    RegisterStep,
    SnapshotStep,
    wait_for_image,
)
from goldsmith.cloud.journal import Ledger, detach, undo_resource
from goldsmith.cloud.polling import Waiting
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.session import Account
from goldsmith.cloud.sharing import ProtectionStep, TagStep
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
    monkeypatch.setattr(journal, "_SEEN_WITHIN_S", 0.0)
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


def test_all_is_kept_by_one_line_of_the_journal(place: Place) -> None:
    """Whenever it is killed, what `clean` then does leaves no half of an image."""
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown, ami_regions=("eu-west-1",))
        made(place, publishing)
        before = (run.path / "journal.jsonl").read_text()
        publishing.keep()
        after = (run.path / "journal.jsonl").read_text().removeprefix(before)
        assert len(after.split()) > 3 and len(after.strip().splitlines()) == 1
        dead = place.state / "runs/20000101-000000-abcdef"
        dead.mkdir()
        (dead / "journal.jsonl").write_text(before + after)
        (found,) = find_dead_runs(place.state)
        assert found.entries == ()


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


def test_a_snapshot_of_another_image_does_not_cost_the_new_one(place: Place) -> None:
    cloud = place.rig.cloud
    cloud.snapshots["snap-old"] = Snapshot("snap-old", "us-east-1", size=1)
    ebs = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-old"}}
    for image_id, name in (("ami-old", "web"), ("ami-other", "other")):
        cloud.images[image_id] = Image(image_id, "us-east-1", name=name, mappings=[ebs])
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(
            run, teardown, force_deregister=True, force_delete_snapshot=True
        )
        made(place, publishing)
        publishing.keep()
    assert place.left() == {"snap-old", "ami-other", "snap-1", "ami-new"}


ELSEWHERE = "210987654321"


def journalled(resource: str, owner: str = ACCOUNT) -> dict[str, object]:
    """An entry of a build that was killed just before or after its call."""
    return {
        "resource": resource, "region": "us-east-1", "mark": "run/b/1", "owner": owner,
        "at_s": time.time(), "access": {},
    }  # fmt: skip


def test_the_entry_of_another_account_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", place.rig.url)
    undo_resource(journalled("image"))
    with pytest.raises(GoldsmithError, match=f"account {ELSEWHERE}.* of {ACCOUNT}"):
        undo_resource(journalled("image", ELSEWHERE))


def test_the_account_is_written_down(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(run, teardown)
        publishing.ledger.owner = ACCOUNT
        claim = publishing.ledger.claim("volume", "us-east-1")
        assert f'"owner": "{ACCOUNT}"' in (run.path / "journal.jsonl").read_text()
        claim.settle()


@pytest.mark.parametrize(
    ("code", "maybe_made", "stays"),
    [("UnauthorizedOperation", False, False), ("RequestLimitExceeded", False, False),
     ("RequestLimitExceeded", True, True), ("InternalError", False, True)],
)  # fmt: skip
def test_what_was_never_made_is_not_looked_for(
    place: Place, code: str, maybe_made: bool, stays: bool
) -> None:
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        claim = place.publishing(run, teardown).ledger.claim("volume", "us-east-1")
        error = AwsError("CreateVolume", code, "no", status=503 if "Un" not in code else 403)
        error.maybe_made = maybe_made
        with pytest.raises(AwsError), claim.settled_if_refused():
            raise error
        assert ('"done"' not in (run.path / "journal.jsonl").read_text()) == stays
        claim.settle()


@pytest.mark.parametrize("resource", ["snapshot", "image"])
def test_what_is_found_late_is_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    """The first looks do not find what was made just now."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", place.rig.url)
    monkeypatch.setattr(journal, "_SEEN_WITHIN_S", 120.0)
    tags = {"goldsmith:run": "run/b/1"}
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            cloud = place.rig.cloud
            cloud.snapshots["snap-late"] = Snapshot("snap-late", "us-east-1", tags=tags)
            if resource == "image":
                cloud.images["ami-late"] = Image("ami-late", "us-east-1", tags=tags)

    monkeypatch.setattr(journal, "pause", pause)
    said: list[str] = []
    undo_resource(journalled(resource), said.append)
    assert place.left() == set() and len(looks) == 3
    (line,) = said
    assert line.startswith(f"no {resource} of run/b/1 is there; it was asked for just now")


def test_what_is_protected_is_taken_back(place: Place) -> None:
    """At the end of the build, and by the journal of one that was killed."""
    for killed in (False, True):
        with open_run(place.state, "test", UNDO) as run:
            teardown = Teardown()
            publishing = place.publishing(
                run, teardown, ami_regions=("eu-west-1",),
                deregistration_protection={"enabled": True},
            )  # fmt: skip
            made(place, publishing)
            ProtectionStep(publishing).run(place.context())
            assert all(one.protection for one in place.rig.cloud.images.values())
            if not killed:
                assert teardown.close() == []
                assert place.left() == set()
        assert place.left() == set()


def test_a_copy_that_does_not_say_its_snapshots_yet_takes_them_along(place: Place) -> None:
    with open_run(place.state, "test", UNDO) as run:
        teardown = Teardown()
        made(place, place.publishing(run, teardown, ami_regions=("eu-west-1",)))
        place.rig.cloud.images["ami-copy-eu-west-1"].mappings = []
        assert teardown.close() == []
        assert place.left() == set()


def test_a_no_after_a_lost_answer_leaves_the_entry(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "pause", lambda _: None)
    place.rig.faults += [
        Fault("CopyImage", "1", "InternalError", 500, after=True),
        Fault("CopyImage", "2", "UnauthorizedOperation", 403),
    ]
    with open_run(place.state, "test", UNDO) as run:
        with pytest.raises(GoldsmithError, match="UnauthorizedOperation"), Teardown() as teardown:
            made(place, place.publishing(run, teardown, ami_regions=("eu-west-1",)))
        assert place.left() == {"ami-copy-eu-west-1", "snap-copy-eu-west-1"}
    assert place.left() == set()


class Late:
    """A client that sees nothing at first."""

    def __init__(self, kind: str, thing: dict[str, object]) -> None:
        self.kind = kind
        self.answers: list[list[dict[str, object]]] = [[], [thing]]

    def __getattr__(self, operation: str) -> Callable[..., object]:
        return lambda **given: {self.kind: self.answers.pop(0)} if "describe" in operation else {}


def test_what_no_look_shows_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "pause", lambda _: None)
    image = Service(Late("Images", {"State": "available"}), "r")
    assert wait_for_image(image, Waiting(1.0, 5), "ami-1") == {"State": "available"}
    detach(Service(Late("Volumes", {"Attachments": []}), "r"), Waiting(1.0, 5), "vol-1")


def test_the_tags_of_the_template_win_over_what_is_there(place: Place) -> None:
    """On each image and its snapshots; then snapshot_tags over those. A mark is of its own copy."""
    with open_run(place.state, "test", UNDO) as run, Teardown() as teardown:
        publishing = place.publishing(
            run, teardown, ami_regions=("eu-west-1",), tags={"Name": "a", "Kind": "image"},
            tag=[{"key": "Name", "value": "b"}],
        )  # fmt: skip
        made(place, publishing)
        cloud = place.rig.cloud
        marks = {one.id: one.tags["goldsmith:run"] for one in cloud.images.values()}
        for one in (*cloud.images.values(), *cloud.snapshots.values()):
            one.tags |= {"Name": "older", "Team": "x"}
        TagStep(publishing, publishing.options.all_tags, {"Kind": "root"}).run(place.context())
        publishing.keep()
    for image in cloud.images.values():
        assert image.tags == {
            "Name": "b",
            "Kind": "image",
            "Team": "x",
            "goldsmith:run": marks[image.id],
        }
    for snapshot in cloud.snapshots.values():
        assert {key: snapshot.tags[key] for key in ("Name", "Kind", "Team")} == {
            "Name": "b",
            "Kind": "root",
            "Team": "x",
        }
    assert len(set(marks.values())) == 2
    assert all("CopyImageTags" not in one.params for one in place.rig.calls)
