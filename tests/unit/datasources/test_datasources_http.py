"""The `http` data source against a server of this test."""

import base64
import datetime
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from goldsmith.datasources import http as module
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
        status = {"/absent": 404, "/elsewhere": 302, "/again": 307}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/found")
        if status == 307:
            self.send_header("Location", "/found")
        self.send_header("x-many", "one")
        self.send_header("X-Many", "two")
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


def test_a_request_with_a_body_is_repeated_where_the_server_asks_for_it(server):
    assert read(f"{server}/again", method="POST", request_body="b")["body"] == "POST /found None b"


def test_header_fields_have_names_as_in_go_and_all_their_values(server):
    fields = read(f"{server}/x")["request_headers"]
    assert fields["X-Many"] == "one, two"
    assert "Content-Length" in fields


class Other(BaseHTTPRequestHandler):
    """Tells what it got: of a proxy, of another host, of a user."""

    def do_GET(self):
        if self.path == "/away":
            self.send_response(302)
            port = self.server.server_address[1]
            self.send_header("Location", f"http://localhost:{port}/got")
            self.end_headers()
            return
        told = f"{self.path} {self.headers['Authorization']} {self.headers['X-Kept']}".encode()
        if self.path == "/endless":
            told = b"x" * (1 << 20)
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(told)
            except OSError:
                return
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            return
        if self.path == "/silent":
            self.server.silence.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


@pytest.fixture
def other():
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as running:
        running.silence = threading.Event()
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.silence.set()
        running.shutdown()
        thread.join()


def test_a_secret_header_stays_with_its_host(other):
    headers = {"Authorization": "Bearer t", "X-Kept": "k"}
    assert read(f"{other}/here", request_headers=headers)["body"] == "/here Bearer t k"
    assert read(f"{other}/away", request_headers=headers)["body"] == "/got None k"


def test_a_user_in_the_url_is_sent_as_one_and_not_told(other):
    url = other.replace("://", "://me:p%40ss@")
    expected = base64.b64encode(b"me:p@ss").decode()
    assert read(f"{url}/x")["body"] == f"/x Basic {expected} None"
    with pytest.raises(GoldsmithError) as caught:
        read(f"{url}/cut")
    assert "p%40ss" not in str(caught.value)


def test_proxies_of_the_environment_are_used(other, monkeypatch):
    monkeypatch.setenv("http_proxy", other)
    monkeypatch.setenv("no_proxy", "")
    assert read("http://nowhere.invalid/x")["body"] == "http://nowhere.invalid/x None None"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert read(f"{other}/x")["body"] == "/x None None"


@pytest.mark.parametrize(
    ("path", "limits", "said"),
    [
        ("/endless", {"LARGEST_BYTES": 1 << 20}, "larger than 1 MiB"),
        ("/endless", {"LONGEST_S": 0.0}, "takes longer than 0 s"),
        ("/silent", {"SILENCE_S": 0.2}, "timed out"),
    ],
)
def test_an_answer_has_limits(other, monkeypatch, path, limits, said):
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    with pytest.raises(GoldsmithError, match=said):
        read(f"{other}{path}")


@pytest.fixture
def secure(tmp_path):
    """A server with a certificate of its own, and the file of that."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
    ))  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda *_: None
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{running.server_address[1]}", public
        running.shutdown()
        thread.join()


def test_a_certificate_must_be_one_that_this_host_trusts(secure, monkeypatch):
    url, public = secure
    with pytest.raises(GoldsmithError, match="certificate"):
        read(f"{url}/x")
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    assert read(f"{url}/x")["body"] == "/x None None"
