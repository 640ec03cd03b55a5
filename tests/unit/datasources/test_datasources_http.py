"""The `http` data source against a server of this test."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from goldsmith.datasources.http import HttpDataOptions, HttpDataSource
from goldsmith.errors import GoldsmithError
from goldsmith.values.value import to_python
from goldsmith.values.world import LiveWorld


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = f"{self.command} {self.path} {self.headers.get('X-Token')} "
        content = body.encode() + self.rfile.read(length)
        status = {"/absent": 404, "/elsewhere": 302}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/found")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_HEAD = answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def read(url, **more):
    source = HttpDataSource(HttpDataOptions(url=url, **more), "h")
    assert source.check() == []
    return {name: to_python(value) for name, value in source.read(LiveWorld()).items()}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_request_goes_out_as_it_was_written(server, method):
    answer = read(
        f"{server}/x", method=method, request_headers={"X-Token": "t"}, request_body="thé"
    )
    assert answer["body"] == f"{method} /x t thé"
    assert answer["url"] == f"{server}/x"
    assert answer["request_headers"]["Content-Length"] == str(len(answer["body"].encode()))


def test_an_answer_without_a_body(server):
    assert read(f"{server}/x", method="HEAD")["body"] == ""


def test_redirects_are_followed(server):
    assert read(f"{server}/elsewhere")["body"] == "GET /found None "


@pytest.mark.parametrize(("place", "said"), [("/absent", "the answer was 404"), ("1/x", "refused")])
def test_what_is_no_answer_names_the_url(server, place, said):
    url = f"{server}{place}" if place[0] == "/" else "http://127.0.0.1:1/x"
    with pytest.raises(GoldsmithError, match=said) as caught:
        read(url)
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[x"}, "url"),
        ({"url": "http://h", "method": "FETCH"}, "method"),
        ({"url": "http://h", "method": "get"}, "method"),
    ],
)
def test_what_cannot_be_asked_is_found_before(options, path):
    (finding,) = HttpDataSource(HttpDataOptions(**options), "h").check()
    assert finding.path == (path,)
