"""Putting the files of an image set where machines fetch them: directories, HTTP PUT, S3.

Images go first and the metadata last, so whoever waits for that finds everything it names. Metadata
that are there already and say the same of files that are there too mean that nothing is to be done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from goldsmith.deploy.copying.http_source import HttpSource
from goldsmith.deploy.copying.s3_source import S3Source
from goldsmith.deploy.copying.sources import Source, SourceError
from goldsmith.errors import GoldsmithError, explain_os_error
from goldsmith.host.cancellation import check_cancelled, pause
from goldsmith.host.digests import file_digest
from goldsmith.host.sparse import copy_sparse, full_file_system_named
from goldsmith.redact import Redactor

ALREADY_THERE: Final = "the metadata there say the same, and the files are there"

OnBytes = Callable[[int, int], None]

_TRIES: Final = 4
_FIRST_PAUSE_S: Final = 1.0
_STALL_S: Final = 60.0
_PART_BYTES: Final = 64 << 20
"""S3 takes at most 10,000 parts of a file."""
_LARGEST_DOCUMENT_BYTES: Final = 64 << 20


class PublishError(GoldsmithError):
    """A file cannot be put where it belongs; `is_passing` says that another try may help."""

    def __init__(self, message: str, *, is_passing: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_passing = is_passing


class Place(Protocol):
    """Somewhere files can be put, each under a name without slashes."""

    shown: str
    """The place without passwords."""

    def size_bytes(self, name: str) -> int | None:
        """How large a file there is; None where there is none, or the place does not tell."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file that is there, None where there is none that can be read."""
        ...

    def put(self, source: Path, name: str, on_bytes: OnBytes) -> None:
        """Write a file whole, over one of the same name; raises PublishError."""
        ...


def place_of(destination: str, directory: Path, redactor: Redactor) -> Place:
    """The place that a destination names: a path, file:, http:, https: or s3:.

    Paths are relative to `directory`. Raises PublishError for any other scheme.
    """
    scheme, found, rest = destination.partition("://")
    if not found:
        return DirectoryPlace(directory / destination)
    if scheme == "file":
        return DirectoryPlace(Path("/" + urllib.parse.unquote(rest).lstrip("/")))
    if scheme in ("http", "https"):
        return HttpPlace(destination, redactor)
    if scheme == "s3":
        return S3Place(destination, redactor)
    raise PublishError(f"{scheme}: is no place that images can be published to",
                       hint="name a directory, or an address of http, https or s3")  # fmt: skip


def publish(
    files: Sequence[Path],
    place: Place,
    *,
    say: Callable[[str], None],
    on_bytes: Callable[[str, int, int], None],
) -> bool:
    """Put files there in their order; the last one describes them. False: it was all there.

    Raises PublishError, and leaves what is there as it is for a file that cannot be put.
    """
    *_, document = files
    if _is_there(files, place):
        say(f"{place.shown}: {ALREADY_THERE}; nothing is published")
        return False
    for path in files:
        say(f"{path.name} => {place.shown}")
        _put(path, place, partial(on_bytes, path.name))
    if place.read(document.name) not in (None, document.read_bytes()):
        raise PublishError(f"{place.shown}: what is read back of {document.name} is not what was "
                           "written", hint="is there a cache before it?")  # fmt: skip
    return True


def _is_there(files: Sequence[Path], place: Place) -> bool:
    if place.read(files[-1].name) != files[-1].read_bytes():
        return False
    return all(place.size_bytes(path.name) == path.stat().st_size for path in files)


def _put(path: Path, place: Place, on_bytes: OnBytes) -> None:
    for number in range(_TRIES):
        try:
            place.put(path, path.name, on_bytes)
            size_bytes = place.size_bytes(path.name)
            if size_bytes not in (None, path.stat().st_size):
                raise PublishError(
                    f"{place.shown}: {path.name} has {size_bytes} bytes there and "
                    f"{path.stat().st_size} here", is_passing=True,
                )  # fmt: skip
            return
        except PublishError as e:
            if not e.is_passing or number == _TRIES - 1:
                raise
        pause(_FIRST_PAUSE_S * 2**number)


