"""The elements of an image as a drawing: who depends on whom, as SVG."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

from goldsmith.elements.expansion import Expansion

_LETTER_WIDTH: Final = 8
_BOX_HEIGHT: Final = 28
_GAP: Final = 24
_ROW_GAP: Final = 56
_MARGIN: Final = 16


def draw(expansion: Expansion, given: tuple[str, ...]) -> str:
    """One box for each element, its dependencies in rows below it; named ones have a thick frame.

    What an element asks for and another provides is a dashed line to the provider.
    """
    arrows = _arrows(expansion)
    rows = _rows(expansion, arrows)
    places: dict[str, tuple[int, int, int]] = {}
    for number, row in enumerate(rows):
        left = _MARGIN
        for name in row:
            width = len(name) * _LETTER_WIDTH + 2 * _LETTER_WIDTH
            places[name] = (left, _MARGIN + number * (_BOX_HEIGHT + _ROW_GAP), width)
            left += width + _GAP
    wide = max((left + width for left, _, width in places.values()), default=0) + _MARGIN
    high = len(rows) * (_BOX_HEIGHT + _ROW_GAP) - _ROW_GAP + 2 * _MARGIN
    drawn = [_line(places[a], places[b], dashed) for a, b, dashed in arrows]
    drawn += [_box(name, place, name in given) for name, place in places.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" font-family="monospace" font-size="13">\n'
        '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>\n'
        + "".join(drawn)
        + "</svg>\n"
    )


def _arrows(expansion: Expansion) -> list[tuple[str, str, bool]]:
    """From an element to what it needs; True where the name is one that the other provides."""
    providers = {name: one.name for one in expansion.elements for name in one.provides}
    there = set(expansion.names)
    found = []
    for element in expansion.elements:
        for name in element.requires:
            target = providers.get(name, name)
            if target in there and target != element.name:
                found.append((element.name, target, target != name))
    return found


def _rows(expansion: Expansion, arrows: list[tuple[str, str, bool]]) -> list[list[str]]:
    """Rows from the top: each element lies below all that need it, as far as there is no cycle."""
    needed_by: dict[str, list[str]] = {name: [] for name in expansion.names}
    for source, target, _ in arrows:
        needed_by[target].append(source)
    depth: dict[str, int] = {}
    # Dependencies come first in the expansion, so from its end every user of one is seen before it.
    for name in reversed(expansion.names):
        depth[name] = max((depth[one] + 1 for one in needed_by[name] if one in depth), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in expansion.names:
        rows[depth[name]].append(name)
    return rows


def _line(source: tuple[int, int, int], target: tuple[int, int, int], dashed: bool) -> str:
    x1, y1 = source[0] + source[2] // 2, source[1] + _BOX_HEIGHT
    x2, y2 = target[0] + target[2] // 2, target[1]
    style = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#555"{style} '
        'marker-end="url(#to)"/>\n'
    )


def _box(name: str, place: tuple[int, int, int], named: bool) -> str:
    left, top, width = place
    return (
        f"<g id={quoteattr(name)}>"
        f'<rect x="{left}" y="{top}" width="{width}" height="{_BOX_HEIGHT}" rx="4" fill="#f4f4f0" '
        f'stroke="#333" stroke-width="{3 if named else 1}"/>'
        f'<text x="{left + width // 2}" y="{top + _BOX_HEIGHT - 9}" text-anchor="middle">'
        f"{escape(name)}</text></g>\n"
    )
