"""The program in front of APT's method: several connections, and APT tells the same."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from goldsmith.packages import lent_connections

HELPER = "/usr/lib/apt/apt-helper"
CONTENTS = {f"file-{number}": f"content of {number}".encode() * 500 for number in range(40)}


class Handler(BaseHTTPRequestHandler):
    """Answers when several ask at the same time, or nobody else has anything to ask."""

    protocol_version = "HTTP/1.1"
    connections: set[int] = set()
    several = threading.Event()

    def do_GET(self) -> None:
        """One of the files, or that there is none."""
        self.connections.add(self.client_address[1])
        if len(self.connections) > 1:
            self.several.set()
        self.several.wait(timeout=180)
        content = CONTENTS.get(self.path.strip("/"))
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""


@pytest.fixture
def address() -> Iterator[str]:
    Handler.connections.clear()
    Handler.several.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        Handler.several.set()
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(
    tmp_path: Path, address: str, digests: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "goldsmith-http"
    program.write_bytes(lent_connections._PROGRAM)
    program.chmod(0o755)
    words: list[str] = []
    for name, digest in digests.items():
        words += [f"{address}/{name}", str(tmp_path / name), f"SHA256:{digest}"]
    return subprocess.run(
        [HELPER, "-o", f"Dir::Bin::Methods::http={program}", "-o", "APT::Sandbox::User=root",
         "-o", "Acquire::http::Proxy=DIRECT", "-o", "Acquire::Retries=0",
         "-o", "Acquire::http::Timeout=240", "download-file", *words],
        check=False, text=True, capture_output=True, timeout=300,
    )  # fmt: skip


def right_digests() -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}


def test_files_come_by_several_connections(tmp_path: Path, address: str) -> None:
    done = fetch(tmp_path, address, right_digests())
    assert done.returncode == 0, done.stderr
    for name, content in CONTENTS.items():
        assert (tmp_path / name).read_bytes() == content
    assert 1 < len(Handler.connections) <= 6


def test_what_is_missing_or_wrong_is_told_by_apt(tmp_path: Path, address: str) -> None:
    digests = right_digests() | {"absent": "0" * 64, "file-7": "1" * 64}
    done = fetch(tmp_path, address, digests)
    assert done.returncode != 0
    assert "404" in done.stdout + done.stderr
    assert "Hash Sum mismatch" in done.stdout + done.stderr
    assert not (tmp_path / "file-7").exists()
    assert (tmp_path / "file-8").read_bytes() == CONTENTS["file-8"]


def test_a_method_that_is_not_there_ends_apt(tmp_path: Path) -> None:
    program = tmp_path / "goldsmith-none"
    program.write_bytes(lent_connections._PROGRAM)
    program.chmod(0o755)
    # What it reads from stays open: only the method ends.
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        assert running.wait(timeout=120) == 100
