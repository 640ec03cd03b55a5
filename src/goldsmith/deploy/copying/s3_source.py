"""Images in S3, or in what speaks its protocol (AWS_ENDPOINT_URL_S3)."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from goldsmith.deploy.copying.sources import Opening, SourceChanged, SourceError
from goldsmith.redact import Redactor

_READ_BYTES: Final = 128 << 10
"""A read waits until so much is there: no more than what is soon there."""
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")


class S3Source:
    """An object: s3://BUCKET/KEY; credentials and region are those of AWS's own tools."""

    def __init__(self, uri: str, *, redactor: Redactor) -> None:
        parts = urllib.parse.urlsplit(uri)
        self.shown = uri
        self._bucket, self._key = parts.netloc, urllib.parse.unquote(parts.path.removeprefix("/"))
        if not self._bucket or not self._key or parts.query:
            raise SourceError(f"{uri} names no object", hint="write s3://BUCKET/KEY")
        self._redactor = redactor
        self._service: Any = None

    def open(self, at: int, tag: str) -> Opening:
        """Ask for the object from an offset on, only if it is the same one still."""
        from goldsmith.cloud.refusals import AwsError

        try:
            answer = self._get(at, tag)
        except AwsError as e:
            if e.status in (412, 416) and at:
                raise SourceChanged(f"{self.shown} was changed while it was read") from e
            raise SourceError(f"{self.shown}: {e}", is_passing=e.is_passing, hint=e.hint) from e
        starts_at, total = 0, int(answer["ContentLength"])
        if at and "ContentRange" in answer:
            match = _CONTENT_RANGE.fullmatch(answer["ContentRange"])
            if match is None or int(match[1]) != at:
                answer["Body"].close()
                raise SourceError(f"{self.shown}: the answer has the bytes of another range")
            starts_at, total = at, int(match[2])
        body = answer["Body"]
        return Opening(
            read_into=lambda view: self._read(body, view), close=body.close, starts_at=starts_at,
            total_bytes=total, tag=str(answer.get("ETag", "")),
        )  # fmt: skip

    def _get(self, at: int, tag: str) -> Any:
        if self._service is None:
            from goldsmith.cloud.access_options import AccessOptions
            from goldsmith.cloud.session import Account

            self._service = Account(AccessOptions.model_validate({}), self._redactor).s3()
        return self._service.call(
            "get_object", Bucket=self._bucket, Key=self._key,
            Range=f"bytes={at}-" if at else None, IfMatch=tag or None,
        )  # fmt: skip

    def _read(self, body: Any, view: memoryview) -> int:
        with self._named():
            data: bytes = body.read(min(len(view), _READ_BYTES))
        view[: len(data)] = data
        return len(data)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the library while it streams, as ours: all of them may pass."""
        from botocore.exceptions import BotoCoreError, HTTPClientError

        try:
            yield
        except (BotoCoreError, HTTPClientError, OSError) as e:
            raise SourceError(f"{self.shown}: {e}", is_passing=True) from e
