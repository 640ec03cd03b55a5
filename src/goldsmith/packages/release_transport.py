"""Small files over HTTP as APT of this host would fetch them: proxies, certificates, passwords.

Source: apt-transport-http(1), apt-transport-https(1), apt_auth.conf(5) of apt 2.6.
"""

from __future__ import annotations

import base64
import re
import shlex
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goldsmith.host.process import run
from goldsmith.packages.apt_settings import AptSettings

if TYPE_CHECKING:
    import ssl

TIMEOUT_S: Final = 15.0
SIZE_LIMIT_BYTES: Final = 64 << 20
_USER: Final = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", re.IGNORECASE)
_DIRECT: Final = "DIRECT"


class Unreachable(Exception):
    """A file cannot be had; the message has no password."""


class NotThere(Unreachable):
    """The server has no such file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: `content` is None when the file is as the conditions say."""

    content: bytes | None
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A line of auth.conf(5): to whom a name and password may be told."""

    machine: str
    login: str
    password: str

    def fits(self, url: urllib.parse.SplitResult) -> bool:
        """Whether they are for this address: without a scheme, only encrypted."""
        scheme, found, rest = self.machine.rpartition("://")
        if (scheme or "https") != url.scheme:
            return False
        host, slash, path = (rest if found else self.machine).partition("/")
        name, _, port = host.partition(":")
        return (
            name.lower() == (url.hostname or "")
            and (not port or port == str(url.port))
            and url.path.startswith(f"{slash}{path}")
        )


def without_user(url: str) -> str:
    """The address without the user's name and password."""
    return _USER.sub(r"\1", url)


