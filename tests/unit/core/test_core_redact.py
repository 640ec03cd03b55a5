"""No secret leaves in any form in which programs commonly print it."""

import base64
import itertools
import json
import re
import shlex
import threading
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldsmith.errors import (
    Diagnostic,
    GoldsmithError,
    Position,
    Severity,
    SourceRange,
    TemplateError,
)
from goldsmith.events import CutLine, Emitter, Output
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


@settings(deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=3), st.text("ABCXYZ ", max_size=40))
def test_no_secret_is_left_anywhere(secrets, text):
    redacted = Redactor(secrets).redact(text)
    assert not any(secret in redacted for secret in secrets)


@settings(deadline=None)
@given(LETTERS, st.text("abc\n ", max_size=20), st.text("abc\n ", max_size=20))
def test_what_is_around_a_secret_stays(secret, before, after):
    assert Redactor([secret]).redact(f"{before}{secret}{after}") == f"{before}{MASK}{after}"


@settings(deadline=None)
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


FORMS = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps(text)[1:-1],
    "json in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json of Go": lambda text: json.dumps(text, ensure_ascii=False)[1:-1].translate(
        {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}
    ),
    "url": urllib.parse.quote,
    "url whole": lambda text: urllib.parse.quote(text, safe=""),
    "url form": urllib.parse.quote_plus,
    "url in lower case": lambda text: re.sub(
        "%..", lambda match: match.group().lower(), urllib.parse.quote(text, safe="")
    ),
    "shell": shlex.quote,
    "double quotes": lambda text: re.sub(r'(["$`\\])', r"\\\1", text),
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}
SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs")),
    min_size=6, max_size=60,
).filter(lambda text: not set(text) <= set(MASK))  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=30)
@given(secret=SECRETS, before=LETTERS, after=LETTERS)
def test_any_secret_is_masked_in_every_form(form, secret, before, after):
    printed = FORMS[form](secret)
    redacted = Redactor([secret]).redact(f"{before} {printed} {after}")
    assert printed not in redacted.replace(MASK, "")
    assert secret not in redacted.replace(MASK, "")
    assert MASK in redacted


