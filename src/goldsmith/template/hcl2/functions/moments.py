"""Points in time as Go has them: any year, a fixed offset, strict RFC 3339.

Python's datetime ends with the year 9999 and accepts more spellings than RFC 3339 has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_DAY_S = 86400
_DAYS_OF_400_YEARS = 146097
_EPOCH_DAY = 719468
"""Days from 0000-03-01 to 1970-01-01."""


class Date(NamedTuple):
    """A day of the proleptic Gregorian calendar."""

    year: int
    month: int
    day: int


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, counted in years that begin in March, so that leap days come last."""
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * _DAYS_OF_400_YEARS + day_of_era - _EPOCH_DAY


def date_of(days: int) -> Date:
    """The day that is so many days after 1970-01-01."""
    era, day_of_era = divmod(days + _EPOCH_DAY, _DAYS_OF_400_YEARS)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    return Date(era * 400 + year_of_era + (month <= 2), month, day)


@dataclass(frozen=True, slots=True)
class Moment:
    """Nanoseconds since 1970 in UTC, and the offset in which people read them."""

    unix_ns: int
    offset_min: int = 0

    @property
    def unix_s(self) -> int:
        """Whole seconds since 1970."""
        return self.unix_ns // 1_000_000_000

    @property
    def _days(self) -> int:
        return (self.unix_s + self.offset_min * 60) // _DAY_S

    @property
    def date(self) -> Date:
        """Year, month and day there."""
        return date_of(self._days)

    @property
    def clock(self) -> tuple[int, int, int]:
        """Hour, minute and second there."""
        second = (self.unix_s + self.offset_min * 60) % _DAY_S
        return second // 3600, second // 60 % 60, second % 60

    @property
    def weekday(self) -> int:
        """0 for Sunday to 6 for Saturday."""
        return (self._days + 4) % 7

    @property
    def year_day(self) -> int:
        """1 for the first of January."""
        return self._days - days_of(self.date.year, 1, 1) + 1

    @property
    def iso_week(self) -> tuple[int, int]:
        """Year and week by ISO 8601: those of the Thursday of the same week."""
        thursday = self._days + 3 - (self._days + 3) % 7
        year = date_of(thursday).year
        return year, (thursday - days_of(year, 1, 1)) // 7 + 1

    def offset_text(self, colon: str = ":") -> str:
        """`+02:30`, or without the colon."""
        minutes = abs(self.offset_min)
        sign = "-" if self.offset_min < 0 else "+"
        return f"{sign}{minutes // 60:02d}{colon}{minutes % 60:02d}"

    def rfc3339(self) -> str:
        """`2006-01-02T15:04:05Z`, in its own offset, without the fraction of the second."""
        year, month, day = self.date
        hour, minute, second = self.clock
        zone = self.offset_text() if self.offset_min else "Z"
        return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{zone}"


def from_datetime(when: datetime) -> Moment:
    """The same moment, read in UTC."""
    whole = when.replace(microsecond=0)
    return Moment(int(whole.timestamp()) * 1_000_000_000 + when.microsecond * 1000)


def parse_rfc3339(text: str) -> Moment | None:
    """The moment of a strict RFC 3339 text, None for any other."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    hours, minutes = int(match[9] or 0), int(match[10] or 0)
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59 or hours > 23:
        return None
    days = days_of(year, month, day)
    if minutes > 59 or date_of(days) != (year, month, day):
        return None
    offset_min = (hours * 60 + minutes) * (-1 if match[8] == "-" else 1)
    unix_s = days * _DAY_S + hour * 3600 + minute * 60 + second - offset_min * 60
    return Moment(unix_s * 1_000_000_000 + int((match[7] or "0")[:9].ljust(9, "0")), offset_min)
