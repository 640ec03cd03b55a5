"""Run directories: a living run is never touched, a dead one undone from its last entry on."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from goldsmith.errors import CleanupFailed, GoldsmithError
from goldsmith.host import journal
from goldsmith.host.journal import (
    find_dead_runs,
    finish_run,
    open_run,
    state_directory,
    undo_directory,
    undo_file,
)


@pytest.fixture(autouse=True)
def no_subprocess(monkeypatch):
    monkeypatch.setattr(journal, "remove_tree", shutil.rmtree)


@pytest.fixture
def dead(tmp_path):
    """Makes what a killed run leaves: its directory with a journal, its lock held by nobody."""

    def make(text, name="20260101-000000-aaaaaa", command="build\n"):
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        (path / "lock").touch()
        if command:
            (path / "command").write_text(command)
        (path / "journal.jsonl").write_bytes(text)
        return path

    return make


def lines(*entries):
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def entry(number, kind="file"):
    return {"id": f"e{number}", "kind": kind, "path": f"/x/{number}"}


def paths(found):
    return [entry.fields["path"] for entry in found.entries]


def test_a_run_has_a_directory_of_its_own_that_goes_with_it(tmp_path):
    with open_run(tmp_path, "build") as one, open_run(tmp_path, "build") as two:
        assert one.path != two.path
        assert one.path.parent == tmp_path / "runs"
        assert one.id == one.path.name
        assert (one.path / "command").read_text() == "build\n"
        assert one.path.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]


def test_a_run_that_fails_is_removed_too(tmp_path):
    with pytest.raises(GoldsmithError), open_run(tmp_path, "build") as run:
        raise GoldsmithError("no")
    assert find_dead_runs(tmp_path) == []
    assert not run.path.exists()


def test_a_slow_removal_is_told_of_and_a_quick_one_is_not(tmp_path, monkeypatch):
    told = []
    with open_run(tmp_path, "build", on_slow_removal=told.append):
        pass
    assert told == []
    heard = threading.Event()

    def slow(path):
        assert heard.wait(20), "nobody was told"
        shutil.rmtree(path)

    monkeypatch.setattr(journal, "SLOW_REMOVAL_S", 0.01)
    monkeypatch.setattr(journal, "remove_tree", slow)
    with open_run(tmp_path, "build", on_slow_removal=lambda path: heard.set()) as run:
        pass
    assert not run.path.exists()
    assert find_dead_runs(tmp_path) == []


def test_a_run_takes_back_what_its_killed_worker_had_begun(tmp_path):
    made = tmp_path / "made"
    with open_run(tmp_path, "build") as run:
        run.record("directory", path=str(made))
        made.mkdir()
        run.record("file", path=str(made / "half"))
        (made / "half").touch()
    assert not made.exists()
    assert find_dead_runs(tmp_path) == []


def test_a_run_that_cannot_take_back_stays_for_clean(tmp_path):
    def no(fields):
        raise GoldsmithError("no network")

    with pytest.raises(CleanupFailed) as caught, open_run(tmp_path, "build", {"volume": no}) as run:
        run.record("volume", path="v1")
    assert caught.value.failures == ("finish the run: cleanup failed: volume v1: no network",)
    (found,) = find_dead_runs(tmp_path)
    assert (found.path, paths(found)) == (run.path, ["v1"])


def test_a_living_run_is_never_found_dead(tmp_path):
    with open_run(tmp_path, "build") as run:
        run.record("file", path="/x/1")
        assert find_dead_runs(tmp_path) == []
        assert run.path.is_dir()


def test_a_run_lives_as_long_as_a_worker_holds_its_lock(tmp_path, dead):
    path = dead(lines(entry(1)))
    workers_fd = journal.try_lock(path / "lock")
    try:
        assert find_dead_runs(tmp_path) == []
    finally:
        os.close(workers_fd)
    assert [found.path for found in find_dead_runs(tmp_path)] == [path]


def test_a_run_that_came_alive_since_is_not_finished(tmp_path, dead):
    path = dead(lines(entry(1)))
    (found,) = find_dead_runs(tmp_path)
    fd = journal.try_lock(path / "lock")
    undone = []
    try:
        assert finish_run(found, {"file": undone.append}) == [f"{path} is in use again"]
    finally:
        os.close(fd)
    assert (undone, path.is_dir()) == ([], True)


def test_a_run_that_another_has_finished_is_no_error(tmp_path, dead):
    path = dead(lines(entry(1)))
    (found,) = find_dead_runs(tmp_path)
    shutil.rmtree(path)
    undone = []
    assert finish_run(found, {"file": undone.append}) == []
    assert undone == []


def test_finding_changes_nothing(tmp_path, dead):
    path = dead(lines(entry(1)))
    for _ in range(2):
        (found,) = find_dead_runs(tmp_path)
        assert (found.command, paths(found)) == ("build", ["/x/1"])
    assert path.is_dir()
    assert find_dead_runs(tmp_path / "elsewhere") == []
    assert not (tmp_path / "elsewhere").exists()


def test_entries_are_undone_last_first_and_the_directory_goes(tmp_path, dead):
    path = dead(lines(entry(1), entry(2, "volume"), entry(3)))
    (found,) = find_dead_runs(tmp_path)
    undone = []
    undo = {kind: lambda fields, kind=kind: undone.append((kind, fields["path"]))
            for kind in ("file", "volume")}  # fmt: skip
    assert finish_run(found, undo) == []
    assert undone == [("file", "/x/3"), ("volume", "/x/2"), ("file", "/x/1")]
    assert not path.exists()


def test_what_is_done_is_not_undone(tmp_path, dead):
    dead(lines(entry(1), entry(2), {"done": "e1"}, entry(3), {"done": "e3"}, {"done": "e9"}))
    (found,) = find_dead_runs(tmp_path)
    assert paths(found) == ["/x/2"]


@pytest.mark.parametrize(
    "torn", [b"", b'{"id": "e2", "ki', b'{"id": "e2", "kind": "file", "path": "/x/2"', b"\xff\xfe{"]
)
def test_a_torn_last_line_is_passed_over(tmp_path, dead, torn):
    dead(lines(entry(1)) + torn)
    (found,) = find_dead_runs(tmp_path)
    assert paths(found) == ["/x/1"]


@pytest.mark.parametrize("odd", [b'{"id": 1}\n', b"{}\n", b"\0\0\0\n", b"\n"])
def test_a_line_that_is_no_entry_is_passed_over(tmp_path, dead, odd):
    dead(odd + lines(entry(1)))
    (found,) = find_dead_runs(tmp_path)
    assert paths(found) == ["/x/1"]


def test_a_run_that_died_before_its_journal_is_found(tmp_path):
    (tmp_path / "runs" / "half-made").mkdir(parents=True)
    (tmp_path / "runs" / "a file").touch()
    (found,) = find_dead_runs(tmp_path)
    assert (found.command, found.entries) == ("unknown", ())
    assert finish_run(found, {}) == []
    assert not found.path.exists()


def test_what_cannot_be_undone_stays_for_the_next_time(tmp_path, dead):
    path = dead(lines(entry(1), entry(2, "volume"), entry(3, "novel"), entry(4)))
    (found,) = find_dead_runs(tmp_path)
    undone = []

    def no(fields):
        raise GoldsmithError("no network")

    failures = finish_run(found, {"file": undone.append, "volume": no})
    assert failures == [
        "novel /x/3: this version does not know how to undo it", "volume /x/2: no network"
    ]  # fmt: skip
    assert [fields["path"] for fields in undone] == ["/x/4", "/x/1"]
    assert path.is_dir()
    assert [again.path for again in find_dead_runs(tmp_path)] == [path]


def test_what_is_recorded_is_written_before_it_happens_and_forgotten_after(tmp_path):
    with open_run(tmp_path, "build") as run:
        first = run.record("volume", id_of="v1", path="vol")
        run.record("file", path="/x/2")
        run.forget(first)
        entries = journal._read_journal(run.path)
    assert [(e.kind, dict(e.fields)) for e in entries] == [("file", {"path": "/x/2"})]
    assert str(entries[0]) == "file /x/2"


@pytest.mark.parametrize("renamed", [False, True])
def test_a_scratch_file_goes_away_unless_it_was_renamed(tmp_path, renamed):
    temporary, final = tmp_path / ".out.partial", tmp_path / "out"
    with open_run(tmp_path, "build") as run:
        with run.scratch_file(temporary):
            # It is known before it is there: a kill in between must leave nothing.
            (known,) = journal._read_journal(run.path)
            assert known.fields["path"] == str(temporary)
            temporary.write_text("half")
            if renamed:
                temporary.rename(final)
        assert journal._read_journal(run.path) == ()
    assert (temporary.exists(), final.exists()) == (False, renamed)


def test_undoing_a_file_works_whether_it_ever_was(tmp_path):
    path = tmp_path / "half"
    path.touch()
    for _ in range(2):
        undo_file({"path": str(path)})
    assert not path.exists()


def test_a_directory_goes_only_when_nothing_is_in_it(tmp_path):
    path = tmp_path / "output"
    path.mkdir()
    (path / "image").touch()
    undo_directory({"path": str(path)})
    assert path.is_dir()
    (path / "image").unlink()
    for _ in range(2):
        undo_directory({"path": str(path)})
    assert not path.exists()


def test_a_state_directory_that_cannot_be_written_says_what_to_set(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(GoldsmithError, match="cannot use") as caught,
        open_run(tmp_path / "file", "build"),
    ):
        pass
    assert "GOLDSMITH_CACHE_DIR" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("environment", "uid", "expected"),
    [
        ({"GOLDSMITH_CACHE_DIR": "/given", "XDG_CACHE_HOME": "/xdg"}, 0, "/given"),
        ({"XDG_CACHE_HOME": "/xdg"}, 0, "/var/cache/goldsmith"),
        ({"XDG_CACHE_HOME": "/xdg"}, 1000, "/xdg/goldsmith"),
        ({"HOME": "/home/u"}, 1000, "/home/u/.cache/goldsmith"),
    ],
)
def test_where_the_state_lies(monkeypatch, environment, uid, expected):
    for name in ("GOLDSMITH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert state_directory() == Path(expected)


def test_runs_of_another_user_are_not_trusted(tmp_path, monkeypatch):
    """Root would do what the journals of a directory say that somebody else can write to."""
    victim = tmp_path / "victim"
    victim.touch()
    state = tmp_path / "state"
    run = state / "runs/20200101-000000-aaaaaa"
    run.mkdir(parents=True)
    (run / "lock").touch()
    (run / "journal.jsonl").write_text(f'{{"id": "1", "kind": "file", "path": "{victim}"}}\n')
    owner = os.stat(run).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(GoldsmithError, match="not a directory of your own"):
        find_dead_runs(state)
    with pytest.raises(GoldsmithError, match="not trusted"), open_run(state, "build"):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    (dead,) = find_dead_runs(state)
    assert [str(entry) for entry in dead.entries] == [f"file {victim}"]


def test_a_link_in_the_place_of_the_runs_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GoldsmithError, match="not a directory of your own"):
        find_dead_runs(tmp_path / "state")


@pytest.mark.parametrize("after", ["mkdir", "try_lock", "write_text"])
def test_an_interrupt_while_a_run_is_made_leaves_none(tmp_path, monkeypatch, after):
    owner, name = {"mkdir": (Path, "mkdir"), "try_lock": (journal, "try_lock"),
                   "write_text": (Path, "write_text")}[after]  # fmt: skip
    real = getattr(owner, name)

    def interrupted(*words, **more):
        found = real(*words, **more)
        if after == "mkdir" and words[0] == tmp_path / "runs":
            return found
        raise KeyboardInterrupt

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, interrupted)
        open_run(tmp_path, "build").__enter__()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]
    # What was locked and not given to anybody is closed with the process.
    assert len(os.listdir("/proc/self/fd")) - len(before) == (after == "try_lock")
