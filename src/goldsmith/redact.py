"""Redaction: secrets leave no event, in whatever common form a program may print them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar, cast

from goldsmith.errors import Diagnostic, GoldsmithError, TemplateError

V = TypeVar("V")

MASK = "<sensitive>"
_SHORTEST_LINE = 3
"""Shorter lines of a longer secret, such as its braces, stand in every output."""
_SHORTEST_ENCODED = 4
_SHORTEST_INSIDE = 6
"""A shorter text inside of base64 may stand there by chance."""
_LONGEST_UNWRAPPED = 48
"""A longer text in base64 may be wrapped by who prints it."""
_RUN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_ENDS = 6
_NARROWEST = 20
"""The narrowest line that base64 is wrapped into, but for the last one."""
_FEW_FORMS = 12
"""To look for so many one after the other is quicker than an automaton."""
_MATCHER_BYTES = 256 << 20
"""The most memory that an automaton may take; it takes what its forms need."""
_HEAD = 32
"""So many letters of a form are looked for; where they stand, the rest is compared."""
_MOST_ENCODED = 100
"""Of a longer secret the further lines are looked for as they are, besides the whole."""


def _forms(secret: str) -> set[str]:
    """The ways in which tools print a secret: as it is, each of its lines, and usual encodings."""
    lines = _lines(secret)
    forms = {secret, *lines}
    for text in (secret, *lines[:_MOST_ENCODED]):
        forms |= {text, *_quoted(text)}
        if len(text) >= _SHORTEST_ENCODED:
            forms |= set(_base64(text))
            forms |= {_bytes(text).hex(), _bytes(text).hex().upper()}
    return {form for form in forms if form.strip()}


def _lines(secret: str) -> list[str]:
    """The lines of a secret that are long enough to be one, also as they stand indented."""
    lines = secret.splitlines()
    if len(lines) < 2:
        return [secret.strip()]
    both = dict.fromkeys(one for line in lines for one in (line, line.strip()))
    return [line for line in both if len(line.strip()) >= _SHORTEST_LINE]


def _quoted(text: str) -> Iterator[str]:
    import json
    import shlex
    import urllib.parse

    for ascii_only in (True, False):
        encoded = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield encoded
        yield encoded.replace("/", "\\/")
        # Go's encoder writes these so that the text can stand in HTML.
        for plain in "<>&":
            encoded = encoded.replace(plain, f"\\u{ord(plain):04x}")
        yield encoded
    for safe in ("/", ""):
        quoted = urllib.parse.quote(_bytes(text), safe=safe)
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), quoted)
        yield urllib.parse.quote_plus(_bytes(text), safe=safe)
    yield shlex.quote(text)
    yield text.replace("'", "'\"'\"'")
    yield text.replace("'", "'\\''")
    yield re.sub(r'(["$`\\])', r"\\\1", text)
    yield re.sub(r"([^A-Za-z0-9_@%+=:,./\n-])", r"\\\1", text)


def _bytes(text: str) -> bytes:
    # What a program printed need be no UTF-8; it stands in texts as surrogates.
    return text.encode("utf-8", "surrogatepass")


def _base64(text: str) -> Iterator[str]:
    """What of a text shows in base64, wherever in a longer text it begins (RFC 4648, both kinds).

    Four letters stand for three bytes: where it begins within those decides between three texts.
    Letters that other bytes have a part in are left out.
    """
    import base64

    data = _bytes(text)
    for before in range(3):
        padded = bytes(before) + data
        whole = base64.b64encode(padded).decode()
        first = -(-before * 8 // 6)
        shown = whole[first : len(padded) * 8 // 6]
        if before == 0:
            yield whole.rstrip("=")
            yield whole.rstrip("=").translate(_URL_SAFE)
        if len(shown) >= _SHORTEST_INSIDE:
            yield shown
            yield shown.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


def _search(forms: frozenset[str]) -> Callable[[str], bool]:
    """What tells whether a text may hold any of the forms, and holds the beginning of one."""
    if len(forms) <= _FEW_FORMS:
        return lambda text: any(form in text for form in forms)
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.max_mem = _MATCHER_BYTES
    # Where the memory does not do, it searches in a slower way, and says so to nobody.
    options.log_errors = False
    heads = sorted({form[:_HEAD] for form in forms})
    pattern = re2.compile(b"|".join(re2.escape(_bytes(head)) for head in heads), options)
    return lambda text: pattern.search(_bytes(text)) is not None


class _Index:
    """Finds the longest form that begins at a place, however many there are."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._by_head: dict[str, list[str]] = {}
        for form in sorted(forms, key=len, reverse=True):
            self._by_head.setdefault(form[:_HEAD], []).append(form)
        # A form that is shorter than a head is its own.
        self._head_lengths = sorted({len(head) for head in self._by_head}, reverse=True)
        self._firsts = frozenset(head[0] for head in self._by_head)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where forms stand: the longest at each place; they may overlap."""
        spans = []
        for start, letter in enumerate(text):
            if letter in self._firsts and (stop := self._end(text, start)):
                spans.append((start, stop))
        return spans

    def _end(self, text: str, start: int) -> int:
        for length in self._head_lengths:
            for form in self._by_head.get(text[start : start + length], ()):
                if text.startswith(form, start):
                    return start + len(form)
        return 0


class Redactor:
    """Masks every known secret in a text; more of them may be added while it is used.

    Threads may share it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._adding = threading.Lock()
        self._secrets: set[str] = set()
        self._forms: frozenset[str] = frozenset()
        self._wrapped: list[str] = []
        self._all_wrapped = ""
        self._holds: Callable[[str], bool] = lambda text: False
        self._index = _Index(())
        self.longest = 0
        """The length of the longest text that is masked."""
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these texts too, from now on; empty ones are left out."""
        given = {secret for secret in secrets if secret.strip()}
        with self._adding:
            fresh = given - self._secrets
            if not fresh:
                return
            forms = self._forms | {form for secret in fresh for form in _forms(secret)}
            wrapped = list(self._wrapped)
            for secret in fresh:
                if len(secret) >= _LONGEST_UNWRAPPED:
                    wrapped += _base64(secret)
            wrapped = list(dict.fromkeys(wrapped))
            # Whoever redacts meanwhile sees old parts or new ones: both mask what was known.
            self._all_wrapped = " ".join(wrapped)
            self._wrapped = wrapped
            self._index = _Index(forms)
            self._holds = _search(forms)
            self.longest = max(map(len, forms))
            self._forms = forms
            self._secrets = self._secrets | fresh

    @property
    def secrets(self) -> frozenset[str]:
        """The texts that are masked, in their plain form."""
        return frozenset(self._secrets)

    @property
    def forms(self) -> frozenset[str]:
        """The ways in which the texts are masked: as they are, by lines, in usual encodings."""
        return self._forms

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        return self._masked(text, self._spans(text))

    def _masked(self, text: str, spans: Iterable[tuple[int, int]]) -> str:
        parts: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= len(text):
                break
            if start >= end:
                parts += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*parts, text[end:]]) if parts else text

    def values(self, value: V) -> V:
        """A document of lists, maps and texts with every text in it redacted, keys among them."""
        return cast(V, self._value(value)) if self._secrets else value

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {self._value(name): self._value(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(one) for one in value]
        return value

    def divided(self, text: str) -> tuple[str, str]:
        """The redacted text but for its end, and that end as it is: what follows may belong to it.

        For texts that come in pieces, which may be cut within a secret.
        """
        if not self._forms:
            return text, ""
        cut = max(0, len(text) - self.longest + 1)
        spans = self._spans(text)
        # What begins before that one and ends within it stands in the end as well.
        first = min((start for start, stop in spans if start < cut < stop), default=cut)
        return self._masked(text[:first], spans), text[first:]

    def blot(self, text: str) -> str:
        """The text with a star for each letter of a secret: lines and columns are where they were.

        For the texts of templates, whose lines errors show.
        """
        characters = list(text)
        for start, stop in self._spans(text):
            for at in range(start, stop):
                characters[at] = "*" if text[at].isprintable() else text[at]
        return "".join(characters)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand, in order of their beginnings; they may overlap."""
        # To see that there is none is far quicker than to look at each letter.
        spans = self._index.spans(text) if self._holds(text) else []
        if self._wrapped:
            runs = (self._of_wrapped(match) for match in _RUN.finditer(text))
            spans = sorted([*spans, *(span for span in runs if span is not None)])
        return spans

    def _of_wrapped(self, run: re.Match[str]) -> tuple[int, int] | None:
        """Where a run of base64 is a piece of a secret that was wrapped into lines."""
        start, stop = run.span()
        letters = run.group().rstrip("=")
        if len(letters) >= _NARROWEST and letters in self._all_wrapped:
            return start, stop
        for whole in self._wrapped:
            begun = letters.find(whole[:_ENDS])
            if begun >= 0 and whole.startswith(letters[begun:]):
                return start + begun, stop
            ended = letters.find(whole[-_ENDS:])
            if ended >= 0 and whole.endswith(letters[: ended + _ENDS]):
                return start, start + ended + _ENDS
        return None

    def findings(self, found: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The findings with their words redacted."""
        return [
            replace(
                one,
                summary=self.redact(one.summary),
                detail=self.redact(one.detail),
                values=tuple(map(self.redact, one.values or ())),
            )
            for one in found
        ]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Redact the error that is raised within, if any."""
        try:
            yield
        except GoldsmithError as error:
            self.error(error)
            raise

    def error(self, error: GoldsmithError) -> None:
        """Redact an error in place: message, remedy, notes, findings and their excerpts."""
        error.message = self.redact(error.message)
        error.args = (error.message,)
        error.hint = self.redact(error.hint) if error.hint else error.hint
        if notes := getattr(error, "__notes__", None):
            error.__notes__ = [self.redact(note) for note in notes]
        if isinstance(error, TemplateError):
            error.diagnostics = tuple(self.findings(error.diagnostics))
            error.sources = {name: self.blot(text) for name, text in error.sources.items()}
