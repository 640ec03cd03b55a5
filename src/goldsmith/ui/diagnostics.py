"""Errors for people: what, where with the line and a caret, why, and what to do next."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

from goldsmith.errors import Diagnostic, GoldsmithError, Severity, SourceRange, TemplateError
from goldsmith.ui.terminal import BOLD, ERROR_COLOR, RESET

WIDTH = 80
LONGEST_EXCERPT = 200
"""How many characters of a line are shown at most, around what is at fault."""
LONGEST_LINE = 2000
_BEFORE = 60
_TAB = "    "
# Control characters, those that turn the direction of text, and separators of lines.
_INVISIBLE = ("Cc", "Cf", "Zl", "Zp")


def visible(text: str) -> str:
    """The text with what a terminal would obey, or not show, written as escapes.

    Ends of lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _INVISIBLE and character not in "\n\t"
        else character
        for character in text
    )


def render_error(error: GoldsmithError, *, color: bool = False) -> str:
    """An error with its remedy; a template's findings all together."""
    if isinstance(error, TemplateError):
        return render_diagnostics(error.diagnostics, error.sources, color=color)
    head = f"{ERROR_COLOR}Error:{RESET}" if color else "Error:"
    text = f"{head} {visible(str(error))}"
    for note in getattr(error, "__notes__", []):
        text += f"\n  {visible(note)}"
    if error.hint:
        text += f"\n  {BOLD if color else ''}->{RESET if color else ''} {visible(error.hint)}"
    return text


def render_diagnostics(
    found: Sequence[Diagnostic], sources: Mapping[str, str], *, color: bool = False
) -> str:
    """Each finding as a block of its own, with an empty line between two."""
    return "\n\n".join(render_diagnostic(d, sources, color=color) for d in found)


def render_diagnostic(found: Diagnostic, sources: Mapping[str, str], *, color: bool = False) -> str:
    """One finding: `Error: summary`, the place, the line with a caret, the values of the names
    in it, the detail.

    A finding about a whole file, of which there is no text to show, has no line either.
    """
    name = "Error" if found.severity is Severity.ERROR else "Warning"
    summary = visible(found.summary)
    head = f"{ERROR_COLOR}{name}:{RESET} {BOLD}{summary}{RESET}" if color else f"{name}: {summary}"
    parts = [head]
    if found.range is not None:
        text = sources.get(found.range.filename)
        subject = f", in {found.subject}" if found.subject else ""
        whole = not text and found.range.start == found.range.end
        where = found.range.filename if whole else str(found.range)
        parts.append(visible(f"\n  on {where}{subject}:"))
        parts.append(_excerpt(found.range, text))
        parts += [f"      {visible(line)}" for line in found.values or ()]
    if found.detail:
        parts.append("\n" + "\n".join(_wrapped(visible(found.detail))))
    return "\n".join(part for part in parts if part)


def _wrapped(text: str) -> list[str]:
    lines = []
    for line in map(_cut, text.splitlines()):
        lines += textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    return lines


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _excerpt(where: SourceRange, text: str | None) -> str:
    """The line at fault and carets below the stretch; "" when the text is not at hand."""
    lines = text.split("\n") if text else []
    if not 1 <= where.start.line <= len(lines):
        return ""
    line = lines[where.start.line - 1].rstrip("\r")
    end = where.end.column if where.end.line == where.start.line else len(line) + 1
    count = max(1, min(end, len(line) + 1) - where.start.column)
    at = where.start.column - 1
    if len(line) > LONGEST_EXCERPT:
        first = max(0, at - _BEFORE)
        head = "..." if first else ""
        last = first + LONGEST_EXCERPT
        line, at = head + line[first:last] + "..." * (len(line) > last), at - first + len(head)
        count = min(count, len(line) - at)
    before = line[:at]
    marked = line[at : at + count]
    margin = f"{where.start.line:>4}: "
    pad = " " * (len(margin) + _cells(_shown(before)))
    return f"{margin}{_shown(line)}\n{pad}{'^' * max(1, _cells(_shown(marked)))}"


def _shown(part: str) -> str:
    """A part of a line, as wide as it is above and below: tabs have one width everywhere."""
    return visible(part).replace("\t", _TAB)


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
        if not unicodedata.combining(character)
    )
