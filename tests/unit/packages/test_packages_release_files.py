"""The digests of Release files, from a server of the test and from files."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.release_files import ReleaseState, release_digests
from goldsmith.packages.release_transport import (
    Transport,
    Unreachable,
    read_credentials,
    without_user,
)

DIRECT = AptSettings({"Acquire::http::Proxy": "DIRECT"})
DATED = "Mon, 01 Jan 2024 00:00:00 GMT"


class Server:
    """Files by path, and what was asked for: path, status and headers."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, int, dict[str, str]]] = []
        self.etags = True
        self.password = ""
        self.port = 0
        self.together = threading.Barrier(1)

    def uri(self, path: str = "", user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@contextmanager
def serving() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.together.wait(10)
            status, body = self.answer()
            state.asked.append((self.path, status, dict(self.headers)))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", state.redirects[self.path])
            if state.etags:
                self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')  # noqa: S324
            else:
                self.send_header("Last-Modified", DATED)
            self.send_header("Content-Length", str(len(body) if status == 200 else 0))
            self.end_headers()
            if status == 200:
                self.wfile.write(body)

        def answer(self) -> tuple[int, bytes]:
            # What a proxy is asked for is a whole address.
            path = self.path.partition("//")[2].partition("/")[2] if "//" in self.path else ""
            body = state.files.get(f"/{path}" if path else self.path)
            if self.path in state.redirects:
                return 302, b""
            wanted = f"Basic {base64.b64encode(state.password.encode()).decode()}"
            if state.password and self.headers.get("Authorization") != wanted:
                return 401, b""
            if body is None:
                return 404, b""
            tag = f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324
            same = self.headers.get("If-None-Match") == tag if state.etags else (
                self.headers.get("If-Modified-Since") == DATED)  # fmt: skip
            return (304 if same else 200), body

        def log_message(self, *args: object) -> None:
            """Nothing is written to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = False
        state.port = httpd.server_address[1]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


def source(uri: str, *suites: str, components: tuple[str, ...] = ("main",)) -> AptSource:
    return AptSource(("deb",), (uri,), suites, components)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def only(states: object) -> ReleaseState:
    assert isinstance(states, dict)
    (state,) = states.values()
    assert isinstance(state, ReleaseState)
    return state


@pytest.mark.parametrize("etags", [True, False])
def test_what_is_unchanged_is_asked_for_once_and_not_sent(
    server: Server, tmp_path: Path, etags: bool
) -> None:
    server.etags = etags
    server.files["/debian/dists/x/InRelease"] = b"one"
    given = [source(server.uri("/debian"), "x")]
    first = only(release_digests(given, DIRECT, cache=tmp_path / "cache"))
    assert (first.digest, first.fetched, first.reason) == (sha256(b"one"), True, "")
    second = only(release_digests(given, DIRECT, cache=tmp_path / "cache"))
    assert second == first
    assert [(path, status) for path, status, _ in server.asked] == [
        ("/debian/dists/x/InRelease", 200), ("/debian/dists/x/InRelease", 304)]  # fmt: skip
    assert server.asked[0][2]["Cache-Control"] == "max-age=0"


def test_what_has_changed_is_new_since_now(server: Server, tmp_path: Path) -> None:
    given = [source(server.uri(), "x")]
    server.files["/dists/x/InRelease"] = b"one"
    first = only(release_digests(given, DIRECT, cache=tmp_path))
    server.files["/dists/x/InRelease"] = b"two"
    second = only(release_digests(given, DIRECT, cache=tmp_path))
    assert second.digest == sha256(b"two")
    assert first.since_s is not None
    assert second.since_s is not None
    assert second.since_s > first.since_s


def test_all_are_asked_at_the_same_time(server: Server, tmp_path: Path) -> None:
    """The server answers nobody before all have asked."""
    suites = [f"s{number}" for number in range(8)]
    server.files = {f"/dists/{suite}/InRelease": suite.encode() for suite in suites}
    server.together = threading.Barrier(len(suites))
    states = release_digests([source(server.uri(), *suites)], DIRECT, cache=tmp_path)
    assert [state.digest for state in states.values()] == [sha256(s.encode()) for s in suites]


def test_names_have_no_host(server: Server, tmp_path: Path) -> None:
    server.files = {
        "/a/dists/x/InRelease": b"a", "/b/dists/x/InRelease": b"b", "/flat/InRelease": b"flat",
        "/a/dists/x/updates/InRelease": b"u", "/flat/sub/InRelease": b"sub",
    }  # fmt: skip
    given = [
        source(server.uri("/a"), "x", "x/updates", components=("main", "contrib")),
        source(server.uri("/b/"), "x", components=("main", "contrib")),
        source(server.uri("/a"), "x"),
        source(server.uri("/flat/"), "./", components=()),
        source(server.uri("/flat/"), "sub/", components=()),
        AptSource(("deb-src",), (server.uri("/a"),), ("y",), ("main",)),
    ]
    states = release_digests(given, DIRECT, cache=tmp_path)
    assert {name: state.digest for name, state in states.items()} == {
        "release:x main contrib": sha256(b"a"),
        "release:x/updates main contrib": sha256(b"u"),
        "release:x main contrib #2": sha256(b"b"),
        "release:x main": sha256(b"a"),
        "release:./": sha256(b"flat"),
        "release:sub/": sha256(b"sub"),
    }
    # Two entries for one suite are one request.
    assert server.paths().count("/a/dists/x/InRelease") == 1


def test_a_release_file_with_its_signature_apart(server: Server, tmp_path: Path) -> None:
    given = [source(server.uri(), "x")]
    server.files["/dists/x/Release"] = b"old style"
    for _ in range(2):
        state = only(release_digests(given, DIRECT, cache=tmp_path))
        assert (state.digest, state.fetched) == (sha256(b"old style"), True)
    # The second time only what is there is asked for.
    assert server.paths() == ["/dists/x/InRelease", "/dists/x/Release", "/dists/x/Release"]


def test_offline_and_unreachable(server: Server, tmp_path: Path) -> None:
    given = [source(server.uri(), "x")]
    never = only(release_digests(given, DIRECT, cache=tmp_path, offline=True))
    assert never.digest is None
    assert "never read" in never.reason
    server.files["/dists/x/InRelease"] = b"one"
    known = only(release_digests(given, DIRECT, cache=tmp_path))
    count = len(server.asked)
    offline = only(release_digests(given, DIRECT, cache=tmp_path, offline=True))
    assert offline == ReleaseState(sha256(b"one"), fetched=False, since_s=known.since_s)
    assert len(server.asked) == count
    del server.files["/dists/x/InRelease"]
    gone = only(release_digests(given, DIRECT, cache=tmp_path))
    assert gone.digest is None
    assert gone.since_s is None
    assert "has no Release file" in gone.reason


def test_nobody_listens_and_others_answer(server: Server, tmp_path: Path) -> None:
    with serving() as closed:
        port = closed.port
    server.files["/dists/x/InRelease"] = b"one"
    given = [source(f"http://127.0.0.1:{port}", "gone"), source(server.uri(), "x"),
             source("cdrom:[disc]/", "x"), source("ftp://x.invalid/debian", "y")]  # fmt: skip
    states = release_digests(given, DIRECT, cache=tmp_path)
    assert "refused" in states["release:gone main"].reason
    good = states.get("release:x main")
    assert good is not None
    assert good.digest == sha256(b"one")
    for name in ("release:x main #2", "release:y main"):
        assert states[name].digest is None
        assert "only APT itself" in states[name].reason


def test_files_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "repo/dists/x").mkdir(parents=True)
    (tmp_path / "repo/dists/x/Release").write_bytes(b"r")
    for scheme in ("file:", "file://", "copy:"):
        given = [source(f"{scheme}{tmp_path}/repo", "x", "none")]
        states = release_digests(given, DIRECT, cache=tmp_path / "cache", offline=True)
        assert states["release:x main"].digest == sha256(b"r")
        assert states["release:x main"].fetched
        assert "no Release file" in states["release:none main"].reason


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"digest": 1}', b"\xff\xfe"])
def test_a_damaged_cache_is_no_cache(server: Server, tmp_path: Path, damage: bytes) -> None:
    given = [source(server.uri(), "x")]
    server.files["/dists/x/InRelease"] = b"one"
    release_digests(given, DIRECT, cache=tmp_path)
    (entry,) = tmp_path.glob("*.json")
    entry.write_bytes(damage)
    state = only(release_digests(given, DIRECT, cache=tmp_path))
    assert state.digest == sha256(b"one")
    assert server.asked[-1][1] == 200


def test_passwords_stay_where_they_are(server: Server, tmp_path: Path) -> None:
    server.password = "bob:s3cr%t"
    server.files["/dists/x/InRelease"] = b"one"
    given = [source(server.uri(user="bob:s3cr%25t@"), "x")]
    assert only(release_digests(given, DIRECT, cache=tmp_path)).digest == sha256(b"one")
    text = "".join(path.name + path.read_text() for path in tmp_path.iterdir())
    for word in ("s3cr", "bob", "127.0.0.1"):
        assert word not in text
    wrong = [source(server.uri(user="bob:wr0ng@"), "y")]
    state = only(release_digests(wrong, DIRECT, cache=tmp_path))
    assert "401" in state.reason
    assert "wr0ng" not in state.reason


def test_passwords_of_the_host_by_machine(server: Server, tmp_path: Path) -> None:
    netrc = tmp_path / "auth.conf"
    netrc.write_text(f"machine http://127.0.0.1:{server.port}/a login bob password word\n")
    settings = AptSettings(DIRECT.options, netrc_paths=(str(netrc),))
    server.password = "bob:word"
    server.files = {"/a/dists/x/InRelease": b"a", "/b/dists/x/InRelease": b"b"}
    given = [source(server.uri("/a"), "x"), source(server.uri("/b"), "x")]
    states = release_digests(given, settings, cache=tmp_path / "cache")
    assert states["release:x main"].digest == sha256(b"a")
    assert "401" in states["release:x main #2"].reason


def test_credentials_without_a_scheme_are_for_https_alone() -> None:
    from urllib.parse import urlsplit

    (one, two) = read_credentials(
        'machine a.invalid login u password "p w"\n# machine c login d password e\n'
        "machine b.invalid:81/x\nlogin u2 password p2"
    )
    assert (one.login, one.password) == ("u", "p w")
    assert one.fits(urlsplit("https://a.invalid/y"))
    assert not one.fits(urlsplit("http://a.invalid/y"))
    assert not one.fits(urlsplit("https://a.invalid.evil/y"))
    assert two.fits(urlsplit("https://b.invalid:81/x/y"))
    assert not two.fits(urlsplit("https://b.invalid/x/y"))


def test_a_password_does_not_follow_to_another_place(server: Server, tmp_path: Path) -> None:
    with serving() as other:
        other.files["/elsewhere"] = b"moved"
        server.redirects["/dists/x/InRelease"] = other.uri("/elsewhere")
        given = [source(server.uri(user="bob:word@"), "x")]
        state = only(release_digests(given, DIRECT, cache=tmp_path))
        assert state.digest == sha256(b"moved")
        assert "Authorization" in server.asked[0][2]
        assert "Authorization" not in other.asked[0][2]
        # The condition goes along: what is unchanged there is not sent again.
        assert only(release_digests(given, DIRECT, cache=tmp_path)).digest == sha256(b"moved")
        assert other.asked[-1][1] == 304


def test_a_server_cannot_lead_to_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    server.redirects["/dists/x/InRelease"] = f"file://{tmp_path}/secret"
    state = only(release_digests([source(server.uri(), "x")], DIRECT, cache=tmp_path / "c"))
    assert state.digest is None


@pytest.mark.parametrize("name", ["Acquire::http::Proxy", "Acquire::HTTP::proxy::nowhere.invalid"])
def test_the_proxy_of_the_settings(server: Server, tmp_path: Path, name: str) -> None:
    server.files["/debian/dists/x/InRelease"] = b"by proxy"
    settings = AptSettings({name: server.uri(user="p:w@")})
    given = [source("http://nowhere.invalid/debian", "x")]
    state = only(release_digests(given, settings, cache=tmp_path))
    assert state.digest == sha256(b"by proxy")
    assert server.paths() == ["http://nowhere.invalid/debian/dists/x/InRelease"]
    assert server.asked[0][2]["Proxy-Authorization"].startswith("Basic ")


def test_the_proxy_of_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.uri())
    server.files["/debian/dists/x/InRelease"] = b"by proxy"
    given = [source("http://nowhere.invalid/debian", "x")]
    state = only(release_digests(given, AptSettings(), cache=tmp_path))
    assert state.digest == sha256(b"by proxy")
    with pytest.raises(Unreachable, match="not http"):
        Transport(AptSettings({"Acquire::http::Proxy": "socks5h://x"})).get("http://x.invalid/")


def test_reasons_hold_no_password_of_the_settings(tmp_path: Path) -> None:
    settings = AptSettings(
        {"Acquire::http::Proxy": "http://u:pr0xyword@127.0.0.1:1"}, secrets=frozenset({"pr0xyword"})
    )
    state = only(release_digests([source("http://x.invalid", "x")], settings, cache=tmp_path))
    assert state.digest is None
    assert "pr0xyword" not in state.reason
    assert without_user("http://u:p@h/x@y") == "http://h/x@y"
