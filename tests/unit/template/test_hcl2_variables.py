"""Variables: types, precedence of values, rules, and what happens to secrets."""

import pytest

from goldsmith.errors import Severity, TemplateError
from goldsmith.template.hcl2.loader import load, load_scope
from goldsmith.template.hcl2.variable_values import UNDECLARED_SUMMARY
from goldsmith.values.marks import SENSITIVE, Impure
from goldsmith.values.value import all_marks, to_python
from goldsmith.values.world import LiveWorld, RecordingWorld, ReplayedWorld


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files):
    for name, text in files.items():
        with open(name.replace("__", "."), "w") as file:
            file.write(text)


def variable(content, name="x"):
    write(t__pkr__hcl=f'variable "{name}" {{\n{content}\n}}\n')


def value_of(path="t.pkr.hcl", name="x", *, var=(), files=()):
    scope = load_scope(path, variables=var, variable_files=files, world=LiveWorld())
    return scope.lookup("var").attributes[name]


def python_of(path="t.pkr.hcl", **options):
    return to_python(value_of(path, **options))


def findings(path="t.pkr.hcl", *, var=(), files=()):
    with pytest.raises(TemplateError) as caught:
        load(path, variables=var, variable_files=files, world=LiveWorld())
    for one in caught.value.diagnostics:
        assert one.range.filename in caught.value.sources
    return [
        (one.range.filename, one.range.start.line, one.range.start.column, one.summary)
        for one in caught.value.diagnostics
    ]


def test_values_by_precedence(work, monkeypatch):
    (work / "d").mkdir()
    variable('default = "default"')
    (work / "t.pkr.hcl").rename(work / "d" / "t.pkr.hcl")
    layers = [python_of("d")]
    monkeypatch.setenv("PKR_VAR_x", "environment")
    layers.append(python_of("d"))
    (work / "d" / "b.auto.pkrvars.hcl").write_text('x = "auto b"')
    (work / "d" / "a.auto.pkrvars.hcl").write_text('x = "auto a"')
    layers.append(python_of("d"))
    (work / "d" / "a.auto.pkrvars.json").write_text('{"x": "auto json"}')
    layers.append(python_of("d"))
    write(v__hcl='x = "first file"', w__json='{"x": "second file"}')
    layers.append(python_of("d", files=["v.hcl"]))
    layers.append(python_of("d", files=["v.hcl", "w.json"]))
    layers.append(python_of("d", files=["v.hcl"], var=[("x", "one"), ("x", "two=2")]))
    assert layers == [
        "default", "environment", "auto b", "auto json", "first file", "second file", "two=2",
    ]  # fmt: skip
    assert python_of("d/t.pkr.hcl") == "environment"


@pytest.mark.parametrize(
    ("content", "text", "wanted"),
    [
        ("type = string", '["a"]', '["a"]'),
        ("type = number", "21", 21),
        ("type = bool", "true", True),
        ("type = list(string)", '["a", 1]', ["a", "1"]),
        ("type = map(number)", '{a = "1"}', {"a": 1}),
        ("type = object({ a = number })", "{ a = 9 }", {"a": 9}),
        ("type = any", "[1]", "[1]"),
        ("default = null", "[1]", "[1]"),
        ("default = 5", "6", 6),
        ("type = any\ndefault = 5", "6", 6),
        ('default = ["a"]', '["b", "c"]', ["b", "c"]),
    ],
)
def test_texts_from_the_command_line(content, text, wanted):
    variable(content)
    assert python_of(var=[("x", text)]) == wanted


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("type = string\ndefault = 5", "5"),
        ("type = string\ndefault = null", None),
        ('type = list(number)\ndefault = ["1", 2]', [1, 2]),
        ('type = set(string)\ndefault = ["b", "a", "b"]', ["a", "b"]),
        ('type = tuple([string, number])\ndefault = [1, "2"]', ["1", 2]),
        (
            'type = object({ a = string, b = optional(number, 7), c = optional(string) })\n'
            'default = { a = "q" }',
            {"a": "q", "b": 7, "c": None},
        ),
        ("type = object({ a = optional(number, 7) })\ndefault = { a = null }", {"a": 7}),
        ("type = any\ndefault = { a = [1] }", {"a": [1]}),
    ],
)  # fmt: skip
def test_defaults_take_the_declared_type(content, wanted):
    variable(content)
    assert python_of() == wanted


def test_variables_block_is_a_shorthand():
    write(t__pkr__hcl="variables {\n  x = 1\n  y = [2]\n}\n")
    assert (python_of(), python_of(name="y")) == (1, [2])


