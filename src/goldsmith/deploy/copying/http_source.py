"""Images over HTTP and HTTPS: certificates checked, proxies of the environment, ranges proved.

Source: RFC 9110, sections 13.1.5 (If-Range), 14.4 (Content-Range) and 15.3.7 (206).
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

import goldsmith
from goldsmith.deploy.copying.sources import Opening, SourceChanged, SourceError, shown_address
from goldsmith.redact import Redactor

_AGENT: Final = f"goldsmith/{goldsmith.__version__}"
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_PASSING: Final = frozenset({408, 425, 429})
"""Besides all of 500 and more; RFC 9110, 15.5.9 and 15.6, RFC 8470, RFC 6585."""
_SHORTEST_SECRET: Final = 8
_BROKEN: Final = (OSError, http.client.HTTPException, ValueError)


class HttpSource:
    """A file behind an address of http: or https:; name and password come from it or from netrc."""

    def __init__(self, uri: str, *, stall_s: float, redactor: Redactor) -> None:
        self.shown = shown_address(uri)
        try:
            parts = urllib.parse.urlsplit(uri)
            host, _ = parts.hostname, parts.port
        except ValueError as e:
            raise SourceError(f"{self.shown} is not an address: {e}") from e
        if not host or not uri.isprintable() or " " in uri:
            raise SourceError(f"{self.shown} is not an address: a host, and no blanks")
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._stall_s = stall_s
        self.authorization = ""
        if parts.username is not None:
            user, password = map(urllib.parse.unquote, (parts.username, parts.password or ""))
        else:
            user, password = _from_netrc(host)
        if user:
            redactor.add([password])
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            redactor.add([token])
            self.authorization = f"Basic {token}"
        # Signed addresses: whoever has the query can read the file.
        values = [value for _, value in urllib.parse.parse_qsl(parts.query)]
        redactor.add(value for value in (parts.query, *values) if len(value) >= _SHORTEST_SECRET)

    def open(self, at: int, tag: str) -> Opening:
        """Ask for the file from an offset on; a server that ignores that begins at 0 again."""
        request = urllib.request.Request(self.url)  # noqa: S310 (http and https alone)
        request.add_header("User-Agent", _AGENT)
        request.add_header("Accept-Encoding", "identity")
        if self.authorization:
            # Not sent along when the server leads elsewhere.
            request.add_unredirected_header("Authorization", self.authorization)
        if at:
            request.add_header("Range", f"bytes={at}-")
            if tag:
                request.add_header("If-Range", tag)
        answer = self._ask(request, at)
        try:
            return self._opening(answer, at)
        except BaseException:
            answer.close()
            raise

    def _ask(self, request: urllib.request.Request, at: int) -> Any:
        handlers = (
            _Redirects(), urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        )  # fmt: skip
        try:
            opener = urllib.request.build_opener(*handlers)
            return opener.open(request, timeout=self._stall_s)
        except urllib.error.HTTPError as e:
            with e:
                if e.code == 416 and at:
                    raise SourceChanged(f"{self.shown} is shorter than it was") from e
                passing = e.code >= 500 or e.code in _PASSING
                hint = None
                if e.code in (401, 403):
                    hint = "name and password stand in the address or in ~/.netrc"
                raise SourceError(f"{self.shown}: the answer was {e.code} {e.reason}",
                                  is_passing=passing, hint=hint) from e  # fmt: skip
        except _BROKEN as e:
            raise self._failed(e) from e

    def _failed(self, error: BaseException) -> SourceError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return SourceError(
                f"{self.shown}: its certificate is not trusted: {reason.verify_message}",
                hint="SSL_CERT_FILE names a file of further certificates to trust",
            )
        if isinstance(reason, TimeoutError):
            return SourceError(f"{self.shown} said nothing for {self._stall_s:g} s",
                               is_passing=True)  # fmt: skip
        why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        # What is wrong with the address itself does not pass.
        passing = not isinstance(reason, ValueError | http.client.InvalidURL)
        return SourceError(f"{self.shown}: {why}", is_passing=passing,
                           hint="look at the network and the proxy variables")  # fmt: skip

    def _opening(self, answer: Any, at: int) -> Opening:
        headers = answer.headers
        if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
            raise SourceError(f"{self.shown} is sent as {encoding[:40]!r}, which was not asked for")
        length = headers.get("Content-Length", "")
        size = int(length) if re.fullmatch("[0-9]{1,19}", length) else None
        starts_at, total = 0, size
        if answer.status == 206 and at:
            starts_at, total = at, self._total_of(headers.get("Content-Range", ""), at)
        elif answer.status != 200:
            raise SourceError(f"{self.shown}: the answer was {answer.status} {answer.reason}")
        return Opening(
            read_into=lambda view: self._read(answer, view), close=answer.close,
            starts_at=starts_at, total_bytes=total, tag=_tag_of(headers),
        )  # fmt: skip

    def _total_of(self, text: str, at: int) -> int | None:
        """The size of the whole in a Content-Range, which must be of the range asked for."""
        match = _CONTENT_RANGE.fullmatch(text.strip())
        if match is None or int(match[1]) != at or int(match[2]) < at:
            raise SourceError(
                f"{self.shown}: the server was asked for the bytes from {at} on, "
                f"and answers with {text[:80]!r}"
            )
        return None if match[3] == "*" else int(match[3])

    def _read(self, answer: Any, view: memoryview) -> int:
        try:
            # What has come, however little: readinto would wait until the view is full.
            data: bytes = answer.read1(len(view))
        except _BROKEN as e:
            raise self._failed(e) from e
        view[: len(data)] = data
        return len(data)


def _tag_of(headers: Any) -> str:
    """What names a version for If-Range: a strong entity tag, else the date; RFC 9110, 13.1.5."""
    tag = str(headers.get("ETag", "")).strip()
    if tag.startswith('"'):
        return tag
    return str(headers.get("Last-Modified", "")).strip()


def _from_netrc(host: str) -> tuple[str, str]:
    """Name and password for a host in netrc(5), whose "default" is for nobody in particular."""
    given = os.environ.get("NETRC")
    path = Path(given) if given else Path.home() / ".netrc"
    try:
        found = netrc.netrc(path).hosts.get(host)
    except FileNotFoundError:
        return "", ""
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as e:
        raise SourceError(f"{path} cannot be read: {getattr(e, 'msg', None) or e}") from e
    return (found[0], found[2]) if found else ("", "")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request for where the answer points to; Range and If-Range go along."""
        wanted = urllib.parse.urlsplit(newurl).scheme
        if wanted not in (("https",) if req.type == "https" else ("http", "https")):
            fp.close()
            raise SourceError(f"{shown_address(req.full_url)} leads to {wanted}:")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
