"""An HTTP server on the loopback that serves files well, or badly in a way that a test chooses.

For each file a test gives faults for the first requests; all further ones are answered as RFC 9110
says, ranges and their conditions included.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """How one request is answered otherwise; sizes are in bytes of this answer's body.

    `cut_after` hangs up, `stall_after` says nothing more, `length` is what Content-Length claims,
    `content_range` what Content-Range does, `data` another content.
    """

    status: int = 0
    cut_after: int | None = None
    stall_after: int | None = None
    trickle_after: int | None = None
    ignores_range: bool = False
    length: int | None = None
    has_length: bool = True
    content_range: str | None = None
    tag: str | None = None
    data: bytes | None = None
    encoding: str = ""
    location: str = ""


GOOD = Fault()


@dataclass
class Served:
    """A file, its version, and what goes wrong; `asked` has the headers of each request."""

    data: bytes
    tag: str | None = '"v1"'
    faults: list[Fault] = field(default_factory=list)
    authorization: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def ranges(self) -> list[str]:
        """The Range of each request, "" for none."""
        return [headers.get("Range", "") for headers in self.asked]


class FaultServer(ThreadingHTTPServer):
    """Serves `files` (path -> Served) until it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.closing = threading.Event()
        self.scheme = "http"

    def add(self, path: str, data: bytes, *faults: Fault, **known: object) -> str:
        """Serve a file; returns its address."""
        self.files[path] = Served(data, faults=list(faults), **known)  # type: ignore[arg-type]
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultServer

    def do_GET(self) -> None:
        served = self.server.files.get(self.path.partition("?")[0])
        if served is None:
            self.send_error(404)
            return
        served.asked.append(dict(self.headers.items()))
        if served.authorization and self.headers.get("Authorization") != served.authorization:
            self.send_error(401)
            return
        self.answer(served, served.faults.pop(0) if served.faults else GOOD)

    def answer(self, served: Served, fault: Fault) -> None:
        """Answer by the rules, but for the fault."""
        data = served.data if fault.data is None else fault.data
        tag = served.tag if fault.tag is None else fault.tag
        if fault.status >= 300:
            self.send_response(fault.status)
            if fault.location:
                self.send_header("Location", fault.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self.start_of_range(tag)
        if fault.ignores_range:
            start = None
        if start is not None and start >= len(data):
            self.send_error(416)
            return
        body = data[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            told = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send_header("Content-Range", fault.content_range or told)
        if tag:
            self.send_header("ETag", tag)
        if fault.encoding:
            self.send_header("Content-Encoding", fault.encoding)
        if fault.has_length:
            length = len(body) if fault.length is None else fault.length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.send_body(body, fault)

    def start_of_range(self, tag: str | None) -> int | None:
        """Where the range begins that is asked for; None for the whole file."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or (condition is not None and condition != tag):
            return None
        return int(match[1])

    def send_body(self, body: bytes, fault: Fault) -> None:
        """Send as much as the fault leaves, then do as it says."""
        limits = [fault.cut_after, fault.stall_after, fault.trickle_after]
        end = min([limit for limit in limits if limit is not None], default=len(body))
        self.wfile.write(body[:end])
        self.wfile.flush()
        if fault.stall_after is not None:
            self.server.closing.wait(120)
        if fault.trickle_after is not None:
            with contextlib.suppress(OSError):
                for at in range(end, len(body)):
                    if self.server.closing.wait(0.05):
                        break
                    self.wfile.write(body[at : at + 1])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `asked`."""


@contextlib.contextmanager
def fault_server(certificate: Path | None = None) -> Iterator[FaultServer]:
    """A server for the length of a block; with a certificate (and key, in one file) over TLS."""
    server = FaultServer()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
