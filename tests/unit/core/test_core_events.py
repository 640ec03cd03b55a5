"""Events cross a pipe as lines and come out as they were; what they say is redacted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.events import (
    ArtifactMade,
    Asked,
    Emitter,
    Failed,
    Output,
    Progress,
    Said,
    StepFinished,
    StepStarted,
    decode,
    encode,
)
from goldsmith.redact import Redactor

# Surrogates too: names of files that are no UTF-8 have them in Python.
TEXT = st.text(max_size=30)
TIME = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TIME | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
COMMON = {"build": TEXT, "at_s": TIME}
CACHED = {
    "key": st.none() | TEXT, "parent": st.none() | TEXT,
    "cache": st.sampled_from(["hit", "miss", "none", None]), "reason": TEXT,
}  # fmt: skip
EVENTS = st.one_of(
    st.builds(Said, text=TEXT, level=TEXT, **COMMON),
    st.builds(StepStarted, step=TEXT, label=TEXT, takes_long=st.booleans(), **CACHED, **COMMON),
    st.builds(StepFinished, step=TEXT, label=TEXT, duration_s=TIME, outcome=TEXT, **CACHED,
              **COMMON),
    st.builds(Output, step=TEXT, stream=TEXT, line=TEXT, routine=st.booleans(), **COMMON),
    st.builds(Progress, step=TEXT, what=TEXT, done=st.integers(), total=st.integers(),
              part=TEXT, unit=TEXT, **COMMON),
    st.builds(Asked, id=st.integers(), question=TEXT,
              choices=st.lists(TEXT, max_size=3).map(tuple), **COMMON),
    st.builds(ArtifactMade, artifact=st.dictionaries(TEXT, JSON, max_size=3), **COMMON),
    st.builds(Failed, error=TEXT, message=TEXT, hint=TEXT, exit_code=st.integers(), **COMMON),
)  # fmt: skip


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event):
    line = encode(event)
    assert "\n" not in line
    assert decode(line.encode().decode()) == event


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "null", "3", "[]", '"said"', "{}", '{"kind": "nope"}', '{"kind": 3}',
        '{"kind": []}', '{"kind": {}}', '{"kind": "said"}',
        '{"kind": "said", "text": "x", "no": 1}',
        '{"kind": "asked", "id": 1, "question": "q", "choices": 5}', '{"kind": "event"}',
    ],
)  # fmt: skip
def test_anything_else_is_no_event(line):
    with pytest.raises(ValueError):
        decode(line)


@given(st.text())
def test_no_line_does_worse_than_that(line):
    with pytest.raises(ValueError):
        decode(line)


def test_a_torn_line_is_no_event():
    line = encode(Said(text="hello"))
    for cut in range(len(line)):
        with pytest.raises(ValueError):
            decode(line[:cut])


@pytest.fixture
def seen():
    return []


@pytest.fixture
def emitter(seen):
    return Emitter("image.a", seen.append, Redactor(["s3cret"]))


def test_texts_are_redacted_when_they_are_made(emitter, seen):
    emitter.say("the s3cret")
    emitter.message("s3cret")
    emitter.warn("s3cret!")
    emitter.error("no s3cret")
    emitter.output("pw=s3cret", "stderr", routine=True)
    with emitter.running("step", "Use s3cret"):
        pass
    assert "s3cret" not in "".join(map(encode, seen))
    assert [(e.level, e.text) for e in seen if isinstance(e, Said)] == [
        ("say", "the <sensitive>"), ("message", "<sensitive>"), ("warning", "<sensitive>!"),
        ("error", "no <sensitive>"),
    ]  # fmt: skip
    assert {event.build for event in seen} == {"image.a"}


def test_what_happens_in_a_step_belongs_to_it(emitter, seen):
    emitter.output("before")
    with emitter.running("outer", "Outer"):
        emitter.output("1")
        with emitter.running("inner", "Inner", takes_long=True):
            emitter.progress("copy", 1, 2)
        emitter.output("2")
    assert [(event.kind, event.step) for event in seen] == [
        ("output", ""), ("step-started", "outer"), ("output", "outer"), ("step-started", "inner"),
        ("progress", "inner"), ("step-finished", "inner"), ("output", "outer"),
        ("step-finished", "outer"),
    ]  # fmt: skip
    assert [e.takes_long for e in seen if isinstance(e, StepStarted)] == [False, True]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_step_that_raises_has_failed(emitter, seen, error):
    with pytest.raises(error), emitter.running("step", "Step"):
        raise error
    assert (seen[-1].outcome, seen[-1].duration_s >= 0, emitter.step) == ("failed", True, "")


def test_an_event_of_another_maker_is_passed_on_unchanged(emitter, seen):
    event = Failed(error="X", message="m")
    emitter.send(event)
    assert seen == [event]
    assert json.loads(encode(event))["kind"] == "failed"


def test_a_label_is_cut_after_it_is_redacted():
    """Cut first, the part of a secret before the cut is no secret that anybody knows."""
    for pad in range(60, 110):
        seen = []
        emitter = Emitter("image.a", seen.append, Redactor(["abcdefghijklmnop"]))
        with emitter.running("s", "x" * pad + "abcdefghijklmnop" + "y" * 50):
            pass
        labels = [event.label for event in seen]
        assert all(len(label) <= 100 for label in labels)
        assert not any("abc" in label for label in labels)
        assert labels[0].endswith("...")


@pytest.mark.parametrize(("cache", "outcome"), [("hit", "cached"), ("miss", "ran"), (None, "ran")])
def test_both_events_of_a_step_say_what_the_cache_had(emitter, seen, cache, outcome):
    with emitter.running("s", "S", key="k", parent="p", cache=cache, reason="of s3cret"):
        pass
    for event in seen:
        assert (event.key, event.parent, event.cache) == ("k", "p", cache)
        assert event.reason == "of <sensitive>"
    assert seen[-1].outcome == outcome


def test_a_progress_is_redacted_and_tells_its_part(emitter, seen):
    emitter.progress("copy s3cret", 1, 2, part="raw", unit="bytes")
    assert (seen[0].what, seen[0].part, seen[0].unit) == ("copy <sensitive>", "raw", "bytes")
