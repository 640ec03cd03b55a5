"""From the content of a block to what a component in a plugin is told."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest

from goldsmith.core.build import GoNames
from goldsmith.core.deferred import RawBlock, RawBody
from goldsmith.core.foreign import Surroundings
from goldsmith.errors import GoldsmithError, Position, SourceRange
from goldsmith.plugin.lock_file import LockFile
from goldsmith.plugin.remote import preparing
from goldsmith.plugin.remote.artifacts import texts
from goldsmith.plugin.remote.configuration import RunSettings, configured, decode
from goldsmith.plugin.remote.places import ComponentPlace
from goldsmith.plugin.remote.session import Use
from goldsmith.plugin.wire.hcl_spec import AttributeSpec, BlockListSpec, BlockSpec, ObjectSpec
from goldsmith.values.types import BOOL, NUMBER, STRING, ListType, MapType
from goldsmith.values.value import boolean, from_python, string, to_python, unknown

AT = SourceRange("t.pkr.hcl", Position(1, 1, 0), Position(1, 1, 0))
INNER = ObjectSpec({"a": AttributeSpec("a", STRING), "b": AttributeSpec("b", BOOL)})
SCHEMA = ObjectSpec({
    "text": AttributeSpec("text", STRING, required=True),
    "count": AttributeSpec("count", NUMBER),
    "names": AttributeSpec("names", ListType(STRING)),
    "tags": AttributeSpec("tags", MapType(STRING)),
    "nest": BlockSpec("nest", INNER),
    "part": BlockListSpec("part", INNER),
})  # fmt: skip


def around(kind="provisioner", *, go_names=None):
    return Surroundings(
        build="b", source_name="s", source_type="file", kind=kind, type="x", range=AT,
        announced=("Extra",), template_path="t.json", go_names=go_names,
    )  # fmt: skip


def body(blocks=(), **attributes):
    return RawBody({name: from_python(one) for name, one in attributes.items()}, {}, blocks, AT)


def test_every_attribute_is_there_null_where_it_was_left_out():
    value, found = decode(body(text="x", count="5", names=["a", 1]), SCHEMA)
    assert found == []
    assert to_python(value) == {
        "text": "x", "count": 5, "names": ["a", "1"], "tags": None, "nest": None, "part": [],
    }  # fmt: skip
    assert value.type == SCHEMA.type


def test_blocks_are_objects_and_lists_of_them():
    blocks = (
        RawBlock("nest", (), body(a="1", b=True), AT),
        RawBlock("part", (), body(a="2"), AT),
        RawBlock("part", (), body(b=False), AT),
    )
    value, found = decode(body(blocks, text="x"), SCHEMA)
    assert found == []
    assert to_python(value)["nest"] == {"a": "1", "b": True}
    assert to_python(value)["part"] == [{"a": "2", "b": None}, {"a": None, "b": False}]
    assert value.type == SCHEMA.type


def test_what_a_running_build_knows_is_empty_before_it():
    given = body(text=unknown(), count=unknown(), names=[unknown(), "b"], tags=unknown())
    value, found = decode(given, SCHEMA)
    assert found == []
    assert to_python(value) == {
        "text": "<unknown>", "count": 0, "names": ["<unknown>", "b"], "tags": {},
        "nest": None, "part": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (body(), 'The argument "text" is required'),
        (body(texd="x", text="y"), 'Did you mean "text"?'),
        (body(text="x", nest={}), "without the equals sign"),
        (body(text="x", count="many"), 'Inappropriate value for attribute "count"'),
        (body((RawBlock("text", (), body(), AT),), text="x"), "with an equals sign"),
        (body((RawBlock("prt", (), body(), AT),), text="x"), 'Did you mean "part"?'),
        (body((RawBlock("part", ("l",), body(), AT),), text="x"), "Write part"),
        (body((RawBlock("nest", (), body(), AT),) * 2, text="x"), 'Only one "nest"'),
        (body((RawBlock("part", (), body(c=1), AT),), text="x"), 'named "c"'),
    ],
)
def test_what_the_schema_does_not_know_is_found(given, wanted):
    _, found = decode(given, SCHEMA)
    assert len(found) == 1
    assert wanted in found[0].hint


def test_hcl2_components_are_told_packers_keys_as_texts():
    settings = RunSettings(core_version="1.16.0", debug=True)
    layers = configured(body(text="x"), around(), SCHEMA, settings).layers
    assert layers[0]["packer_debug"] == "true"
    assert layers[0]["packer_build_name"] == "s"
    assert to_python(layers[1])["text"] == "x"
    assert layers[2] is None
    assert len(configured(body(text="x"), around("builder"), SCHEMA, settings).layers) == 2
    (only,) = configured(body(text="x"), around("data source"), SCHEMA, settings).layers
    assert to_python(only)["text"] == "x"


def test_json_components_are_told_everything_unrendered():
    names = GoNames({"v": "top", "w": "open"}, frozenset(), "1.16.0")
    settings = RunSettings(core_version="1.16.0", secrets=frozenset({"top"}))
    given = body(text="{{user `v`}}", times=3)
    layers = configured(given, around(go_names=names), None, settings).layers
    assert layers[0] == {"text": "{{user `v`}}", "times": 3.0}
    assert isinstance(layers[0]["times"], float)
    assert layers[1]["packer_debug"] is False
    assert layers[1]["packer_user_variables"] == {"v": "top", "w": "open"}
    assert layers[1]["packer_sensitive_variables"] == ["v"]
    assert layers[2]["Extra"].startswith("Build_Extra. ")


def test_what_a_builder_tells_becomes_texts():
    told = {"a": True, "b": 7, "c": 2.0, "d": 2.5, "e": b"raw", "f": "x", "g": None}
    assert texts(told) == {"a": "true", "b": "7", "c": "2", "d": "2.5", "e": "raw", "f": "x"}
    assert texts(None) == {}
    assert boolean(True).truth
    assert string("x").text == "x"


def test_a_lock_file_keeps_the_digests_of_other_systems(tmp_path):
    lock = LockFile.beside(str(tmp_path))
    assert lock.plugins == {}
    lock.lock("example.com/a/b", "1.0.0", "f" * 64)
    lock.write()
    again = LockFile.beside(str(tmp_path / "t.pkr.hcl"))
    assert again.plugins["example.com/a/b"].digest == "f" * 64
    again.plugins["example.com/a/b"].digests["plan9_mips"] = "0" * 64
    again.lock("example.com/a/b", "1.0.0", "e" * 64)
    assert set(again.plugins["example.com/a/b"].digests.values()) == {"0" * 64, "e" * 64}
    again.lock("example.com/a/b", "1.0.1", "d" * 64)
    assert set(again.plugins["example.com/a/b"].digests.values()) == {"d" * 64}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "plugins": {}}', '{"schema": 1, "plugins": {"a": 5}}']
)
def test_what_is_no_lock_file_is_refused(tmp_path, text):
    (tmp_path / ".goldsmith.lock.json").write_text(text)
    with pytest.raises(GoldsmithError, match="lock"):
        LockFile.beside(str(tmp_path))


class Noting:
    """A provisioner that notes how often it is prepared."""

    def __init__(self):
        self.prepared = []

    def prepare(self, layers):
        if layers[0]["number"] == 0:
            raise GoldsmithError("refused")
        self.prepared.append(layers[0]["number"])


@pytest.mark.parametrize(
    ("go_names", "wanted"), [(None, [1, 2, 1]), (GoNames({}, frozenset(), "1.16.0"), [1])]
)
def test_a_component_is_told_once_what_it_knows(go_names, wanted, monkeypatch):
    layers = []
    monkeypatch.setattr(preparing, "layers_for", lambda *given: (list(layers), []))
    component = Noting()
    use = Use(ComponentPlace(kind="provisioner", name="x", label="x"), component, None)
    options = SimpleNamespace(surroundings=around(go_names=go_names))
    for number in (0, 1, 1, 2, 2, 1):
        layers[:] = [{"number": number}]
        with suppress(GoldsmithError):
            preparing.told(use, options, RunSettings(core_version="1.16.0"), component.prepare)
    assert component.prepared == wanted
