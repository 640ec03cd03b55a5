"""Guests that nobody needs are found and removed; the one of today, and one in the making, stay."""

import fcntl
import os
import shutil

import pytest

from goldsmith.errors import MissingToolError
from goldsmith.machine import guest_upkeep
from goldsmith.machine.guest_upkeep import (
    KEPT_S,
    find_spare_guests,
    look_at_guest,
    remove_spare_guests,
)

NOW_S = 2_000_000_000.0


class Recipe:
    suite = "bookworm"

    def digest(self):
        return "today"


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(guest_upkeep, "host_recipe", Recipe)
    monkeypatch.setattr(guest_upkeep, "remove_tree", shutil.rmtree)
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path))
    directory = tmp_path / "guest"
    directory.mkdir()
    (directory / ".lock").touch()
    for name, age_s in (("today", 9 * KEPT_S), ("old", KEPT_S + 60), ("recent", KEPT_S - 60),
                        ("half.new", 0)):  # fmt: skip
        (directory / name).mkdir()
        (directory / name / "kernel").write_text("x")
        os.utime(directory / name, (NOW_S - age_s, NOW_S - age_s))
    return tmp_path


def names(found):
    return [spare.path.name for spare in found]


def test_half_made_ones_and_old_ones_of_other_recipes_go(state):
    found = find_spare_guests(state, now_s=NOW_S)
    assert names(found) == ["half.new", "old"]
    assert "never finished" in str(found[0])
    assert remove_spare_guests(state, now_s=NOW_S) == []
    assert sorted(p.name for p in (state / "guest").iterdir()) == [".lock", "recent", "today"]
    assert find_spare_guests(state, now_s=NOW_S) == []


def test_nothing_goes_while_somebody_makes_one(state):
    with open(state / "guest/.lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_spare_guests(state, now_s=NOW_S) == []
        assert remove_spare_guests(state, now_s=NOW_S) == []
    assert names(find_spare_guests(state, now_s=NOW_S)) == ["half.new", "old"]


def test_a_state_without_guests_has_none_to_spare(tmp_path):
    assert find_spare_guests(tmp_path) == []
    assert remove_spare_guests(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_told(state, monkeypatch):
    def stubborn(path):
        raise guest_upkeep.GoldsmithError("it is stuck")

    monkeypatch.setattr(guest_upkeep, "remove_tree", stubborn)
    assert [text.partition(": ")[2] for text in remove_spare_guests(state, now_s=NOW_S)] == [
        "it is stuck"] * 2  # fmt: skip


def test_doctor_says_whether_there_is_a_guest(state, monkeypatch):
    monkeypatch.setattr(guest_upkeep, "find_tool", lambda tool: "/usr/bin/qemu")
    monkeypatch.setattr(guest_upkeep, "require_guest_image", lambda *, state: None)
    verdict = look_at_guest()
    assert (verdict.outcome, verdict.finding) == ("ok", f"made, in {state}/guest/today")
    shutil.rmtree(state / "guest/today")
    assert "packages of bookworm when it is first needed" in look_at_guest().finding

    def missing(*, state):
        raise MissingToolError("dpkg-deb", "dpkg")

    monkeypatch.setattr(guest_upkeep, "require_guest_image", missing)
    verdict = look_at_guest()
    assert (verdict.outcome, verdict.remedy) == ("warning", "apt-get install dpkg")
    monkeypatch.setattr(guest_upkeep, "find_tool", lambda tool: None)
    assert look_at_guest().packages == ("qemu-system-x86",)
