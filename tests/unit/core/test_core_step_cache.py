"""Which inputs are in a step's key, and which rule decides whether its earlier result counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from goldsmith.core.caching import CachePolicy, Caching, config_inputs, shown_path
from goldsmith.core.step import StepTraits
from goldsmith.core.step_cache import UNKNOWN_PARENT, StepCache
from goldsmith.layers.keys import StepKey
from goldsmith.layers.store import Store
from goldsmith.packages.release_files import ReleaseState
from goldsmith.redact import Redactor

EPOCH = {"SOURCE_DATE_EPOCH": "5"}
PROXY = {"http_proxy": "http://proxy.example"}
DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Step(StepTraits):
    inputs: dict[str, str] | None = field(default_factory=lambda: {"type": "shell/1"})
    name: str = "provisioner-1"
    label: str = "Provisioning"
    network: bool = False
    enters: bool = True

    def key(self):
        return None if self.inputs is None else StepKey(self.inputs)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def cache(store):
    return StepCache(store, now=lambda: 1000.0)


def keep(cache, step, environment=None, parent="", made_s=None, text="content"):
    """Publish a layer for a step and return its record, optionally made at another time."""
    question = cache.question(step, environment or {}, "")
    with cache.store.draft() as draft:
        draft.tree.mkdir()
        (draft.tree / "file").write_text(text)
        record = draft.publish(cache.made(question, parent, "overlay", 2.0))
    if made_s is not None:
        path = cache.store.directory.keys / f"{record.key}.json"
        record = replace(record, made_s=made_s)
        path.write_bytes(record.encoded())
    return record


def answer(cache, step, environment=None, parent=""):
    return cache.answer(cache.question(step, environment or {}, ""), parent)


def key_of(cache, step, environment=None):
    return cache.question(step, environment or {}, "").key


# ---- keys


def test_a_step_is_given_only_what_its_key_holds(cache):
    both = {**EPOCH, **PROXY}
    assert key_of(cache, Step(), both) == key_of(cache, Step(), EPOCH)
    assert key_of(cache, Step(), both) != key_of(cache, Step(), PROXY)
    networked = Step(network=True)
    assert key_of(cache, networked, both) != key_of(cache, networked, EPOCH)


def test_a_variable_of_the_step_counts_beside_the_same_one_of_the_caller(cache):
    keys = {
        key_of(cache, Step(inputs=inputs), environment).digest
        for environment in ({}, {"SOURCE_DATE_EPOCH": "5"}, {"SOURCE_DATE_EPOCH": "6"})
        for inputs in ({"type": "a"}, {"type": "a", "env:SOURCE_DATE_EPOCH": "5"},
                       {"type": "a", "env:SOURCE_DATE_EPOCH": "6"})
    }  # fmt: skip
    # The caller's alone, and the step's alone, are the same for a step that is given one of them.
    assert len(keys) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"type": "shell/2"}}, {"inputs": {"type": "shell/1", "config:x": "1"}},
        {"network": True}, {"caching": Caching(key="mine")},
    ],
)  # fmt: skip
def test_what_is_in_the_key(cache, change):
    assert key_of(cache, Step(**change)) != key_of(cache, Step())


@pytest.mark.parametrize("change", [{"caching": Caching(ttl_s=5.0)}, {"label": "Another word"}])
def test_what_is_not_in_the_key(cache, change):
    assert key_of(cache, Step(**change)) == key_of(cache, Step())


def test_trees_of_another_method_are_others(store):
    plain, overlay = StepCache(store, method="plain"), StepCache(store, method="overlay")
    assert key_of(plain, Step()) != key_of(overlay, Step())


def test_a_step_without_a_key_gets_one_from_cache_key(cache):
    told = cache.question(Step(inputs=None), {}, "")
    assert (told.key, told.reason) == (None, "nothing says beforehand what it does")
    assert answer(cache, Step(inputs=None)).reason == told.reason
    assert key_of(cache, Step(inputs=None, caching=Caching(key="1"))) is not None
    assert cache.question(Step(caching=Caching(reuse=False)), {}, "").reason == "cache = false"


def test_recipes_name_the_steps_below_and_chance_none(cache):
    question = cache.question(Step(), {}, "below")
    assert question.recipe == cache.question(Step(), {}, "below").recipe
    assert question.recipe != cache.question(Step(), {}, "other").recipe
    without = [cache.question(Step(inputs=None), {}, "below").recipe for _ in range(2)]
    assert without[0] != without[1]


def test_secrets_lie_in_no_name_and_no_value(store):
    secret = "hunter-2"
    cache = StepCache(store, redactor=Redactor([secret]))
    step = Step(inputs={f"file:{secret}/a": "1", "type": secret, "env:A": secret, "packages": "[]"},
                label=f"echo {secret}")  # fmt: skip
    record = keep(cache, step)
    assert secret.encode() not in record.encoded()
    assert record.inputs["packages"] == "[]"
    assert len(record.inputs) == 7
    other = replace(step, inputs={**step.inputs, "env:A": "hunter-3"})
    assert key_of(cache, other) != key_of(cache, step)
    assert answer(cache, step).hit


def test_values_are_hashed_with_the_secret_of_the_store(tmp_path):
    keys = [key_of(StepCache(Store.open(tmp_path / name)), Step(inputs={"config:a": "x"}))
            for name in ("one", "two")]  # fmt: skip
    assert keys[0] != keys[1]


# ---- rules


def test_without_network_age_and_releases_do_not_count(cache):
    keep(cache, Step(), made_s=1000.0 - 1000 * DAY_S)
    assert answer(cache, Step()).reason == "inputs unchanged"


@pytest.mark.parametrize(
    ("age_s", "ttl_s", "hit"),
    [(10, None, True), (DAY_S - 1, None, True), (DAY_S, None, False), (10, 10.0, False),
     (9, 10.0, True), (0, 0.0, False), (-60, None, True), (-2 * 3600, None, False)],
)  # fmt: skip
def test_with_network_age_counts(cache, age_s, ttl_s, hit):
    step = Step(network=True, caching=Caching(ttl_s=ttl_s))
    record = keep(cache, step, made_s=1000.0 - age_s)
    told = answer(cache, step)
    assert told.hit == hit
    assert (told.too_old is None) == hit
    if not hit:
        assert told.too_old == record
    old = StepCache(cache.store, CachePolicy(any_age=True), now=cache.now)
    assert answer(old, step).hit


def test_declared_steps_live_by_releases_alone(store):
    release = {"release:bookworm main": ReleaseState("a" * 64, fetched=True, since_s=1.0)}
    cache = StepCache(store, releases=release, now=lambda: 1e9)
    step = Step(network=True, declared=True)
    keep(cache, step, made_s=5.0)
    assert answer(cache, step).reason == "inputs and Release files unchanged"
    newer = {"release:bookworm main": ReleaseState("b" * 64, fetched=True)}
    told = answer(StepCache(store, releases=newer, now=lambda: 1e9), step)
    assert not told.hit
    assert told.reason.startswith("Release of bookworm main changed since")


def test_a_release_that_cannot_be_fetched(store):
    name = "release:bookworm main"
    fetched = StepCache(store, releases={name: ReleaseState("a" * 64, fetched=True)})
    step = Step(network=True, declared=True)
    keep(fetched, step)
    unheard = StepCache(store, releases={name: ReleaseState(None, fetched=False)})
    told = answer(unheard, step).reason
    assert told.startswith("the Release file of bookworm main cannot be fetched")
    # A step that sees no network does not ask.
    assert key_of(unheard, Step()) == key_of(fetched, Step())
    offline = StepCache(store, CachePolicy(offline=True),
                        releases={name: ReleaseState("a" * 64, fetched=False)})  # fmt: skip
    told = answer(offline, step)
    assert told.hit
    assert told.reason.endswith("bookworm main not looked at: -offline")


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"release:a": "1" * 64}, False),
        ({"release:a": "2" * 64}, True),
        ({"release:a": None}, False),
        ({}, False),
    ],
)
def test_of_a_repository_that_is_silent_at_the_second_look_nothing_is_known(store, now, changed):
    first = {"release:a": ReleaseState("1" * 64, fetched=True)}
    second = {name: ReleaseState(digest, fetched=True) for name, digest in now.items()}
    cache = StepCache(store, releases=first, look_again=lambda: second)
    assert cache.releases_changed() is changed


def test_wishes_of_the_command(cache):
    record = keep(cache, Step())
    again = StepCache(cache.store, CachePolicy(use=False))
    assert (answer(again, Step()).reason, answer(again, Step()).too_old) == ("-no-cache", record)
    refresh = StepCache(cache.store, CachePolicy(refresh=("provisioner-1",)))
    assert (answer(refresh, Step()).reason, answer(refresh, Step()).too_old) == (
        "-refresh", record,
    )  # fmt: skip
    other = StepCache(cache.store, CachePolicy(refresh=("provisioner-2",)))
    assert answer(other, Step()).hit
    # What a step has as a part of it is made again with it.
    part = StepCache(cache.store, CachePolicy(refresh=("initramfs",)))
    assert answer(part, Step()).hit
    assert answer(part, Step(parts=("initramfs",))).reason == "-refresh"


def test_reasons_of_misses(cache):
    assert answer(cache, Step()).reason == "never built"
    keep(cache, Step())
    # The records are read once in a command.
    cache = StepCache(cache.store)
    assert answer(cache, Step(), parent="f" * 64).reason == "parent made again"
    assert answer(cache, Step(), parent=UNKNOWN_PARENT).reason == "parent made again"
    assert cache.answer(cache.question(Step(), {}, ""), None).reason == (
        "a step before it is made anew each time"
    )
    told = answer(cache, Step(inputs={"type": "shell/2"}))
    assert told.reason == "step type shell/1 became shell/2"
    told = answer(cache, Step(inputs={"type": "shell/1", "config:x": "1"}, chance=("uuid()",)))
    assert told.reason == "it uses uuid(), which differs in every run"


# ---- names and values of inputs


def test_config_inputs_do_not_depend_on_the_order_of_keys():
    assert config_inputs({"a": {"x": 1, "y": 2}}) == config_inputs({"a": {"y": 2, "x": 1}})


def test_paths_are_shown_without_the_directory(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert shown_path("b/../b/file", tmp_path / "a") == "b/file"
    assert shown_path(str(tmp_path / "a/b/file"), tmp_path / "a") == "b/file"
    assert shown_path("../outside", tmp_path / "a") == "outside"
    assert shown_path(".", Path(tmp_path)) == "."
