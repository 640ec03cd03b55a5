"""The `http` data source: the answer to one request.

TLS certificates are verified, proxies are those of the environment, redirects are followed as
browsers do. An answer other than 2xx is an error.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pydantic import Field

from goldsmith.core.options import Finding, Options
from goldsmith.errors import GoldsmithError
from goldsmith.values.types import STRING, MapType, Type
from goldsmith.values.value import Value, map_of, string
from goldsmith.values.world import World

METHODS: Final = ("HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
SILENCE_S: Final = 30.0
"""How long a server may say nothing."""
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
        request = Request(  # noqa: S310 (check admits http and https only)
            options.url, method=options.method, headers=dict(options.request_headers),
            data=options.request_body.encode() if options.request_body else None,
        )  # fmt: skip
        try:
            with urlopen(request, timeout=SILENCE_S) as answer:  # noqa: S310
                content = answer.read(LARGEST_BYTES + 1)
                headers = dict(answer.headers.items())
        except HTTPError as error:
            error.close()
            raise self._failed(f"the answer was {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            told = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
            raise self._failed(told) from error
        if len(content) > LARGEST_BYTES:
            raise self._failed(f"the answer is larger than {LARGEST_BYTES >> 20} MiB")
        return {"body": content.decode("utf-8", "replace"), "headers": headers}

    def _failed(self, reason: str) -> GoldsmithError:
        return GoldsmithError(
            f"{self.options.method} {self.options.url} failed: {reason}",
            hint="look at the URL, the network and the proxy variables",
        )