class DirectoryPlace:
    """A directory of this host, or one that is mounted; it is made if it is missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.shown = str(directory)

    def size_bytes(self, name: str) -> int | None:
        """The size of a file there."""
        with contextlib.suppress(OSError):
            return (self._directory / name).stat().st_size
        return None

    def read(self, name: str) -> bytes | None:
        """A file there."""
        with contextlib.suppress(OSError):
            return (self._directory / name).read_bytes()
        return None

    def put(self, source: Path, name: str, on_bytes: OnBytes) -> None:
        """Copy under another name, holes and all, and rename."""
        target = self._directory / name
        temporary = target.with_name(f".{name}.{secrets.token_hex(4)}.partial")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with full_file_system_named(target):
                copy_sparse(source, temporary, on_bytes=on_bytes)
                if file_digest(temporary) != file_digest(source):
                    raise PublishError(f"{source} was changed while it was published")
                os.replace(temporary, target)
        except OSError as e:
            raise explain_os_error(e) from e
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


class HttpPlace:
    """A collection of a server that takes PUT (RFC 9110, 9.3.4), with WebDAV or without."""

    def __init__(self, uri: str, redactor: Redactor) -> None:
        self._redactor = redactor
        self._base = uri.rstrip("/")
        self.shown = self._source("").shown.rstrip("/")

    def _source(self, name: str) -> HttpSource:
        address = f"{self._base}/{urllib.parse.quote(name)}"
        return HttpSource(address, stall_s=_STALL_S, redactor=self._redactor)

    def size_bytes(self, name: str) -> int | None:
        """What the server says of a file."""
        try:
            with self._ask(self._source(name), "HEAD") as answer:
                length = answer.headers.get("Content-Length", "")
        except PublishError:
            return None
        return int(length) if length.isascii() and length.isdecimal() else None

    def read(self, name: str) -> bytes | None:
        """A file of the server, if it is not too large for a document."""
        return _read_whole(self._source(name))

    def put(self, source: Path, name: str, on_bytes: OnBytes) -> None:
        """Send a file; the server answers when it has it."""
        size_bytes = source.stat().st_size
        with open(source, "rb") as stream:
            body = _Told(stream, size_bytes, on_bytes)
            with self._ask(self._source(name), "PUT", body, size_bytes) as answer:
                answer.read(1 << 16)

    def _ask(
        self, source: HttpSource, method: str, body: _Told | None = None, size_bytes: int = 0
    ) -> Any:
        request = urllib.request.Request(source.url, method=method, data=body)  # noqa: S310
        if body is not None:
            request.add_header("Content-Length", str(size_bytes))
            request.add_header("Content-Type", "application/octet-stream")
        if source.authorization:
            request.add_unredirected_header("Authorization", source.authorization)
        try:
            return urllib.request.urlopen(request, timeout=_STALL_S)  # noqa: S310
        except urllib.error.HTTPError as e:
            with e:
                hint = {
                    401: "name and password stand in the address or in ~/.netrc",
                    403: "name and password stand in the address or in ~/.netrc",
                    405: "the server takes no PUT there", 409: "make the collection first",
                }.get(e.code)  # fmt: skip
                raise PublishError(f"{source.shown}: the answer was {e.code} {e.reason}",
                                   is_passing=e.code >= 500, hint=hint) from e  # fmt: skip
        except (OSError, ValueError) as e:
            reason = e.reason if isinstance(e, urllib.error.URLError) else e
            raise PublishError(
                f"{source.shown}: {reason}", is_passing=isinstance(e, OSError),
                hint="look at the network and the proxy variables",
            ) from e  # fmt: skip


class _Told:
    """A file that tells how far it was read, and stops when the work is cancelled."""

    def __init__(self, stream: BinaryIO, size_bytes: int, on_bytes: OnBytes) -> None:
        self._stream, self._size_bytes, self._on_bytes = stream, size_bytes, on_bytes

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        check_cancelled()
        data = self._stream.read(count)
        self._on_bytes(self._stream.tell(), self._size_bytes)
        return data


class S3Place:
    """A bucket, or what lies in it below a prefix: s3://BUCKET/PREFIX.

    Credentials, region and endpoint (AWS_ENDPOINT_URL_S3) are those of AWS's own tools.
    """

    def __init__(self, uri: str, redactor: Redactor) -> None:
        parts = urllib.parse.urlsplit(uri)
        self._bucket, self._prefix = parts.netloc, urllib.parse.unquote(parts.path.strip("/"))
        if not self._bucket or parts.query:
            raise PublishError(f"{uri} names no bucket", hint="write s3://BUCKET/PREFIX")
        self.shown = uri.rstrip("/")
        self._redactor = redactor

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _call(self, operation: str, name: str, **given: Any) -> Any:
        from goldsmith.cloud.access_options import AccessOptions
        from goldsmith.cloud.refusals import AwsError
        from goldsmith.cloud.session import Account

        service = Account(AccessOptions.model_validate({}), self._redactor).s3()
        try:
            return service.call(operation, Bucket=self._bucket, Key=self._key(name), **given)
        except AwsError as e:
            raise PublishError(f"{self.shown}/{name}: {e}", hint=e.hint) from e

    def size_bytes(self, name: str) -> int | None:
        """What the service says of an object."""
        try:
            return int(self._call("head_object", name)["ContentLength"])
        except PublishError:
            return None

    def read(self, name: str) -> bytes | None:
        """An object, if it is not too large for a document."""
        uri = f"s3://{self._bucket}/{urllib.parse.quote(self._key(name))}"
        return _read_whole(S3Source(uri, redactor=self._redactor))

    def put(self, source: Path, name: str, on_bytes: OnBytes) -> None:
        """Write an object: in one piece, or in parts that become one when all are there."""
        size_bytes = source.stat().st_size
        with open(source, "rb") as stream:
            if size_bytes <= _PART_BYTES:
                self._call("put_object", name, Body=stream.read())
                on_bytes(size_bytes, size_bytes)
                return
            upload = self._call("create_multipart_upload", name)["UploadId"]
            try:
                parts: list[dict[str, Any]] = []
                part_bytes = max(_PART_BYTES, -(-size_bytes // 10_000))
                while data := stream.read(part_bytes):
                    check_cancelled()
                    number = len(parts) + 1
                    made = self._call("upload_part", name, UploadId=upload, PartNumber=number,
                                      Body=data)  # fmt: skip
                    parts.append({"PartNumber": number, "ETag": made["ETag"]})
                    on_bytes(stream.tell(), size_bytes)
                self._call("complete_multipart_upload", name, UploadId=upload,
                           MultipartUpload={"Parts": parts})  # fmt: skip
            except BaseException:
                # Parts of an upload that never ends are paid for.
                with contextlib.suppress(PublishError):
                    self._call("abort_multipart_upload", name, UploadId=upload)
                raise


def _read_whole(source: Source) -> bytes | None:
    try:
        opening = source.open(0, "")
    except SourceError:
        return None
    found = bytearray()
    buffer = bytearray(1 << 20)
    try:
        while count := opening.read_into(memoryview(buffer)):
            found += buffer[:count]
            if len(found) > _LARGEST_DOCUMENT_BYTES:
                return None
    except SourceError:
        return None
    finally:
        opening.close()
    return bytes(found)
