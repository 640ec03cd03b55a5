"""Syntax: trees with places, and every error of a file once."""

import pytest

from goldsmith.template.hcl2.ast import (
    AttributeAccess,
    Binary,
    Conditional,
    ForExpression,
    FunctionCall,
    IndexAccess,
    Literal,
    Splat,
    Template,
    TemplateWrap,
    Variable,
)
from goldsmith.template.hcl2.parser import parse_expression, parse_file


def parsed(source):
    expression, found = parse_expression(source)
    assert found == ()
    return expression


def found_in(source):
    return [
        (one.range.start.line, one.range.start.column, one.summary)
        for one in parse_file(source, "t.pkr.hcl").diagnostics
    ]


def test_blocks_labels_and_attributes_with_their_places():
    body = parse_file('source "image" debian {\n  a = 1\n\n  disk { size = "x" }\n}\n', "t").body
    (block,) = body.blocks
    assert block.header == 'source "image" "debian"'
    assert (block.range.start.column, block.range.end.column) == (1, 22)
    attribute = block.body.attributes["a"]
    assert (attribute.name_range.start.line, attribute.expression.range.start.column) == (2, 7)
    (disk,) = block.body.blocks
    assert list(disk.body.attributes) == ["size"]


def test_precedence():
    tree = parsed("1 + 2 * 3 == 7 && !a || b")
    assert isinstance(tree, Binary)
    assert tree.operator == "||"
    assert tree.left.operator == "&&"
    assert tree.left.left.operator == "=="
    assert tree.left.left.left.right.operator == "*"


def test_operators_of_one_rank_group_to_the_left():
    tree = parsed("10 - 3 - 2")
    assert isinstance(tree.left, Binary)
    assert isinstance(tree.right, Literal)


def test_conditionals_group_to_the_right():
    tree = parsed("a ? b : c ? d : e")
    assert isinstance(tree, Conditional)
    assert isinstance(tree.if_false, Conditional)


def test_references_calls_and_loops():
    assert isinstance(parsed("var.a"), AttributeAccess)
    assert isinstance(parsed("a[0]"), IndexAccess)
    assert isinstance(parsed("a.0"), IndexAccess)
    call = parsed("f(1, [2]...)")
    assert isinstance(call, FunctionCall)
    assert call.expand_last
    loop = parsed("{for k, v in m : k => v... if v}")
    assert isinstance(loop, ForExpression)
    assert (loop.key_name, loop.value_name, loop.group) == ("k", "v", True)
    assert parsed("a::b(1)").name == "a::b"


def test_old_splat_takes_attributes_only():
    tree = parsed("a.*.b[0]")
    assert isinstance(tree, IndexAccess)
    assert isinstance(tree.target, Splat)
    full = parsed("a[*].b[0]")
    assert isinstance(full, Splat)
    assert isinstance(full.each, IndexAccess)


def test_templates():
    assert isinstance(parsed('"x"'), Literal)
    assert isinstance(parsed('"${a}"'), TemplateWrap)
    assert isinstance(parsed('"${a} "'), Template)
    assert isinstance(parsed('"${a}"').inner, Variable)
    assert parsed('""').value.text == ""


def test_the_range_of_a_string_has_its_quotes():
    where = parsed('  "a${b}c"').range
    assert (where.start.column, where.end.column) == (3, 11)


def test_newlines_do_not_matter_inside_brackets():
    source = "a = [\n  1,\n  (2 +\n 3),\n]\nb = f(\n  x,\n)\nc = {\n  d = 1\n  e = 2, f = 3\n}\n"
    assert found_in(source) == []


def test_recovery_reports_every_error_of_a_file_once():
    source = (
        "locals {\n"
        "  a = 1 b = 2\n"
        "  c = [1, 2\n"
        "  d = 3\n"
        "  e =\n"
        "}\n"
        'source "null" "x" {\n'
        '  text = "never closed\n'
        "}\n"
        "build {\n"
        "  x = f(\n"
        '  provisioner "shell" {\n'
        "    inline = ['x']\n"
        "  }\n"
        "  y = {a = 1 b = 2}\n"
        "  z = 1\n"
        "  z = 2\n"
        "}\n"
    )
    assert sorted(found_in(source)) == [
        (2, 9, "Missing newline after argument"),
        (3, 7, "Unterminated tuple constructor"),
        (5, 6, "Missing expression"),
        (8, 10, "Unterminated template string"),
        (11, 8, "Unterminated function call"),
        (13, 15, "Invalid character"),
        (15, 14, "Missing attribute separator"),
        (17, 3, "Duplicate argument"),
    ]


def test_what_stands_after_an_error_is_still_read():
    body = parse_file("a = [1, 2\nb = 1\nc {\n  d = ]\n  e = 1\n}\nf = 2\n", "t").body
    assert list(body.attributes) == ["b", "f"]
    assert list(body.blocks[0].body.attributes) == ["e"]


@pytest.mark.parametrize(
    ("source", "line", "column", "summary"),
    [
        ("x {\n  a = 1\n", 1, 1, "Unclosed configuration block"),
        ("x { a = 1, b = 2 }\n", 1, 10, "Invalid single-argument block definition"),
        ("x {\n} y {\n}\n", 2, 3, "Missing newline after block definition"),
        ('"a" = 1\n', 1, 1, "Invalid argument name"),
        ("a\n", 1, 2, "Argument or block definition required"),
        ("}\n", 1, 1, "Argument or block definition required"),
        ('x "${a}" {\n}\n', 1, 4, "Invalid block label"),
        ('a = "x${1 2}"\n', 1, 11, "Extra characters after interpolation expression"),
        ('a = "%{ if b }"\n', 1, 6, "Unexpected end of template"),
        ('a = "%{ endif }"\n', 1, 6, "Unexpected endif directive"),
        ('a = "%{ what }"\n', 1, 9, "Invalid template directive"),
        ('a = "\\x"\n', 1, 6, "Invalid escape sequence"),
        ('a = "\\u12"\n', 1, 6, "Invalid escape sequence"),
        ("a = b.0.1\n", 1, 7, "Invalid legacy index syntax"),
        ("a = b.\n", 1, 7, "Invalid attribute name"),
        ("a = {b.c = 1}\n", 1, 6, "Ambiguous attribute key"),
        ("a = true ? 1\n", 1, 13, "Missing false expression in conditional"),
        ("a = [for x [1] : x]\n", 1, 12, "Invalid 'for' expression"),
        ("a = (1\n", 1, 5, "Unbalanced parentheses"),
        ("a = f(b..., 1)\n", 1, 11, "Missing closing parenthesis"),
        ("a = <<EOT\n${1 +}\nEOT\n", 2, 6, "Missing expression"),
    ],
)
def test_one_error_with_its_place(source, line, column, summary):
    assert found_in(source) == [(line, column, summary)]


def test_deep_nesting_is_a_finding_and_not_a_crash():
    source = "a = " + "(" * 5000 + "\nb = ]\n"
    assert [one[2] for one in found_in(source)] == [
        "Expression nested too deeply",
        "Missing expression",
    ]
