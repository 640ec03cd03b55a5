"""The schemas of components say what the models say."""

import json

from goldsmith.cli import app, schema
from goldsmith.cli.components import builtin_registry
from goldsmith.core.option_schema import LABELS, options_schema
from goldsmith.core.options import Options, option_fields


def printed(capsys, *words):
    assert app.run(["schema", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_component_has_a_schema_of_its_options(capsys):
    definitions = printed(capsys)["$defs"]
    registry = builtin_registry()
    wanted = {
        f"{kind.replace(' ', '-')}.{name}": set(
            option_fields(registry.get(kind, name).options_model)
        )
        for kind in schema.KINDS
        for name in registry.names(kind)
    }
    assert {name: set(one["properties"]) for name, one in definitions.items()} == wanted
    assert "builder.image" in wanted


def test_one_component_alone(capsys):
    one = printed(capsys, "builder.image")
    disk = one["properties"]["disk"]
    assert one["additionalProperties"] is False
    assert disk["properties"]["partition"]["items"][LABELS] == ["name"]
    bootstrap = one["properties"]["bootstrap"]["properties"]
    methods = {"enum": ["apt", "tar", "directory", "image", "elements"]}
    assert methods in bootstrap["method"]["anyOf"]


def test_every_option_is_described(capsys):
    for name, definition in printed(capsys)["$defs"].items():
        for option, said in definition["properties"].items():
            assert said.get("description"), f"{name}.{option}"


def test_required_options_and_defaults():
    class Block(Options):
        """A block."""

        size: int
        names: tuple[str, ...] = ("a",)

    said = options_schema(Block)
    assert said["required"] == ["size"]
    assert said["description"] == "A block."
    assert said["properties"]["names"]["default"] == ["a"]
    assert said["properties"]["size"] == {"type": ["number", "string"]}


def test_a_name_that_does_not_exist(capsys):
    assert app.run(["schema", "builder.imag"]) == 2
    assert 'Did you mean "builder.image"?' in capsys.readouterr().err


def test_names_are_listed(capsys):
    assert app.run(["schema", "-list"]) == 0
    names = capsys.readouterr().out.split()
    assert names[:2] == ["components", "events"]
    assert "provisioner.shell" in names
