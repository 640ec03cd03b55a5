"""Characters as people see them: Unicode's extended grapheme clusters (UAX #29).

Python's standard library has no table of grapheme breaks. The classes here are derived from general
categories and a short list of pictograph ranges, which decides all but a few historic scripts.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

_PICTOGRAPHS = (
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122),
    (0x2139, 0x2139), (0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B), (0x2328, 0x2328),
    (0x2388, 0x2388), (0x23CF, 0x23CF), (0x23E9, 0x23F3), (0x23F8, 0x23FA), (0x24C2, 0x24C2),
    (0x25AA, 0x25AB), (0x25B6, 0x25B6), (0x25C0, 0x25C0), (0x25FB, 0x25FE), (0x2600, 0x2605),
    (0x2607, 0x2612), (0x2614, 0x2685), (0x2690, 0x2705), (0x2708, 0x2712), (0x2714, 0x2714),
    (0x2716, 0x2716), (0x271D, 0x271D), (0x2721, 0x2721), (0x2728, 0x2728), (0x2733, 0x2734),
    (0x2744, 0x2744), (0x2747, 0x2747), (0x274C, 0x274C), (0x274E, 0x274E), (0x2753, 0x2755),
    (0x2757, 0x2757), (0x2763, 0x2767), (0x2795, 0x2797), (0x27A1, 0x27A1), (0x27B0, 0x27B0),
    (0x27BF, 0x27BF), (0x2934, 0x2935), (0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x2B50, 0x2B50),
    (0x2B55, 0x2B55), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299),
    (0x1F000, 0x1F0FF), (0x1F10D, 0x1F10F), (0x1F12F, 0x1F12F), (0x1F16C, 0x1F171),
    (0x1F17E, 0x1F17F), (0x1F18E, 0x1F18E), (0x1F191, 0x1F19A), (0x1F1AD, 0x1F1E5),
    (0x1F201, 0x1F20F), (0x1F21A, 0x1F21A), (0x1F22F, 0x1F22F), (0x1F232, 0x1F23A),
    (0x1F23C, 0x1F23F), (0x1F249, 0x1F3FA), (0x1F400, 0x1F53D), (0x1F546, 0x1F64F),
    (0x1F680, 0x1F6FF), (0x1F774, 0x1F77F), (0x1F7D5, 0x1F7FF), (0x1F80C, 0x1F80F),
    (0x1F848, 0x1F84F), (0x1F85A, 0x1F85F), (0x1F888, 0x1F88F), (0x1F8AE, 0x1F8FF),
    (0x1F90C, 0x1F93A), (0x1F93C, 0x1F945), (0x1F947, 0x1FAFF), (0x1FC00, 0x1FFFD),
)  # fmt: skip
_STARTS = [start for start, _ in _PICTOGRAPHS]
_ZWJ = 0x200D
_EXTENDING = {0x200C, 0xFF9E, 0xFF9F, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)}


def graphemes(text: str) -> list[str]:
    """The text cut into the characters that people see."""
    if text.isascii() and "\r" not in text:
        return list(text)
    clusters: list[str] = []
    start = 0
    kinds = [_kind(ord(character)) for character in text]
    for index in range(1, len(text)):
        if _breaks(kinds, start, index):
            clusters.append(text[start:index])
            start = index
    if text:
        clusters.append(text[start:])
    return clusters


def _kind(code: int) -> str:
    """The break class: CR LF control extend joiner spacing flag L V T LV LVT picture, or other."""
    if code in (0x0D, 0x0A):
        return "CR" if code == 0x0D else "LF"
    if code == _ZWJ:
        return "joiner"
    if code in _EXTENDING:
        return "extend"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    hangul = _hangul_kind(code)
    if hangul:
        return hangul
    category = unicodedata.category(chr(code))
    if category in ("Mn", "Me"):
        return "extend"
    if category == "Mc":
        return "spacing"
    if category in ("Cc", "Cf", "Zl", "Zp"):
        return "control"
    place = bisect_right(_STARTS, code) - 1
    return "picture" if place >= 0 and code <= _PICTOGRAPHS[place][1] else "other"


def _hangul_kind(code: int) -> str:
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""


_HANGUL_PAIRS = {
    "L": ("L", "V", "LV", "LVT"),
    "LV": ("V", "T"),
    "V": ("V", "T"),
    "LVT": ("T",),
    "T": ("T",),
}


def _breaks(kinds: list[str], start: int, index: int) -> bool:
    """Whether a cluster that began at `start` ends before `index`."""
    before, after = kinds[index - 1], kinds[index]
    if before == "CR" and after == "LF":
        return False
    if before in ("CR", "LF", "control") or after in ("CR", "LF", "control"):
        return True
    if after in ("extend", "joiner", "spacing") or after in _HANGUL_PAIRS.get(before, ()):
        return False
    if before == "joiner" and after == "picture":
        return kinds[start] != "picture"
    if before == "flag" and after == "flag":
        return (index - start) % 2 == 0
    return True