def test_env_in_a_default_is_impure(monkeypatch):
    variable('default = env("SOME_NAME")')
    assert python_of() == ""
    monkeypatch.setenv("SOME_NAME", "value")
    value = value_of()
    assert to_python(value) == "value"
    assert all_marks(value) == {Impure("environment", 'env("SOME_NAME")')}


def test_json_variable_files_are_literal():
    variable("type = string")
    write(v__json='{"x": "${1 + 1}"}')
    assert python_of(files=["v.json"]) == "${1 + 1}"


def test_secrets_are_marked_and_collected():
    write(
        t__pkr__hcl='variable "x" {\n  type = list(string)\n  sensitive = true\n}\n'
        'variable "y" {\n  default = "open"\n}\n'
        'local "z" {\n  expression = { a = "deep" }\n  sensitive = true\n}\n'
        'locals {\n  derived = "pre-${var.x[0]}"\n}\n'
    )
    given = [("x", '["one", "two"]')]
    assert SENSITIVE in value_of(var=given).marks
    template = load("t.pkr.hcl", variables=given, world=LiveWorld())
    assert template.secrets == {"one", "two", "deep"}


def test_a_wrong_secret_is_not_shown():
    variable("type = number\nsensitive = true")
    with pytest.raises(TemplateError) as caught:
        load("t.pkr.hcl", variables=[("x", "hush")], world=LiveWorld())
    assert "hush" not in str(caught.value)
    assert "hush" not in "".join(caught.value.sources.values())


def test_undeclared_values_of_a_file_are_warnings():
    variable('default = "d"')
    write(v__hcl="xx = 1", w__json='{\n "y": 1}')
    template = load("t.pkr.hcl", variable_files=["v.hcl", "w.json"], world=LiveWorld())
    assert [
        (one.severity, one.summary, one.range.filename, one.range.start.line)
        for one in template.warnings
    ] == [
        (Severity.WARNING, UNDECLARED_SUMMARY, "v.hcl", 1),
        (Severity.WARNING, UNDECLARED_SUMMARY, "w.json", 2),
    ]
    assert 'Did you mean "x"?' in template.warnings[0].detail


@pytest.mark.parametrize(
    ("content", "line", "column", "summary"),
    [
        ("type = string", 1, 1, 'Unset variable "x"'),
        ('type = number\ndefault = "many"', 3, 11, "Invalid default value for variable"),
        ("type = text", 2, 8, "Invalid type specification"),
        ('type = "string"', 2, 8, "Invalid type specification"),
        ("type = list", 2, 8, "Invalid type specification"),
        ("type = optional(string)", 2, 8, "Invalid type specification"),
        ("type = object({a = optional(number, [])})", 2, 37,
         "Invalid default value for optional attribute"),
        ("default = var.y", 2, 11, "Variables not allowed"),
        ('default = upper("x")', 2, 11, "Call to unknown function"),
        ("defualt = 1", 2, 1, "Unsupported argument"),
        ("default = 1\nvalidation {\n}\ntype = number", 3, 1, "Missing required argument"),
        ('default = 1\nsensitive = "maybe"', 3, 13, "Invalid argument value"),
    ],
)  # fmt: skip
def test_wrong_declarations(content, line, column, summary):
    variable(content)
    assert set(findings()) == {("t.pkr.hcl", line, column, summary)}


@pytest.mark.parametrize(
    ("files", "var", "where", "summary"),
    [
        ({}, [("y", "1")], ("<-var y>", 1, 1), "Undefined -var variable"),
        ({}, [("x", "abc")], ("<-var x>", 1, 3), "Invalid value for variable"),
        ({"v.hcl": "x = [1]"}, [], ("v.hcl", 1, 5), "Invalid value for variable"),
        ({"v.json": '{\n "x": []}'}, [], ("v.json", 2, 2), "Invalid value for variable"),
        ({"v.hcl": "x = "}, [], ("v.hcl", 1, 5), "Missing expression"),
        ({"v.hcl": "x {\n}\n"}, [], ("v.hcl", 1, 1), "Unexpected block"),
        ({"v.hcl": "x = var.y"}, [], ("v.hcl", 1, 5), "Variables not allowed"),
        ({"v.json": "{"}, [], ("v.json", 1, 1), "Invalid JSON"),
        ({"v.json": "[]"}, [], ("v.json", 1, 1), "Invalid variable file"),
        ({"v.txt": ""}, [], ("v.txt", 1, 1), "Could not guess format of v.txt"),
    ],
)
def test_wrong_values(work, files, var, where, summary):
    variable("default = 1")
    for name, text in files.items():
        (work / name).write_text(text)
    assert findings(files=list(files), var=var) == [(*where, summary)]


