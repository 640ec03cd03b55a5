"""What is known of a request decides who makes the tree, and whether APT is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldsmith.builders.image.apt_plan import refusal, with_answer
from goldsmith.builders.image.bootstrap_options import Bootstrap
from goldsmith.core.caching import CachePolicy
from goldsmith.packages.apt_request import AptRequest
from goldsmith.packages.apt_sources import AptSource
from goldsmith.packages.bootstrap import STORE
from goldsmith.packages.release_files import ReleaseState
from goldsmith.packages.unpacked import resolution
from goldsmith.packages.unpacked.resolution import ResolutionStore

SOURCE = AptSource(("deb",), ("http://packages.example/debian",), ("one",), ("main",))
REQUEST = AptRequest("one", ("b",), (SOURCE,), architecture="amd64", tool=STORE)
KNOWN = {"release:one main": ReleaseState("1" * 64, True)}
PLAIN = Bootstrap(method="apt", suite="one")


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "apt_version", lambda: "apt 2.6.1 (amd64)")


def test_a_known_release_file_is_what_an_answer_is_kept_by(tmp_path: Path) -> None:
    found = with_answer(REQUEST, PLAIN, tmp_path, KNOWN, CachePolicy(offline=True))
    assert found.release_digests == ("1" * 64,)
    assert found.offline
    assert found.store == tmp_path / "packages"


@pytest.mark.parametrize(
    ("releases", "policy"),
    [
        ({**KNOWN, "release:two": ReleaseState(None, False)}, CachePolicy()),
        (KNOWN, CachePolicy(use=False)),
        (KNOWN, CachePolicy(refresh=("unpack",))),
    ],
)
def test_else_apt_is_asked_and_packages_are_fetched_again(
    tmp_path: Path, releases: dict[str, ReleaseState], policy: CachePolicy
) -> None:
    found = with_answer(REQUEST, PLAIN, tmp_path, releases, policy)
    assert (found.tool, found.release_digests) == (STORE, ())


def test_what_the_store_has_refused_is_mmdebstraps_and_says_why(tmp_path: Path) -> None:
    known = with_answer(REQUEST, PLAIN, tmp_path, KNOWN, CachePolicy())
    assert refusal(known, tmp_path) == ""
    ResolutionStore(tmp_path / "resolutions").note_refused(known, "dash diverts")
    found = with_answer(REQUEST, PLAIN, tmp_path, KNOWN, CachePolicy())
    assert found.tool == ""
    assert refusal(found, tmp_path) == "dash diverts"
    # Who writes it down wants the store, or an error.
    insisting = Bootstrap(method="apt", suite="one", engine="store")
    found = with_answer(REQUEST, insisting, tmp_path, KNOWN, CachePolicy())
    assert (found.tool, refusal(found, tmp_path)) == (STORE, "")
