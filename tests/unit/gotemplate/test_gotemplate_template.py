import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import GoldsmithError
from goldsmith.gotemplate.data import LenientMap
from goldsmith.gotemplate.errors import GoTemplateError, TemplateFunctionError
from goldsmith.gotemplate.evaluator import MAX_DEPTH
from goldsmith.gotemplate.parser import MAX_NESTING
from goldsmith.gotemplate.template import Template


def render(text, data=None, **functions):
    return Template.parse(text, functions).render(data)


def failure(text, data=None, **functions):
    with pytest.raises(GoTemplateError) as caught:
        render(text, data, **functions)
    return caught.value


# Text


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text):
    assert render(text) == text


PIECES = st.sampled_from(
    ["{{", "}}", "{{- ", " -}}", "{{/*", "*/}}", '"a"', '"', "'a'", "`", "\n", " ", "(", ")", "|",
     ":=", "=", ",", ".", ".A", ".A.B", "$", "$x", "1", "0x1p4", "1+2i", "-", "{{if 1}}",
     "{{else}}", "{{end}}", "{{range 2}}", "{{break}}", "{{define `t`}}", "{{template `t` .}}",
     "{{with .A}}", "else if", "nil", "true", "len", "print", "index", "printf `%d`", "eq",
     "and", "é", "\udcff",
     "{{$x := .}}"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_whatever_is_written_renders_or_is_a_template_error(text):
    try:
        assert isinstance(render(text, {"A": {"B": ["x", 1]}}), str)
    except GoTemplateError as error:
        assert str(error).startswith("template: root:")
        assert error.line >= 1
        assert error.column >= 1


# Data


def test_a_field_is_a_key():
    assert render("{{.A}} {{.B.C}}", {"A": 1, "B": {"C": "x"}}) == "1 x"


def test_a_struct_refuses_a_field_that_it_lacks_and_names_those_it_has():
    error = failure("{{.Nope}}", {"A": 1, "B": 2})
    assert error.reason == "can't evaluate field Nope in type struct"
    assert error.hint == "the fields here are: A, B"


def test_a_map_has_no_value_for_it():
    assert render("{{.Nope}} {{.Nope.Deeper}}", LenientMap({"A": 1})) == "<no value> <no value>"


def test_a_struct_may_hold_a_map():
    data = {"Tags": LenientMap({"k": "v"})}
    assert render("{{.Tags.k}} {{.Tags.none}} {{.Tags}}", data) == "v <no value> map[k:v]"


@pytest.mark.parametrize(
    "expression",
    [".__class__", ".a.__class__", ".l.append", ".s.upper", ".__init__.__globals__", "$.items",
     "(index .l 0).__class__", "f.__globals__", ".n.real"],
)  # fmt: skip
def test_attributes_of_python_are_out_of_reach(expression):
    data = {"a": {"b": 1}, "l": [1], "s": "x", "n": 1}
    assert "can't evaluate field" in failure("{{" + expression + "}}", data, f=lambda: 1).reason


@pytest.mark.parametrize("expression", [".__class__", ".items", "._items"])
def test_attributes_of_a_lenient_map_are_out_of_reach(expression):
    assert render("{{" + expression + "}}", LenientMap({})) == "<no value>"


def test_strings_are_bytes_as_in_go():
    assert render('{{len "é"}} {{index "é" 1}} {{slice "aé" 1}}') == "2 169 é"


def test_halves_of_a_character_join_again():
    assert render(r'{{"\xc3"}}{{"\xa9"}}{{print (slice "é" 0 1) (slice "é" 1)}}') == "éé"


def test_what_no_template_can_hold_is_a_defect_of_the_caller():
    with pytest.raises(TypeError, match="bytes"):
        render("{{.}}", b"x")


# Functions


def test_functions_check_the_types_that_they_declare():
    def repeat(text: str, count: int) -> str:
        return text * count

    assert render("{{repeat `ab` 2}} {{2 | repeat `x`}}", repeat=repeat) == "abab xx"
    assert render("{{repeat `ab` 2.0}}", repeat=repeat) == "abab"
    assert failure("{{repeat 1 2}}", repeat=repeat).reason == "expected string; found 1"
    assert failure("{{repeat `a` 1.5}}", repeat=repeat).reason == "expected integer; found 1.5"
    assert failure("{{repeat `a`}}", repeat=repeat).reason == (
        "wrong number of args for repeat: want 2 got 1"
    )
    assert failure("{{true | repeat `a`}}", repeat=repeat).reason == (
        "wrong type for value; expected int; got bool"
    )


def test_variadic_functions():
    def join(separator: str, *parts: str) -> str:
        return separator.join(parts)

    assert render("{{join `-`}}|{{join `-` `a` `b`}}|{{`c` | join `-` `a`}}", join=join) == (
        "|a-b|a-c"
    )
    assert failure("{{join}}", join=join).reason == (
        "wrong number of args for join: want at least 1 got 0"
    )


def test_a_function_shadows_a_builtin():
    assert render("{{len `x`}}", len=lambda text: "mine") == "mine"


def test_a_failing_function_is_chained_and_keeps_its_hint():
    def broken():
        raise TemplateFunctionError("no network", hint="plug it in")

    error = failure("a\n{{broken}}", broken=broken)
    assert str(error) == (
        'template: root:2:2: executing "root" at <broken>: error calling broken: no network'
    )
    assert error.hint == "plug it in"
    assert isinstance(error.__cause__, TemplateFunctionError)


def test_a_defect_in_a_function_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        render("{{broken}}", broken=lambda: 1 // 0)


def test_and_or_do_not_evaluate_what_they_need_not():
    def never():
        raise TemplateFunctionError("evaluated")

    assert render("{{or 1 (never)}}{{and 0 (never)}}", never=never) == "10"


# Positions


def test_errors_know_their_place():
    error = failure("ü\nü {{\n  .A.Nope }}", {"A": {}})
    # Go's column counts bytes from 0 and points at the last field of the chain.
    assert str(error).startswith('template: root:3:4: executing "root" at <.A.Nope>: ')
    assert (error.line, error.column) == (3, 5)


def test_columns_of_go_are_bytes_ours_are_characters():
    error = failure("üü{{.Nope}}", {})
    assert str(error).startswith("template: root:1:6: ")
    assert (error.line, error.column) == (1, 5)


def test_syntax_errors_have_a_line_in_the_message_and_a_column_beside_it():
    error = failure("a\nb {{nosuch}}")
    assert str(error) == 'template: root:2: function "nosuch" not defined'
    assert (error.line, error.column) == (2, 5)
    assert isinstance(error, GoldsmithError)


def test_an_action_over_several_lines_names_its_start():
    assert failure('x\n{{ print\n"a').reason == (
        "unterminated quoted string in action started at root:2"
    )


def test_a_template_has_a_name():
    with pytest.raises(GoTemplateError, match=re.escape("template: greeting:1: unexpected EOF")):
        Template.parse("{{if 1}}", {}, name="greeting")


# Limits


def test_recursion_of_templates_ends():
    text = "{{define `t`}}{{template `t`}}{{end}}{{template `t`}}"
    assert failure(text).reason == f"exceeded maximum template depth ({MAX_DEPTH})"


def test_templates_that_grow_as_a_power_end():
    doubling = "".join(
        f"{{{{define `t{n}`}}}}{{{{template `t{n + 1}`}}}}{{{{template `t{n + 1}`}}}}{{{{end}}}}"
        for n in range(40)
    )
    text = doubling + "{{define `t40`}}{{end}}{{template `t0`}}"
    assert "steps" in failure(text).reason


def test_an_endless_range_ends():
    assert "steps" in failure("{{range 1000000000000}}{{end}}").reason


@pytest.mark.parametrize(("left", "right"), [("(", ")"), ("print (", ")"), ("{{if 1}}", "{{end}}")])
def test_nesting_is_limited(left, right):
    def nested(depth):
        inner = left * depth + "1" + right * depth
        return inner if left.startswith("{") else "{{" + inner + "}}"

    assert render(nested(MAX_NESTING - 5)) == "1"
    assert failure(nested(MAX_NESTING + 1)).reason == "max expression depth exceeded"
    assert failure(nested(100_000)).reason == "max expression depth exceeded"


def test_a_long_chain_of_else_if_is_no_nesting():
    arms = "".join(f"{{{{else if eq . {n}}}}}{n}" for n in range(500))
    assert render("{{if false}}" + arms + "{{end}}", 499) == "499"


def test_a_template_renders_again_and_again():
    template = Template.parse("{{$x := .}}{{range 2}}{{$x}}{{end}}", {})
    assert [template.render(n) for n in range(3)] == ["00", "11", "22"]
