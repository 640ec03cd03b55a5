"""Wrong values of every option of the components that need no machine, in both languages."""

import json
import re

import pytest

from goldsmith.cli import app
from goldsmith.cli.components import builtin_registry

COMPONENTS = [
    ("builder", "null"), ("builder", "file"),
    ("provisioner", "shell-local"), ("provisioner", "breakpoint"), ("provisioner", "sleep"),
    ("post-processor", "shell-local"), ("post-processor", "artifice"),
    ("post-processor", "manifest"), ("post-processor", "checksum"), ("post-processor", "compress"),
]  # fmt: skip
NEEDED = {
    "file": {"target": "o"}, "shell-local": {"inline": ["true"]}, "sleep": {"duration": "1ms"},
    "artifice": {"files": ["o"]}, "null": {"communicator": "none"},
}  # fmt: skip
WEIRD = {
    "object": {"a": {"b": 1}}, "list of lists": [[1]], "negative": -1, "text": "no such value \x07",
    "very long": "x" * 100_000, "huge": 10**400, "fraction": 1.5, "empty": "", "null": None,
}  # fmt: skip
OPTIONS = [
    (kind, name, option)
    for kind, name in COMPONENTS
    for option in builtin_registry().get(kind, name).options_model.model_fields
]
COMMON = {
    "pause_before": ["soon", -1, "-5s", [1], {"a": 1}],
    "timeout": ["soon", "-5s", [1], {"a": 1}],
    "max_retries": ["many", -1, 1.5, [1], {"a": 1}],
    "only": ["null.n", [1, {}], {"a": 1}],
    "except": [{"a": 1}],
    "override": ["x", 1],
}


def hcl(value):
    """A value of JSON in the template language."""
    if isinstance(value, str):
        return json.dumps(value).replace("${", "$${")
    if isinstance(value, list):
        return "[" + ", ".join(map(hcl, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {hcl(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def hcl_template(kind, name, options):
    """A template with one component of these options."""
    body = "".join(f"  {option} = {hcl(value)}\n" for option, value in options.items())
    if kind == "builder":
        return f'source "{name}" "s" {{\n{body}}}\nbuild {{\n  sources = ["source.{name}.s"]\n}}\n'
    return (
        'source "file" "s" {\n  target  = "o"\n  content = "x"\n}\n'
        f'build {{\n  sources = ["source.file.s"]\n{kind} "{name}" {{\n{body}}}\n}}\n'
    )


def json_template(kind, name, options):
    """The same as a JSON template."""
    component = {"type": name, **options}
    if kind == "builder":
        return json.dumps({"builders": [component]}, indent=1)
    builders = [{"type": "file", "target": "o", "content": "x"}]
    return json.dumps({"builders": builders, f"{kind}s": [component]}, indent=1)


@pytest.fixture
def validate(tmp_path, monkeypatch, capsys):
    """Validates a text; gives the status and what was said."""
    monkeypatch.chdir(tmp_path)

    def run(file, text):
        (tmp_path / file).write_text(text)
        status = app.run(["validate", file])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.mark.parametrize(("kind", "name", "option"), OPTIONS)
def test_no_value_of_an_option_is_more_than_an_error_with_its_place(kind, name, option, validate):
    for value in WEIRD.values():
        given = {**NEEDED.get(name, {}), option: value}
        for file, make in (("t.pkr.hcl", hcl_template), ("t.json", json_template)):
            text = make(kind, name, given)
            status, said = validate(file, text)
            assert status in (0, 1), said
            assert "Traceback" not in said and "defect" not in said, said
            assert "\x07" not in said
            if status:
                assert re.search(rf"{re.escape(file)}:\d+:\d+", said), said
                assert len(said) < 20_000 + len(text)


@pytest.mark.parametrize(("kind", "name", "option"), OPTIONS)
def test_an_object_of_objects_is_nothing_that_an_option_takes(kind, name, option, validate):
    given = {**NEEDED.get(name, {}), option: {"a": {"b": [1]}}}
    status, said = validate("t.pkr.hcl", hcl_template(kind, name, given))
    assert status == 1
    assert option in said


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in COMMON.items() for value in values]
)
def test_keys_of_all_provisioners_are_checked(key, value, validate):
    given = {"inline": ["true"], key: value}
    status, said = validate("t.pkr.hcl", hcl_template("provisioner", "shell-local", given))
    assert status == 1, said
    assert re.search(r"t\.pkr\.hcl:\d+:\d+", said) and key in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("kind", "name", "options", "words"),
    [
        ("provisioner", "shell-local", {}, "inline, script, scripts and command"),
        ("provisioner", "shell-local", {"inline": ["a"], "script": "b"}, "exactly one"),
        ("provisioner", "shell-local", {"inline": ["a"], "env_var_format": "%s"}, "%s twice"),
        ("provisioner", "shell-local", {"inline": ["a"], "execute_command": []}, "execute_command"),
        ("provisioner", "shell-local", {"inline": ["a"], "execute_command": ["{{.Nope}}"]}, "Nope"),
        ("provisioner", "shell-local", {"inline": ["a"], "environment_vars": ["x"]}, "key=value"),
        ("provisioner", "shell-local", {"inline": ["a"], "env": {"a=b": "1"}}, "a=b"),
        ("provisioner", "shell-local", {"inline": ["a"], "only_on": ["plan9"]}, "plan9"),
        ("provisioner", "shell-local", {"inline": ["a"], "tempfile_extension": "a/b"}, "slash"),
        ("provisioner", "shell-local", {"inline": ["a"], "use_linux_pathing": True}, "Windows"),
        ("provisioner", "shell-local", {"inline": ["a"], "valid_exit_codes": ["x"]}, "valid_exit"),
        ("provisioner", "shell-local", {"script": "nosuch.sh"}, "nosuch.sh"),
        ("provisioner", "sleep", {}, "duration"),
        ("provisioner", "sleep", {"duration": "long"}, "long"),
        ("provisioner", "sleep", {"duration": "-1s"}, "-1s"),
        ("builder", "file", {}, "target"),
        ("builder", "file", {"target": "o", "content": "a", "source": "b"}, "only one"),
        ("builder", "null", {"communicator": "pigeon"}, "pigeon"),
        ("post-processor", "artifice", {}, "files"),
        ("post-processor", "checksum", {"checksum_types": ["crc"]}, "crc"),
        ("post-processor", "compress", {"compression_level": "x"}, "compression_level"),
        ("post-processor", "manifest", {"custom_data": "x"}, "custom_data"),
        ("post-processor", "shell-local", {"inline": []}, "exactly one"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_with_its_place(kind, name, options, words, validate):
    for file, make in (("t.pkr.hcl", hcl_template), ("t.json", json_template)):
        status, said = validate(file, make(kind, name, options))
        assert status == 1, said
        assert words in re.sub(r"\s+", " ", said)
        assert re.search(rf"{re.escape(file)}:\d+:\d+", said)
