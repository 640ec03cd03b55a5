"""Redaction: secrets leave no event, in whatever common form a program may print them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from goldsmith.errors import Diagnostic, GoldsmithError, TemplateError

MASK = "<sensitive>"


def _forms(secret: str) -> set[str]:
    """The ways in which tools print a secret: as it is, each of its lines, and usual encodings."""
    import base64
    import json
    import shlex
    import urllib.parse

    lines = {line for line in secret.splitlines() if line.strip()}
    forms = {secret, *lines}
    for text in (secret, *lines):
        forms.add(json.dumps(text)[1:-1])
        forms.add(json.dumps(text, ensure_ascii=False)[1:-1])
        forms.add(urllib.parse.quote(text))
        forms.add(urllib.parse.quote_plus(text))
        forms.add(shlex.quote(text))
        forms.add(text.replace("'", "'\"'\"'"))
        forms.add(text.replace("'", "'\\''"))
        if len(text) >= 4:
            forms.add(base64.b64encode(text.encode()).decode().rstrip("="))
    return {form for form in forms if form.strip()}


class Redactor:
    """Masks every known secret in a text; more of them may be added while it is used."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these texts too, from now on; empty ones are left out."""
        fresh = {secret for secret in secrets if secret.strip()} - self._secrets
        if not fresh:
            return
        self._secrets |= fresh
        forms = {form for secret in self._secrets for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        # Within a lookahead a match takes no text, so that overlapping secrets are all found.
        forms_at = "|".join(re.escape(form) for form in longest_first)
        self._pattern = re.compile(f"(?=({forms_at}))")

    @property
    def secrets(self) -> frozenset[str]:
        """The texts that are masked, in their plain form."""
        return frozenset(self._secrets)

    @property
    def forms(self) -> frozenset[str]:
        """The ways in which the texts are masked: as they are, by lines, in usual encodings."""
        return frozenset(form for secret in self._secrets for form in _forms(secret))

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        parts: list[str] = []
        end = 0
        for match in self._matches(text):
            if match.start() >= end:
                parts += [text[end : match.start()], MASK]
            end = max(end, match.end(1))
        return "".join([*parts, text[end:]])

    def blot(self, text: str) -> str:
        """The text with a star for each letter of a secret: lines and columns are where they were.

        For the texts of templates, whose lines errors show.
        """
        characters = list(text)
        for match in self._matches(text):
            for at in range(*match.span(1)):
                characters[at] = "*" if text[at].isprintable() else text[at]
        return "".join(characters)

    def _matches(self, text: str) -> Iterator[re.Match[str]]:
        return self._pattern.finditer(text) if self._pattern else iter(())

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
