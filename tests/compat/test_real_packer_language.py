"""The real `packer` beside goldsmith on small templates of both languages, one verb at a time.

What is compared are verdicts of `validate`, and what `inspect`, `console`, `fmt` and `fix` write.
Every template keeps to what 1.6.6 knows already, so that any later program can be asked too.
"""

import io
import json
import re
import sys

import pytest
from test_real_packer import packer, run  # noqa: F401

from goldsmith.cli import app

HEAD = 'source "null" "n" {\n  communicator = "none"\n}\n'
ECHO = '  provisioner "shell-local" {\n    inline = [%s]\n  }\n'


def hcl(before="", inside="", sources='"null.n"'):
    return f"{before}{HEAD}build {{\n  sources = [{sources}]\n{inside}}}\n"


def echo(expression, before=""):
    return hcl(before, ECHO % expression)


def legacy(**parts):
    return json.dumps({"builders": [{"type": "null", "communicator": "none"}], **parts}, indent=1)


def step(text, **more):
    return [{"type": "shell-local", "inline": [text], **more}]


VALIDATE_HCL = {
    "nothing but a build": hcl(),
    "comments of all kinds": "# a\n// b\n/* c\n d */\n" + hcl(),
    "a prefix before a source": hcl(sources='"source.null.n"'),
    "another word before a source": hcl(sources='"sources.null.n"'),
    "too few words for a source": hcl(sources='"null"'),
    "a source that nobody declares": hcl(sources='"null.other"'),
    "a build's own source": hcl(inside='  source "null.n" {\n    name = "own"\n  }\n', sources=""),
    "an addition that repeats": hcl(
        inside='  source "null.n" {\n    communicator = "none"\n  }\n', sources=""
    ),
    "dynamic provisioners": hcl(
        inside='  dynamic "provisioner" {\n    for_each = ["a", "b"]\n'
        '    labels = ["shell-local"]\n'
        "    content {\n      inline = [provisioner.value]\n    }\n  }\n"
    ),
    "dynamic without content": hcl(
        inside='  dynamic "provisioner" {\n    for_each = ["a"]\n    labels = ["shell"]\n  }\n'
    ),
    "an unknown block": "frob {\n}\n" + hcl(),
    "an unknown argument of a build": hcl(inside="  frob = 1\n"),
    "an unknown block in a build": hcl(inside="  frob {\n  }\n"),
    "a required version that suits": 'packer {\n  required_version = ">= 1.0.0"\n}\n' + hcl(),
    "a required version that does not": 'packer {\n  required_version = ">= 99.0"\n}\n' + hcl(),
    "a required version that is none": 'packer {\n  required_version = "x"\n}\n' + hcl(),
    "a variable without a value": echo("var.a", 'variable "a" {\n  type = string\n}\n'),
    "a default of another type": echo(
        '"x"', 'variable "a" {\n  type = number\n  default = "x"\n}\n'
    ),
    "a default that converts": echo(
        'convert(var.a, string)', 'variable "a" {\n  type    = number\n  default = "5"\n}\n'
    ),
    "an unknown type": echo('"x"', 'variable "a" {\n  type = strin\n}\n'),
    "types of all kinds": echo(
        "var.a.b[0].c",
        'variable "a" {\n  type    = object({ b = list(object({ c = string })), d = map(bool) })\n'
        '  default = { b = [{ c = "x" }], d = { e = true } }\n}\n',
    ),
    "a default that refers to something": echo(
        '"x"', 'locals {\n  b = "y"\n}\nvariable "a" {\n  default = local.b\n}\n'
    ),
    "env in a default": echo("var.a", 'variable "a" {\n  default = env("HOME")\n}\n'),
    "env outside of a default": echo('env("HOME")'),
    "two variables of one name": echo('"x"', "variables {\n  a = 1\n}\n" * 2),
    "a rule that holds": echo(
        "var.a",
        'variable "a" {\n  default = "long"\n  validation {\n    condition = length(var.a) > 3\n'
        '    error_message = "Too short."\n  }\n}\n',
    ),
    "a rule that does not hold": echo(
        "var.a",
        'variable "a" {\n  default = "x"\n  validation {\n    condition = length(var.a) > 3\n'
        '    error_message = "Too short."\n  }\n}\n',
    ),
    "a message that is no sentence": echo(
        "var.a",
        'variable "a" {\n  default = "long"\n  validation {\n    condition = length(var.a) > 3\n'
        '    error_message = "too short"\n  }\n}\n',
    ),
    "locals in any order": echo("local.b", 'locals {\n  b = "${local.a}y"\n  a = "x"\n}\n'),
    "locals in a circle": echo("local.b", "locals {\n  b = local.a\n  a = local.b\n}\n"),
    "an attribute that is not there": echo("local.a.c", "locals {\n  a = { b = 1 }\n}\n"),
    "an index that is not there": echo("local.a[5]", "locals {\n  a = [1]\n}\n"),
    "an unknown function": echo('nosuch("x")'),
    "too few arguments": echo("upper()"),
    "two attributes on a line": "locals {\n  a = 1 b = 2\n}\n" + hcl(),
    "an unclosed quote": 'locals {\n  a = "x\n}\n' + hcl(),
    "an unclosed list": "locals {\n  a = [1,\n}\n" + hcl(),
    "an argument twice": 'locals {\n  a = 1\n  a = 2\n}\n' + hcl(),
    "heredocs": echo("local.a", "locals {\n  a = <<-EOT\n    x ${1 + 1}\n      y\n    EOT\n}\n"),
    "directives": echo('"%{ if true }a%{ else }b%{ endif }%{ for x in [1] }${x}%{ endfor }"'),
    "a directive without an end": echo('"%{ if true }a"'),
    "only and except": hcl(
        inside='  provisioner "shell-local" {\n    inline = ["x"]\n    only = ["null.n"]\n'
        '    except = ["null.n"]\n  }\n'
    ),
    "an override": hcl(
        inside='  provisioner "shell-local" {\n    inline = ["x"]\n    override = {\n      n = {\n'
        '        inline = ["y"]\n      }\n    }\n  }\n'
    ),
    "names of the build": echo('"${build.ID} ${source.name} ${source.type} ${path.root}"'),
    "a name that no build has": echo("build.Nosuch"),
    "a post-processor that is not there": hcl(inside='  post-processor "nosuch" {\n  }\n'),
    "a chain of post-processors": hcl(
        inside='  post-processors {\n    post-processor "artifice" {\n      files = ["x"]\n    }\n'
        '    post-processor "manifest" {\n    }\n  }\n'
    ),
}  # fmt: skip
VALIDATE_JSON = {
    "nothing but a builder": legacy(),
    "no builders": "{}",
    "an unknown root key": legacy(frob=1),
    "a comment": legacy(_comment="hello"),
    "a key twice": '{"builders": [{"type": "null", "communicator": "none"}], "builders": []}',
    "no JSON": '{"builders": [}',
    "a comma too many": '{"builders": [{"type": "null", "communicator": "none"},]}',
    "a builder without a type": '{"builders": [{"communicator": "none"}]}',
    "two builders of one name": legacy(builders=[{"type": "null", "communicator": "none"}] * 2),
    "an unknown builder": legacy(builders=[{"type": "nosuch"}]),
    "an unknown option": legacy(builders=[{"type": "null", "communicator": "none", "frob": 1}]),
    "variables": legacy(variables={"a": "1"}, provisioners=step("{{user `a`}} {{build `ID`}}")),
    "a variable that is no text": legacy(variables={"a": 1}),
    "a variable without a value": legacy(variables={"a": None}),
    "variables of variables": legacy(variables={"a": "{{user `b`}}", "b": "{{env `HOME`}}"}),
    "variables in a circle": legacy(variables={"a": "{{user `b`}}", "b": "{{user `a`}}"}),
    "env outside of variables": legacy(builders=[
        {"type": "file", "target": "x", "content": "{{env `HOME`}}"}
    ]),
    "functions": legacy(builders=[{
        "type": "file", "target": "x",
        "content": "{{isotime}} {{timestamp}} {{uuid}} {{upper `a`}} {{replace_all `a` `b` `c`}}",
    }]),
    "an unknown function": legacy(builders=[
        {"type": "file", "target": "x", "content": "{{nosuch}}"}
    ]),
    "sed": legacy(builders=[{"type": "file", "target": "x", "content": "{{sed `s/a/b/` `c`}}"}]),
    "a Go template that is not closed": legacy(builders=[
        {"type": "file", "target": "x", "content": "{{upper"}
    ]),
    "only an unknown builder": legacy(provisioners=step("x", only=["nosuch"])),
    "override of an unknown builder": legacy(provisioners=step("x", override={"nosuch": {}})),
    "override": legacy(provisioners=step("x", override={"null": {"inline": ["y"]}})),
    "post-processors of all shapes": legacy(**{"post-processors": [
        "manifest", {"type": "manifest", "output": "b.json"},
        [{"type": "artifice", "files": ["x"]}, "manifest"],
    ]}),
    "lists in lists of post-processors": legacy(**{"post-processors": [[["manifest"]]]}),
    "a version that suits": legacy(min_packer_version="1.0.0"),
    "a version that does not": legacy(min_packer_version="99.0.0"),
}  # fmt: skip
INSPECT = {
    "variables and locals.pkr.hcl": hcl(
        'variable "b" {\n  default = [1, "x", { c = true }]\n}\n'
        'variable "a" {\n  default = 1.5\n}\n'
        'locals {\n  z = "q\\"uote\\n"\n  y = { k = ["v"], n = null }\n}\n'
    ),
    "names and descriptions.pkr.hcl": HEAD
    + 'build {\n  name = "b"\n  description = "what it is"\n  sources = ["null.n"]\n}\n',
    "components.pkr.hcl": hcl(
        inside=ECHO % '"x"' + '  provisioner "shell-local" {\n    name = "named"\n'
        '    inline = ["y"]\n  }\n  post-processor "manifest" {\n  }\n'
    ),
    "two builds.pkr.hcl": hcl() + 'build {\n  name = "z"\n  sources = ["source.null.n"]\n}\n',
    "nothing.pkr.hcl": "",
    "a list that is empty.pkr.hcl": hcl("locals {\n  e = []\n  o = {}\n  t = true\n}\n"),
    "syntax.pkr.hcl": "locals {\n",
    "least.json": legacy(),
    "all.json": legacy(
        description="about", variables={"a": None, "long_name": "1", "b": "{{env `HOME`}}"},
        provisioners=step("x"), builders=[
            {"type": "null", "communicator": "none", "name": "zz"}, {"type": "file", "target": "x"},
        ],
    ),
    "broken.json": "{",
    "an unknown key.json": legacy(frob=1),
}  # fmt: skip
EXPRESSIONS = [
    "0.1 + 0.2", "1e3", "-5 % 3", "1/3", "1e21", "!true || false", "[1, 2] == [1, 2]",
    '[for k, v in { b = 1, a = 2 } : "${k}${v}" if v > 1]',
    "{ for x in [1, 2] : x => x * x }", '{ for x in ["ab", "ac"] : substr(x, 0, 1) => x... }',
    "[[1], [2]][*][0]", '{ a = "b" }["a"]', '"${[1, 2][1]}-${true}"', '"\\u00e9$${x}%%{y}"',
    'convert("5", number) + 1', 'lookup({ a = "1" }, "b", "c")', "merge({ a = 1 }, { b = 2 })",
    'regex_replace("a-b", "-", "+")', 'cidrsubnet("10.0.0.0/8", 8, 2)', "flatten([[1], [[2]]])",
    'jsonencode({ a = [1, null, "<"] })', 'yamldecode("a: [1, x]")', 'sort(["b", "a"])',
    'try(nosuch, "d")', 'can(1 + "x")', 'formatlist("%s!", ["a", "b"])', 'title("ab cd")',
    'timeadd("2020-01-01T00:00:00Z", "1h")', 'md5("x")', 'base64encode("x")', 'null', "nosuch",
    '1 + "x"', "[1][2]", '"unclosed', "upper(1, 2)", "var.nosuch", "path.root", 'join(",", [1, 2])',
]  # fmt: skip
GO_TEMPLATES = [
    "{{upper `a`}}", "{{ `b` | upper | printf `%s!` }}", "{{lower `É`}}", "{{user `v`}}", "plain",
    "{{user `nosuch`}}|", "{{replace `a` `b` 1 `aab`}}", "{{split `a-b` `-` 1}}", "{{build_name}}",
    "{{if true}}yes{{else}}no{{end}}", "{{nosuch}}", "{{len `four`}}", "{{- ` x ` -}}",
]  # fmt: skip
UNFORMATTED = {
    "spaces": 'source   "null"  "n"{\n}\na=1\nlong   =   2\n',
    "values in a column": "a = 1 # one\nbcd = 2 # two\n\ne = [\n1,\n   2\n]\nf = { a=1,b   = 2 }\n",
    "blocks": "b{\n  c\t{\n d = 1\n  }\n\n\n\n}\n",
    "templates": 'a = "${ upper( "x" ) }"\nb = "%{if true}x%{endif}"\n',
    "heredocs": "a = <<-EOT\n      text   kept\n  ${ 1+1 }\nEOT\nb=1\n",
    "comments": "#a\n//b\n/*  c */\na =1//d\n  # e\n",
    "operators": "a = 1+2*-3\nb = true&&false\nc = x?1:2\nd = f( 1,2 )\ne = a . b [ 0 ]\n",
    "loops": "a = [for x in  y:x]\nb = {for k,v in y : k=>v...}\n",
    "nothing to do": 'a = "x"\n',
    "no HCL": "a = = 1\n",
}
OLD = {
    "iso_md5": legacy(builders=[{"type": "x", "iso_md5": "abc"}]),
    "pp vagrant override": legacy(**{"post-processors": [
        {"type": "vagrant", "aws": {"output": "a"}}
    ]}),
    "virtualbox rename": legacy(builders=[{"type": "virtualbox"}]),
    "ssh_wait_timeout": legacy(builders=[{"type": "x", "ssh_wait_timeout": "1m"}]),
    "manifest filename": legacy(**{"post-processors": [{"type": "manifest", "filename": "x"}]}),
    "create time": legacy(builders=[{"type": "x", "ami_name": "a {{.CreateTime}}"}]),
    "shutdown": legacy(builders=[
        {"type": "amazon-ebs", "shutdown_behaviour": "stop", "enhanced_networking": True}
    ]),
    "sorted keys and texts": '{"z": 1, "a": "<&>", "builders": [{"type": "null", "b": 1.50}]}',
    "an empty object": "{}",
    "a list": "[]",
    "no JSON": "{",
    "a key twice": '{"a": 1, "a": 2}',
}  # fmt: skip


