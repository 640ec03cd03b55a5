"""The steps of an image that is made without any volume: read a snapshot, write one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goldsmith.cloud.ebs_direct.connections import CONNECTIONS, Connections
from goldsmith.cloud.ebs_direct.contents import Contents
from goldsmith.cloud.ebs_direct.delta import Delta, delta_to
from goldsmith.cloud.ebs_direct.digest_index import DigestIndex, KnownSnapshot
from goldsmith.cloud.ebs_direct.options import DirectOptions
from goldsmith.cloud.ebs_direct.reader import read_snapshot
from goldsmith.cloud.ebs_direct.resume import remembered
from goldsmith.cloud.ebs_direct.verify import verify_snapshot
from goldsmith.cloud.ebs_direct.writer import Encryption, Upload
from goldsmith.cloud.images import Made, Publishing
from goldsmith.cloud.journal import gone
from goldsmith.cloud.polling import SNAPSHOT
from goldsmith.cloud.refusals import AwsError
from goldsmith.core.step import StepContext
from goldsmith.errors import GoldsmithError

_PROLONGED_EVERY_S: Final = 60.0
_NOT_AS_PARENT: Final = ("ValidationException", "AccessDeniedException")
_UNREADABLE: Final = ("AccessDeniedException", "ValidationException", "ResourceNotFoundException")


@dataclass(frozen=True, slots=True)
class ReadSnapshotStep:
    """Reads a snapshot into a sparse file."""

    publishing: Publishing
    snapshot_id: str
    target: Path
    connections: int = CONNECTIONS
    """How many blocks are on their way at once."""
    name: str = "StepReadSnapshot"

    @property
    def label(self) -> str:
        """Names the snapshot."""
        return f"Reading snapshot {self.snapshot_id}"

    def run(self, context: StepContext) -> DigestIndex:
        """Read it and return the digests of its blocks; raises GoldsmithError."""
        connections = Connections(self.publishing.account.ebs(), count=self.connections)

        def progress(done: int) -> None:
            context.emitter.progress("reading", done, unit="blocks")

        try:
            index = read_snapshot(connections, self.snapshot_id, self.target, progress)
        except AwsError as e:
            if e.code in _UNREADABLE:
                own = f"; or {e.hint}" if e.hint else ""
                e.hint = f"public snapshots cannot be read: set copy_source to copy it first{own}"
            raise
        context.emitter.say(f"{len(index)} blocks of {index.size_gib * 2048} were read")
        return index


@dataclass(frozen=True, slots=True)
class WrittenSnapshot:
    """A snapshot that is complete, and what is in it."""

    snapshot_id: str
    index: DigestIndex
    parent_id: str
    sent: int
    """How many blocks were sent, by this run."""
    size_gib: int


@dataclass(frozen=True, slots=True)
class WriteSnapshotStep:
    """Writes an image as a snapshot: only the blocks that its parent has otherwise."""

    publishing: Publishing
    options: DirectOptions
    contents: Contents
    parent: KnownSnapshot | None
    state: Path
    """Where goldsmith's state of this host lies: so that the image, should this run be killed, is
    not sent from the start again."""
    resumes: bool = True
    """Whether a later build can ask for the same: its parent will still be there."""
    name: str = "StepWriteSnapshot"
    label: str = "Writing the snapshot"

    def run(self, context: StepContext) -> WrittenSnapshot:
        """Write it, wait for it and return it; it goes again unless the image is kept."""
        parent = self._allowed_parent(context)
        try:
            return self._write(delta_to(self.contents.index, parent), context)
        except _ParentRefused as e:
            context.emitter.warn(f"all blocks are sent, as there can be no parent: {e}")
            return self._write(delta_to(self.contents.index, None), context)

    def _allowed_parent(self, context: StepContext) -> KnownSnapshot | None:
        """The parent, unless it is gone, or the new snapshot is to be otherwise than it."""
        parent, ec2 = self.parent, self.publishing.account.ec2()
        if parent is None:
            return None
        why = ""
        if parent.region != ec2.region:
            why = f"it is in {parent.region}"
        elif parent.index.size_gib > self.contents.index.size_gib:
            why = f"it has {parent.index.size_gib} GiB"
        else:
            try:
                why = self._objection(ec2.one("describe_snapshots",
                                              SnapshotIds=[parent.snapshot_id]))  # fmt: skip
            except AwsError as e:
                if not e.is_absence:
                    raise
                why = "it is not there any more"
        if why:
            context.emitter.say(f"{parent.snapshot_id} is no parent for it: {why}")
        return None if why else parent

    def _objection(self, described: Mapping[str, Any]) -> str:
        options, encrypted = self.options, bool(described.get("Encrypted"))
        if described["State"] != "completed":
            return f"it is {described['State']}"
        if options.snapshot_encrypted is not None and options.snapshot_encrypted != encrypted:
            return "it is encrypted" if encrypted else "it is not encrypted"
        key = options.snapshot_kms_key_arn
        return "it has another key" if key and described.get("KmsKeyId") != key else ""

    def _write(self, delta: Delta, context: StepContext) -> WrittenSnapshot:
        publishing, options, emitter = self.publishing, self.options, context.emitter
        ec2, ebs = publishing.account.ec2(), publishing.account.ebs()
        identity = delta.identity(
            region=ec2.region, encrypted=options.snapshot_encrypted,
            key=options.snapshot_kms_key_arn, timeout=options.upload_timeout_minutes,
            build=publishing.ledger.build,
        )  # fmt: skip
        self._tell(delta, context)
        with remembered(self.state, identity, publishing.ledger.run) as progress:
            goes_on = self.resumes and progress.file is not None
            lasts_s = options.upload_timeout_minutes * 60.0 if goes_on else 0.0
            claim = publishing.ledger.claim("snapshot", ec2.region, resumes_within_s=lasts_s)
            upload = Upload(
                ec2, ebs, delta, self.contents.image, claim, progress,
                Encryption(options.snapshot_encrypted, options.snapshot_kms_key_arn),
                options.upload_timeout_minutes,
            )  # fmt: skip
            with claim.settled_if_refused():
                try:
                    snapshot_id = upload.start()
                except AwsError as e:
                    if delta.parent is not None and e.code in _NOT_AS_PARENT:
                        claim.settle()
                        raise _ParentRefused(str(e)) from e
                    raise

            def remove() -> None:
                emitter.say("Removing snapshot since we cancelled or halted...")
                gone(ec2, "delete_snapshot", SnapshotId=snapshot_id)
                claim.settle()

            handle = publishing.teardown.defer(f"delete snapshot {snapshot_id}", remove)
            if not publishing.options.copies_first:
                publishing.kept.append(Made(f"Snapshot {snapshot_id}", handle, claim))
            emitter.say(f"Snapshot ID: {snapshot_id}")
            upload = upload.resumed(self.contents.index)
            delta = upload.delta
            if len(progress.sent) or len(progress.stale):
                text = f"{len(progress.sent)} of them are there from a run that was killed"
                others = len(progress.stale)
                emitter.say(text + (f", {others} are sent once more" if others else ""))
            connections = Connections(ebs, count=options.connections)
            sent = self._send(upload, connections, context)
            upload.complete()
            claim.conclude()
        self._wait(snapshot_id)
        if options.verify_upload:
            emitter.say("Reading the snapshot back...")
            verify_snapshot(
                connections, snapshot_id, delta,
                lambda done: emitter.progress("verifying", done, unit="blocks"),
            )  # fmt: skip
        parent_id = "" if delta.parent is None else delta.parent.snapshot_id
        return WrittenSnapshot(snapshot_id, delta.result, parent_id, sent, delta.size_gib)

    def _send(self, upload: Upload, connections: Connections, context: StepContext) -> int:
        """Write the blocks; the time for which a killed upload is left alone counts from the last.

        Returns how many they were.
        """
        prolonged_s = time.monotonic()

        def told(done: int, total: int) -> None:
            nonlocal prolonged_s
            context.emitter.progress("writing", done, total, unit="blocks")
            if time.monotonic() - prolonged_s > _PROLONGED_EVERY_S:
                upload.claim.prolong()
                prolonged_s = time.monotonic()

        return upload.write(connections, told)

    def _tell(self, delta: Delta, context: StepContext) -> None:
        text = f"{len(delta.writes)} blocks of {delta.size_gib * 2048} are to be sent"
        if delta.parent is not None:
            text += f"; {delta.equal} are as in {delta.parent.snapshot_id}"
        context.emitter.say(f"{text}; {delta.left_out} are of no use to anybody")

    def _wait(self, snapshot_id: str) -> None:
        ec2 = self.publishing.account.ec2()

        def look() -> tuple[str, bool]:
            found = ec2.one("describe_snapshots", SnapshotIds=[snapshot_id])
            state = str(found["State"])
            if state == "error":
                said = found.get("StateMessage", "AWS says no more")
                raise GoldsmithError(f"snapshot {snapshot_id} failed: {said}")
            return state, state == "completed"

        self.publishing.waiting.until(SNAPSHOT, f"snapshot {snapshot_id}", look)


class _ParentRefused(GoldsmithError):
    """The service does not want the parent; without one it may do."""
