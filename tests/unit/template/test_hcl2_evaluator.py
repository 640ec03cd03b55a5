"""Values of expressions, unknown ones, marks, places, and findings."""

import json
from datetime import UTC, datetime

import pytest

from goldsmith.errors import TemplateError
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.scope import Scope
from goldsmith.values.marks import SENSITIVE, Impure
from goldsmith.values.types import ANY, BOOL, NUMBER, STRING, ListType
from goldsmith.values.value import (
    all_marks,
    from_python,
    list_of,
    object_of,
    string,
    to_python,
    unknown,
)
from goldsmith.values.world import LiveWorld

FILES = {
    "hello.tpl": "Hello, ${name}!",
    "loop.tpl": "%{ for x in items ~}\n- ${x}\n%{ endfor ~}\n",
    "bad.tpl": "${1 + }",
    "self.tpl": '${templatefile("hello.tpl", {name = 1})}',
}


class Files(LiveWorld):
    """A world of a few files below `d`."""

    def read_file(self, path):
        name = path.removeprefix("d/")
        if name not in FILES:
            raise FileNotFoundError(2, "No such file or directory", path)
        return FILES[name].encode()


def scope(**names):
    return Scope(Files(now=datetime(2024, 1, 2, tzinfo=UTC)), names, "d")


def value_of(source, **names):
    return evaluate_text(source, scope(**names))


def python_of(source, **names):
    return to_python(value_of(source, **names))


def findings(source, **names):
    with pytest.raises(TemplateError) as caught:
        value_of(source, **names)
    assert caught.value.sources == {"<expression>": source}
    return [(one.range.start.column, one.summary) for one in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("1 + 2 * 3", 7),
        ('"a${1}b"', "a1b"),
        ("[for x in [1, 2, 3] : x * 2 if x > 1]", [4, 6]),
        ('{for x in ["a", "b", "a"] : x => 1...}', {"a": [1, 1], "b": [1]}),
        ("[{a = 1}, {a = 2}][*].a", [1, 2]),
        ("[{a = [1, 2]}, {a = [3]}].*.a[0]", [1, 2]),
        ("[[{b = [{c = 1}]}]][*][*].b[*].c", [[[1]]]),
        ("null[*]", []),
        ("true ? 1 : nosuch", 1),
        ("false && nosuch", False),
        ("try(nosuch, [1][5], 2)", 2),
        ("can(nosuch)", False),
        ('convert(["1"], list(number))', [1]),
        ('templatefile("hello.tpl", {name = "Ann"})', "Hello, Ann!"),
        ('templatefile("loop.tpl", {items = [1, 2]})', "- 1\n- 2\n"),
        ("<<-EOT\n    a\n      b\n\n    c\n  EOT\n", "a\n  b\n\nc\n"),
        ("<<EOT\r\na\r\nEOT\r\n", "a\r\n"),
        ('"a %{~ if true ~} b %{~ endif ~} c"', "abc"),
        ("<<-EOT\n   %{ if true ~}\n   x\n   %{ endif ~}\n   EOT\n", "   x\n"),
    ],
)
def test_values(source, wanted):
    assert python_of(source) == wanted


def test_names_hide_those_around_them():
    assert python_of("[for x in [1, 2] : [for x in [3] : x]]", x=string("outer")) == [[3], [3]]
    assert python_of('[for k, v in {a = 1} : "${k}${v}"]') == ["a1"]


@pytest.mark.parametrize(
    ("source", "type_"),
    [
        ("u + 1", NUMBER),
        ("u == 1", BOOL),
        ("u && true", BOOL),
        ('"x${u}"', STRING),
        ("u.anything[0].at.all", ANY),
        ("[for x in u : x]", ANY),
        ("u[*].a", ANY),
        ("u ? 1 : 2", NUMBER),
        ("upper(u)", STRING),
        ("max(u...)", NUMBER),
        ("l[0]", STRING),
        ('"%{ for x in u }a%{ endfor }"', STRING),
    ],
)
def test_unknown_values_propagate(source, type_):
    value = value_of(source, u=unknown(), l=unknown(ListType(STRING)))
    assert not value.is_known
    assert value.type == type_


def test_what_does_not_depend_on_the_unknown_is_known():
    assert python_of("u && false", u=unknown(BOOL)) is False
    assert python_of("true || u", u=unknown(BOOL)) is True
    assert python_of("[u, 1][1]", u=unknown()) == 1


