"""The metadata service of an instance, version 2: a token first, then what is asked for."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Final

from goldsmith.errors import GoldsmithError

_TTL_S: Final = 21600
_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 16
_TRIES: Final = 3
_NO_VERSION_2: Final = frozenset({403, 404, 405})


def instance_document() -> Mapping[str, str]:
    """The identity document of the instance that this is; raises GoldsmithError elsewhere."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise _elsewhere("AWS_EC2_METADATA_DISABLED forbids to ask the metadata service")
    if not base.startswith(("http://", "https://")):
        raise _elsewhere(f"AWS_EC2_METADATA_SERVICE_ENDPOINT is {base!r}, no URL")
    reason = ""
    for _ in range(_TRIES):
        try:
            headers = _token(base)
            text = _ask(base, "dynamic/instance-identity/document", "GET", headers)
            document = json.loads(text)
            if isinstance(document, dict) and isinstance(document.get("instanceId"), str):
                return document
            reason = "what the metadata service says is no identity document"
        except (OSError, http.client.HTTPException, ValueError) as e:
            reason = f"the metadata service does not answer: {e}"
    raise _elsewhere(reason)


def _token(base: str) -> dict[str, str]:
    wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TTL_S)}
    try:
        return {"X-aws-ec2-metadata-token": _ask(base, "api/token", "PUT", wanted)}
    except urllib.error.HTTPError as e:
        forbidden = os.environ.get("AWS_EC2_METADATA_V1_DISABLED", "").lower() == "true"
        if e.code in _NO_VERSION_2 and not forbidden:
            return {}
        raise


def _ask(base: str, path: str, method: str, headers: Mapping[str, str]) -> str:
    request = urllib.request.Request(  # noqa: S310
        f"{base.rstrip('/')}/latest/{path}", method=method, headers=dict(headers)
    )
    # A proxy would be asked for its own instance.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        return str(answer.read(_MOST_BYTES).decode())


def _elsewhere(reason: str) -> GoldsmithError:
    return GoldsmithError(
        f"this is no EC2 instance, or it cannot tell: {reason}",
        hint="amazon-chroot runs on an instance of EC2, with its metadata service switched on",
    )
