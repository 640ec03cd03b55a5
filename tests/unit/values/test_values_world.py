"""The world: live, recorded, replayed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import Position, SourceRange
from goldsmith.values.world import LiveWorld, RecordingWorld, ReplayedWorld, UnrecordedCall

PATIENT = settings(deadline=None)

NOW = datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=UTC)
PLACES = [
    None,
    SourceRange("a.hcl", Position(1, 1, 0), Position(1, 9, 8)),
    SourceRange("a.hcl", Position(2, 1, 20), Position(2, 9, 28)),
]


class InventedWorld:
    """Answers every question in its own way, another one each time where that is allowed."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self._drawn = 0

    def cwd(self) -> str:
        return "/somewhere"

    def read_file(self, path: str) -> bytes:
        if path not in self._files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._files[path]

    def list_directory(self, path: str) -> list[str]:
        if path:
            raise NotADirectoryError(20, "Not a directory", path)
        return sorted(self._files)

    def path_kind(self, path: str) -> str:
        return "file" if path in self._files else "none"

    def env(self, name: str) -> str | None:
        return name.upper() if name.startswith("p") else None

    def env_names(self, prefix: str) -> list[str]:
        return [prefix + "1", prefix + "2"]

    def now(self) -> datetime:
        return NOW

    def random_bytes(self, count: int, at: SourceRange | None) -> bytes:
        self._drawn += 1
        return bytes((self._drawn + index) % 256 for index in range(count))

    def home(self) -> str:
        return "/home/somebody"


NAMES = st.text("pqx", max_size=2)
CALLS = st.lists(
    st.tuples(st.sampled_from(["cwd", "home", "now"]))
    | st.tuples(
        st.sampled_from(["read_file", "list_directory", "path_kind", "env", "env_names"]), NAMES
    )
    | st.tuples(st.just("random_bytes"), st.integers(0, 40), st.sampled_from(PLACES)),
    max_size=20,
)


def answer(world: Any, call: tuple) -> object:
    try:
        return getattr(world, call[0])(*call[1:])
    except OSError as error:
        return type(error), error.errno, error.strerror, error.filename


@PATIENT
@given(CALLS, st.dictionaries(NAMES, st.binary(max_size=20)))
def test_a_replay_gives_the_recorded_answers(calls: list, files: dict[str, bytes]) -> None:
    recording = RecordingWorld(InventedWorld(files))
    first = [answer(recording, call) for call in calls]
    replayed = ReplayedWorld(json.loads(json.dumps(recording.record())))
    assert [answer(replayed, call) for call in calls] == first


@PATIENT
@given(CALLS)
def test_a_replay_answers_nothing_else(calls: list) -> None:
    replayed = ReplayedWorld({})
    for call in calls:
        with pytest.raises(UnrecordedCall, match=call[0]):
            answer(replayed, call)


def test_random_bytes_belong_to_their_place_and_run_out() -> None:
    recording = RecordingWorld(LiveWorld())
    drawn = [recording.random_bytes(16, PLACES[1]) for _ in range(2)]
    assert drawn[0] != drawn[1]
    replayed = ReplayedWorld(recording.record())
    assert [replayed.random_bytes(16, PLACES[1]) for _ in range(2)] == drawn
    for place in (PLACES[1], PLACES[2]):
        with pytest.raises(UnrecordedCall):
            replayed.random_bytes(16, place)


def test_another_number_of_random_bytes_is_another_call() -> None:
    recording = RecordingWorld(LiveWorld())
    recording.random_bytes(16, None)
    with pytest.raises(UnrecordedCall):
        ReplayedWorld(recording.record()).random_bytes(8, None)


def test_a_recorded_file_does_not_change_any_more(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\x00one")
    recording = RecordingWorld(LiveWorld())
    assert recording.read_file(str(path)) == b"\x00one"
    path.write_bytes(b"two")
    assert recording.read_file(str(path)) == b"\x00one"


def test_the_live_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").write_text("text")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLDSMITH_TEST_ONE", "1")
    monkeypatch.setenv("HOME", "/home/somebody")
    world = LiveWorld()
    assert world.cwd() == str(tmp_path)
    assert world.read_file("b") == b"text"
    assert world.list_directory(".") == ["a", "b"]
    kinds = [world.path_kind(name) for name in ("a", "b", "c", "/dev/null")]
    assert kinds == ["directory", "file", "none", "other"]
    assert world.env("GOLDSMITH_TEST_ONE") == "1"
    assert world.env("GOLDSMITH_TEST_TWO") is None
    assert world.env_names("GOLDSMITH_TEST_") == ["GOLDSMITH_TEST_ONE"]
    assert world.home() == "/home/somebody"
    assert world.now() == world.now()
    assert world.now().tzinfo is UTC


def test_an_impossible_path_is_an_ordinary_error() -> None:
    for look in (LiveWorld().read_file, LiveWorld().list_directory):
        with pytest.raises(OSError, match="Invalid argument"):
            look("a\0b")
    assert LiveWorld().path_kind("a\0b") == "none"
