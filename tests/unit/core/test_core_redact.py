"""No secret leaves in any form in which programs commonly print it."""

import base64
import json
import shlex
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.errors import (
    Diagnostic,
    GoldsmithError,
    Position,
    Severity,
    SourceRange,
    TemplateError,
)
from goldsmith.redact import MASK, Redactor

# Letters that MASK does not have, so that what is left of a secret cannot be the mask's own.
LETTERS = st.text("ABCXYZ", min_size=1, max_size=6)


def test_without_secrets_nothing_changes():
    assert Redactor().redact("a <sensitive> text") == "a <sensitive> text"
    assert Redactor(["", " ", "\n"]).redact("a b\nc") == "a b\nc"


@pytest.mark.parametrize(
    "printed",
    [
        lambda text: text,
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        urllib.parse.quote,
        urllib.parse.quote_plus,
        shlex.quote,
        lambda text: base64.b64encode(text.encode()).decode(),
    ],
)
@pytest.mark.parametrize("secret", ["s3cret", 'it\'s $HOME & "x"', "pä%ss wörd", "a/b+c=d\\e"])
def test_usual_encodings_are_masked(secret, printed):
    text = Redactor([secret]).redact(f"before {printed(secret)} after")
    assert text.rstrip("=").removesuffix(" after").startswith("before ")
    assert text.replace("=", "") == f"before {MASK} after"


def test_each_line_of_a_secret_is_masked_where_it_stands_alone():
    key = "-----BEGIN KEY-----\nMIIabc/+\n\n-----END KEY-----\n"
    redactor = Redactor([key])
    assert redactor.redact(key) == MASK
    assert redactor.redact("read MIIabc/+ of it") == f"read {MASK} of it"
    assert redactor.redact(base64.b64encode(b"MIIabc/+").decode().rstrip("=")) == MASK
    assert redactor.redact(json.dumps(key)) == f'"{MASK}"'


def test_lines_of_other_systems_are_lines_too():
    assert Redactor(["one\r\ntwo"]).redact("two, one") == f"{MASK}, {MASK}"


def test_of_two_secrets_the_longer_one_is_masked_whole():
    redactor = Redactor(["pass", "password"])
    assert redactor.redact("password pass passwor") == f"{MASK} {MASK} {MASK}wor"


@pytest.mark.parametrize("text", ["abcdef", "xabcdefx"])
def test_secrets_that_overlap_leave_nothing_of_either(text):
    redactor = Redactor(["abcd", "cdef"])
    assert redactor.redact(text) == text.replace("abcdef", MASK)


def test_secrets_side_by_side_are_masked_each():
    assert Redactor(["ab"]).redact("abab ab") == f"{MASK}{MASK} {MASK}"
    assert Redactor(["aa"]).redact("aaa") == MASK


def test_secrets_may_come_later():
    redactor = Redactor(["one"])
    assert redactor.redact("one two") == f"{MASK} two"
    redactor.add(["two", ""])
    assert redactor.redact("one two") == f"{MASK} {MASK}"
    assert redactor.secrets == {"one", "two"}


def test_a_secret_is_a_text_not_a_pattern():
    redactor = Redactor(["a.c", "(x|y)", "$1"])
    assert redactor.redact("abc x $1 a.c (x|y)") == f"abc x {MASK} {MASK} {MASK}"


@given(st.lists(LETTERS, min_size=1, max_size=3), st.text("ABCXYZ ", max_size=40))
def test_no_secret_is_left_anywhere(secrets, text):
    redacted = Redactor(secrets).redact(text)
    assert not any(secret in redacted for secret in secrets)


@given(LETTERS, st.text("abc\n ", max_size=20), st.text("abc\n ", max_size=20))
def test_what_is_around_a_secret_stays(secret, before, after):
    assert Redactor([secret]).redact(f"{before}{secret}{after}") == f"{before}{MASK}{after}"


@given(st.lists(LETTERS, min_size=1, max_size=3), st.text("ABCXYZ \n", max_size=40))
def test_a_blotted_text_keeps_its_lines_and_columns(secrets, text):
    blotted = Redactor(secrets).blot(text)
    assert not any(secret in blotted for secret in secrets)
    assert [len(line) for line in blotted.split("\n")] == [len(line) for line in text.split("\n")]


def test_blots_are_where_the_secret_is():
    assert Redactor(["s3cret", "two\nlines"]).blot('a = "s3cret"\ntwo\nlines') == (
        'a = "******"\n***\n*****'
    )
    assert Redactor().blot("text") == "text"


def test_errors_are_redacted_in_all_their_parts():
    error = GoldsmithError("s3cret failed", hint="no s3cret")
    error.add_note("noted s3cret")
    with pytest.raises(GoldsmithError) as caught, Redactor(["s3cret"]).errors():
        raise error
    assert caught.value is error
    assert (str(error), error.hint, error.__notes__) == (
        f"{MASK} failed", f"no {MASK}", [f"noted {MASK}"])  # fmt: skip
    assert "s3cret" not in repr(error)


def test_findings_are_redacted_with_the_lines_that_they_show():
    where = SourceRange("t", Position(1, 5, 4), Position(1, 6, 5))
    finding = Diagnostic("no s3cret", "is s3cret", where, Severity.WARNING, "subject")
    error = TemplateError([finding], {"t": "a = s3cret"})
    Redactor(["s3cret"]).error(error)
    assert error.diagnostics == (
        Diagnostic(f"no {MASK}", f"is {MASK}", where, Severity.WARNING, "subject"),
    )
    assert error.sources == {"t": "a = ******"}
    assert "s3cret" not in str(error)