@settings(deadline=None)
@given(secret=SECRETS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_is_masked_wherever_the_secret_begins(secret, before, after):
    whole = base64.b64encode(before + secret.encode() + after).decode()
    redacted = Redactor([secret]).redact(f"[{whole}]")
    assert MASK in redacted
    # At most the letters that other bytes have a part in are left of it.
    left = redacted.strip("[]").replace(MASK, "")
    assert len(left) <= len(whole) - (len(secret.encode()) * 8 // 6 - 3)


@pytest.mark.parametrize("width", [64, 76])
@pytest.mark.parametrize("before", range(0, 60, 7))
def test_base64_in_lines_is_masked_line_by_line(width, before):
    secret = "".join(chr(33 + number * 7 % 90) for number in range(400))
    whole = base64.b64encode(b"#" * before + secret.encode()).decode()
    lines = [whole[at : at + width] for at in range(0, len(whole), width)]
    redactor = Redactor([secret])
    shown = [redactor.redact(f"out: {line}") for line in lines]
    known = base64.b64encode(b"#" * before).decode()
    for line, text in zip(lines, shown, strict=True):
        left = text.removeprefix("out: ").replace(MASK, "").rstrip("=")
        assert len(left) < _SHORT or known.startswith(left[:-3]), (line, text)


_SHORT = 10


@settings(deadline=None)
@given(
    secrets=st.lists(SECRETS, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    form=st.sampled_from(sorted(FORMS)),
    around=st.text("abcXYZ ", max_size=40),
)
def test_a_secret_that_is_cut_anywhere_is_masked(secrets, cuts, form, around):
    printed = [FORMS[form](secret) for secret in secrets]
    text = around + around.join(printed) + around
    redactor = Redactor(secrets)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    shown, held = "", ""
    for start, end in itertools.pairwise(places):
        told, held = redactor.divided(held + text[start:end])
        shown += told
    shown += redactor.redact(held)
    assert once(shown) == once(redactor.redact(text))


def once(text):
    """The text with one mask in place of several; secrets that overlap a cut are masked twice."""
    return re.sub(f"({re.escape(MASK)})+", MASK, text)


@settings(deadline=None)
@given(secret=SECRETS, at=st.integers(0, 80))
def test_a_line_that_is_cut_leaves_no_half_of_a_secret(secret, at):
    events = []
    emitter = Emitter("b", events.append, Redactor([secret]))
    whole = "x" * 30 + secret + "y" * 30
    with emitter.running("s", "s"):
        emitter.output(CutLine(whole[:at]))
        emitter.output(CutLine(whole[at : at + 20]))
        emitter.output(whole[at + 20 :])
        emitter.output("another")
    lines = [event.line for event in events if isinstance(event, Output)]
    assert lines[-1] == "another"
    assert once("".join(lines[:-1])) == once(Redactor([secret]).redact(whole))


def test_what_waits_for_the_end_of_a_line_is_told_when_the_step_ends():
    events = []
    emitter = Emitter("b", events.append, Redactor(["0123456789"]))
    with emitter.running("s", "s"):
        emitter.output(CutLine("abc0123"))
    assert "".join(event.line for event in events if isinstance(event, Output)) == "abc0123"


def test_short_lines_of_a_long_secret_are_not_masked():
    redactor = Redactor(['{\n  "password": "abcdef"\n}'])
    assert redactor.redact("f() { }") == "f() { }"
    assert redactor.redact('say "password": "abcdef"') == f"say {MASK}"


def test_documents_are_redacted_to_their_leaves():
    document = {"a": ["xpassx", 1, None, {"pass": ("pass",)}], "b": True}
    assert Redactor(["pass"]).values(document) == {
        "a": [f"x{MASK}x", 1, None, {MASK: [MASK]}], "b": True
    }  # fmt: skip
    assert Redactor().values(document) is document


def test_many_secrets_are_found_as_few_are():
    secrets = [f"secret-{number:04}" for number in range(500)]
    redactor = Redactor(secrets)
    assert redactor.redact("a secret-0317 b") == f"a {MASK} b"
    assert redactor.redact("a secret-0517 b") == "a secret-0517 b"
    assert redactor.redact("\udcff secret-0001") == f"\udcff {MASK}"


def test_secrets_that_threads_add_at_the_same_time_are_all_masked():
    for number in range(10):
        redactor = Redactor()
        together = threading.Barrier(8)
        names = [[f"secret-{number}-{thread}-{one}" for one in range(5)] for thread in range(8)]

        def adds(secrets, redactor=redactor, together=together):
            together.wait()
            for secret in secrets:
                redactor.add([secret])

        threads = [threading.Thread(target=adds, args=(secrets,)) for secrets in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for secret in (secret for secrets in names for secret in secrets):
            assert redactor.redact(f"<{secret}>") == f"<{MASK}>"


def test_a_very_long_secret_is_masked_whole_and_line_by_line():
    lines = [f"line {number:04} of it, {number * 7919 % 10007}" for number in range(900)]
    secret = "\n".join(lines)
    redactor = Redactor([secret])
    assert len(redactor.forms) < 6000
    assert redactor.redact(f"a {secret} b") == f"a {MASK} b"
    assert redactor.redact(json.dumps([secret])) == f'["{MASK}"]'
    assert {redactor.redact(f"out: {line}") for line in lines} == {f"out: {MASK}"}
    assert redactor.redact("line 0004 of it") == "line 0004 of it"
    assert redactor.redact(base64.b64encode(lines[3].encode()).decode().rstrip("=")) == MASK


def test_what_begins_as_a_secret_stays():
    secret = "x" * 40 + "-one"
    assert Redactor([secret]).redact("x" * 40 + "-two") == "x" * 40 + "-two"
    assert Redactor([secret]).redact("x" + secret) == "x" + MASK
