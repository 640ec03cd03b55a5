"""The `http` data source: the answer to one request.

TLS certificates are verified, proxies are those of the environment, redirects are followed as
browsers do. An answer other than 2xx is an error.
"""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, ClassVar, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import Field

import goldsmith
from goldsmith.core.options import Finding, Options
from goldsmith.errors import GoldsmithError
from goldsmith.values.types import STRING, MapType, Type
from goldsmith.values.value import Value, map_of, string
from goldsmith.values.world import World

METHODS: Final = ("HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
SILENCE_S: Final = 30.0
"""How long a server may say nothing."""
LONGEST_S: Final = 300.0
"""How long the whole answer may take."""
_PIECE_BYTES: Final = 1 << 16
_AGENT: Final = f"goldsmith/{goldsmith.__version__}"
_FOR_ONE_HOST: Final = ("authorization", "cookie", "proxy-authorization", "www-authenticate")
LARGEST_BYTES: Final = 64 << 20
"""The largest answer: it becomes a text in the template."""


class HttpDataOptions(Options):
    """Options of `data "http"`."""

    url: str = Field(description="What is asked for: http:// or https://.", min_length=1)
    method: str = Field("GET", description=f"One of {', '.join(METHODS)}.")
    request_headers: dict[str, str] = Field(
        default_factory=dict, description="Header fields of the request."
    )
    request_body: str = Field("", description="What is sent with the request.")


class HttpDataSource:
    """One request; the answer's text and header fields are the outputs."""

    type_name: ClassVar[str] = "http"
    options_model: ClassVar[type[Options]] = HttpDataOptions
    outputs: ClassVar[Mapping[str, Type]] = {
        "url": STRING, "body": STRING, "request_headers": MapType(STRING),
    }  # fmt: skip

    def __init__(self, options: Options, name: str) -> None:
        assert isinstance(options, HttpDataOptions)
        self.options = options
        self.name = name

    def check(self) -> Sequence[Finding]:
        """Method and URL must be some that can be asked."""
        found = []
        if self.options.method not in METHODS:
            found.append(Finding(f'unknown method "{self.options.method}"', ("method",),
                                 f"method is one of {', '.join(METHODS)}."))  # fmt: skip
        try:
            parts = urlsplit(self.options.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            sound = False
        if not sound:
            found.append(Finding(f'"{self.options.url}" cannot be asked for', ("url",),
                                 "url begins with http:// or https:// and a host."))  # fmt: skip
        return found

    def read(self, world: World) -> Mapping[str, Value]:
        """Ask; raises GoldsmithError without an answer, or for any that is not 2xx."""
        answer = world.outside(f'data "http" "{self.name}"', self._ask)
        fields = {name: string(text) for name, text in answer["headers"].items()}
        return {
            "url": string(self.options.url),
            "body": string(answer["body"]),
            "request_headers": map_of(STRING, fields),
        }

    def _ask(self) -> dict[str, Any]:
        options = self.options
        try:
            url, headers = _without_user(options.url)
            headers |= {"User-Agent": _AGENT, **options.request_headers}
            request = Request(  # noqa: S310 (check admits http and https only)
                url, method=options.method, headers=headers,
                data=options.request_body.encode() if options.request_body else None,
            )  # fmt: skip
            with build_opener(_Redirects).open(request, timeout=SILENCE_S) as answer:
                content = self._content(answer)
                told: dict[str, list[str]] = {}
                for name, text in answer.headers.items():
                    told.setdefault(_go_name(name), []).append(text)
        except HTTPError as error:
            error.close()
            raise self._failed(f"the answer was {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            why = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
            raise self._failed(why) from error
        joined = {name: ", ".join(texts) for name, texts in told.items()}
        return {"body": content.decode("utf-8", "replace"), "headers": joined}

    def _content(self, answer: http.client.HTTPResponse) -> bytes:
        """The whole answer, as far as it is neither too large nor too slow."""
        ends_s = time.monotonic() + LONGEST_S
        content = bytearray()
        while piece := answer.read1(_PIECE_BYTES):
            content += piece
            if len(content) > LARGEST_BYTES:
                raise self._failed(f"the answer is larger than {LARGEST_BYTES >> 20} MiB")
            if time.monotonic() > ends_s:
                raise self._failed(f"the answer takes longer than {LONGEST_S:g} s")
        if answer.length and self.options.method != "HEAD":
            raise self._failed(f"the answer ended {answer.length} bytes too early")
        return bytes(content)

    def _failed(self, reason: str) -> GoldsmithError:
        return GoldsmithError(
            f"{self.options.method} {_without_user(self.options.url)[0]} failed: {reason}",
            hint="look at the URL, the network and the proxy variables",
        )


class _Redirects(HTTPRedirectHandler):
    """Follows redirects as Go does: 307 and 308 repeat the request, secrets stay with a host."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The request for where the answer points to."""
        if code in (307, 308):
            following = Request(  # noqa: S310 (the caller admits no other schemes than http, https, ftp)
                newurl, data=req.data, headers=dict(req.headers), method=req.get_method(),
                origin_req_host=req.origin_req_host, unverifiable=True,
            )  # fmt: skip
        else:
            made = super().redirect_request(req, fp, code, msg, headers, newurl)
            if made is None:
                return None
            following = made
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(newurl, code, f"redirects to {newurl}", headers, fp)
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            for name in list(following.headers):
                if name.lower() in _FOR_ONE_HOST:
                    following.remove_header(name)
        return following


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """The URL without a user and password in it, and these as a header field."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    name, _, password = user.partition(":")
    both = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {both}"}


def _go_name(name: str) -> str:
    """A header field's name as Go writes it: `Content-Type`."""
    return "-".join(part.capitalize() for part in name.split("-"))
