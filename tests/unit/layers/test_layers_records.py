"""Records: written and read back, and refused when anything about them is not right."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_records import digest_of, make_record

from goldsmith.layers.keys import plain_id
from goldsmith.layers.records import Record, RecordError, layer_named_in

PARENT = digest_of("parent")


@given(
    st.dictionaries(st.text(), st.text(), max_size=4), st.text(),
    st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 1 << 60),
)  # fmt: skip
def test_a_record_is_read_as_it_was_written(inputs, label, made_s, size_bytes):
    record = make_record(inputs, PARENT, label=label, made_s=made_s, size_bytes=size_bytes)
    assert Record.decoded(record.encoded()) == record


def test_records_of_plain_flat_and_failed_layers_are_read():
    content = digest_of("content")
    plain = make_record({"a": "1"}, kind="plain", id=plain_id(content))
    stack = digest_of("stack")
    flat = make_record({}, kind="flat", key=stack, id=stack, own="")
    failed = make_record({"a": "1"}, id="", content="", error="exit 1")
    for record in (plain, flat, failed):
        assert Record.decoded(record.encoded()) == record
    assert failed.failed and not plain.failed


@given(st.data())
def test_a_torn_record_is_none(data):
    text = make_record({"type": "shell/1"}).encoded().rstrip()
    length = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(RecordError):
        Record.decoded(text[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"inputs": {"type": "other"}}, {"parent": digest_of("other")},
        {"id": digest_of("other")}, {"content": digest_of("other")}, {"layer": "../../etc"},
        {"layer": "0123456789AB"}, {"kind": "tar"}, {"kind": "flat"}, {"kind": "plain"},
        {"made_s": "1"}, {"made_s": True}, {"size_bytes": -1}, {"size_bytes": 1.0},
        {"inputs": {"type": 1}}, {"inputs": []}, {"error": "x"}, {"id": ""}, {"extra": 1},
        {"key": "x"}, {"own": digest_of("other")}, {"releases_s": "now"},
    ],
)  # fmt: skip
def test_a_record_that_was_changed_is_none(change):
    fields = json.loads(make_record({"type": "shell/1"}, PARENT).encoded())
    with pytest.raises(RecordError):
        Record.decoded(json.dumps({**fields, **change}).encode())


@pytest.mark.parametrize("missing", ["format", "key", "inputs", "error", "releases_s"])
def test_a_record_without_a_field_is_none(missing):
    fields = json.loads(make_record({"type": "shell/1"}).encoded())
    del fields[missing]
    with pytest.raises(RecordError):
        Record.decoded(json.dumps(fields).encode())


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b"NaN"])
def test_what_is_no_record_is_none(text):
    with pytest.raises(RecordError):
        Record.decoded(text)
    assert layer_named_in(text) is None


def test_the_layer_of_a_later_versions_record_is_known():
    later = json.dumps({"format": 9, "layer": "0123456789ab", "news": 1}).encode()
    assert layer_named_in(later) == "0123456789ab"
    assert layer_named_in(json.dumps({"layer": "../x"}).encode()) is None


def test_the_time_of_use_is_no_part_of_the_text():
    record = make_record({})
    used = Record.decoded(record.encoded(), last_used_s=5.0)
    assert used.last_used_s == 5.0
    assert used == record and used.encoded() == record.encoded()