def read_credentials(text: str) -> list[Credentials]:
    """The credentials in a file of auth.conf's form."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        words = text.split()
    found: list[Credentials] = []
    entry: dict[str, str] = {}
    pairs = iter(words)
    for word in pairs:
        value = next(pairs, "")
        if word == "machine":
            entry = {}
        entry[word] = value
        if {"machine", "login", "password"} <= entry.keys():
            found.append(Credentials(entry["machine"], entry["login"], entry["password"]))
    return found


class Transport:
    """Fetches files by the settings of this host's APT; may be used by several threads."""

    def __init__(self, settings: AptSettings, *, timeout_s: float = TIMEOUT_S) -> None:
        self._options = {name.lower(): value for name, value in settings.options.items()}
        netrc = settings.private_netrc().decode(errors="replace")
        self._credentials = read_credentials(netrc)
        self._timeout_s = timeout_s

    def get(self, url: str, *, etag: str = "", last_modified: str = "") -> Answer:
        """Fetch a file unless it is as the conditions say; raises Unreachable, NotThere."""
        import http.client
        import urllib.error
        import urllib.request

        parts = urllib.parse.urlsplit(url)
        shown = without_user(url)
        if parts.scheme not in ("http", "https"):
            raise Unreachable(f"{shown}: only APT itself can ask a source of this kind")
        request = urllib.request.Request(without_user(url))  # noqa: S310 (http and https alone)
        for name, value in self._headers(parts, etag, last_modified):
            # Not sent along when the server leads elsewhere.
            request.add_unredirected_header(name, value)
        try:
            with self._opener(parts, url).open(request, timeout=self._timeout_s) as answer:
                content = answer.read(SIZE_LIMIT_BYTES + 1)
                if len(content) > SIZE_LIMIT_BYTES:
                    raise Unreachable(f"{shown} is too large for a Release file")
                headers = answer.headers
                return Answer(content, headers.get("ETag", ""), headers.get("Last-Modified", ""))
        except urllib.error.HTTPError as e:
            with e:
                if e.code == 304:
                    return Answer(None)
                if e.code in (403, 404, 410):
                    raise NotThere(f"{shown}: {e.code} {e.reason}") from e
                raise Unreachable(f"{shown}: {e.code} {e.reason}") from e
        except urllib.error.URLError as e:
            raise Unreachable(f"{shown}: {e.reason}") from e
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise Unreachable(f"{shown}: {str(e) or type(e).__name__}") from e

    def _headers(
        self, url: urllib.parse.SplitResult, etag: str, last_modified: str
    ) -> Iterator[tuple[str, str]]:
        # A cache on the way must ask its origin, as for APT.
        yield "Cache-Control", "max-age=0"
        yield "User-Agent", self._option(url, "User-Agent") or "Debian APT-HTTP/1.3 (goldsmith)"
        if etag:
            yield "If-None-Match", etag
        if last_modified:
            yield "If-Modified-Since", last_modified
        user, password = url.username, url.password
        if user is None:
            fitting = next((c for c in self._credentials if c.fits(url)), None)
            user, password = (fitting.login, fitting.password) if fitting else (None, None)
        else:
            user, password = urllib.parse.unquote(user), urllib.parse.unquote(password or "")
        if user is not None:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            yield "Authorization", f"Basic {token}"

    def _option(self, url: urllib.parse.SplitResult, name: str, scheme: str = "") -> str:
        """A setting of the transport, that for the host before that for all."""
        base, host, name = f"acquire::{scheme or url.scheme}", url.hostname or "", name.lower()
        for full in (f"{base}::{name}::{host}", f"{base}::{host}::{name}", f"{base}::{name}"):
            if value := self._options.get(full):
                return value
        return ""

    def _proxies(self, url: urllib.parse.SplitResult, text: str) -> Mapping[str, str] | None:
        """What the settings say, {} for none on purpose, None where the environment decides."""
        schemes = (url.scheme, "http") if url.scheme == "https" else (url.scheme,)
        for scheme in schemes:
            told = self._option(url, "Proxy", scheme)
            program = self._option(url, "Proxy-Auto-Detect", scheme)
            if not told and program:
                done = run([program, without_user(text)], check=False, capture=True,
                           timeout_s=self._timeout_s)  # fmt: skip
                told = done.text.strip().partition("\n")[0] if done.status == 0 else ""
            if told == _DIRECT:
                return {}
            if told:
                if told.partition(":")[0] not in ("http", "https"):
                    raise Unreachable("only APT itself can use a proxy that is not http")
                return {url.scheme: told}
        return None

    def _opener(self, url: urllib.parse.SplitResult, text: str) -> Any:
        import urllib.request

        class Redirects(urllib.request.HTTPRedirectHandler):
            """Follows to http and https, and never from https to http; apt-transport-https(1)."""

            def redirect_request(
                self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
            ) -> Any:
                wanted = urllib.parse.urlsplit(newurl).scheme
                allowed = ("https",) if req.type == "https" else ("http", "https")
                if wanted not in allowed:
                    raise Unreachable(f"{without_user(req.full_url)} leads to {wanted}:")
                followed = super().redirect_request(req, fp, code, msg, headers, newurl)
                if followed is not None:
                    for name in ("If-none-match", "If-modified-since", "Cache-control"):
                        if value := req.unredirected_hdrs.get(name):
                            followed.add_unredirected_header(name, value)
                return followed

        handlers: list[Any] = [
            urllib.request.ProxyHandler(
                None if (proxies := self._proxies(url, text)) is None else dict(proxies)
            ),
            urllib.request.HTTPSHandler(context=self._tls(url)),
            Redirects(),
        ]
        return urllib.request.build_opener(*handlers)

    def _tls(self, url: urllib.parse.SplitResult) -> ssl.SSLContext | None:
        """The certificates that are trusted and shown, by the settings."""
        if url.scheme != "https":
            return None
        import ssl

        context = ssl.create_default_context(cafile=self._option(url, "CaInfo") or None)
        if self._option(url, "Verify-Host").lower() in ("false", "no", "0"):
            context.check_hostname = False
        if self._option(url, "Verify-Peer").lower() in ("false", "no", "0"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate := self._option(url, "SslCert"):
            context.load_cert_chain(certificate, self._option(url, "SslKey") or None)
        return context