@pytest.mark.parametrize(
    "source",
    [
        "s", '"x${s}"', "[s]", "{a = s}", "upper(s)", 's == "x"', 's == "x" ? 1 : 2',
        "[for x in [s] : x]", "{(s) = 1}", "o.a", "o[*].a", "[for k, v in o : k]",
        "convert(s, string)",
        '"%{ if s == "x" }a%{ endif }"', "can(s)", 'templatefile("hello.tpl", {name = s})',
    ],
)  # fmt: skip
def test_secrets_mark_what_is_made_of_them(source):
    secret = string("hush").with_marks([SENSITIVE])
    marked = object_of({"a": string("b")}).with_marks([SENSITIVE])
    assert SENSITIVE in all_marks(value_of(source, s=secret, o=marked))


def test_reading_a_template_file_is_impure():
    marks = all_marks(value_of('templatefile("hello.tpl", {name = 1})'))
    assert marks == {Impure("file", 'templatefile("hello.tpl")')}


def test_elements_know_where_they_were_written():
    value = value_of('["a", {b = 2}]')
    assert [item.range.start.column for item in value.elements] == [2, 7]
    assert value.elements[1].attributes["b"].range.start.column == 12
    assert value.range.start.column == 1


def test_all_findings_of_an_expression_come_at_once():
    assert findings('[nosuch, {a = other}, "${third}", f(1)]') == [
        (2, "Unknown variable"),
        (15, "Unknown variable"),
        (26, "Unknown variable"),
        (35, "Call to unknown function"),
    ]


@pytest.mark.parametrize(
    ("source", "column", "summary"),
    [
        ('1 + "x"', 5, "Invalid operand"),
        ("-null", 2, "Invalid operand"),
        ("0 / 0", 1, "Operation failed"),
        ("o.b", 3, "Unsupported attribute"),
        ("[1][1]", 5, "Invalid index"),
        ("[1][-1]", 5, "Invalid index"),
        ('o["b"]', 3, "Invalid index"),
        ('"x"[0]', 1, "Invalid index"),
        ("null.a", 6, "Attempt to get attribute from null value"),
        ("null[0]", 1, "Attempt to index null value"),
        ('"a${null}"', 5, "Invalid template interpolation value"),
        ('"a${[]}"', 5, "Invalid template interpolation value"),
        ("1 ? 2 : 3", 1, "Incorrect condition type"),
        ("null ? 2 : 3", 1, "Null condition"),
        ("true ? 1 : [1]", 1, "Inconsistent conditional result types"),
        ("[for x in 1 : x]", 11, "Iteration over non-iterable value"),
        ("[for x in null : x]", 11, "Iteration over null value"),
        ('{for x in ["a", "a"] : x => 1}', 24, "Duplicate object key"),
        ("{(null) = 1}", 2, "Invalid object key"),
        ("nosuch()", 1, "Call to unknown function"),
        ("upper()", 1, "Not enough function arguments"),
        ("upper([])", 7, "Invalid function argument"),
        ('max("a"...)', 5, "Invalid expanding argument value"),
        ("can(1, 2)", 1, "Too many function arguments"),
        ("try(nosuch)", 1, "Error in function call"),
        ('convert("x", text)', 14, "Invalid type specification"),
        ('convert("x", number)', 9, "Invalid function argument"),
        ("convert({}, object({a = optional(string, 1)}))", 25, "Invalid type specification"),
        ('templatefile("nosuch.tpl", {})', 14, "Invalid function argument"),
        ('templatefile("bad.tpl", {})', 1, "Error in function call"),
        ('templatefile("self.tpl", {})', 1, "Error in function call"),
        ('templatefile("hello.tpl", {"1a" = 1})', 27, "Invalid function argument"),
        ('env("HOME")', 1, "Call to unknown function"),
    ],
)
def test_findings_with_their_places(source, column, summary):
    assert findings(source, o=object_of({"a": string("x")})) == [(column, summary)]


def test_misspelled_names_are_recognised():
    def detail(source):
        with pytest.raises(TemplateError) as caught:
            value_of(source, var=object_of({"region": string("eu")}))
        return caught.value.diagnostics[0].detail

    assert 'Did you mean "region"?' in detail("var.regoin")
    assert 'Did you mean "upper"?' in detail('uper("x")')
    assert "write var.region or local.region" in detail("region")


def test_a_long_chain_is_a_finding_and_not_a_crash():
    assert findings("1" + " + 1" * 5000) == [(1, "Expression nested too deeply")]


def test_splats_of_lists_stay_lists():
    items = list_of(STRING, [string("a"), string("b")])
    assert value_of("l[*]", l=items).type == ListType(STRING)
    assert value_of("l[*]", l=list_of(STRING, [])).type == ListType(STRING)


def test_json_of_a_template_value_round_trips():
    content = {"a": [1, None, True], "b": {"c": "é"}}
    value = value_of("jsondecode(jsonencode(x))", x=from_python(content))
    assert json.dumps(to_python(value)) == json.dumps(content)
