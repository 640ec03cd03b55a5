"""Times by Go's reference layout ("2006-01-02") and by Packer's strftime.

Both are independent of the locale and, unlike Python's strftime, leave alone what they do not know.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_ELEMENT = re.compile(
    r"""January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST
    |0[1-6]|002|15|1|2006|2|__2|_2(?!006)|3|4|5|PM|pm
    |(?:-|Z)(?:070000|07:00:00|0700|07:00|07)
    |[.,](?:0+|9+)(?![0-9])""",
    re.VERBOSE,
)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STRFTIME = {
    "a": "Mon", "A": "Monday", "b": "Jan", "B": "January", "d": "02", "H": "15", "I": "03",
    "L": ".000", "m": "01", "M": "04", "p": "PM", "S": "05", "y": "06", "Y": "2006", "z": "-0700",
    "Z": "MST",
}  # fmt: skip
RFC3339 = "2006-01-02T15:04:05Z07:00"


def format_time(moment: datetime, layout: str, *, nanosecond: int | None = None) -> str:
    """Render a time by a Go layout.

    `moment` must know its zone (ValueError otherwise). `nanosecond` is the fraction of the second
    where it is known better than in microseconds.
    """
    if moment.tzinfo is None:
        raise ValueError("format_time needs a time with a zone")
    fraction_ns = moment.microsecond * 1000 if nanosecond is None else nanosecond
    return _ELEMENT.sub(lambda match: _render(moment, match.group(), fraction_ns), layout)


def strftime(moment: datetime, format: str) -> str:
    """Render a time by Packer's strftime: `%L` is `.000`, `%%` a percent, the unknown stays."""

    def replace(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter == "%":
            return "%"
        return format_time(moment, _STRFTIME[letter]) if letter in _STRFTIME else match.group()

    return re.sub(r"%(.)", replace, format, flags=re.DOTALL)


def _render(moment: datetime, element: str, fraction_ns: int) -> str:
    month, day = _MONTHS[moment.month - 1], _DAYS[moment.weekday()]
    half, hour12 = "PM" if moment.hour >= 12 else "AM", moment.hour % 12 or 12
    year_day = moment.timetuple().tm_yday
    fixed = {
        "2006": f"{moment.year:04d}", "06": f"{moment.year % 100:02d}",
        "January": month, "Jan": month[:3], "01": f"{moment.month:02d}", "1": str(moment.month),
        "Monday": day, "Mon": day[:3],
        "02": f"{moment.day:02d}", "_2": f"{moment.day:2d}", "2": str(moment.day),
        "002": f"{year_day:03d}", "__2": f"{year_day:3d}",
        "15": f"{moment.hour:02d}", "03": f"{hour12:02d}", "3": str(hour12),
        "04": f"{moment.minute:02d}", "4": str(moment.minute),
        "05": f"{moment.second:02d}", "5": str(moment.second),
        "PM": half, "pm": half.lower(), "MST": moment.tzname() or "",
    }  # fmt: skip
    if element in fixed:
        return fixed[element]
    if element[0] in ".,":
        digits = f"{fraction_ns:09d}"[: len(element) - 1]
        if element[1] == "9":
            digits = digits.rstrip("0")
        return element[0] + digits if digits else ""
    return _offset(moment.utcoffset() or timedelta(), element)


def _offset(offset: timedelta, element: str) -> str:
    """A zone by an element like `-07:00`; the forms with Z print Z for UTC."""
    total_s = int(offset.total_seconds())
    if element[0] == "Z" and total_s == 0:
        return "Z"
    sign = "-" if total_s < 0 else "+"
    minutes, seconds = divmod(abs(total_s), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [hours, minutes, seconds][: len(element[1:].replace(":", "")) // 2]
    return sign + (":" if ":" in element else "").join(f"{part:02d}" for part in parts)
