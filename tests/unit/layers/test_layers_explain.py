"""The reason of a miss, in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from layer_records import digest_of, make_record

from goldsmith.layers.explain import NEVER_BUILT, explain, explain_age, nearest_record
from goldsmith.layers.keys import StepKey

HOUR_S = 3600.0
NOW_S = 100 * HOUR_S
PARENT = digest_of("parent")
BASE = {
    "type": "shell/1", "config:user": '"root"', "file:scripts/setup.sh": "0:aa",
    "env:BAR": "1", "release:bookworm-security": "r1",
    "packages": json.dumps(["curl", "less"]), "secret:token": "s1",
}  # fmt: skip
KEPT = make_record(BASE, PARENT, releases_s=NOW_S - 3 * HOUR_S)


def reason(changes, parent=PARENT, records=(KEPT,), removed=(), **where):
    inputs = {name: value for name, value in {**BASE, **changes}.items() if name not in removed}
    given = {"step": "shell", "label": "setup", **where}
    return explain(StepKey(inputs), parent, records, now_s=NOW_S, **given)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"file:scripts/setup.sh": "0:bb"}, "file scripts/setup.sh changed"),
        ({"file:other": "x"}, "file other added"),
        ({"env:FOO": "1"}, "environment FOO added"),
        ({"env:BAR": "2"}, "environment BAR changed"),
        ({"config:user": '"ops"'}, "option user changed"),
        ({"config": "{}"}, "configuration added"),
        ({"type": "shell/2"}, "step type shell/1 became shell/2"),
        ({"secret:token": "s2"}, "secret token changed"),
        ({"release:bookworm-security": "r2"},
         "Release of bookworm-security changed since 3 hours ago"),
        ({"release:x": "r2"}, "Release of x added"),
        ({"packages": '["curl","less","vim"]'}, "package vim added"),
        ({"packages": '["vim"]'}, "package vim added and packages curl, less removed"),
        ({"packages": '["less","curl"]'}, "order of packages changed"),
        ({"packages": "digest"}, "package list changed"),
        ({"locale": "C"}, "locale added"),
    ],
)  # fmt: skip
def test_what_changed_is_named(changes, text):
    assert reason(changes) == text


def test_what_was_removed_is_named():
    assert reason({}, removed=["env:BAR"]) == "environment BAR removed"
    assert reason({}, removed=["packages"]) == "packages curl, less removed"


def test_values_of_the_environment_are_not_shown():
    assert "hunter2" not in reason({"env:PASSWORD": "hunter2"})


def test_a_parent_made_again_is_told_only_where_nothing_else_changed():
    assert reason({}, parent=digest_of("new")) == "parent made again"
    assert reason({}, parent=None) == "parent made again"
    assert reason({"env:FOO": ""}, parent=None) == "environment FOO added"


def test_a_step_that_was_never_built():
    assert reason({}, records=()) == "never built"
    assert reason({}, step="file") == "never built"


def test_a_kept_result_that_was_there_a_moment_ago():
    assert reason({}) == "the kept result is gone"


def test_many_changes_are_counted():
    changes = {f"file:{letter}": "1" for letter in "abcde"}
    assert reason(changes) == "file a added, file b added, file c added and 2 more"


def test_many_packages_are_counted():
    assert reason({"packages": json.dumps(["curl", "less", *"abcd"])}) == "4 packages added"


def test_the_nearest_table_is_the_one_that_differs_least():
    far = make_record({**BASE, "env:A": "1", "env:B": "1"}, made_s=5000.0)
    near = make_record({**BASE, "env:A": "1"}, made_s=10.0)
    later = make_record({**BASE, "env:A": "1"}, made_s=20.0)
    other = make_record({**BASE, "env:A": "1"}, label="another step", made_s=30.0)
    records = (far, near, later, other)
    assert nearest_record(StepKey(BASE), records, step="shell", label="setup") is later
    assert nearest_record(StepKey(BASE), records, step="shell", label="another step") is other


def test_a_table_of_the_same_build_is_nearer_than_any_other():
    own = replace(make_record({**BASE, "env:A": "1", "env:B": "1"}), build="image.a")
    other = replace(make_record({**BASE, "env:A": "1"}), build="image.b")
    found = nearest_record(StepKey(BASE), [other, own], step="shell", build="image.a")
    assert found is own


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"env:A": "1"}, "environment A removed"),
        ({"env:A": "1", "env:B": "1"}, NEVER_BUILT),
        ({}, NEVER_BUILT),
    ],
)
def test_another_build_counts_only_where_it_is_almost_the_same(more, told):
    other = replace(make_record({**BASE, **more}), build="image.b")
    said = explain(StepKey(BASE), "p", [other], step="shell", build="image.a", now_s=NOW_S)
    assert said == told


@pytest.mark.parametrize(
    ("age_s", "ttl_s", "text"),
    [
        (26 * HOUR_S, 24 * HOUR_S, "expired: made 26 h ago, cache_ttl is 24 h"),
        (90 * 60, HOUR_S, "expired: made 90 min ago, cache_ttl is 60 min"),
        (5, 0, "expired: made 5 s ago, cache_ttl is 0 s"),
    ],
)
def test_age_and_limit_are_told(age_s, ttl_s, text):
    assert explain_age(age_s, ttl_s) == text
