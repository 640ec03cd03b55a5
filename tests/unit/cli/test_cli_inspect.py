"""What `inspect` shows beyond the recorded cases: no secret, and no more than can be had."""

import json

import pytest

from goldsmith.cli import app, inspect, schema
from goldsmith.ui.event_schema import event_schema

TEMPLATE = """
variable "token" {
  type      = string
  sensitive = true
  default   = "s3cr3t-\\"quoted\\""
}
variable "given" {
  sensitive = true
}
locals {
  made   = "x${upper(var.token)}y"
  nested = { a = [var.token] }
  plain  = "not secret"
  failed = file("no/such/file")
  after  = "${local.failed}!"
  unset  = var.given
}
build {
  name        = "b"
  description = "uses s3cr3t-\\"quoted\\" here"
  sources     = ["source.null.a"]
  source "null.a" {
    name = "other"
  }
  provisioner "shell" {
    name   = "named"
    inline = [nosuch()]
  }
  frob = 1
}
"""


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys):
    """Runs the verb on a template of this text; gives its status and what it said."""
    monkeypatch.chdir(tmp_path)

    def go(text, *words, machine_readable=False):
        (tmp_path / "t.pkr.hcl").write_text(text)
        status = inspect.run([*words, "t.pkr.hcl"], machine_readable)
        said = capsys.readouterr()
        return status, said.out + said.err

    return go


@pytest.mark.parametrize("machine_readable", [False, True])
def test_no_secret_is_shown(shown, machine_readable):
    words = ["-var", "given=h1dden"]
    status, text = shown(TEMPLATE, *words, machine_readable=machine_readable)
    assert status == 0
    assert "s3cr3t" not in text.lower()
    assert "h1dden" not in text
    for name in ("var.token", "var.given", "local.made", "local.nested", "local.unset"):
        assert f'{name}: "<sensitive>"' in text


def test_what_cannot_be_had_is_unknown_and_the_rest_is_shown(shown):
    status, text = shown(TEMPLATE)
    assert status == 0
    for line in (
        'local.failed: "<unknown>"', 'local.after: "<unknown>"', 'local.plain: "not secret"',
        "  > Description: uses <sensitive> here", "      null.a\n\n      null.other\n",
        "      shell.named\n",
    ):  # fmt: skip
        assert line in text


VALUES = """
locals {
  big     = 1e100
  int     = 1e18
  list    = []
  object  = { b = null, a = "q\\"", "two words" = 1.5 }
  lines   = "a\\nb"
  nothing = null
}
"""


def test_values_are_written_as_packer_writes_them(shown):
    text = shown(VALUES)[1]
    for line in (
        'local.big: "1e+100"', 'local.int: "1000000000000000000"', 'local.list: "[]"',
        r'local.object: "{\n  \"a\" = \"q\\\"\"\n  \"two words\" = 1.5\n}"',
        r'local.lines: "a\nb"', 'local.nothing: "null"',
    ):  # fmt: skip
        assert f"{line}\n" in text


@pytest.mark.parametrize(
    ("text", "words", "wanted"),
    [
        ("a = = 1", [], "t.pkr.hcl:1:5"),
        ('variable "x" {\n type = number\n}\n', ["-var", "x=a"], "variable"),
        ("", ["-var", "x=1"], "x"),
        ("", ["-frob"], "flag provided but not defined: -frob"),
        ("", ["other.pkr.hcl"], "at most one template"),
        ('packer {\n  required_version = ">= 99"\n}\n', [], ">= 99"),
    ],
)
def test_what_cannot_be_read_is_an_error(shown, text, words, wanted):
    status, said = shown(text, *words)
    assert status == 1
    assert wanted in said


def test_a_wrong_value_of_a_sensitive_variable_is_not_shown(shown):
    text = 'variable "x" {\n  type = number\n  sensitive = true\n}\n'
    status, said = shown(text, "-var", "x=hush")
    assert (status, "hush" in said) == (1, False)


def test_the_schema_of_events_is_printed(capsys):
    assert app.run(["schema", "events"]) == 0
    assert json.loads(capsys.readouterr().out) == event_schema()


def test_only_known_schemas_are_printed(capsys):
    assert schema.run(["nosuch"], False) == 2
    assert "events" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["-help", "--help", "-h"])
def test_version_tells_its_usage(word, capsys):
    assert app.run(["version", word]) == 0
    assert capsys.readouterr().out.startswith("Usage: goldsmith version")


def test_without_a_template_the_least_one_is_shown(capsys):
    assert inspect.run([], False) == 0
    assert "\nBuilders:\n\n  null\n" in capsys.readouterr().out
    assert inspect.run(["-config-type=hcl2"], False) == 0
    assert capsys.readouterr().out.endswith("> builds:\n\n")
    assert inspect.run(["-config-type=yaml"], False) == 1


def test_strict_refuses_names_that_nobody_uses(tmp_path, capsys):
    path = tmp_path / "t.pkr.hcl"
    path.write_text('locals {\n  a = "x"\n}\n')
    assert inspect.run([str(path)], False) == 0
    assert inspect.run(["-strict", str(path)], False) == 1
    assert "Unused name" in capsys.readouterr().out
