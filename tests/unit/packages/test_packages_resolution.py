"""APT's answers are kept by what they were decided from, and for as long as that is valid."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_settings import AptSettings
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.package_store import Archive
from goldsmith.packages.repositories import AptPin
from goldsmith.packages.unpacked import resolution
from goldsmith.packages.unpacked.resolution import (
    Resolution,
    ResolutionStore,
    request_key,
    sources_key,
)

SOURCE = AptSource(("deb",), ("http://packages.example/debian",), ("one",), ("main",))
DAY_S = 24 * 3600.0


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "apt_version", lambda: "apt 2.6.1 (amd64)")


def lists(folder: Path, *, valid_for_s: float | None = None) -> tuple[Path, str]:
    """Indexes as APT leaves them, and the digest of their Release file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "Origin: Debian\n"
    if valid_for_s is not None:
        text += f"Valid-Until: {formatdate(time.time() + valid_for_s, usegmt=True)}\n"
    (folder / "packages.example_debian_dists_one_InRelease").write_text(text)
    (folder / "packages.example_debian_dists_one_main_binary-amd64_Packages").write_text("x")
    (folder / "lock").touch()
    return folder, hashlib.sha256(text.encode()).hexdigest()


def answer(place: Path, valid_until_s: float | None = None) -> Resolution:
    archives = (Archive("a_1_amd64.deb", 3, "0" * 64),)
    return Resolution("amd64", archives, ("a",), place, valid_until_s)


def request(digest: str) -> AptRequest:
    return AptRequest("one", ("b",), (SOURCE,), release_digests=(digest,))


def test_an_answer_is_found_again_with_its_indexes(tmp_path: Path) -> None:
    place, digest = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    assert store.find(request(digest)) is None
    store.keep(request(digest), answer(place))
    found = store.find(request(digest))
    assert found is not None
    assert found.archives == answer(place).archives
    assert found.automatic == ("a",)
    assert sorted(path.name for path in found.lists.iterdir()) == sorted(
        path.name for path in place.iterdir() if path.name != "lock"
    )
    assert [path for path in store.directory.iterdir() if path.name.startswith(".")] == []


def test_what_apt_has_not_verified_under_these_digests_is_not_kept(tmp_path: Path) -> None:
    place, _ = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    store.keep(request("1" * 64), answer(place))
    assert store.find(request("1" * 64)) is None
    assert not store.directory.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"packages": ("c",)}, {"variant": "important"}, {"architecture": "arm64"},
        {"later": ("c",)}, {"pins": (AptPin("version 1", 900, ("a",)),)},
        {"sources": (replace(SOURCE, components=("main", "contrib")),)},
        {"sources": (replace(SOURCE, uris=("http://other.example/debian",)),)},
        {"release_digests": ("2" * 64,)},
    ],
)  # fmt: skip
def test_another_request_has_another_answer(tmp_path: Path, change: dict[str, object]) -> None:
    _, digest = lists(tmp_path / "lists")
    other = replace(request(digest), **change)  # type: ignore[arg-type]
    assert request_key(other) != request_key(request(digest))


def test_another_apt_decides_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = request_key(request("1" * 64))
    monkeypatch.setattr(resolution, "apt_version", lambda: "apt 3.0 (amd64)")
    assert request_key(request("1" * 64)) != before


def test_a_password_changes_no_key_and_stands_in_none() -> None:
    secret = replace(SOURCE, uris=("http://me:letmein@packages.example/debian",))
    with_password = replace(request("1" * 64), sources=(secret,))
    other = replace(secret, uris=("http://me:other@packages.example/debian",))
    assert request_key(with_password) == request_key(replace(with_password, sources=(other,)))


def test_a_proxys_password_stands_in_no_key() -> None:
    def key(password: str) -> str:
        proxy = {"Acquire::http::Proxy": f"http://me:{password}@proxy.example:8080"}
        return sources_key(replace(request("1" * 64), settings=AptSettings(proxy)))

    assert key("letmein") == key("other") != sources_key(request("1" * 64)) != ""


@pytest.mark.parametrize(
    "limited",
    [
        {"settings": AptSettings({"Acquire::Max-ValidTime": "1"})},
        {"settings": AptSettings({"Acquire::Max-ValidTime::Debian": "1"})},
        {"sources": (replace(SOURCE, options={"valid-until-max": "1"}),)},
    ],
)
def test_where_apt_limits_the_age_itself_it_is_asked(limited: dict[str, object]) -> None:
    asked = replace(request("1" * 64), **limited)  # type: ignore[arg-type]
    assert sources_key(asked) == ""
    assert request_key(asked) is not None


