"""`goldsmith cache`, `plan` and the flags about caches; and what `clean` does in the store."""

from __future__ import annotations

import json

import pytest

from goldsmith.cli import cache, clean, plan
from goldsmith.cli.flags import FlagError, read_flags
from goldsmith.cli.planning import CACHE_FLAGS, build_environment, cache_policy
from goldsmith.errors import GoldsmithError
from goldsmith.layers.keys import StepKey
from goldsmith.layers.records import MadeStep
from goldsmith.layers.store import Store
from goldsmith.packages.unpacked.content_store import ContentStore


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLDSMITH_CACHE_DIR", str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


@pytest.fixture
def store(state):
    return Store.open(state / "store")


def made(store, name, parent="", failed=False):
    step = MadeStep(key=StepKey({"type": name}), parent=parent, step=name, label=f"Making {name}",
                    duration_s=1.0)  # fmt: skip
    with store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / name).write_text(name)
        return draft.keep_failed(step, "it failed") if failed else draft.publish(step)


def run(capsys, *words):
    status = cache.run(list(words), False)
    return status, capsys.readouterr().out


# ---- cache


def test_an_empty_store(state, capsys):
    assert run(capsys, "ls") == (0, "Nothing is kept yet.\n")
    assert run(capsys, "verify")[0] == 0
    assert run(capsys, "du")[0] == 0


def test_ls_shows_results_and_failures(store, capsys):
    one = made(store, "one")
    failed = made(store, "two", one.id, failed=True)
    status, out = run(capsys, "ls")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["KEY", "STEP", "SIZE", "MADE", "USED", "WHAT"]
    assert lines[1].startswith(one.key[:12])
    assert lines[1].endswith("Making one")
    assert lines[2].startswith(failed.key[:12])
    assert lines[2].endswith("Making two  (failed)")


def test_show_tells_one_result_by_the_beginning_of_its_key_or_id(store, capsys):
    one = made(store, "one")
    made(store, "two", one.id)
    for prefix in (one.key, one.key[:10], one.id[:10]):
        status, out = run(capsys, "show", prefix)
        assert status == 0
        assert one.id in out and "Making one" in out and str(store.tree(one)) in out
    with pytest.raises(GoldsmithError, match="several results begin"):
        run(capsys, "show", "")
    with pytest.raises(GoldsmithError, match="no result begins"):
        run(capsys, "show", "x")


def test_prune_by_age_only_tells_in_a_dry_run(store, capsys):
    one = made(store, "one")
    status, out = run(capsys, "prune", "--older-than", "0s", "--dry-run")
    assert status == 0 and "Would remove 1 result," in out
    assert store.find(one.key) is not None
    status, out = run(capsys, "prune", "--older-than", "0s")
    assert status == 0 and "Removed 1 result," in out
    assert store.find(one.key) is None


def test_prune_all_takes_unpacked_packages_that_no_build_uses(state, capsys):
    unpacked = ContentStore(state / "unpacked")
    with unpacked.in_use():
        (unpacked.directory / "a").mkdir()
        assert "they stay" in run(capsys, "prune", "--all")[1]
    assert "Would remove 1 unpacked" in run(capsys, "prune", "--all", "--dry-run")[1]
    assert (unpacked.directory / "a").is_dir()
    assert unpacked.clear() == 1
    assert [path.name for path in unpacked.directory.iterdir()] == ["lock"]


def test_answers_of_apt_that_a_build_may_read_stay(state, capsys):
    unpacked, answer = ContentStore(state / "unpacked"), state / "resolutions" / "key"
    answer.mkdir(parents=True)
    (answer / "answer.json").write_text("torn")
    with unpacked.in_use():
        assert "answers" not in run(capsys, "prune", "--all")[1]
    assert answer.is_dir()
    status, text = run(capsys, "verify")
    assert status == 4
    assert "an answer of APT (key): answer.json was changed" in text
    assert run(capsys, "verify", "--forget")[0] == 0
    assert not answer.exists()
    answer.mkdir()
    assert "Removed 1 answers of APT" in run(capsys, "prune", "--all")[1]
    assert not answer.exists()


def test_prune_keeps_what_is_young_and_small(store, capsys):
    one = made(store, "one")
    for limit in (("--older-than", "30d"), ("--unused-for", "90m"), ("--max-size", "1GiB")):
        assert run(capsys, "prune", *limit)[0] == 0
        assert store.find(one.key) is not None


def test_verify_tells_what_is_damaged_and_forgets_it(store, capsys):
    one = made(store, "one")
    assert run(capsys, "verify") == (0, "Everything is as it was kept.\n")
    (store.tree(one) / "one").write_text("two")
    status, out = run(capsys, "verify")
    assert status == 4
    assert one.layer in out
    status, out = run(capsys, "verify", "--forget")
    assert status == 0
    assert store.find(one.key) is None
    assert run(capsys, "verify")[0] == 0


