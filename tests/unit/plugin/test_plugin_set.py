"""What a plugin's program does with its arguments, before anything is served."""

import json
import sys

import pytest

from goldsmith.plugin import PluginSet
from goldsmith.plugin.described import parse_description
from goldsmith.plugin.serve import run

SET = PluginSet(
    version="1.2.3",
    builders={"": "tests.unit.plugin.authored:ImageBuilder", "other": "no.such:Thing"},
    hooks={"tell": "tests.unit.plugin.authored:TellingHook"},
)


def answer(capsys, *argv, plugins=SET):
    status = run(plugins, ["/somewhere/packer-plugin-thing", *argv])
    return status, capsys.readouterr()


def test_describe_is_what_hosts_read(capsys):
    status, printed = answer(capsys, "describe")
    assert status == 0
    said = parse_description(printed.out, "test")
    assert (said.version, said.api_version, said.protobuf) == ("1.2.3", "x5.0", True)
    assert said.names("builder", "thing") == ["thing", "thing-other"]
    assert said.names("hook", "thing") == ["thing-tell"]
    assert json.loads(printed.out)["datasources"] == []


def test_describe_of_a_set_without_hooks_has_the_keys_of_packer_alone():
    assert sorted(PluginSet().description()) == [
        "api_version", "builders", "datasources", "post_processors", "protocol_version",
        "provisioners", "sdk_version", "version",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "which start it"),
        (["nonsense"], "which start it"),
        (["start"], "takes a kind and the name"),
        (["start", "kind", "x"], "there is no kind 'kind'"),
        (["start", "builder", "x"], "has no builder 'x'; it has -packer-default"),
        (["start", "provisioner", "--protobuf", "x"], "it has none"),
        (["start", "builder", "other"], "Packer or goldsmith starts it, people do not"),
    ],
)
def test_what_it_cannot_do_is_said_on_standard_error(argv, told, capsys, monkeypatch):
    monkeypatch.delenv("PACKER_PLUGIN_MAGIC_COOKIE", raising=False)
    status, printed = answer(capsys, *argv)
    assert status == 1
    assert told in printed.err
    assert printed.out == ""


def test_a_class_is_imported_when_it_is_used():
    sys.modules.pop("tests.unit.plugin.authored", None)
    assert "other" in SET.places("builder")
    assert "tests.unit.plugin.authored" not in sys.modules
    assert SET.component("hook", "tell").__name__ == "TellingHook"
