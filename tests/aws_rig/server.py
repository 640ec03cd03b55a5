"""The rig's own HTTP server: who asks for what, faults, the log, and the metadata service."""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

# Read when moto is imported: its own images are many, and take seconds.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")

from moto.core.request import Request
from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.sts.responses import TokenResponse
from werkzeug.serving import WSGIRequestHandler, make_server

from aws_rig.cloud import Cloud
from aws_rig.direct_calls import Direct, DirectCall, routed
from aws_rig.disks import Disks
from aws_rig.image_calls import ImageCalls
from aws_rig.refusals import Fault, Refused
from aws_rig.volume_calls import VolumeCalls

ZONE = "us-east-1a"
HOME_REGION = "us-east-1"
_SCOPE = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/")
_OWN = {
    name: kind
    for kind in (VolumeCalls, ImageCalls)
    for name in vars(kind)
    if not name.startswith("_")
}


@dataclass(frozen=True)
class Call:
    """One call as it came: the query as a tree, and the code of the answer if it was refused."""

    action: str
    region: str
    params: Mapping[str, Any]
    answer: str = ""
    at_s: float = 0.0

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.action.startswith(("Describe", "Get", "List")) or "DryRun" in self.params


def tree(query: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of the query protocol as a tree: `A.1.B` is a list of `A`."""
    top: dict[str, Any] = {}
    for name, value in query.items():
        place, parts = top, name.split(".")
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value
    return {name: _listed(value) for name, value in top.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(one) for name, one in value.items()}
    if inner and all(name.isdecimal() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def _snake(action: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()


class _Handler(WSGIRequestHandler):
    """A request handler that keeps connections open and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


@dataclass
class Rig:
    """A running cloud; a context manager. `url` answers EC2, STS, EBS direct and the metadata."""

    directory: Path
    loops: bool = True
    polls: int = 0
    never_ready: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    v2_only: bool = True
    """Whether the metadata service refuses requests without a token."""
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[str, int], None] = lambda action, number: None
    """Called before each call of EC2 and EBS direct, with its number among those of the action."""
    put_delay_s: float = 0.0
    """How long each PutSnapshotBlock takes."""
    put_quota: int = 0
    """How many of them are taken in a second, 0 for any number."""

    def __enter__(self) -> Rig:
        self.directory.mkdir(parents=True, exist_ok=True)
        ec2_backends.reset()
        self.disks = Disks(self.directory, self.loops)
        self.cloud = Cloud(self.disks, polls=self.polls, never_ready=self.never_ready)
        self._own = {VolumeCalls: VolumeCalls(self.cloud), ImageCalls: ImageCalls(self.cloud)}
        self._counts: Counter[str] = Counter()
        self._tokens: set[str] = set()
        self._lock = threading.RLock()
        self.direct = Direct(self.cloud, self._lock, self.put_delay_s, self.put_quota)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        (instance,) = ec2_backends["123456789012"][HOME_REGION].run_instances(
            "ami-instance", 1, b"", [], placement=ZONE, instance_type="t3.micro",
            is_instance_type_default=False, region_name=HOME_REGION,
        ).instances  # fmt: skip
        self.instance_id: str = instance.id
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.disks.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client of the rig needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIARIG00000000000", "AWS_SECRET_ACCESS_KEY": "rig-secret-key",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url, "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_ENDPOINT_URL_STS": self.url, "AWS_ENDPOINT_URL_EBS": self.url,
        }  # fmt: skip

    def changing(self) -> list[Call]:
        """The calls that change something, in order."""
        return [call for call in self.calls if not call.reads]

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            if request.path.startswith("/latest/"):
                status, headers, body = self._metadata(request)
            else:
                status, headers, body = self._api(request)
        except Refused as e:
            status, headers, body = e.status, {"content-type": "text/xml"}, e.xml()
            if request.path.startswith("/snapshots"):
                headers, body = {"x-amzn-ErrorType": e.code}, e.json()
        data = body.encode() if isinstance(body, str) else body
        given = {name: str(value) for name, value in headers.items()
                 if name.lower() not in ("status", "content-length")}  # fmt: skip
        start(f"{status} -", [*given.items(), ("Content-Length", str(len(data)))])
        return [data]

    def _api(self, request: Request) -> tuple[int, Mapping[str, Any], str | bytes]:
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        if scope is None:
            raise Refused("AuthFailure", "the request is not signed", 401)
        region, service = scope.group(2), scope.group(3)
        if service == "sts":
            return TokenResponse.dispatch(request)  # type: ignore[no-any-return]
        if service == "ebs":
            return self._directly(region, request)
        query = dict(parse_qsl(request.get_data(as_text=True), keep_blank_values=True))
        action = query.pop("Action", "")
        query.pop("Version", None)
        with self._lock:
            self._counts[action] += 1
            number = self._counts[action]
        self.on_call(action, number)
        with self._lock:
            fault = next((one for one in self.faults
                          if one.action == action and one.hits(number)), None)  # fmt: skip
            answer = ""
            try:
                if fault is not None and not fault.after:
                    raise fault.refusal()
                result = self._act(action, region, request)
                if fault is not None:
                    raise fault.refusal()
                return result
            except Refused as e:
                answer = e.code
                raise
            finally:
                self.calls.append(Call(action, region, tree(query), answer, time.monotonic()))

    def _directly(self, region: str, request: Request) -> tuple[int, Mapping[str, Any], bytes]:
        action, snapshot, index = routed(request.method, request.path)
        call = DirectCall(
            action, region, snapshot, index, dict(request.args),
            {name.lower(): value for name, value in request.headers.items()}, request.get_data(),
        )  # fmt: skip
        with self._lock:
            self._counts[action] += 1
            number = self._counts[action]
        self.on_call(action, number)
        fault = next((one for one in self.faults
                      if one.action == action and one.hits(number)), None)  # fmt: skip
        answer = ""
        try:
            if fault is not None and not fault.after:
                raise fault.refusal()
            # The puts of many connections overlap, as far as one process can.
            result = self.direct.answer(call)
            if fault is not None:
                raise fault.refusal()
            return result
        except Refused as e:
            answer = e.code
            raise
        finally:
            with self._lock:
                self.calls.append(Call(action, region, call.shown(), answer, time.monotonic()))

    def _act(
        self, action: str, region: str, request: Request
    ) -> tuple[int, Mapping[str, Any], str | bytes]:
        name = _snake(action)
        if name not in _OWN:
            return EC2Response.dispatch(request)  # type: ignore[no-any-return]
        response = EC2Response()
        response.setup_class(request)
        method = getattr(self._own[_OWN[name]], name)
        return response.serialized(ActionResult(method(region, response.params)))

    def _metadata(self, request: Request) -> tuple[int, Mapping[str, Any], str | bytes]:
        path = request.path.removeprefix("/latest/")
        if request.method == "PUT" and path == "api/token":
            token = secrets.token_urlsafe(12)
            self._tokens.add(token)
            ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            return (200, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl}, token) if ttl else (
                400, {}, "a ttl is needed")  # fmt: skip
        given = request.headers.get("X-aws-ec2-metadata-token")
        if given not in self._tokens and (given is not None or self.v2_only):
            return 401, {}, "Unauthorized"
        document = {
            "accountId": "123456789012", "architecture": "x86_64", "region": HOME_REGION,
            "instanceId": self.instance_id, "availabilityZone": ZONE, "version": "2017-09-30",
            "instanceType": "t3.micro", "imageId": "ami-instance", "privateIp": "127.0.0.1",
            "pendingTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        key = {
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIARIG",
            "SecretAccessKey": "role-secret-key", "Token": "role-token",
            "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
        }  # fmt: skip
        leaves = {
            "dynamic/instance-identity/document": json.dumps(document),
            "meta-data/instance-id": self.instance_id,
            "meta-data/placement/availability-zone": ZONE,
            "meta-data/placement/region": HOME_REGION,
            "meta-data/iam/security-credentials": "builder",
            "meta-data/iam/security-credentials/builder": json.dumps(key),
        }
        with suppress(KeyError):
            return 200, {"content-type": "text/plain"}, leaves[path.rstrip("/")]
        return 404, {}, "Not Found"
