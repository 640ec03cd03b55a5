"""Tokens: nothing is lost, nothing raises, places are right."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.template.hcl2.lexer import TokenKind, is_identifier, tokenize
from goldsmith.template.hcl2.parser import parse_expression, parse_file, parse_template_text

FRAGMENTS = st.sampled_from(
    [
        "a", "b1", "for", "if", "in", "else", "endif", "endfor", "null", "1", "2.5", "1e3", " ",
        "\t", "\n", "\r\n", "\r", "{", "}", "[", "]", "(", ")", "=", "=>", "==", "...", ".", ",",
        ":", "?", "!", "&&", "&", "|", "~", "~}", "${", "%{", "${~", "$${", "%%{", "$", "%", '"',
        "'", "\\", '\\"', "\\u00e9", "#", "//", "/*", "*/", "*", "<<EOT\n", "<<-EOT\n", "EOT\n",
        "EOT", "  EOT\n", "é", "😀", "\ufeff", "\u0301", "\x00",
    ]
)  # fmt: skip
SOURCES = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=40).map("".join))


def kinds(source):
    return [(token.kind, token.text) for token in tokenize(source, "t").tokens[:-1]]


@given(SOURCES, st.booleans())
def test_joined_token_texts_are_the_source(source, as_template):
    lexed = tokenize(source, "t.pkr.hcl", as_template=as_template)
    assert "".join(token.text for token in lexed.tokens) == source
    assert lexed.tokens[-1].kind is TokenKind.END


@given(SOURCES)
def test_ranges_follow_one_another_and_count_bytes(source):
    tokens = tokenize(source, "t.pkr.hcl").tokens
    for before, after in pairwise(tokens):
        assert before.range.end == after.range.start
    encoded = source.encode("utf-8", "surrogatepass")
    for token in tokens:
        stretch = encoded[token.range.start.byte : token.range.end.byte]
        assert stretch == token.text.encode("utf-8", "surrogatepass")
        assert (
            token.range.start.line
            == source.encode("utf-8", "surrogatepass")[: token.range.start.byte].count(b"\n") + 1
        )


@given(SOURCES)
def test_no_text_makes_the_parsers_raise_and_every_finding_has_a_place(source):
    expression, found = parse_expression(source)
    template, template_found = parse_template_text(source, "t.tpl")
    assert (expression is None) == bool(found)
    assert (template is None) == bool(template_found)
    for diagnostic in (*found, *template_found, *parse_file(source, "t").diagnostics):
        assert diagnostic.range is not None
        assert diagnostic.range.start <= diagnostic.range.end


def test_newlines_and_comments_are_tokens():
    assert kinds("a = 1 # note\r\n// x\n/* y\n */") == [
        (TokenKind.IDENT, "a"),
        (TokenKind.SPACE, " "),
        (TokenKind.OPERATOR, "="),
        (TokenKind.SPACE, " "),
        (TokenKind.NUMBER, "1"),
        (TokenKind.SPACE, " "),
        (TokenKind.COMMENT, "# note"),
        (TokenKind.NEWLINE, "\r\n"),
        (TokenKind.COMMENT, "// x"),
        (TokenKind.NEWLINE, "\n"),
        (TokenKind.COMMENT, "/* y\n */"),
    ]


def test_sequences_inside_quotes_nest():
    assert kinds('"a${"b${c}"~}"') == [
        (TokenKind.OPEN_QUOTE, '"'),
        (TokenKind.QUOTED_TEXT, "a"),
        (TokenKind.INTERPOLATION, "${"),
        (TokenKind.OPEN_QUOTE, '"'),
        (TokenKind.QUOTED_TEXT, "b"),
        (TokenKind.INTERPOLATION, "${"),
        (TokenKind.IDENT, "c"),
        (TokenKind.SEQUENCE_END, "}"),
        (TokenKind.CLOSE_QUOTE, '"'),
        (TokenKind.SEQUENCE_END, "~}"),
        (TokenKind.CLOSE_QUOTE, '"'),
    ]


def test_braces_of_an_object_do_not_end_a_sequence():
    ends = [text for kind, text in kinds('"${ {a = {}} }"') if kind is TokenKind.SEQUENCE_END]
    assert ends == ["}"]


@pytest.mark.parametrize("text", ["$${b}", "$$${b}", "%%{b}", "100%", "$", "a$b", '\\"', "\\${"])
def test_text_that_begins_no_sequence(text):
    assert kinds(f'"{text}"') == [
        (TokenKind.OPEN_QUOTE, '"'),
        (TokenKind.QUOTED_TEXT, text),
        (TokenKind.CLOSE_QUOTE, '"'),
    ]


def test_heredoc_lines_and_its_indented_end():
    assert kinds("<<-EOT\n  a EOT\nEOTX\n  EOT\n") == [
        (TokenKind.OPEN_HEREDOC, "<<-EOT\n"),
        (TokenKind.PLAIN_TEXT, "  a EOT\n"),
        (TokenKind.PLAIN_TEXT, "EOTX\n"),
        (TokenKind.CLOSE_HEREDOC, "  EOT"),
        (TokenKind.NEWLINE, "\n"),
    ]


def test_heredoc_may_end_with_the_file():
    lexed = tokenize("<<EOT\nx\nEOT", "t")
    assert lexed.diagnostics == ()
    assert lexed.tokens[-2].kind is TokenKind.CLOSE_HEREDOC


def test_columns_are_characters_and_bytes_are_bytes():
    token = tokenize('é = "😀" x', "t").tokens[-2]
    assert (token.text, token.range.start.column, token.range.start.byte) == ("x", 9, 12)


def test_byte_order_mark_takes_no_column():
    token = tokenize("\ufeffa", "t").tokens[1]
    assert (token.text, token.range.start.column, token.range.start.byte) == ("a", 1, 3)


@pytest.mark.parametrize(
    ("source", "summary", "column"),
    [
        ('a = "x\nb = 1', "Unterminated template string", 5),
        ("a = <<EOT\nx\n", "Invalid expression", 5),
        ("a /* x", "Invalid comment", 3),
        ("a = 'x'", "Invalid character", 5),
        ("a ; b", "Invalid character", 3),
    ],
)
def test_findings_of_the_lexer(source, summary, column):
    (diagnostic,) = tokenize(source, "t").diagnostics
    assert (diagnostic.summary, diagnostic.range.start.column) == (summary, column)


@pytest.mark.parametrize("name", ["a", "_a", "a-b", "é", "ünï", "a1"])
def test_identifiers(name):
    assert is_identifier(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a b", "a.b", "²"])
def test_not_identifiers(name):
    assert not is_identifier(name)
