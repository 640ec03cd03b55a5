"""Every function of both languages with any arguments, and templates that ask for too much.

Whatever comes is a value or a diagnostic. Examples are those of the everyday suite; the number in
GOLDSMITH_EXAMPLES makes more of them, and another choice each time.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goldsmith.errors import TemplateError
from goldsmith.gotemplate.errors import GoTemplateError
from goldsmith.gotemplate.packer_functions import PackerContext, packer_functions
from goldsmith.gotemplate.template import Template
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.expression_functions import SPECIAL_CALLS
from goldsmith.template.hcl2.functions import FUNCTIONS
from goldsmith.template.hcl2.scope import PACKER_VERSION, Scope
from goldsmith.values.value import object_of, tuple_of, unknown
from goldsmith.values.world import LiveWorld

EXAMPLES = int(os.environ.get("GOLDSMITH_EXAMPLES", "0"))
ASK_SERVERS = {"vault", "consul_key", "aws_secretsmanager", "aws_secretsmanager_raw"}
SLOW_BY_DESIGN = {"bcrypt"}
ALL = {*FUNCTIONS, *SPECIAL_CALLS} - {"env"}
NAMES = sorted(ALL - ASK_SERVERS - SLOW_BY_DESIGN)
ARGUMENTS = [
    "null", "true", "0", "-1", "1.5", "1e30", "1e-400", "1/0", '""', '"a"', '"5"', '"é\\u0301"',
    '"%s%q%d%%"', '"10.0.0.0/8"', '"2020-01-01T00:00:00Z"', '"[1"', '"(?P<a>x)"', '"a,b\\n1,2"',
    '"${x}"', "[]", "{}", "[null]", "[1, \"a\"]", "[[1], []]", "{ a = 1 }", "{ a = [null] }",
    '["a", "b"]', "x", "x.y", "list", "string", "number", "[for i in [1, 2]: i]", "[x]...",
    "null...", "'", "upper", "...",
]  # fmt: skip
WORDS = [
    "`a`", '""', "0", "-1", "1.5", "1e400", "nil", "true", ".", ".X", "$", "`%d%s`", "(len `a`)",
    "`é`", "1000000000", "`2006`", ".Nosuch.Deep",
]  # fmt: skip


def often(count):
    """The settings for a test that makes so many examples every day."""
    return settings(
        max_examples=EXAMPLES or count, deadline=None, derandomize=not EXAMPLES,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


def scope():
    return Scope(LiveWorld(), {"x": object_of({"y": unknown()}), "z": tuple_of([])})


def test_every_function_is_called():
    assert len(ALL) == 103


@often(400)
@given(st.sampled_from(NAMES), st.lists(st.sampled_from(ARGUMENTS), max_size=4))
def test_a_function_of_any_arguments(name, arguments):
    text = f"{name}({', '.join(arguments)})"
    try:
        evaluate_text(text, scope())
    except TemplateError as error:
        assert error.diagnostics, text


@often(200)
@given(
    st.sampled_from(["upper", "lower", "replace", "replace_all", "split", "isotime", "strftime",
                     "user", "build", "env", "printf", "print", "len", "index", "slice", "eq",
                     "lt", "and", "or", "not", "html", "js", "urlquery", "call", "sed", "pwd",
                     "println"]),
    st.lists(st.sampled_from(WORDS), max_size=4), st.booleans(),
)  # fmt: skip
def test_a_go_function_of_any_arguments(name, arguments, piped):
    context = PackerContext(
        template_path="t.json", packer_version=PACKER_VERSION, user_variables={"a": "b"}
    )
    text = f"{name} {' '.join(arguments)}"
    if piped and arguments:
        text = f"{arguments[-1]} | {name} {' '.join(arguments[:-1])}"
    try:
        Template.parse(f"{{{{{text}}}}}", packer_functions(LiveWorld(), context)).render({"X": 1})
    except GoTemplateError as error:
        assert str(error)


GREEDY = {
    "a loop": "{{range 2000000}}{{end}}",
    "loops in loops": "{{range 9999}}{{range 9999}}{{end}}{{end}}",
    "texts in a loop": "{{range 100000}}" + "x" * 1000 + "{{end}}",
    "a replacement": f"{{{{replace_all `` `{'x' * 10_000}` `{'y' * 10_000}`}}}}",
    "doubling": "{{$x := `0123456789`}}{{range 60}}{{$x = printf `%s%s` $x $x}}{{end}}",
    "itself twice": "{{define `a`}}{{template `a`}}{{template `a`}}{{end}}{{template `a`}}",
    "parentheses": "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}",
    "nesting": "{{if 1}}" * 3000 + "{{end}}" * 3000,
}


@pytest.mark.parametrize("text", GREEDY.values(), ids=GREEDY)
def test_a_go_template_that_asks_for_too_much_is_refused(text):
    context = PackerContext(template_path="t.json", packer_version=PACKER_VERSION)
    with pytest.raises(GoTemplateError):
        Template.parse(text, packer_functions(LiveWorld(), context)).render(None)
