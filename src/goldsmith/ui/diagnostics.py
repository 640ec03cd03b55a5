"""Errors for people: what, where with the line and a caret, why, and what to do next."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

from goldsmith.errors import Diagnostic, GoldsmithError, Severity, SourceRange, TemplateError
from goldsmith.ui.terminal import BOLD, ERROR_COLOR, RESET

WIDTH = 80
_TAB = "    "


def render_error(error: GoldsmithError, *, color: bool = False) -> str:
    """An error with its remedy; a template's findings all together."""
    if isinstance(error, TemplateError):
        return render_diagnostics(error.diagnostics, error.sources, color=color)
    head = f"{ERROR_COLOR}Error:{RESET}" if color else "Error:"
    text = f"{head} {error}"
    for note in getattr(error, "__notes__", []):
        text += f"\n  {note}"
    if error.hint:
        text += f"\n  {BOLD if color else ''}->{RESET if color else ''} {error.hint}"
    return text


def render_diagnostics(
    found: Sequence[Diagnostic], sources: Mapping[str, str], *, color: bool = False
) -> str:
    """Each finding as a block of its own, with an empty line between two."""
    return "\n\n".join(render_diagnostic(d, sources, color=color) for d in found)


def render_diagnostic(found: Diagnostic, sources: Mapping[str, str], *, color: bool = False) -> str:
    """One finding: `Error: summary`, the place, the line with a caret, the detail."""
    name = "Error" if found.severity is Severity.ERROR else "Warning"
    head = f"{ERROR_COLOR}{name}:{RESET} {BOLD}{found.summary}{RESET}" if color else (
        f"{name}: {found.summary}"
    )  # fmt: skip
    parts = [head]
    if found.range is not None:
        subject = f", in {found.subject}" if found.subject else ""
        where = f"  on {found.range.filename}:{found.range.start.line}"
        parts.append(f"\n{where}:{found.range.start.column}{subject}:")
        parts.append(_excerpt(found.range, sources.get(found.range.filename)))
    if found.detail:
        parts.append("\n" + "\n".join(_wrapped(found.detail)))
    return "\n".join(part for part in parts if part)


def _wrapped(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        lines += textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    return lines


def _excerpt(where: SourceRange, text: str | None) -> str:
    """The line at fault and carets below the stretch; "" when the text is not at hand."""
    lines = [] if text is None else text.split("\n")
    if not 1 <= where.start.line <= len(lines):
        return ""
    line = lines[where.start.line - 1].rstrip("\r")
    end = where.end.column if where.end.line == where.start.line else len(line) + 1
    count = max(1, min(end, len(line) + 1) - where.start.column)
    before = line[: where.start.column - 1]
    # Tabs before the caret are shown as wide as in the line above it.
    margin = f"{where.start.line:>4}: "
    shown = line.replace("\t", _TAB)
    marked = line[where.start.column - 1 : where.start.column - 1 + count].replace("\t", _TAB)
    pad = " " * (len(margin) + _cells(before.replace("\t", _TAB)))
    return f"{margin}{shown}\n{pad}{'^' * max(1, _cells(marked))}"


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
        if not unicodedata.combining(character)
    )
