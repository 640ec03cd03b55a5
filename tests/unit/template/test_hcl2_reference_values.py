"""Findings tell what the names in the failed expression stand for."""

import pytest

from goldsmith.errors import TemplateError
from goldsmith.template.hcl2.evaluator import evaluate_text
from goldsmith.template.hcl2.reference_values import shown
from goldsmith.template.hcl2.scope import Scope
from goldsmith.ui.diagnostics import render_error
from goldsmith.values.marks import SENSITIVE
from goldsmith.values.numbers import Number
from goldsmith.values.types import STRING
from goldsmith.values.value import (
    FALSE,
    list_of,
    null,
    number,
    object_of,
    string,
    tuple_of,
    unknown,
)
from goldsmith.values.world import LiveWorld

VARIABLES = object_of(
    {
        "x": string("abc"),
        "n": number(Number.parse("3")),
        "secret": string("hunter2").with_marks([SENSITIVE]),
        "list": list_of(STRING, [string("a"), string("b")]),
        "disk": object_of({"size": string("big"), "name": string("root")}),
        "none": null(STRING),
        "later": unknown(STRING),
    }
)


def findings(text):
    scope = Scope(LiveWorld(), {"var": VARIABLES})
    with pytest.raises(TemplateError) as caught:
        evaluate_text(text, scope, "t.hcl")
    return caught.value


def values(text):
    return [one.values for one in findings(text).diagnostics]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("var.x + 1", ('var.x is "abc"',)),
        ("1 + var.x * var.n", ('var.x is "abc"', "var.n is 3")),
        ("-var.secret", ("var.secret is <sensitive>",)),
        ("var.list + 1", ("var.list is a list of string with 2 elements",)),
        ("var.list[7]", ("var.list is a list of string with 2 elements",)),
        ("var.list[0] - 1", ('var.list[0] is "a"',)),
        ("var.disk.size - 1", ('var.disk.size is "big"',)),
        ('var.disk["size"] - 1', ('var.disk["size"] is "big"',)),
        ("var.disk - 1", ("var.disk is an object with 2 attributes",)),
        ('"a ${var.none}"', ("var.none is null",)),
        ("jsondecode(var.x)", ('var.x is "abc"',)),
        ("[for i in var.list : i - 1]", ('i is "a"',)),
        ("var.nosuch", ()),
        ("var.nosuch == var.x", ()),
        ("nosuch", ()),
        ("substr(var.x, var.nosuch, 1)", ()),
        ('1 + "a"', ()),
    ],
)
def test_the_values_of_the_operation_that_failed(text, lines):
    assert values(text)[0] == lines


def test_one_finding_for_a_loop_however_often_it_fails():
    assert len(values("[for i in var.list : i - 1]")) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (FALSE, "false"),
        (string("a\nb"), r'"a\nb"'),
        (string("x" * 100), "a string of 100 characters"),
        (tuple_of([string("a")]), "a tuple with 1 element"),
        (tuple_of([string("a").with_marks([SENSITIVE])]), "<sensitive>"),
        (unknown(STRING), "not known yet"),
        (null(), "null"),
    ],
)
def test_a_value_in_a_few_words(value, text):
    assert shown(value) == text


def test_the_values_stand_below_the_line():
    assert render_error(findings("1 + var.x")).split("\n")[3:6] == [
        "   1: 1 + var.x",
        "          ^^^^^",
        '      var.x is "abc"',
    ]
