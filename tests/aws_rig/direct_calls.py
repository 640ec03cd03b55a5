"""The EBS direct API, strict: what the service refuses is refused here, and bytes are bytes."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aws_rig.cloud import ACCOUNT, Cloud, Snapshot, tag_list
from aws_rig.disks import GIB
from aws_rig.refusals import Refused

BLOCK = 512 << 10
ZERO = bytes(BLOCK)
NEVER = 10**9
_ROUTES = (
    ("POST", r"/snapshots", "StartSnapshot"),
    ("POST", r"/snapshots/completion/(?P<snapshot>[^/]+)", "CompleteSnapshot"),
    ("PUT", r"/snapshots/(?P<snapshot>[^/]+)/blocks/(?P<index>\d+)", "PutSnapshotBlock"),
    ("GET", r"/snapshots/(?P<snapshot>[^/]+)/blocks/(?P<index>\d+)", "GetSnapshotBlock"),
    ("GET", r"/snapshots/(?P<snapshot>[^/]+)/blocks", "ListSnapshotBlocks"),
    ("GET", r"/snapshots/(?P<snapshot>[^/]+)/changedblocks", "ListChangedBlocks"),
)
_COMPARED = ("VolumeSize", "ParentSnapshotId", "Tags", "Description", "Encrypted", "KmsKeyArn",
             "Timeout")  # fmt: skip
Answer = tuple[int, Mapping[str, str], bytes]


def invalid(reason: str, message: str) -> Refused:
    """A ValidationException with its reason."""
    return Refused("ValidationException", message, 400, reason=reason)


@dataclass(frozen=True)
class DirectCall:
    """One request, taken apart."""

    action: str
    region: str
    snapshot: str
    index: int
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def shown(self) -> dict[str, Any]:
        """What of it stands in the log of calls."""
        found: dict[str, Any] = dict(self.query)
        if self.snapshot:
            found["SnapshotId"] = self.snapshot
        if self.index >= 0:
            found["BlockIndex"] = self.index
        if self.action == "StartSnapshot":
            found |= json.loads(self.body)
        return found


def routed(method: str, path: str) -> tuple[str, str, int]:
    """The action of a request, its snapshot and its block (-1 for none)."""
    for wanted, pattern, action in _ROUTES:
        match = re.fullmatch(pattern, path)
        if wanted == method and match:
            found = match.groupdict()
            return action, found.get("snapshot") or "", int(found.get("index") or -1)
    raise Refused("UnknownOperationException", f"{method} {path}", 404)


@dataclass
class Upload:
    """A snapshot that is being written: what started it, and the digests of its blocks."""

    snapshot: Snapshot
    request: Mapping[str, Any]
    digests: dict[int, bytes] = field(default_factory=dict)
    puts: int = 0


@dataclass
class Direct:
    """The service. A put takes `put_delay_s`; `quota` of them are taken in a second, 0 for any."""

    cloud: Cloud
    lock: threading.RLock
    put_delay_s: float = 0.0
    quota: int = 0
    uploads: dict[str, Upload] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """The ids of snapshots by the client tokens that started them."""
    generations: dict[str, int] = field(default_factory=dict)
    _window: tuple[int, int] = (0, 0)

    def answer(self, call: DirectCall) -> Answer:
        """Do it; raises Refused."""
        match call.action:
            case "StartSnapshot":
                return self._start(call)
            case "PutSnapshotBlock":
                return self._put(call)
            case "CompleteSnapshot":
                return self._complete(call)
            case "GetSnapshotBlock":
                return self._get(call)
            case "ListSnapshotBlocks":
                return self._list(call)
            case _:
                return self._changed(call)

    def expire(self, snapshot_id: str) -> None:
        """What was not completed in time is lost."""
        with self.lock:
            self.uploads.pop(snapshot_id)
            self.cloud.snapshots[snapshot_id].failed = True

    def _start(self, call: DirectCall) -> Answer:
        given = json.loads(call.body)
        with self.lock:
            token = given.get("ClientToken", "")
            known = self.tokens.get(token) if token else None
            if known is not None:
                asked = self.cloud.asked[known]
                if any(asked.get(name) != given.get(name) for name in _COMPARED):
                    raise Refused("ConflictException", f"{token} was used with other parameters",
                                  409)  # fmt: skip
                return _json(201, self._started(known, asked))
            snapshot = self._new(given, call.region)
            self.cloud.snapshots[snapshot.id] = snapshot
            self.cloud.asked[snapshot.id] = given
            self.uploads[snapshot.id] = Upload(snapshot, given)
            if token:
                self.tokens[token] = snapshot.id
            return _json(201, self._started(snapshot.id, given))

    def _new(self, given: Mapping[str, Any], region: str) -> Snapshot:
        size, parent_id = given.get("VolumeSize", 0), given.get("ParentSnapshotId")
        if not 1 <= size <= 65536:
            raise invalid("INVALID_VOLUME_SIZE", f"a volume has no {size} GiB")
        if not 10 <= given.get("Timeout", 60) <= 4320:
            raise invalid("INVALID_PARAMETER_VALUE", "Timeout is out of range")
        encrypted, key, parent = bool(given.get("Encrypted")), given.get("KmsKeyArn"), None
        if parent_id:
            if "Encrypted" in given or key:
                raise invalid("INVALID_PARAMETER_VALUE", "Encrypted excludes ParentSnapshotId")
            parent = self._readable(parent_id, region)
            if size < parent.size:
                raise invalid("INVALID_VOLUME_SIZE", "smaller than its parent")
            encrypted, key = parent.encrypted, parent.key
        elif key and not encrypted:
            raise invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn needs Encrypted")
        if sum(1 for one in self.uploads.values() if one.snapshot.region == region) >= 100:
            raise Refused("ConcurrentLimitExceededException", "100 pending snapshots")
        tags = {tag["Key"]: tag.get("Value", "") for tag in given.get("Tags", ())}
        return Snapshot(
            self.cloud.fresh_id("snap", ""), region, NEVER, tags, size=size,
            file=self.cloud.file(size, parent and parent.file), encrypted=encrypted, key=key,
            description=given.get("Description", ""), parent=parent_id,
            present=set(present(parent)) if parent else set(),
        )  # fmt: skip

    def _started(self, snapshot_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
        found = self.cloud.snapshots.get(snapshot_id)
        if found is None:
            raise Refused("ResourceNotFoundException", f"{snapshot_id} does not exist", 404,
                          reason="SNAPSHOT_NOT_FOUND")  # fmt: skip
        state = "error" if found.failed else "pending" if found.polls > 0 else "completed"
        return {"SnapshotId": found.id, "OwnerId": ACCOUNT, "Status": state, "BlockSize": BLOCK,
                "VolumeSize": found.size, "StartTime": time.time(), "Tags": tag_list(found.tags),
                **({"KmsKeyArn": found.key} if found.key else {})}  # fmt: skip

    def _upload(self, snapshot_id: str, region: str) -> Upload:
        found = self.uploads.get(snapshot_id)
        if found is None or snapshot_id not in self.cloud.snapshots:
            self._known(snapshot_id, region)
            raise invalid("INVALID_SNAPSHOT_ID", f"{snapshot_id} is not pending")
        return found

    def _put(self, call: DirectCall) -> Answer:
        with self.lock:
            self._take_turn()
            upload = self._upload(call.snapshot, call.region)
        time.sleep(self.put_delay_s)
        headers, body = call.headers, call.body
        if headers.get("x-amz-checksum-algorithm") != "SHA256":
            raise invalid("INVALID_PARAMETER_VALUE", "the checksum algorithm is SHA256")
        if headers.get("x-amz-data-length") != str(BLOCK) or len(body) != BLOCK:
            raise invalid("INVALID_BLOCK", "a block has 524288 bytes")
        if call.index >= upload.snapshot.size * GIB // BLOCK:
            raise invalid("INVALID_BLOCK", f"block {call.index} is beyond the volume")
        digest = hashlib.sha256(body).digest()
        given = headers.get("x-amz-checksum", "")
        if given != base64.b64encode(digest).decode():
            raise invalid("INVALID_BLOCK", "the checksum is not that of the data")
        with self.lock:
            upload = self._upload(call.snapshot, call.region)
            assert upload.snapshot.file is not None and upload.snapshot.present is not None
            _write(upload.snapshot.file, call.index, body)
            upload.snapshot.present.add(call.index)
            upload.digests[call.index] = digest
            upload.puts += 1
        return 201, {"x-amz-checksum": given, "x-amz-checksum-algorithm": "SHA256"}, b""

    def _take_turn(self) -> None:
        second = int(time.monotonic())
        count = self._window[1] + 1 if self._window[0] == second else 1
        self._window = (second, count)
        if self.quota and count > self.quota:
            raise Refused("RequestThrottledException", "not so fast", 400,
                          reason="RESOURCE_LEVEL_THROTTLE")  # fmt: skip

    def _complete(self, call: DirectCall) -> Answer:
        with self.lock:
            upload = self._upload(call.snapshot, call.region)
            count = call.headers.get("x-amz-changedblockscount", "")
            if count != str(len(upload.digests)):
                text = f"{len(upload.digests)} blocks were written, not {count}"
                raise invalid("INVALID_PARAMETER_VALUE", text)
            checksum = call.headers.get("x-amz-checksum")
            if checksum is not None:
                if call.headers.get("x-amz-checksum-aggregation-method") != "LINEAR":
                    raise invalid("INVALID_PARAMETER_VALUE", "the aggregation is LINEAR")
                joined = b"".join(upload.digests[index] for index in sorted(upload.digests))
                if checksum != base64.b64encode(hashlib.sha256(joined).digest()).decode():
                    raise invalid("INVALID_PARAMETER_VALUE", "the aggregated checksum is wrong")
            upload.snapshot.polls = self.cloud.polls_of("snapshot")
            del self.uploads[call.snapshot]
        return _json(202, {"Status": "pending"})

    def _known(self, snapshot_id: str, region: str) -> Snapshot:
        found = self.cloud.snapshots.get(snapshot_id)
        if found is None or found.region != region:
            raise Refused("ResourceNotFoundException", f"{snapshot_id} does not exist", 404,
                          reason="SNAPSHOT_NOT_FOUND")  # fmt: skip
        return found

    def _readable(self, snapshot_id: str, region: str) -> Snapshot:
        found = self._known(snapshot_id, region)
        shared = any(one.get("UserId") == ACCOUNT for one in found.permissions)
        if found.owner != ACCOUNT and not shared:
            raise Refused("AccessDeniedException", f"{snapshot_id} may not be read", 403,
                          reason="UNAUTHORIZED_ACCOUNT")  # fmt: skip
        if found.polls > 0 or found.failed:
            raise invalid("INVALID_SNAPSHOT_ID", f"{snapshot_id} is not completed")
        return found

    def _get(self, call: DirectCall) -> Answer:
        with self.lock:
            snapshot = self._readable(call.snapshot, call.region)
            if call.query.get("blockToken") != self._token(snapshot, call.index):
                raise invalid("INVALID_BLOCK_TOKEN", "the token has expired, or is of another")
            data = read_block(snapshot, call.index)
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return 200, {"x-amz-data-length": str(BLOCK), "x-amz-checksum": digest,
                     "x-amz-checksum-algorithm": "SHA256",
                     "content-type": "application/octet-stream"}, data  # fmt: skip

    def _token(self, snapshot: Snapshot, index: int) -> str:
        return f"{snapshot.id}.{self.generations.get(snapshot.id, 0)}.{index}"

    def _list(self, call: DirectCall) -> Answer:
        with self.lock:
            snapshot = self._readable(call.snapshot, call.region)
            chosen, following = self._page(call, sorted(present(snapshot)), snapshot)
            blocks = [{"BlockIndex": index, "BlockToken": self._token(snapshot, index)}
                      for index in chosen]  # fmt: skip
        return self._listed("Blocks", blocks, snapshot, following)

    def _changed(self, call: DirectCall) -> Answer:
        with self.lock:
            second = self._readable(call.snapshot, call.region)
            first_id = call.query.get("firstSnapshotId")
            first = self._readable(first_id, call.region) if first_id else None
            if first is not None and self._root(first) != self._root(second):
                raise invalid("UNRELATED_SNAPSHOTS", "the snapshots are not of one lineage")
            before = present(first) if first else set()
            after = present(second)
            found = [index for index in sorted(before | after)
                     if (index in before) != (index in after) or first is None
                     or read_block(first, index) != read_block(second, index)]  # fmt: skip
            chosen, following = self._page(call, found, second)
            blocks = []
            for index in chosen:
                one: dict[str, Any] = {"BlockIndex": index}
                if first is not None and index in before:
                    one["FirstBlockToken"] = self._token(first, index)
                if index in after:
                    one["SecondBlockToken"] = self._token(second, index)
                blocks.append(one)
        return self._listed("ChangedBlocks", blocks, second, following)

    def _root(self, snapshot: Snapshot) -> str:
        while snapshot.parent and snapshot.parent in self.cloud.snapshots:
            snapshot = self.cloud.snapshots[snapshot.parent]
        return snapshot.parent or snapshot.volume or snapshot.id

    def _page(
        self, call: DirectCall, found: list[int], snapshot: Snapshot
    ) -> tuple[list[int], str | None]:  # fmt: skip
        count = int(call.query.get("maxResults", 1000))
        if not 100 <= count <= 10000:
            raise invalid("INVALID_PARAMETER_VALUE", "MaxResults is out of range")
        page = call.query.get("pageToken")
        if page is None:
            # A new listing: older tokens are worth nothing any more.
            self.generations[snapshot.id] = self.generations.get(snapshot.id, 0) + 1
            start = int(call.query.get("startingBlockIndex", 0))
        else:
            generation, _, text = page.partition(":")
            if generation != str(self.generations.get(snapshot.id, 0)):
                raise invalid("INVALID_PAGE_TOKEN", "the token has expired")
            start = int(text)
        rest = [index for index in found if index >= start]
        more = len(rest) > count
        generation = str(self.generations.get(snapshot.id, 0))
        return rest[:count], f"{generation}:{rest[count]}" if more else None

    def _listed(
        self, name: str, blocks: list[dict[str, Any]], snapshot: Snapshot, following: str | None
    ) -> Answer:  # fmt: skip
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=7)
        found = {name: blocks, "VolumeSize": snapshot.size, "BlockSize": BLOCK,
                 "ExpiryTime": expires.timestamp()}  # fmt: skip
        return _json(200, found | ({"NextToken": following} if following else {}))


def present(snapshot: Snapshot) -> set[int]:
    """The blocks that a snapshot has; those with data where it is of a volume."""
    if snapshot.present is None:
        snapshot.present = set(_data_blocks(snapshot.file)) if snapshot.file else set()
    return snapshot.present


def _data_blocks(file: Path) -> Iterator[int]:
    with open(file, "rb") as stream:
        fd, at, size = stream.fileno(), 0, file.stat().st_size
        os.fsync(fd)
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(fd, start, os.SEEK_HOLE)
            yield from range(start // BLOCK, -(-at // BLOCK))


def read_block(snapshot: Snapshot, index: int) -> bytes:
    """The bytes of a block."""
    assert snapshot.file is not None
    with open(snapshot.file, "rb") as file:
        return os.pread(file.fileno(), BLOCK, index * BLOCK)


def _write(file: Path, index: int, data: bytes) -> None:
    with open(file, "r+b") as stream:
        os.pwrite(stream.fileno(), data, index * BLOCK)


def as_launched(snapshot: Snapshot, target: Path, size: int) -> Path:
    """The first bytes of an encrypted volume of it: blocks that nobody wrote hold garbage."""
    garbage = os.urandom(BLOCK)
    known = present(snapshot)
    with open(target, "wb") as file:
        for index in range(size // BLOCK):
            file.write(read_block(snapshot, index) if index in known else garbage)
    return target


def _json(status: int, content: Mapping[str, Any]) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(content).encode()