@pytest.mark.parametrize(
    "unknown", [{"release_digests": ()}, {"trusted": True}, {"trusted_sources": (SOURCE,)}]
)
def test_without_release_files_that_are_verified_nothing_is_kept(
    tmp_path: Path, unknown: dict[str, object]
) -> None:
    place, digest = lists(tmp_path / "lists")
    asked = replace(request(digest), **unknown)  # type: ignore[arg-type]
    store = ResolutionStore(tmp_path / "kept")
    store.keep(asked, answer(place))
    assert request_key(asked) is None
    assert store.find(asked) is None
    assert store.refused(asked) == ""


@pytest.mark.parametrize(("left_s", "there"), [(DAY_S, True), (-1.0, False)])
def test_an_answer_ends_with_its_release_files(tmp_path: Path, left_s: float, there: bool) -> None:
    place, digest = lists(tmp_path / "lists", valid_for_s=left_s)
    store = ResolutionStore(tmp_path / "kept")
    valid_until_s = resolution.valid_until_s(place)
    assert valid_until_s == pytest.approx(time.time() + left_s, abs=60)
    store.keep(request(digest), answer(place, valid_until_s))
    assert (store.find(request(digest)) is not None) is there


def test_a_date_that_cannot_be_read_is_over(tmp_path: Path) -> None:
    place, _ = lists(tmp_path / "lists")
    (place / "x_InRelease").write_text("Valid-Until: soon\n")
    assert resolution.valid_until_s(place) == 0.0


@pytest.mark.parametrize("torn", ["", "{}", "null", '{"version": 0}', "[1]"])
def test_a_torn_answer_is_none(tmp_path: Path, torn: str) -> None:
    place, digest = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    store.keep(request(digest), answer(place))
    (kept,) = store.directory.iterdir()
    (kept / "answer.json").write_text(torn)
    assert store.damaged() == [(kept, "answer.json")]
    assert store.find(request(digest)) is None
    store.keep(request(digest), answer(place))
    assert store.find(request(digest)) is not None


def test_changed_indexes_are_found_and_the_answer_is_made_again(tmp_path: Path) -> None:
    place, digest = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    store.keep(request(digest), answer(place))
    (kept,) = store.directory.iterdir()
    index = next((kept / "lists").glob("*_Packages"))
    index.unlink()
    index.write_text("y")
    assert store.find(request(digest)) is None
    assert store.damaged() == [(kept, index.name)]
    store.keep(request(digest), answer(place))
    assert store.find(request(digest)) is not None
    assert store.damaged() == []


def test_an_answer_that_may_be_read_is_not_replaced(tmp_path: Path) -> None:
    place, digest = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    store.keep(request(digest), answer(place))
    found = store.find(request(digest))
    assert found is not None
    before = found.lists.stat().st_ino
    store.keep(request(digest), answer(place))
    assert found.lists.stat().st_ino == before


def test_what_a_kill_left_goes_with_a_later_answer(tmp_path: Path) -> None:
    place, digest = lists(tmp_path / "lists")
    store = ResolutionStore(tmp_path / "kept")
    left = store.directory / ".left"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    store.keep(request(digest), answer(place))
    assert not left.exists()


def test_a_refusal_is_remembered_for_these_release_files_alone(tmp_path: Path) -> None:
    store = ResolutionStore(tmp_path / "kept")
    store.note_refused(request("1" * 64), "dash diverts")
    assert store.refused(request("1" * 64)) == "dash diverts"
    assert store.refused(request("2" * 64)) == ""


def test_why_there_is_no_answer(tmp_path: Path) -> None:
    place, digest = lists(tmp_path / "lists", valid_for_s=-DAY_S)
    store = ResolutionStore(tmp_path / "kept")
    assert "is not kept for these sources and packages" in store.absence(request(digest))
    store.keep(request(digest), answer(place, 1_700_000_000.0))
    assert store.find(request(digest)) is None
    assert "were valid until 2023-11-14 22:13 UTC only" in store.absence(request(digest))
    other, digest = lists(tmp_path / "other")
    store.keep(request(digest), answer(other))
    (kept,) = store.directory.glob(f"{request_key(request(digest))}/lists/*_Packages")
    kept.write_text("y")
    assert f"its index {kept.name} was changed since" in store.absence(request(digest))