def test_missing_variable_file():
    variable("default = 1")
    assert findings(files=["no.hcl"]) == [("no.hcl", 1, 1, "Cannot read variable file")]


def test_a_wrong_value_of_the_environment(monkeypatch):
    variable("type = list(string)\ndefault = []")
    monkeypatch.setenv("PKR_VAR_x", "{")
    (finding,) = findings()
    assert finding[0] == "<environment PKR_VAR_x>"


def rule(condition, message, name="x"):
    return (
        f"default = [1, -2]\nvalidation {{\ncondition = {condition}\nerror_message = {message}\n}}"
    )


def test_a_rule_that_holds():
    variable(rule("length(var.x) > 1", '"Too short."'))
    assert python_of() == [1, -2]


@pytest.mark.parametrize(
    ("condition", "message", "line", "column", "summary"),
    [
        ("alltrue([for v in var.x : v > 0])", '"No."', 4, 13, "Invalid value for variable"),
        ("true", '"No."', 4, 13, "Invalid variable validation condition"),
        ("var.x == var.y", '"No."', 4, 22, "Invalid reference in variable validation"),
        ("length(var.x)", '"No."', 4, 13, "Invalid variable validation result"),
        ("var.x.a", '"No."', 4, 19, "Unsupported attribute"),
        ("var.x != []", '""', 5, 17, "Invalid validation error message"),
        ("var.x != []", '"lower."', 5, 17, "Invalid validation error message"),
        ("var.x != []", '"No end"', 5, 17, "Invalid validation error message"),
        ("var.x != []", '"Not ${var.x}."', 5, 24, "Variables not allowed"),
    ],
)
def test_rules_that_fail(condition, message, line, column, summary):
    variable(rule(condition, message))
    assert findings() == [("t.pkr.hcl", line, column, summary)]


def test_every_failing_rule_is_reported():
    one = 'validation {\ncondition = var.x == "%s"\nerror_message = "Not %s."\n}\n'
    variable('default = "abc"\n' + one % ("p", "p") + one % ("q", "q"))
    assert [line for _, line, _, _ in findings()] == [4, 8]


def test_a_recorded_evaluation_replays(monkeypatch):
    monkeypatch.setenv("PKR_VAR_x", "recorded")
    variable('default = env("HOME")')
    recording = RecordingWorld(LiveWorld())
    load_scope("t.pkr.hcl", world=recording)
    monkeypatch.setenv("PKR_VAR_x", "later")
    scope = load_scope("t.pkr.hcl", world=ReplayedWorld(recording.record()))
    assert to_python(scope.lookup("var").attributes["x"]) == "recorded"


@pytest.mark.parametrize(
    ("declared", "form"),
    [
        ("list(string)", """'["a", "b"]'"""), ("set(string)", """'["a", "b"]'"""),
        ("map(string)", """'{ a = "b" }'"""), ("object({ a = string })", """'{ a = "b" }'"""),
        ("tuple([string])", """'["a", 1]'"""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["word", '"word"'])
def test_a_bare_word_for_a_collection_is_told_how_to_write_one(declared, form, text):
    variable(f"type = {declared}")
    with pytest.raises(TemplateError) as caught:
        value_of(var=[("x", text)])
    (one,) = caught.value.diagnostics
    assert one.summary == "Invalid value for variable"
    assert form in one.detail
    assert "Variables" not in one.detail


def test_a_bare_word_that_is_a_secret_is_not_shown():
    variable("type = list(string)\nsensitive = true")
    with pytest.raises(TemplateError) as caught:
        value_of(var=[("x", "hush")])
    assert "hush" not in str(caught.value) + str(caught.value.sources)


@pytest.mark.parametrize("name", ["missing", "missing.hcl", "missing.json"])
def test_a_variable_file_that_is_not_there_is_said_to_be_missing(name):
    variable('default = ""')
    with pytest.raises(TemplateError) as caught:
        value_of(files=[name])
    first = caught.value.diagnostics[0]
    assert first.summary == "Cannot read variable file"
    assert name in first.detail


def test_a_variable_file_of_another_name_is_told_the_endings(work):
    variable('default = ""')
    (work / "vars.txt").touch()
    with pytest.raises(TemplateError) as caught:
        value_of(files=["vars.txt"])
    assert caught.value.diagnostics[0].summary == "Could not guess format of vars.txt"
