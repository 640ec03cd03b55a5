"""What is inside messages: specifications and values in gob, protobuf, msgpack and JSON."""

import base64
import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from goldsmith.plugin.services.command_status import decode_status, encode_status
from goldsmith.plugin.services.config_spec import SpecForm
from goldsmith.plugin.wire import (
    cty_gob,
    cty_gob_types,
    cty_json,
    cty_msgpack,
    hcl_spec_gob,
    hcl_spec_protobuf,
    messages,
)
from goldsmith.plugin.wire.errors import ProtocolError, WireError
from goldsmith.plugin.wire.gob import Decoder
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockListSpec, BlockSpec, ObjectSpec
from goldsmith.values.numbers import Number
from goldsmith.values.types import (
    ANY,
    BOOL,
    NUMBER,
    STRING,
    ListType,
    MapType,
    ObjectType,
    SetType,
    TupleType,
    Type,
)
from goldsmith.values.value import (
    Value,
    boolean,
    list_of,
    map_of,
    null,
    number,
    object_of,
    set_of,
    string,
    tuple_of,
    unknown,
)

RECORDED = Path(__file__).parents[2] / "compat/data/plugin-wire"
BRIEF = settings(
    deadline=None, max_examples=50, suppress_health_check=list(HealthCheck), database=None
)
NAMES = st.text(max_size=8)
PRIMITIVES = st.sampled_from([STRING, NUMBER, BOOL])
OPTION_TYPES = st.recursive(
    PRIMITIVES, lambda inner: inner.map(ListType) | inner.map(MapType), max_leaves=4
)
TYPES = st.recursive(
    PRIMITIVES,
    lambda inner: inner.map(ListType) | inner.map(MapType) | inner.map(SetType)
    | st.dictionaries(NAMES, inner, max_size=3).map(ObjectType)
    | st.lists(inner, max_size=3).map(lambda of: TupleType(tuple(of))),
    max_leaves=6,
)  # fmt: skip
SPECS = st.recursive(
    st.builds(AttributeSpec, NAMES, OPTION_TYPES, st.booleans()),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3).map(ObjectSpec).flatmap(
        lambda nested: st.builds(BlockSpec, NAMES, st.just(nested), st.booleans())
        | st.builds(BlockListSpec, NAMES, st.just(nested))
    ),
    max_leaves=6,
)  # fmt: skip
OBJECTS = st.dictionaries(NAMES, SPECS, max_size=4).map(ObjectSpec)
NUMBERS = st.integers().map(Number.of) | st.floats(allow_nan=False).map(Number.of) | st.decimals(
    allow_nan=False, allow_infinity=False, places=3
).map(lambda d: Number.parse(f"{d:f}"))  # fmt: skip


def values(of: Type) -> st.SearchStrategy[Value]:
    """Values of a type, null among them."""
    match of:
        case ListType(element):
            content = st.lists(values(element), max_size=3).map(lambda v: list_of(element, v))
        case SetType(element):
            content = st.lists(values(element), max_size=3).map(lambda v: set_of(element, v))
        case MapType(element):
            content = st.dictionaries(NAMES, values(element), max_size=3).map(
                lambda v: map_of(element, {string(key).text: one for key, one in v.items()})
            )
        case ObjectType(attributes):
            content = st.fixed_dictionaries(
                {name: values(one) for name, one in attributes.items()}
            ).map(object_of)
        case TupleType(elements):
            content = st.tuples(*map(values, elements)).map(tuple_of)
        case _ if of == STRING:
            content = st.text(max_size=10).map(string)
        case _ if of == NUMBER:
            content = NUMBERS.map(number)
        case _:
            content = st.booleans().map(boolean)
    return content | st.just(null(of))


TYPED_VALUES = TYPES.flatmap(values)


def contains_set(of: Type) -> bool:
    match of:
        case SetType():
            return True
        case ListType(element) | MapType(element):
            return contains_set(element)
        case ObjectType(attributes):
            return any(map(contains_set, attributes.values()))
        case TupleType(elements):
            return any(map(contains_set, elements))
        case _:
            return False


@BRIEF
@given(OBJECTS)
def test_specifications_come_back_as_they_went(spec):
    for form in (SpecForm(True), SpecForm(False), SpecForm(False, "x/hcldec.ObjectSpec")):
        assert form.decode(form.encode(spec)) == spec


def test_a_specification_knows_the_type_of_its_body():
    nested = ObjectSpec({"b": AttributeSpec("b", BOOL)})
    spec = ObjectSpec({"a": AttributeSpec("a", STRING), "one": BlockSpec("one", nested),
                       "many": BlockListSpec("many", nested)})  # fmt: skip
    inner = ObjectType({"b": BOOL})
    assert spec.type == ObjectType({"a": STRING, "one": inner, "many": ListType(inner)})


@pytest.mark.parametrize("of", [SetType(STRING), ANY, ObjectType({})])
def test_types_that_protobuf_cannot_say_are_named(of):
    with pytest.raises(ProtocolError, match="cannot have the type"):
        hcl_spec_protobuf.encode_spec(ObjectSpec({"a": AttributeSpec("a", of)}))