@pytest.mark.parametrize("words", [[], ["what"], ["prune", "--older-than", "soon"], ["show"]])
def test_wrong_usage(state, words, capsys):
    assert cache.run(words, False) == 2


# ---- clean


def forsaken(store):
    """A layer in the making whose process is gone."""
    layer = store.directory.layers / "0123456789ab"
    (layer / "tree").mkdir(parents=True)
    (layer / "lock").touch()
    return layer


def test_clean_removes_what_was_begun_and_nothing_else(state, store, capsys):
    one = made(store, "one")
    assert clean.run([], False) == 0
    assert "Nothing is left to clean." in capsys.readouterr().out
    left = forsaken(store)
    assert clean.run(["--dry-run"], False) == 0
    assert left.exists()
    assert clean.run([], False) == 0
    assert "Removed 1 unfinished result of steps." in capsys.readouterr().out
    assert not left.exists()
    assert store.tree(one).is_dir()


def test_every_build_does_so_first(state, store):
    one, left = made(store, "one"), forsaken(store)
    with store.draft() as draft:
        draft.tree.mkdir()
        clean.finish_dead_runs(state, lambda text: None)
        assert draft.tree.is_dir()
    assert not left.exists()
    assert store.tree(one).is_dir()


def test_a_store_that_cannot_be_used_stops_no_build_that_needs_none(state):
    (state / "store/layers/0123456789ab").mkdir(parents=True)
    (state / "store").chmod(0o777)
    clean.finish_dead_runs(state, lambda text: None)


# ---- flags


class World:
    def __init__(self, **variables):
        self.variables = variables

    def env(self, name):
        return self.variables.get(name)


def policy(*words):
    return cache_policy(read_flags(CACHE_FLAGS, list(words)))


def test_flags_become_a_policy():
    assert policy().use
    assert policy().secrets_in_image == "warn"
    assert not policy("-no-cache").use
    both = policy("-refresh=bootstrap", "-refresh=provisioner-12")
    assert both.refresh == ("bootstrap", "provisioner-12")
    assert policy("-refresh=source").refresh == ("source",)
    assert policy("-refresh=initramfs", "-refresh=pre-install.d").refresh == (
        "initramfs", "pre-install.d",
    )  # fmt: skip
    for wrong in ("provisoner-1", "provisioner-0", "provisioner", "image", "", "install", "x.d"):
        with pytest.raises(FlagError, match="for flag -refresh: steps are called"):
            policy(f"-refresh={wrong}")
    assert policy("-offline").offline
    assert policy("-verify-cache").verify
    assert policy("-secrets-in-image=error").secrets_in_image == "error"
    with pytest.raises(FlagError, match="it is warn or error"):
        policy("-secrets-in-image=no")


def test_builds_see_proxies_and_the_epoch_of_the_caller():
    world = World(http_proxy="p", SOURCE_DATE_EPOCH="5", HOME="/h", LANG="C", PATH="/bin")
    assert build_environment(world) == {"http_proxy": "p", "SOURCE_DATE_EPOCH": "5"}
    with pytest.raises(GoldsmithError, match="SOURCE_DATE_EPOCH is 'now'"):
        build_environment(World(SOURCE_DATE_EPOCH="now"))


# ---- plan


@pytest.fixture
def template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.pkr.hcl").write_text(
        'source "null" "n" {\n  communicator = "none"\n}\nbuild {\n  sources = ["null.n"]\n'
        '  provisioner "shell-local" {\n    inline = ["touch ran"]\n  }\n}\n'
    )
    return tmp_path


def test_plan_runs_nothing_and_says_what_is_to_do(state, template, capsys):
    assert plan.run(["t.pkr.hcl"], False) == 0
    out = capsys.readouterr().out
    assert out.startswith("null.n:\n")
    assert "this source keeps no results" in out
    assert not (template / "ran").exists()
    assert plan.run(["-detailed-exitcode", "t.pkr.hcl"], False) == 2


def test_plan_as_json(state, template, capsys):
    assert plan.run(["-json", "t.pkr.hcl"], False) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == plan.SCHEMA
    (build,) = document["builds"]
    assert build["build"] == "null.n"
    assert [step["name"] for step in build["steps"]] == ["build", "provisioner-1"]
    assert {step["state"] for step in build["steps"]} == {"always"}
    assert build["nothing_to_do"] is False


@pytest.mark.parametrize(
    ("words", "status"),
    [(["-help"], 0), (["-what", "t.pkr.hcl"], 2), (["-detailed-exitcode", "-what"], 1),
     (["none.pkr.hcl"], 1)],
)  # fmt: skip
def test_plan_that_cannot_be(state, template, words, status, capsys):
    assert plan.run(words, False) == status
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
