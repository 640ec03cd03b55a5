"""Blocks to the rig's service and back: retries, throttles, damage, stale tokens, what resumes."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aws_rig import Fault, Rig, Snapshot
from aws_rig.direct_calls import BLOCK, present, read_block
from goldsmith.cloud.access_options import AccessOptions
from goldsmith.cloud.ebs_direct.connections import Connections
from goldsmith.cloud.ebs_direct.contents import read_block as local_block
from goldsmith.cloud.ebs_direct.delta import Delta, delta_to
from goldsmith.cloud.ebs_direct.digest_index import DigestIndex, KnownSnapshot
from goldsmith.cloud.ebs_direct.reader import read_snapshot
from goldsmith.cloud.ebs_direct.resume import Progress, remembered
from goldsmith.cloud.ebs_direct.verify import NotAsWritten, verify_snapshot
from goldsmith.cloud.ebs_direct.writer import Upload
from goldsmith.cloud.journal import Ledger
from goldsmith.cloud.refusals import AwsError
from goldsmith.cloud.session import Account
from goldsmith.errors import GoldsmithError, Interrupted
from goldsmith.host.journal import RunDirectory, find_dead_runs, open_run
from goldsmith.redact import Redactor

GIB = 1 << 30


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with Rig(tmp_path / "rig", loops=False) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def account(rig: Rig) -> Account:
    given = {"region": "us-east-1", "custom_endpoint_ec2": rig.url}
    return Account(AccessOptions.model_validate(given), Redactor())


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "state", "test", {"aws": lambda fields: None,
                                               "file": lambda fields: None}) as opened:  # fmt: skip
        yield opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """1 GiB with 20 blocks of data, 3 of zeros among them."""
    place = tmp_path / "image"
    with open(place, "wb") as file:
        file.truncate(GIB)
        for number in range(20):
            data = bytes(BLOCK) if number % 7 == 3 else bytes([number + 1]) * BLOCK
            os.pwrite(file.fileno(), data, number * 50 * BLOCK)
    return place


def index_of(image: Path, numbers: Iterator[int] | range) -> DigestIndex:
    index = DigestIndex(1)
    with open(image, "rb") as file:
        for number in numbers:
            index.append(number, hashlib.sha256(local_block(file.fileno(), number)).digest())
    return index


def whole(image: Path) -> DigestIndex:
    return index_of(image, range(0, 1000, 50))


def upload(account: Account, run: RunDirectory, image: Path, delta: Delta,
           progress: Progress | None = None) -> Upload:  # fmt: skip
    claim = Ledger(run, account, "web").claim("snapshot", "us-east-1")
    return Upload(account.ec2(), account.ebs(), delta, image, claim, progress or Progress())


def connections(account: Account, count: int = 8) -> Connections:
    return Connections(account.ebs(), count=count)


def written(account: Account, run: RunDirectory, image: Path, delta: Delta) -> str:
    """A complete snapshot."""
    one = upload(account, run, image, delta)
    snapshot_id = one.start()
    one.write(connections(account))
    one.complete()
    return snapshot_id


def counted(rig: Rig, action: str) -> int:
    return sum(1 for one in rig.calls if one.action == action and not one.answer)


def same(rig: Rig, snapshot_id: str, image: Path) -> bool:
    file = rig.cloud.snapshots[snapshot_id].file
    assert file is not None
    with open(file, "rb") as one, open(image, "rb") as other:
        return all(local_block(one.fileno(), n) == local_block(other.fileno(), n)
                   for n in range(0, 1000, 10))  # fmt: skip


def test_there_and_back(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    delta = delta_to(whole(image), None)
    snapshot_id = written(account, run, image, delta)
    assert same(rig, snapshot_id, image) and counted(rig, "PutSnapshotBlock") == 20
    index = read_snapshot(connections(account), snapshot_id, tmp_path / "back")
    assert list(index) == list(delta.writes)
    assert same(rig, snapshot_id, tmp_path / "back")
    assert os.stat(tmp_path / "back").st_blocks * 512 <= 18 * BLOCK
    verify_snapshot(connections(account), snapshot_id, delta)


def test_a_delta_sends_what_differs(
    rig: Rig, account: Account, run: RunDirectory, image: Path
) -> None:
    parent_id = written(account, run, image, delta_to(whole(image), None))
    parent = KnownSnapshot(parent_id, "us-east-1", whole(image))
    with open(image, "r+b") as file:
        file.write(b"other")
        file.seek(7 * BLOCK)
        file.write(b"new")
    rig.calls.clear()
    delta = delta_to(index_of(image, iter([0, 7, *range(50, 950, 50)])), parent)
    snapshot_id = written(account, run, image, delta)
    puts = {one.params["BlockIndex"] for one in rig.calls if one.action == "PutSnapshotBlock"}
    assert puts == {0, 7, 950}
    assert counted(rig, "PutSnapshotBlock") == 3 == len(delta.writes)
    # Block 950 is of no use any more: it was made zeros.
    assert read_block(rig.cloud.snapshots[snapshot_id], 950) == bytes(BLOCK)
    verify_snapshot(connections(account), snapshot_id, delta)


@pytest.mark.parametrize(
    "fault",
    [Fault("PutSnapshotBlock", "/3", "RequestThrottledException"),
     Fault("PutSnapshotBlock", "1-4", "ResourceNotFoundException", 404),
     Fault("PutSnapshotBlock", "/4", "InternalServerException", 500),
     Fault("PutSnapshotBlock", "/5", "InternalServerException", 500, after=True),
     Fault("StartSnapshot", "1", "InternalServerException", 500, after=True),
     Fault("CompleteSnapshot", "1", "InternalServerException", 500),
     Fault("CompleteSnapshot", "1", "InternalServerException", 500, after=True)],
    ids=lambda fault: f"{fault.action}-{fault.code}-{fault.after}",
)  # fmt: skip
def test_what_passes_is_repeated(
    rig: Rig, account: Account, run: RunDirectory, image: Path, fault: Fault
) -> None:
    rig.faults.append(fault)
    snapshot_id = written(account, run, image, delta_to(whole(image), None))
    assert same(rig, snapshot_id, image)
    assert len(rig.cloud.snapshots) == 1 and rig.direct.uploads == {}


def test_a_snapshot_that_is_seen_late_leaves_its_tries_to_throttles(
    rig: Rig, account: Account, run: RunDirectory, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goldsmith.cloud.ebs_direct.connections._LONGEST_PAUSE_S", 0.01)
    rig.faults += [Fault("PutSnapshotBlock", "1-12", "ResourceNotFoundException", 404),
                   Fault("PutSnapshotBlock", "13", "RequestThrottledException")]  # fmt: skip
    one = upload(account, run, image, delta_to(whole(image), None))
    one.start()
    assert one.write(connections(account, 1)) == 20


def test_a_plain_no_ends_it_at_once(
    rig: Rig, account: Account, run: RunDirectory, image: Path
) -> None:
    rig.faults.append(Fault("PutSnapshotBlock", "5-999", "AccessDeniedException", 403))
    one = upload(account, run, image, delta_to(whole(image), None))
    one.start()
    with pytest.raises(AwsError, match="AccessDenied") as caught:
        one.write(connections(account, 2))
    assert "ebs:PutSnapshotBlock" in str(caught.value.hint)
    assert len(rig.calls) < 12


def test_the_quota_is_kept(rig: Rig, account: Account, run: RunDirectory, image: Path) -> None:
    rig.direct.quota = 8
    snapshot_id = written(account, run, image, delta_to(whole(image), None))
    assert same(rig, snapshot_id, image) and counted(rig, "PutSnapshotBlock") == 20


def test_an_image_that_changes_meanwhile_is_refused(
    rig: Rig, account: Account, run: RunDirectory, image: Path
) -> None:
    one = upload(account, run, image, delta_to(whole(image), None))
    one.start()
    with open(image, "r+b") as file:
        file.write(b"changed")
    with pytest.raises(GoldsmithError, match="was changed while"):
        one.write(connections(account))


def test_an_interrupt_ends_all_threads(
    rig: Rig, account: Account, run: RunDirectory, image: Path
) -> None:
    rig.direct.put_delay_s = 0.05
    one = upload(account, run, image, delta_to(whole(image), None))
    one.start()

    def interrupt(done: int, total: int) -> None:
        if done >= 2:
            raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        one.write(connections(account, 2), interrupt)
    known = counted(rig, "PutSnapshotBlock")
    assert known < 20 and counted(rig, "PutSnapshotBlock") == known


def snapshot_of(rig: Rig, image: Path, **given: Any) -> Snapshot:
    file = rig.cloud.file(1, image)
    rig.cloud.snapshots["snap-x"] = Snapshot("snap-x", "us-east-1", size=1, file=file, **given)
    return rig.cloud.snapshots["snap-x"]


def test_tokens_that_expire_are_asked_for_again(
    rig: Rig, account: Account, image: Path, tmp_path: Path
) -> None:
    snapshot = snapshot_of(rig, image)
    expired: list[int] = []

    def expire(action: str, number: int) -> None:
        if action == "GetSnapshotBlock" and number in (5, 12):
            expired.append(number)
            rig.direct.generations["snap-x"] += 1

    rig.on_call = expire
    index = read_snapshot(connections(account, 2), "snap-x", tmp_path / "back")
    assert expired == [5, 12] and set(index.numbers) == present(snapshot)
    assert same(rig, "snap-x", tmp_path / "back")
    assert counted(rig, "ListSnapshotBlocks") >= 3


def many_blocks(place: Path, count: int) -> Path:
    """1 GiB that begins with so many blocks of data."""
    with open(place, "wb") as file:
        file.truncate(GIB)
        for number in range(count):
            os.pwrite(file.fileno(), b"x", number * BLOCK)
    return place


def test_builds_that_read_the_same_snapshot_do_not_stop_each_other(
    rig: Rig, account: Account, tmp_path: Path
) -> None:
    """Each listing of one makes the tokens of the other stale; in between one block comes."""
    snapshot_of(rig, many_blocks(tmp_path / "many", 30)).present = set(range(30))

    def expire(action: str, number: int) -> None:
        if action == "GetSnapshotBlock" and number % 2 == 0:
            rig.direct.generations["snap-x"] += 1

    rig.on_call = expire
    index = read_snapshot(connections(account, 1), "snap-x", tmp_path / "back")
    assert len(index) == 30 and counted(rig, "ListSnapshotBlocks") > 21


def test_tokens_that_are_never_good_end_it(
    rig: Rig, account: Account, image: Path, tmp_path: Path
) -> None:
    snapshot_of(rig, image)

    def expire(action: str, number: int) -> None:
        if action == "GetSnapshotBlock":
            rig.direct.generations["snap-x"] += 1

    rig.on_call = expire
    with pytest.raises(AwsError, match="token"):
        read_snapshot(connections(account, 1), "snap-x", tmp_path / "back")
    assert counted(rig, "ListSnapshotBlocks") == 21


def test_pages_are_followed(
    rig: Rig, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goldsmith.cloud.ebs_direct.reader.PAGE", 100)
    snapshot_of(rig, many_blocks(tmp_path / "many", 230)).present = set(range(230))
    index = read_snapshot(connections(account), "snap-x", tmp_path / "back")
    assert len(index) == 230 and counted(rig, "ListSnapshotBlocks") == 3


def test_a_foreign_snapshot_is_not_read(
    rig: Rig, account: Account, image: Path, tmp_path: Path
) -> None:
    snapshot_of(rig, image, owner="999999999999")
    with pytest.raises(AwsError, match="AccessDenied"):
        read_snapshot(connections(account), "snap-x", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_damage_on_the_way_is_seen(
    rig: Rig, account: Account, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_of(rig, image)
    answer: Callable[..., Any] = rig.direct.answer
    damaged: list[int] = []

    def hurt(call: Any) -> Any:
        status, headers, body = answer(call)
        if call.action == "GetSnapshotBlock" and len(damaged) < 3:
            damaged.append(call.index)
            body = b"\xff" + body[1:]
        return status, headers, body

    monkeypatch.setattr(rig.direct, "answer", hurt)
    read_snapshot(connections(account), "snap-x", tmp_path / "back")
    assert len(damaged) == 3 and same(rig, "snap-x", tmp_path / "back")


def test_a_snapshot_that_is_not_as_written_is_told(
    rig: Rig, account: Account, run: RunDirectory, image: Path
) -> None:
    delta = delta_to(whole(image), None)
    snapshot_id = written(account, run, image, delta)
    file = rig.cloud.snapshots[snapshot_id].file
    assert file is not None
    with open(file, "r+b") as stream:
        stream.seek(100 * BLOCK)
        stream.write(b"rot")
    with pytest.raises(NotAsWritten, match="block 100 "):
        verify_snapshot(connections(account), snapshot_id, delta)


@contextmanager
def dying(state: Path, identity: str, run: RunDirectory) -> Iterator[Progress]:
    """The memory of an upload that is killed at the end of the block: nothing is tidied up."""
    base = state / "ebs-direct" / identity
    with remembered(state, identity, run) as progress:
        yield progress
        files = (base.with_suffix(".json"), base.with_suffix(".sent"), run.path / "journal.jsonl")
        kept = {path: path.read_bytes() for path in files}
    for path, data in kept.items():
        path.write_bytes(data)


def killed(account: Account, run: RunDirectory, image: Path, state: Path, sent: int) -> None:
    """What a killed build leaves, with so many blocks sent."""
    delta = delta_to(whole(image), None)
    with dying(state, delta.identity(), run) as progress:
        one = upload(account, run, image, delta, progress)
        one.start()
        few = Delta(index_of(image, range(0, sent * 50, 50)), None, 0)
        Upload(one.ec2, one.ebs, few, image, one.claim, progress).write(connections(account))


def test_an_upload_goes_on_where_it_was_killed(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    killed(account, run, image, tmp_path, 12)
    rig.calls.clear()
    delta = delta_to(whole(image), None)
    with remembered(tmp_path, delta.identity(), run) as progress:
        assert progress.is_resumed
        one = upload(account, run, image, delta, progress)
        snapshot_id = one.start()
        one = one.resumed(whole(image))
        assert (len(progress.sent), len(progress.stale)) == (12, 0)
        assert one.write(connections(account)) == 8 == counted(rig, "PutSnapshotBlock")
        one.complete()
        # What cleans up after the killed run must not find it.
        assert rig.cloud.snapshots[snapshot_id].tags["goldsmith:run"] == one.claim.mark
    assert same(rig, snapshot_id, image) and len(rig.cloud.snapshots) == 1
    assert list((tmp_path / "ebs-direct").iterdir()) == []


def test_an_image_that_has_changed_is_sent_over_the_killed_one(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    killed(account, run, image, tmp_path, 12)
    delta = delta_to(whole(image), None)
    with (tmp_path / "ebs-direct" / delta.identity()).with_suffix(".sent").open("ab") as file:
        # As it was killed, two blocks were on their way, and part of a third was written down.
        for number in (4, 600):
            file.write(number.to_bytes(8, "little") + bytes(32))
        file.write(bytes(7))
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), b"new", 0)
        os.pwrite(file.fileno(), b"new", 50 * BLOCK)
    # Block 100 is of no use any more, and nobody knows whether block 4 is there.
    wanted = index_of(image, iter([0, 50, *range(150, 1000, 50)]))
    rig.calls.clear()
    with remembered(tmp_path, delta.identity(), run) as progress:
        one = upload(account, run, image, delta_to(wanted, None), progress)
        snapshot_id = one.start()
        one = one.resumed(wanted)
        assert (len(progress.sent), len(progress.stale)) == (9, 5)
        one.write(connections(account))
        one.complete()
    puts = {call.params["BlockIndex"] for call in rig.calls if call.action == "PutSnapshotBlock"}
    assert puts == {0, 4, 50, 100, *range(600, 1000, 50)}
    snapshot = rig.cloud.snapshots[snapshot_id]
    assert read_block(snapshot, 100) == bytes(BLOCK) == read_block(snapshot, 4)
    for number in wanted.numbers:
        with image.open("rb") as file:
            assert read_block(snapshot, number) == local_block(file.fileno(), number)
    verify_snapshot(connections(account), snapshot_id, one.delta)


def test_over_a_parent_a_block_becomes_the_parents_again(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    """What a killed run has sent, and is now as in the parent, cannot be taken back but by it."""
    parent = KnownSnapshot(
        written(account, run, image, delta_to(whole(image), None)), "us-east-1", whole(image)
    )
    first = delta_to(index_of(image, range(0, 1000, 50)), parent)
    assert len(first.writes) == 0
    file = (tmp_path / "ebs-direct" / first.identity()).with_suffix(".sent")
    with remembered(tmp_path, first.identity(), run) as progress:
        one = upload(account, run, image, first, progress)
        snapshot_id = one.start()
        put(rig, account, SnapshotId=snapshot_id, BlockIndex=50)
        file.write_bytes((50).to_bytes(8, "little") + bytes(32))
        one = one.resumed(whole(image))
        assert one.write(connections(account)) == 1
        one.complete()
    assert same(rig, snapshot_id, image)
    verify_snapshot(connections(account), snapshot_id, one.delta)


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_cleans_up_after_a_killed_upload_leaves_a_living_one_alone(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path, goes_on: bool
) -> None:
    runs = [RunDirectory(run.path.with_name(name), -1) for name in ("first", "second", "third")]
    for one in runs:
        one.path.mkdir()
    identity = delta_to(whole(image), None).identity()

    def left_by(which: int) -> list[str]:
        (found,) = [one for one in find_dead_runs(tmp_path / "state")
                    if one.path == runs[which].path]  # fmt: skip
        return sorted(entry.kind for entry in found.entries)

    def start(which: int, progress: Progress) -> str:
        return upload(account, runs[which], image, delta_to(whole(image), None), progress).start()

    killed(account, runs[0], image, tmp_path, 12)
    (old,) = rig.cloud.snapshots
    whole_entry = ["aws", "file", "file", "file"]
    assert left_by(0) == whole_entry
    if not goes_on:
        rig.direct.expire(old)
    with dying(tmp_path, identity, runs[1]) as progress:
        assert (start(1, progress) == old) == goes_on
    # What was given up is still to be removed after the first; all else is the second's.
    assert left_by(0) == ([] if goes_on else ["aws"])
    assert left_by(1) == whole_entry
    with remembered(tmp_path, identity, runs[2]) as progress:
        start(2, progress)
        assert left_by(1) == [] and left_by(2) == whole_entry


def test_a_torn_record_hides_none_that_follows(run: RunDirectory, tmp_path: Path) -> None:
    digest = bytes([1]) * 32
    with dying(tmp_path, "x", run) as first:
        first.mark = "m"
        first.save()
        first.note(3, digest)
    with (tmp_path / "ebs-direct/x.sent").open("ab") as file:
        file.write(bytes(7))
    with dying(tmp_path, "x", run) as second:
        second.note(4, digest)
    with remembered(tmp_path, "x", run) as third:
        assert list(third.compare(lambda number: digest, 2048)) == [3, 4] and len(third.sent) == 2


@pytest.mark.parametrize("what", ["deleted", "expired", "completed", "torn", "nonsense"])
def test_an_upload_that_cannot_go_on_begins_anew(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path, what: str
) -> None:
    killed(account, run, image, tmp_path, 12)
    (old,) = rig.cloud.snapshots
    delta = delta_to(whole(image), None)
    base = tmp_path / "ebs-direct" / delta.identity()
    if what == "deleted":
        del rig.cloud.snapshots[old], rig.direct.uploads[old]
    elif what == "expired":
        rig.direct.expire(old)
    elif what == "completed":
        rig.cloud.snapshots[old].polls = 0
        del rig.direct.uploads[old]
    elif what == "torn":
        base.with_suffix(".json").write_text('{"token": "x')
    else:
        base.with_suffix(".json").write_text('{"token": 1, "mark": [], "snapshot_id": null}')
    with remembered(tmp_path, delta.identity(), run) as progress:
        one = upload(account, run, image, delta, progress)
        snapshot_id = one.start()
        one = one.resumed(whole(image))
        assert snapshot_id != old and one.write(connections(account)) == 20
        one.complete()
    assert same(rig, snapshot_id, image)


def test_a_start_whose_answer_was_never_heard_is_found_again(
    rig: Rig, account: Account, run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    killed(account, run, image, tmp_path, 0)
    delta = delta_to(whole(image), None)
    file = (tmp_path / "ebs-direct" / delta.identity()).with_suffix(".json")
    (old,) = rig.cloud.snapshots
    file.write_text(file.read_text().replace(old, ""))
    with remembered(tmp_path, delta.identity(), run) as progress:
        one = upload(account, run, image, delta, progress)
        assert one.start() == old
        one.write(connections(account))
        one.complete()
    assert same(rig, old, image) and len(rig.cloud.snapshots) == 1


def test_two_builds_of_the_same_are_two_uploads(run: RunDirectory, tmp_path: Path) -> None:
    with remembered(tmp_path, "x", run) as one, remembered(tmp_path, "x", run) as two:
        assert one.token != two.token and two.file is None


def put(rig: Rig, account: Account, **given: Any) -> Any:
    data = given.pop("data", b"x" * BLOCK)
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    wanted = {"BlockIndex": 0, "BlockData": data, "DataLength": BLOCK, "Checksum": checksum,
              "ChecksumAlgorithm": "SHA256", **given}  # fmt: skip
    return account.ebs().once("put_snapshot_block", **wanted)


def test_the_rig_is_strict(rig: Rig, account: Account, image: Path) -> None:
    """What the real service refuses is refused: else tests would prove nothing."""
    ebs = account.ebs()
    snapshot_of(rig, image, encrypted=True)

    def refused(operation: str, **given: Any) -> str:
        with pytest.raises(AwsError) as caught:
            ebs.once(operation, **given)
        return f"{caught.value.code} {caught.value.reason}".strip()

    assert refused("start_snapshot", VolumeSize=70000) == "ValidationException INVALID_VOLUME_SIZE"
    both = {"VolumeSize": 1, "ParentSnapshotId": "snap-x", "Encrypted": True}
    assert refused("start_snapshot", **both).startswith("ValidationException")
    nobody = {"VolumeSize": 1, "ParentSnapshotId": "snap-0"}
    assert refused("start_snapshot", **nobody).startswith("ResourceNotFoundException")
    child = ebs.once("start_snapshot", VolumeSize=2, ParentSnapshotId="snap-x", ClientToken="t")
    again = ebs.once("start_snapshot", VolumeSize=2, ParentSnapshotId="snap-x", ClientToken="t")
    assert again["SnapshotId"] == child["SnapshotId"] and child["Status"] == "pending"
    assert rig.cloud.snapshots[child["SnapshotId"]].encrypted
    assert refused("start_snapshot", VolumeSize=3, ClientToken="t") == "ConflictException"
    one = {"SnapshotId": child["SnapshotId"]}
    for wrong in ({"Checksum": "AAAA"}, {"BlockIndex": 4096}, {"data": b"short"},
                  {"DataLength": 512}):  # fmt: skip
        with pytest.raises(AwsError, match="Validation"):
            put(rig, account, **one, **wrong)
    put(rig, account, **one)
    with pytest.raises(AwsError, match="Validation"):
        put(rig, account, SnapshotId="snap-x")
    assert refused("list_snapshot_blocks", **one).startswith("ValidationException")
    assert refused("complete_snapshot", **one, ChangedBlocksCount=2).startswith("Validation")
    wrong_sum = {"ChangedBlocksCount": 1, "Checksum": "AAAA", "ChecksumAlgorithm": "SHA256",
                 "ChecksumAggregationMethod": "LINEAR"}  # fmt: skip
    assert refused("complete_snapshot", **one, **wrong_sum).startswith("Validation")
    ebs.once("complete_snapshot", **one, ChangedBlocksCount=1)
    with pytest.raises(AwsError, match="Validation"):
        put(rig, account, **one)
    listed = ebs.once("list_snapshot_blocks", **one, MaxResults=100)["Blocks"]
    assert [block["BlockIndex"] for block in listed] == sorted(
        {0, *present(rig.cloud.snapshots["snap-x"])}
    )
    stale = {**one, "BlockIndex": 0, "BlockToken": listed[0]["BlockToken"]}
    ebs.once("get_snapshot_block", **stale)["BlockData"].read()
    ebs.once("list_snapshot_blocks", **one)
    assert refused("get_snapshot_block", **stale).endswith("INVALID_BLOCK_TOKEN")
    other = ebs.once("start_snapshot", VolumeSize=1)["SnapshotId"]
    ebs.once("complete_snapshot", SnapshotId=other, ChangedBlocksCount=0)
    pair = {"FirstSnapshotId": "snap-x", "SecondSnapshotId": other}
    assert refused("list_changed_blocks", **pair).endswith("UNRELATED_SNAPSHOTS")
