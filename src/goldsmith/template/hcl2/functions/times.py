"""Functions on time. `timestamp()` and the legacy functions see one fixed moment per run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from goldsmith.gotemplate.go_time import format_time, strftime
from goldsmith.template.hcl2.functions.moments import (
    MONTHS,
    WEEKDAYS,
    Moment,
    from_datetime,
    parse_rfc3339,
)
from goldsmith.template.hcl2.functions.signature import (
    CallContext,
    Function,
    FunctionError,
    Param,
    whole_number,
)
from goldsmith.units import UnitError, parse_duration_s
from goldsmith.values.marks import Impure, Mark
from goldsmith.values.types import ANY, NUMBER, STRING
from goldsmith.values.value import Value, number, object_of, string

_DATE_PART = re.compile(r"''|'(?:[^']|'')*(?:'|$)|([A-Za-z])\1*|[^A-Za-z']+")


def _moment(args: Sequence[Value], index: int) -> Moment:
    """An RFC 3339 argument. Raises FunctionError that has the text."""
    text = args[index].text
    moment = parse_rfc3339(text)
    if moment is None:
        raise FunctionError(
            f'"{text}" is not a valid RFC 3339 timestamp like 2006-01-02T15:04:05Z', index
        )
    return moment


def _clock(name: str) -> set[Mark]:
    return {Impure("clock", f"{name}()")}


def _timestamp(ctx: CallContext, _: Sequence[Value]) -> Value:
    return string(from_datetime(ctx.world.now()).rfc3339()).with_marks(_clock("timestamp"))


def _legacy(name: str, show: Callable[[datetime, str], str]) -> Function:
    """A function of an optional format, about the time of the run."""

    def call(ctx: CallContext, args: Sequence[Value]) -> Value:
        if len(args) > 1:
            raise FunctionError(f"too many values: at most one format, not {len(args)}", 1)
        now = ctx.world.now()
        shown = show(now, args[0].text) if args else from_datetime(now).rfc3339()
        return string(shown).with_marks(_clock(name))

    return Function(name, (), Param("format", STRING), call, STRING)


def _time_add(_: CallContext, args: Sequence[Value]) -> Value:
    moment = _moment(args, 0)
    text = args[1].text
    try:
        duration_s = parse_duration_s(text)
    except UnitError as error:
        raise FunctionError(error.message, 1) from None
    moved_ns = moment.unix_ns + round(duration_s * 1_000_000_000)
    return string(Moment(moved_ns, moment.offset_min).rfc3339())


def _format_date(_: CallContext, args: Sequence[Value]) -> Value:
    moment = _moment(args, 1)
    return string(_DATE_PART.sub(lambda match: _date_part(moment, match.group()), args[0].text))


def _date_part(moment: Moment, part: str) -> str:
    """One part of a date format: quoted text, a run of one letter, or other text."""
    if part[0] == "'":
        if part == "''":
            return "'"
        if len(part) == 1 or not part.endswith("'"):
            raise FunctionError("unterminated literal '", 0)
        return part[1:-1].replace("''", "'")
    if not (part[0].isascii() and part[0].isalpha()):
        return part
    shown = _date_verbs(moment).get(part)
    if shown is None:
        raise FunctionError(f'invalid date format verb "{part}"', 0)
    return shown


def _date_verbs(moment: Moment) -> dict[str, str]:
    year, month, day = moment.date
    hour, minute, second = moment.clock
    hour12 = hour % 12 or 12
    half = "PM" if hour >= 12 else "AM"
    weekday, month_name = WEEKDAYS[moment.weekday], MONTHS[month - 1]
    basic = moment.offset_text("")
    return {
        "YY": f"{year % 100:02d}", "YYYY": f"{year:04d}",
        "M": str(month), "MM": f"{month:02d}", "MMM": month_name[:3], "MMMM": month_name,
        "D": str(day), "DD": f"{day:02d}", "EEE": weekday[:3], "EEEE": weekday,
        "h": str(hour), "hh": f"{hour:02d}", "H": str(hour12), "HH": f"{hour12:02d}",
        "AA": half, "aa": half.lower(),
        "m": str(minute), "mm": f"{minute:02d}", "s": str(second), "ss": f"{second:02d}",
        "Z": moment.offset_text() if moment.offset_min else "Z",
        "ZZZ": basic if moment.offset_min else "UTC", "ZZZZ": basic,
        "ZZZZZ": moment.offset_text(),
    }  # fmt: skip


def _described(moment: Moment, extra: dict[str, Value]) -> Value:
    year, month, day = moment.date
    hour, minute, second = moment.clock
    iso_year, iso_week = moment.iso_week
    numbers = {
        "year": year, "month": month, "day": day, "hour": hour, "minute": minute,
        "second": second, "year_day": moment.year_day, "weekday": moment.weekday,
        "iso_year": iso_year, "iso_week": iso_week,
    }  # fmt: skip
    names = {"month_name": MONTHS[month - 1], "weekday_name": WEEKDAYS[moment.weekday]}
    return object_of(
        {name: number(count) for name, count in numbers.items()}
        | {name: string(text) for name, text in names.items()}
        | extra
    )


def _rfc3339_parse(_: CallContext, args: Sequence[Value]) -> Value:
    moment = _moment(args, 0)
    return _described(moment, {"unix": number(moment.unix_s)})


def _unix_timestamp_parse(_: CallContext, args: Sequence[Value]) -> Value:
    moment = Moment(whole_number(args, 0) * 1_000_000_000)
    return _described(moment, {"rfc3339": string(moment.rfc3339())})


FUNCTIONS = (
    Function("timestamp", (), None, _timestamp, STRING),
    Function(
        "timeadd", (Param("timestamp", STRING), Param("duration", STRING)), None, _time_add, STRING
    ),
    Function(
        "formatdate", (Param("format", STRING), Param("time", STRING)), None, _format_date, STRING
    ),
    Function("rfc3339_parse", (Param("timestamp", STRING),), None, _rfc3339_parse, ANY),
    Function(
        "unix_timestamp_parse", (Param("unix_timestamp", NUMBER),), None, _unix_timestamp_parse, ANY
    ),
    _legacy("legacy_isotime", format_time),
    _legacy("legacy_strftime", strftime),
)
