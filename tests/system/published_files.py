"""A server that takes PUT, as those do to which images are published."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """Where it listens, what it has, what was asked; `faults` are answers to give instead, once."""

    uri: str
    folder: Path
    asked: list[tuple[str, str]] = field(default_factory=list)
    authorized: list[str | None] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    cuts: bool = False
    """Whether it keeps only a part of what it is sent."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def mine(self) -> Server:
        found: Server = self.server.mine  # type: ignore[attr-defined]
        return found

    def log_message(self, *args: object) -> None:
        """Nothing is written to the terminal."""

    def _place(self) -> Path:
        return self.mine.folder / self.path.lstrip("/")

    def _answer(self, status: int, content: bytes = b"", *, body: bool = True) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _read(self, *, body: bool) -> None:
        self.mine.asked.append((self.command, self.path))
        place = self._place()
        if place.is_file():
            self._answer(200, place.read_bytes(), body=body)
        else:
            self._answer(404, body=body)

    def do_GET(self) -> None:
        self._read(body=True)

    def do_HEAD(self) -> None:
        self._read(body=False)

    def do_PUT(self) -> None:
        self.mine.asked.append((self.command, self.path))
        self.mine.authorized.append(self.headers.get("Authorization"))
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.mine.faults:
            self._answer(self.mine.faults.pop(0))
            return
        place = self._place()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content[:-1] if self.mine.cuts else content)
        self._answer(201)


@contextmanager
def putting(folder: Path) -> Iterator[Server]:
    """Serve a directory on loopback for reading and writing."""
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = False
        mine = Server(f"http://127.0.0.1:{server.server_address[1]}", folder)
        added: Any = server
        added.mine = mine
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mine
        finally:
            server.shutdown()
            thread.join()
