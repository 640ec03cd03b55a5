"""Whatever bytes come: a diagnostic or a value, no crash, no hang, and what is printed reads back.

Sizes are those of the everyday suite; the variable names a larger number of examples for a nightly
run: GOLDSMITH_EXAMPLES=20000.
"""

import os
import string as letters

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goldsmith.errors import GoldsmithError, TemplateError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.template import Template
from goldsmith.template.hcl2.ast import Attribute, Block, walk
from goldsmith.template.hcl2.evaluator import evaluate, evaluate_text
from goldsmith.template.hcl2.formatter import format_source
from goldsmith.template.hcl2.json_syntax import parse_json_file
from goldsmith.template.hcl2.lexer import tokenize
from goldsmith.template.hcl2.loader import load
from goldsmith.template.hcl2.parser import parse_file
from goldsmith.template.hcl2.scope import Scope
from goldsmith.template.legacy_json import loader as json_loader
from goldsmith.values.numbers import Number
from goldsmith.values.value import number, object_of, string, tuple_of
from goldsmith.values.world import LiveWorld

EXAMPLES = int(os.environ.get("GOLDSMITH_EXAMPLES", "25"))
moderately = settings(
    max_examples=EXAMPLES, deadline=None, derandomize="GOLDSMITH_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip

TEMPLATE = """variable "x" {
  type    = list(string)
  default = ["a", "b"]
}
locals {
  # a comment
  y = [for one in var.x : upper("${one}-%{if true}z%{endif}") if one != ""]
  z = { a = 1 + 2 * 3, "b" = var.x[0] == "a" ? null : !false }
  t = <<-EOT
    text ${local.y[0]}
  EOT
}
source "null" "n" {
  communicator = "none"
}
build {
  sources = ["source.null.n"]
  provisioner "shell-local" {
    inline = local.y.*
  }
}
"""
JSON = (
    '{"variables": {"a": "1", "b": "{{env `HOME`}}"}, "builders": [{"type": "null", '
    '"communicator": "none"}], "provisioners": [{"type": "shell-local", "inline": '
    '["echo {{user `a`}}"], "only": ["null"]}]}'
)
GO = '{{range $i, $v := .List}}{{if eq $i 1}}{{printf "%s-%d" $v $i}}{{else}}x{{end}}{{end}}'
PIECES = [
    *"{}[]()=,.:?!<>+-*/%\"'\\\n\t #$~`&|;", "${", "%{", "}", "<<EOT\n", "EOT\n", "for ", " in ",
    "if ", "=>", "...", "[*]", "var.", "local.", "1e999", "null", "true", '"a"',
    "é", "\x00", "\ufeff", "{{", "}}", "range ", "end", "define ", "template ", "with ", "$x := ",
]  # fmt: skip
junk = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join)


