"""What `validate` and `build` say about templates and flags."""

import pytest

from goldsmith.cli import build, validate

BUILD = """source "null" "a" {
  communicator = "none"
}
build {
  sources = ["null.a"]
%s}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a verb on a template of this text; gives its status and what it said."""
    monkeypatch.chdir(tmp_path)

    def go(verb, text, *words):
        (tmp_path / "t.pkr.hcl").write_text(text)
        status = verb.run([*words, "t.pkr.hcl"], False)
        said = capsys.readouterr()
        return status, said.out + said.err

    return go


def test_syntax_only_evaluates_nothing(run):
    text = 'variable "unset" {\n}\n' + BUILD % ""
    assert run(validate, text)[0] == 1
    status, said = run(validate, text, "-syntax-only")
    assert (status, said) == (0, "Syntax-only check passed. Everything looks okay.\n")
    status, said = run(validate, "a = = 1\n", "-syntax-only")
    assert (status, "t.pkr.hcl:1:5" in said) == (1, True)


def test_validate_warns_of_patterns_that_match_nothing(run):
    status, said = run(validate, BUILD % "", "-only=null.a,null.zzz")
    assert status == 0
    assert 'Warning: -only "null.zzz" matched nothing; the builds are: null.a' in said


def test_a_secret_in_a_message_of_an_option_is_not_shown(run):
    text = (
        'variable "token" {\n  sensitive = true\n  default = "s3cr3t"\n}\n'
        + BUILD
        % '  provisioner "shell-local" {\n    inline = ["x"]\n'
        "    environment_vars = [var.token]\n  }\n"
        '  post-processor "checksum" {\n    checksum_types = [var.token]\n  }\n'
    )
    for verb in (validate, build):
        status, said = run(verb, text)
        assert status == 1
        assert "s3cr3t" not in said
        assert "<sensitive>" in said


def test_on_error_names_its_values(run):
    status, said = run(build, BUILD % "", "-on-error=x")
    assert status == 1
    allowed = "cleanup or abort or ask or run-cleanup-provisioner"
    assert said.endswith(f'invalid value "x" for flag -on-error: it is {allowed}\n')


@pytest.mark.parametrize(("verb", "name"), [(validate, "validate"), (build, "build")])
def test_the_hint_is_about_the_verb(run, verb, name):
    status, said = run(verb, BUILD % "", "another")
    assert status == 1
    assert f"goldsmith {name} -var a=1 TEMPLATE" in said


def test_an_empty_directory_has_no_line_to_show(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert validate.run(["empty"], False) == 1
    assert capsys.readouterr().out == (
        "Error: Could not find any template file\n\n  on empty:\n\n"
        "No file in empty has a name that ends in .pkr.hcl or .pkr.json.\n"
    )


def test_what_a_binary_template_holds_is_escaped(run):
    status, said = run(validate, "a\x1b[2J = \x07\n")
    assert status == 1
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("timout", "timeout"), ("pause_befor", "pause_before"), ("max_retry", "max_retries"),
     ("inlin", "inline")],
)  # fmt: skip
def test_a_misspelled_key_of_every_provisioner_is_recognised(run, wrong, meant):
    text = BUILD % f'  provisioner "shell-local" {{\n    inline = ["x"]\n    {wrong} = "5s"\n  }}\n'
    status, said = run(validate, text)
    assert status == 1
    assert f'Did you mean "{meant}"?' in " ".join(said.split())


@pytest.mark.parametrize("verb", [validate, build])
def test_an_unknown_flag_is_named_last_with_the_nearest(run, verb):
    status, said = run(verb, BUILD % "", "-var-fil=x")
    assert status == 1
    usage, _, last = said.rstrip().rpartition("\n\n")
    assert last == "flag provided but not defined: -var-fil. Did you mean -var-file?"
    flags = [line.split()[0] for line in usage.splitlines() if line.startswith("  -")]
    assert flags[-1] == "-use-sequential-evaluation"  # what is only accepted comes last
    names = [flag.partition("=")[0] for flag in flags[:-1]]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("text", "words", "summary"),
    [
        ('variable "a" {}\nvariable "a" {}\n', (), "Duplicate variable"),
        ("locals {\n  a = 1\n}\nlocals {\n  a = 2\n}\n", (), "Duplicate local definition"),
        ('data "x" "a" {}\ndata "x" "a" {}\n', (), "Duplicate data source"),
        ('variable "a" {\n  typ = string\n}\n', (), "Unsupported argument"),
        ('variable "a" {\n  type    = number\n  default = "x"\n}\n', (), "Invalid default value"),
        ('variable "a" {\n  type = strin\n}\n', (), "Invalid type specification"),
        ('variable "a" {}\n', ("-var=b=1",), "Undefined -var variable"),
    ],
)
def test_syntax_only_looks_at_declarations(run, text, words, summary):
    status, said = run(validate, text, "-syntax-only", *words)
    assert status == 1
    assert f"Error: {summary}" in said