@pytest.fixture
def ask(packer, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Gives (status, stdout) of goldsmith and of packer for files, words and standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACKER_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", "/nowhere")

    def go(name, text, words, given=""):
        path = tmp_path / name
        path.write_text(text)
        theirs = run([packer, *words], tmp_path, given)
        after_theirs = path.read_text()
        path.write_text(text)
        capsys.readouterr()
        with open_input(tmp_path / "input", given, monkeypatch):
            status = app.run(words)
        ours = capsys.readouterr()
        return (
            (status, ours.out, path.read_text()),
            (theirs.returncode, theirs.stdout, after_theirs),
        )

    return go


def open_input(path, text, monkeypatch):
    """Standard input with this text, for Python."""
    path.write_text(text)
    file = io.TextIOWrapper(path.open("rb"), "utf-8")
    monkeypatch.setattr(sys, "stdin", file)
    return file


@pytest.mark.parametrize("text", VALIDATE_HCL.values(), ids=VALIDATE_HCL)
def test_validate_hcl(text, ask):
    ours, theirs = ask("t.pkr.hcl", text, ["validate", "t.pkr.hcl"])
    assert (ours[0] == 0) == (theirs[0] == 0), f"{ours[1]}\n---\n{theirs[1]}"


@pytest.mark.parametrize("text", VALIDATE_JSON.values(), ids=VALIDATE_JSON)
def test_validate_json(text, ask):
    ours, theirs = ask("t.json", text, ["validate", "t.json"])
    assert (ours[0] == 0) == (theirs[0] == 0), f"{ours[1]}\n---\n{theirs[1]}"


@pytest.mark.parametrize("text", [*VALIDATE_HCL.values(), ""], ids=[*VALIDATE_HCL, "nothing"])
def test_validate_syntax_only(text, ask):
    ours, theirs = ask("t.pkr.hcl", text, ["validate", "-syntax-only", "t.pkr.hcl"])
    assert (ours[0] == 0) == (theirs[0] == 0), f"{ours[1]}\n---\n{theirs[1]}"


@pytest.mark.parametrize("case", INSPECT.items(), ids=INSPECT)
def test_inspect(case, ask):
    name, text = case[0].replace(" ", "-"), case[1]
    ours, theirs = ask(name, text, ["inspect", name])
    assert ours[0] == theirs[0], f"{ours[1]}\n---\n{theirs[1]}"
    if theirs[0] == 0:
        # A note closes what is shown of a JSON template; maps have no order there.
        shown = re.sub(r"\nNote: (.|\n)*", "", theirs[1])
        assert sorted(ours[1].split("\n")) == sorted(shown.split("\n"))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_console(expression, ask):
    ours, theirs = ask("t.pkr.hcl", hcl(), ["console", "t.pkr.hcl"], expression + "\n")
    assert ours[0] == theirs[0], f"{ours[1]}\n---\n{theirs[1]}"
    if theirs[0] == 0:
        assert ours[1] == theirs[1]


@pytest.mark.parametrize("line", GO_TEMPLATES)
def test_console_of_go_templates(line, ask):
    text = legacy(variables={"v": "{{upper `given`}}"})
    ours, theirs = ask("t.json", text, ["console", "t.json"], line + "\n")
    assert ours[0] == theirs[0], f"{ours[1]}\n---\n{theirs[1]}"
    if "error" not in theirs[1]:
        assert ours[1] == theirs[1]


@pytest.mark.parametrize("text", UNFORMATTED.values(), ids=UNFORMATTED)
def test_fmt(text, ask):
    for words in (["fmt", "-check", "t.pkr.hcl"], ["fmt", "t.pkr.hcl"]):
        ours, theirs = ask("t.pkr.hcl", text, words)
        assert (ours[0], ours[2]) == (theirs[0], theirs[2]), f"{ours[1]}\n---\n{theirs[1]}"


@pytest.mark.parametrize("text", OLD.values(), ids=OLD)
def test_fix(text, ask):
    ours, theirs = ask("t.json", text, ["fix", "-validate=false", "t.json"])
    assert ours[0] == theirs[0], f"{ours[1]}\n---\n{theirs[1]}"
    if theirs[0] == 0:
        assert ours[1] == theirs[1]