def test_limits_of_block_lists_survive_gob():
    spec = ObjectSpec({"a": BlockListSpec("a", ObjectSpec({}), 1, 300)})
    assert hcl_spec_gob.decode_spec(hcl_spec_gob.encode_spec(spec)) == spec


@BRIEF
@given(TYPES)
def test_types_come_back_as_they_went(of):
    assert cty_json.decode_type(cty_json.encode_type(of)) == of
    assert cty_gob_types.decode_type(cty_gob_types.encode_type(of)) == of


@BRIEF
@given(TYPED_VALUES)
def test_values_come_back_as_they_went(value):
    assert cty_msgpack.decode(cty_msgpack.encode(value)) == value
    if not contains_set(value.type):
        assert cty_gob.decode(cty_gob.encode(value)) == value
    with contextlib.suppress(WireError):  # JSON has no infinity
        # Not the value: a float's shortest decimal is another number with 512 bits.
        text = cty_json.encode(value)
        assert cty_json.encode(cty_json.decode(text)) == text


def test_what_is_not_known_yet():
    value = object_of({"a": unknown(STRING)})
    assert cty_msgpack.decode(cty_msgpack.encode(value)) == value
    for encode in (cty_json.encode, cty_gob.encode):
        with pytest.raises(WireError):
            encode(value)


@BRIEF
@given(NUMBERS)
def test_numbers_of_gob(of):
    assert cty_gob.decode_float(cty_gob.encode_float(of)) == of


def test_the_number_of_the_specification():
    encoded = bytes.fromhex("010a 00000035 00000002 a000000000000000")
    assert cty_gob.encode_float(Number.of(2.5)) == encoded
    assert cty_gob.decode_float(encoded) == Number.of(2.5)
    for infinite in (math.inf, -math.inf):
        found = cty_gob.decode_float(cty_gob.encode_float(Number.of(infinite)))
        assert found.to_float() == infinite


@BRIEF
@given(st.integers(-(2**31), 2**31))
def test_exit_statuses(status):
    assert decode_status(encode_status(status)) == status
    assert decode_status(encode_status(status)[:-1]) is None


def test_an_exit_status_as_go_writes_it():
    begin = b"\x2c\xff\x81\x03\x01\x01\x0fCommandFinished\x01\xff\x82\0\x01\x01\x01\nExitStatus"
    definition = begin + b"\x01\x04\0\0\0"
    assert encode_status(3) == definition + b"\x05\xff\x82\x01\x06\0"
    assert encode_status(0) == definition + b"\x03\xff\x82\0"
    other = b"\x2b\x7f\x03\x01\x01\x0fCommandFinished\x01\xff\x80\0\x01\x01\x01\nExitStatus"
    assert decode_status(other + b"\x01\x04\0\0\0" + b"\x05\xff\x80\x01\n\0") == 5


def recorded_blobs() -> Iterator[bytes]:
    """Encoded specifications and values of real plugins, the shortest of each session."""
    for path in sorted(RECORDED.glob("*.json")):
        found = sorted(blobs(json.loads(path.read_text())["frames"]), key=len)
        yield from found[:2]


def blobs(content: Any) -> Iterator[bytes]:
    if isinstance(content, dict):
        if "$bin" in content:
            yield base64.b64decode(content["$bin"])
        else:
            for inner in content.values():
                yield from blobs(inner)
    elif isinstance(content, list):
        for inner in content:
            yield from blobs(inner)


def decode_in_every_way(data: bytes) -> None:
    """Read bytes as everything that they could be; only ProtocolErrors may come of it."""
    for decode in (
        hcl_spec_gob.decode_spec, hcl_spec_protobuf.decode_spec, cty_gob.decode, cty_json.decode,
        cty_msgpack.decode, cty_gob_types.decode_type, cty_gob.decode_float, messages.decode,
        decode_status, lambda content: list(Decoder(content).values()),
    ):  # fmt: skip
        with contextlib.suppress(ProtocolError):
            decode(data)


@BRIEF
@given(st.binary(max_size=200))
def test_no_bytes_break_a_reader(data):
    decode_in_every_way(data)


RECORDED_BLOBS = list(recorded_blobs())


@BRIEF
@given(st.sampled_from(RECORDED_BLOBS), st.data())
def test_no_damage_breaks_a_reader(blob, data):
    assume(blob)
    damaged = bytearray(blob[: data.draw(st.integers(0, len(blob)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decode_in_every_way(bytes(damaged))


@BRIEF
@given(TYPED_VALUES, st.data())
def test_no_damage_breaks_the_reader_of_a_value(value, data):
    for encode in (cty_msgpack.encode, cty_json.encode):
        with contextlib.suppress(WireError):
            damaged = bytearray(encode(value))
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
            decode_in_every_way(bytes(damaged))


def test_plain_data_of_every_kind():
    content = {"text": "é\udcff", "bytes": b"\0", "none": None, "list": [1, -300, 2.5, True],
               "time": msgpack.Timestamp(1_700_000_000, 5), "large": 2**64 - 1}  # fmt: skip
    assert messages.decode(messages.encode(content)) == content
    assert messages.encode(Path("/x")) == messages.encode("/x")
    for wrong in (2**64, object(), {"a": {1, 2}}):
        with pytest.raises(WireError):
            messages.encode(wrong)
