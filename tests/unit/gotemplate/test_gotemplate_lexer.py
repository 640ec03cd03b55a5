from hypothesis import example, given
from hypothesis import strategies as st

from goldsmith.gotemplate.lexer import Kind, lex

PIECES = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", "{{- ", " -}}", "/*", "*/", '"', "'", "`", "\\", "\n", " ", "(", ")",
     "|", ":=", "=", ",", ".", ".A", "$", "$x", "1", "0x", "1e", "+", "-", "i", "if", "range",
     "end", "else", "define", "template", "block", "with", "break", "nil", "true", "len", "print",
     "é", "@", "\x00", "\ud800", "\udcff"]
)  # fmt: skip
TEMPLATES = st.lists(PIECES, max_size=25).map("".join)


def kinds(text):
    return [token.kind.name for token in lex(text)]


def texts(text):
    return [token.text for token in lex(text)]


def test_text_alone():
    assert kinds("a } b") == ["TEXT", "EOF"]


def test_action():
    assert texts("a{{ .A.B | len }}b") == [
        "a", "{{", " ", ".A", ".B", " ", "|", " ", "len", " ", "}}", "b", "",
    ]  # fmt: skip


def test_trim_markers_take_the_space_outside():
    assert texts("a \n{{- 1 -}}\t b") == ["a", "{{", "1", "}}", "b", ""]


def test_a_minus_without_space_is_a_sign():
    assert texts("a {{-3}}") == ["a ", "{{", "-3", "}}", ""]


def test_comments_are_no_tokens():
    assert kinds("a {{- /* }} */ -}} b") == ["TEXT", "TEXT", "EOF"]


def test_a_comment_must_fill_its_action():
    assert texts("{{/* a */ b}}")[-1] == "comment ends before closing delimiter"


def test_an_error_ends_the_tokens():
    assert texts("{{ € }}x")[-1] == "unrecognized character in action: U+20AC '€'"
    assert texts("{{ é€ }}x")[-1] == "bad character U+20AC '€'"
    assert texts('{{"a')[-1] == "unterminated quoted string"
    assert texts("{{(1}}")[-1] == "unclosed left paren"
    assert texts("{{ a")[-1] == "unclosed action"


@given(TEMPLATES)
@example("{{.")
@example("{{$")
@example("{{1+")
def test_every_text_ends_with_eof_or_an_error(text):
    tokens = list(lex(text))
    assert tokens[-1].kind in (Kind.EOF, Kind.ERROR)
    assert all(token.kind not in (Kind.EOF, Kind.ERROR) for token in tokens[:-1])


@given(TEMPLATES)
def test_tokens_stand_where_they_say(text):
    for token in lex(text):
        if token.kind is not Kind.ERROR:
            assert text.startswith(token.text, token.offset)
