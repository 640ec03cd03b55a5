"""Package files over several connections: what arrives, and what is left to apt-get."""

from __future__ import annotations

import hashlib
import http.server
import stat
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from goldsmith.host.process import tool_environment
from goldsmith.packages.package_store import Archive
from goldsmith.packages.parallel_fetch import _take, fetch_in_parallel

pytestmark = pytest.mark.root
COUNT = 30


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory and the address that it is served under, on loopback."""
    directory = tmp_path / "served"
    directory.mkdir()
    handler = partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield directory, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def offer(served: tuple[Path, str], count: int = COUNT) -> list[Archive]:
    directory, address = served
    archives = []
    for number in range(count):
        content = b"a package" * (number + 1)
        name = f"package-{number}_1%3a1.0_all.deb"
        (directory / f"{number}.deb").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        archives.append(Archive(name, len(content), digest, f"{address}/{number}.deb"))
    return archives


def fetched(archives: list[Archive], tmp_path: Path) -> tuple[Path, list[str]]:
    folder = tmp_path / "archives"
    (folder / "partial").mkdir(parents=True)
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        'APT::Sandbox::User "root";\nAcquire::http::Proxy "DIRECT";\n'
        f'Dir::State "{tmp_path}/state";\nDir::Cache "{tmp_path}/cache";\n'
    )
    told: list[str] = []
    fetch_in_parallel(
        archives, folder, environment=tool_environment(APT_CONFIG=str(configuration)),
        sandboxed=False, on_line=lambda stream, line: told.append(line),
    )  # fmt: skip
    return folder, told


def test_all_arrive_under_their_names(
    served: tuple[Path, str], tmp_path: Path, host_unchanged: None
) -> None:
    archives = offer(served)
    folder, told = fetched(archives, tmp_path)
    for archive in archives:
        content = (folder / archive.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == archive.sha256
        assert (folder / archive.name).stat().st_mode & 0o777 == 0o644
    assert sum(line.startswith("Get:") for line in told) == COUNT


def test_what_is_wrong_or_missing_is_left_out(
    served: tuple[Path, str], tmp_path: Path, host_unchanged: None
) -> None:
    archives = offer(served)
    (served[0] / "3.deb").write_bytes(b"b package" * 4)
    (served[0] / "4.deb").unlink()
    folder, told = fetched(archives, tmp_path)
    there = {path.name for path in folder.iterdir() if path.is_file()}
    assert there == {archive.name for archive in archives} - {archives[3].name, archives[4].name}
    assert all(line.startswith("Get:") for line in told)


@pytest.mark.parametrize("address", ["file:///x.deb", "http://user:password@127.0.0.1/x.deb"])
def test_other_addresses_are_left_to_apt(
    served: tuple[Path, str], tmp_path: Path, address: str
) -> None:
    archives = [*offer(served), Archive("x_1_all.deb", 1, "0" * 64, address)]
    folder, told = fetched(archives, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["partial"]
    assert told == []


def test_a_few_files_are_left_to_apt(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, told = fetched(offer(served, 3), tmp_path)
    assert [path.name for path in folder.iterdir()] == ["partial"]
    assert told == []


@pytest.mark.parametrize("kind", ["link", "directory", "short"])
def test_what_another_user_left_in_place_of_a_file_is_not_taken(tmp_path: Path, kind: str) -> None:
    other, place = tmp_path / "other", tmp_path / "place"
    other.write_bytes(b"secret")
    other.chmod(0o600)
    match kind:
        case "link":
            place.symlink_to(other)
        case "directory":
            (place / "below").mkdir(parents=True)
        case _:
            place.write_bytes(b"sho")
    _take(place, tmp_path / "a.deb", Archive("a.deb", len(b"secret"), "0" * 64))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
