"""What is never closed is reported where it was opened."""

import pytest

from goldsmith.template.hcl2.parser import parse_file

UNCLOSED = {
    "a block": ("a {\n  x = 1\n", 1, 1),
    "a nested block": ("a {\n  b {\n    x = 1\n}\nc {\n}\n", 2, 5),
    "an object, the block's brace taken": ("a {\n  x = {\n    y = 1\n}\nb {\n}\n", 2, 7),
    "an object at the end": ("a = {\n  x = 1\n", 1, 5),
    "a list, then an item": ("a = [1,\n  2\nb = 3\n", 1, 5),
    "a list after a comma": ("a = [1,\nb = 3\n", 1, 5),
    "a list in a block": ("a {\n  x = [1, 2\n}\n", 2, 7),
    "a call": ("a = foo(1,\nb = 3\n", 1, 8),
    "a call at the end": ("a = foo(1", 1, 8),
    "parentheses": ("a = (1 +\n  2\nb = 3\n", 1, 5),
    "an index": ("a = b[1\nc = 2\n", 1, 6),
    "a heredoc": ("a = <<EOT\ntext\n", 1, 5),
    "a string": ('a = "text\nb = 1\n', 1, 5),
    "a comment": ("a = 1\n/* text\n", 2, 1),
}


@pytest.mark.parametrize(("text", "line", "column"), UNCLOSED.values(), ids=UNCLOSED)
def test_one_finding_where_it_was_opened(text, line, column):
    found = parse_file(text, "t.hcl").diagnostics
    assert [(one.range.start.line, one.range.start.column) for one in found] == [(line, column)]


def test_the_brace_that_closes_too_much_is_named():
    (found,) = parse_file(UNCLOSED["a nested block"][0], "t.hcl").diagnostics
    assert found.summary == "Unclosed configuration block"
    assert "the one in line 4 closes a block around it" in found.detail


@pytest.mark.parametrize(
    "text",
    [
        "a {\n    b {\n  }\n}\n",
        "  a {\n  x = {\ny = 1\n}\n}\n",
        "a = [\n1,\n2\n]\n",
        "a = foo(\n1,\nb\n)\n",
        "a = [\nb\n]\n",
    ],
)
def test_odd_indentation_alone_is_no_finding(text):
    assert parse_file(text, "t.hcl").diagnostics == ()