@st.composite
def mutated(draw, text):
    """A text with stretches taken out, doubled and replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from(["", text[start:end] * 2]) | junk)
        text = text[:start] + middle + text[end:]
    return text


def scope():
    items = tuple_of([string("a"), number(Number.parse("2"))])
    return Scope(LiveWorld(), {"var": object_of({"x": items}), "local": object_of({"y": items})})


def evaluate_all(body):
    """Evaluate every expression of a body; nothing but a diagnostic may come of it."""
    for item in body.items:
        if isinstance(item, Attribute):
            try:
                evaluate(item.expression, scope())
            except TemplateError as error:
                assert error.diagnostics
        elif isinstance(item, Block):
            evaluate_all(item.body)


def shape(body):
    """The tree without places: what must not change by printing."""
    made = []
    for item in body.items:
        if isinstance(item, Attribute):
            made.append((item.name, [type(node).__name__ for node in walk(item.expression)]))
        else:
            made.append((item.type, [label.text for label in item.labels], shape(item.body)))
    return made


@moderately
@given(junk | mutated(TEMPLATE))
def test_the_parser_takes_any_text(text):
    lexed = tokenize(text, "t")
    assert "".join(token.text for token in lexed.tokens) == text
    parsed = parse_file(text, "t")
    evaluate_all(parsed.body)
    if not parsed.diagnostics:
        printed = format_source(text)
        again = parse_file(printed, "t")
        assert again.diagnostics == ()
        assert shape(again.body) == shape(parsed.body)
        assert format_source(printed) == printed


@moderately
@given(junk)
def test_an_expression_of_any_text(text):
    try:
        evaluate_text(text, scope())
    except TemplateError as error:
        assert error.diagnostics


@moderately
@given(mutated(TEMPLATE).map(str.encode) | st.binary(max_size=60))
def test_a_template_of_any_bytes(tmp_path, content):
    path = tmp_path / "t.pkr.hcl"
    path.write_bytes(content)
    try:
        load(str(path), world=LiveWorld(), read_data=False)
    except TemplateError as error:
        assert error.diagnostics


@moderately
@given(mutated(JSON).map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=60))
def test_a_json_template_of_any_bytes(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    try:
        json_loader.load(str(path), world=LiveWorld())
    except GoldsmithError as error:
        assert str(error)


@moderately
@given(mutated('{"locals": {"a": "${1 + 2}", "b": [1, {"c": null}]}, "build": {}}') | junk)
def test_json_syntax_of_any_text(text):
    evaluate_all(parse_json_file(text, "t.pkr.json").body)


@moderately
@given(mutated(GO) | junk)
def test_a_go_template_of_any_text(text):
    try:
        Template.parse(text, {"upper": str.upper}).render({"List": ["a", "b"], "X": 1})
    except GoTemplateError as error:
        assert str(error)


@settings(moderately, max_examples=max(10, EXAMPLES // 4))
@given(st.integers(-(10**30), 10**30), st.integers(-(10**12), 10**12), st.sampled_from("+-*/%<"))
def test_numbers_of_any_size(digits, power, operator):
    for text in (f"{digits}e{power} {operator} 7", f'"${{{digits}e{power}}}x"'):
        try:
            evaluate_text(text, scope())
        except TemplateError as error:
            assert error.diagnostics


DEEP = 3000
BOUNDED = {
    "parentheses": "(" * DEEP + "1" + ")" * DEEP,
    "lists": "[" * DEEP + "]" * DEEP,
    "negations": "-" * DEEP + "1",
    "templates": '"${' * 500 + "1" + '}"' * 500,
    "conditionals": "true ? " * DEEP + "1" + " : 2" * DEEP,
    "json": 'jsondecode("' + "[" * DEEP + "]" * DEEP + '")',
    "a number's digits": '"${1e600000000}x"',
    "a rest": "1e600000000 % 7",
    "loops in loops": "[for i in range(1000): [for j in range(1000): 1]]",
    "loops in a text": '"%{for a in range(1000)}%{for b in range(1000)}x%{endfor}%{endfor}"',
    "a product of sets": "setproduct(range(100), range(100), range(100), range(100))",
    "an indentation": 'indent(1000000000, "a\\nb")',
    "a replacement": 'replace(format("%100000s", ""), " ", format("%100000s", ""))',
    "a field": 'format("%1000000000d", 1)',
    "YAML that doubles": 'yamldecode("a: &a [1,1,1,1,1,1,1,1,1]\\n'
    + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\\n"
        for old, new in zip(letters.ascii_lowercase[:9], letters.ascii_lowercase[1:10], strict=True)
    )
    + '")',
}


@pytest.mark.parametrize("text", BOUNDED.values(), ids=BOUNDED)
def test_what_asks_for_too_much_is_refused(text):
    with pytest.raises(TemplateError) as caught:
        evaluate_text(text, scope())
    assert caught.value.diagnostics


def loaded_locals(tmp_path, lines):
    path = tmp_path / "t.pkr.hcl"
    path.write_text("locals {\n" + "\n".join(lines) + "\n}\n")
    return load(str(path), world=LiveWorld())


@pytest.mark.parametrize(
    "double",
    ['"${local.%s}${local.%s}"', "[local.%s, local.%s]", "{ a = local.%s, b = local.%s }",
     "concat(flatten([local.%s]), flatten([local.%s]))"],
    ids=["texts", "lists", "objects", "flat lists"],
)  # fmt: skip
def test_locals_that_double_are_refused(tmp_path, double):
    lines = ['  a0 = "0123456789"']
    lines += [f"  a{n + 1} = {double % (f'a{n}', f'a{n}')}" for n in range(60)]
    with pytest.raises(TemplateError) as caught:
        loaded_locals(tmp_path, lines)
    found = caught.value.diagnostics
    assert {one.summary for one in found} == {"Value too large"} or len(found) == 1
    assert len(found) <= 3, "what is refused is unknown, and its doubles are small again"


def test_a_long_cycle_is_one_finding(tmp_path):
    lines = [f"  a{n} = local.a{(n + 1) % 500}" for n in range(500)]
    with pytest.raises(TemplateError, match="a0"):
        loaded_locals(tmp_path, lines)


def test_a_long_chain_is_none(tmp_path):
    lines = ['  a0 = "x"', *(f"  a{n + 1} = local.a{n}" for n in range(2000))]
    assert loaded_locals(tmp_path, lines).builds == ()
