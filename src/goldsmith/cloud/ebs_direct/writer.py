"""A snapshot written block by block, and only the blocks that its parent has otherwise."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from goldsmith.cloud.calls import Service
from goldsmith.cloud.ebs_direct.connections import Connections
from goldsmith.cloud.ebs_direct.contents import read_block
from goldsmith.cloud.ebs_direct.delta import Delta
from goldsmith.cloud.ebs_direct.digest_index import (
    BLOCK_BYTES,
    BLOCKS_PER_GIB,
    ZERO_DIGEST,
    DigestIndex,
    merged,
)
from goldsmith.cloud.ebs_direct.resume import Noted, Progress
from goldsmith.cloud.image_options import RUN_TAG
from goldsmith.cloud.journal import Claim
from goldsmith.cloud.refusals import AwsError
from goldsmith.errors import GoldsmithError

OnBlocks = Callable[[int, int], None]
"""Called with the number of blocks that are written, and of all."""
_ZEROS: Final = bytes(BLOCK_BYTES)
_SHA256: Final = "SHA256"


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a snapshot without parent is encrypted; one with a parent is as its parent."""

    encrypted: bool | None = None
    """None: as the account has it by default."""
    key_arn: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """One snapshot to be written."""

    ec2: Service
    ebs: Service
    delta: Delta
    image: Path
    claim: Claim
    progress: Progress
    encryption: Encryption = Encryption()
    timeout_min: int = 60
    """After so many minutes without a block the service gives the snapshot up."""

    def start(self) -> str:
        """Start the snapshot, or find the one that a killed run has begun; returns its id.

        What that one has sent is not looked at yet: see `resumed`.
        """
        if self.progress.is_resumed:
            found = self._resumed()
            if found is not None:
                return found
            self.progress.restart()
        self.progress.mark, self.progress.claim = self.claim.mark, self._noted()
        self.progress.save()
        answer = self._start()
        self.progress.snapshot_id = str(answer["SnapshotId"])
        self.progress.save()
        return self.progress.snapshot_id

    def _start(self) -> Mapping[str, Any]:
        delta, key = self.delta, self.encryption
        own: dict[str, Any] = {"Encrypted": key.encrypted, "KmsKeyArn": key.key_arn or None}
        answer: Mapping[str, Any] = self.ebs.call(
            "start_snapshot", VolumeSize=delta.size_gib, ClientToken=self.progress.token,
            ParentSnapshotId=None if delta.parent is None else delta.parent.snapshot_id,
            Description="Written block by block by goldsmith", Timeout=self.timeout_min,
            Tags=[{"Key": RUN_TAG, "Value": self.progress.mark}],
            **({} if delta.parent is not None else own),
        )  # fmt: skip
        if answer["BlockSize"] != BLOCK_BYTES:
            raise GoldsmithError(f"the service has blocks of {answer['BlockSize']} bytes, not of "
                                 f"{BLOCK_BYTES}")  # fmt: skip
        return answer

    def _resumed(self) -> str | None:
        """The snapshot of the run that was killed, if blocks can still be written to it."""
        progress = self.progress
        try:
            if not progress.snapshot_id:
                # The same request with the same token: its answer was never heard.
                progress.snapshot_id = str(self._start()["SnapshotId"])
            found = self.ec2.one("describe_snapshots", SnapshotIds=[progress.snapshot_id])
            if found["State"] != "pending":
                return None
            # From now on it is this run's: what cleans up after the other one leaves it alone.
            self.ec2.call(
                "create_tags", Resources=[progress.snapshot_id],
                Tags=[{"Key": RUN_TAG, "Value": self.claim.mark}],
            )  # fmt: skip
        except AwsError as e:
            if e.is_absence or e.code == "ConflictException":
                return None
            raise
        progress.take_over(self._noted(), self.claim.run.path.parent)
        return progress.snapshot_id

    def _noted(self) -> Noted:
        return Noted(self.claim.run.id, (self.claim.entry,))

    def resumed(self, wanted: DigestIndex) -> Upload:
        """The upload with every block that an earlier run has sent, as `wanted` has it.

        Blocks of no use become zeros. To be called once it has started.
        """

        def digest_of(number: int) -> bytes:
            return wanted.get(number) or ZERO_DIGEST

        delta, blocks = self.delta, self.delta.size_gib * BLOCKS_PER_GIB
        there = DigestIndex(delta.size_gib)
        for number in self.progress.compare(digest_of, blocks):
            there.append(number, digest_of(number))
        if not len(there):
            return self
        return replace(self, delta=replace(delta, writes=merged(there, delta.writes)))

    def write(self, connections: Connections, on_blocks: OnBlocks = lambda *_: None) -> int:
        """Write every block that is not there yet; returns how many that were. Raises AwsError."""
        writes, progress = self.delta.writes, self.progress
        snapshot_id, total = progress.snapshot_id, len(writes)
        before = len(progress.sent)
        with ExitStack() as stack:
            fd = stack.enter_context(open(self.image, "rb")).fileno()

            def put(job: tuple[int, bytes]) -> None:
                number, digest = job
                data = _ZEROS if digest == ZERO_DIGEST else read_block(fd, number)
                if data is not _ZEROS and hashlib.sha256(data).digest() != digest:
                    raise GoldsmithError(f"{self.image} was changed while it was uploaded",
                                         hint="is a machine running on it?")  # fmt: skip
                progress.begin(number)
                connections.call(
                    "put_snapshot_block", SnapshotId=snapshot_id, BlockIndex=number,
                    BlockData=data, DataLength=BLOCK_BYTES, ChecksumAlgorithm=_SHA256,
                    Checksum=base64.b64encode(digest).decode(),
                )  # fmt: skip
                progress.note(number, digest)

            jobs = (job for job in writes if job[0] not in progress.sent)
            connections.for_each(jobs, put, lambda done: on_blocks(before + done, total))
        return total - before

    def complete(self) -> None:
        """Say that all is written; the service compares the digest of all digests."""
        try:
            self.ebs.call(
                "complete_snapshot", SnapshotId=self.progress.snapshot_id,
                ChangedBlocksCount=len(self.delta.writes), Checksum=self.delta.writes.linear,
                ChecksumAlgorithm=_SHA256, ChecksumAggregationMethod="LINEAR",
            )  # fmt: skip
        except AwsError as e:
            # The answer to an earlier try was lost: the snapshot's state tells whether it counted.
            if not e.maybe_made:
                raise
            found = self.ec2.one("describe_snapshots", SnapshotIds=[self.progress.snapshot_id])
            if found["State"] == "error":
                raise
