from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.gotemplate.go_time import RFC3339, format_time, strftime

MOMENT = datetime(2024, 2, 3, 16, 5, 6, 7008, tzinfo=UTC)


def test_rfc3339():
    assert format_time(MOMENT, RFC3339) == "2024-02-03T16:05:06Z"


def test_every_element_of_a_zone_east_of_greenwich():
    moment = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30), "IST"))
    assert format_time(moment, "MST -07 -0700 -07:00 Z07:00 -07:00:00") == (
        "IST +05 +0530 +05:30 +05:30 +05:30:00"
    )


def test_fractions_of_a_second():
    assert format_time(MOMENT, "05.000 05,000000 05.999 .9999999") == (
        "06.007 06,007008 06.007 .007008"
    )
    assert format_time(MOMENT, ".000000000", nanosecond=1) == ".000000001"
    assert format_time(MOMENT.replace(microsecond=0), "05.999") == "06"


def test_words_that_only_begin_like_an_element_are_text():
    assert format_time(MOMENT, "Months Janus Monday_2006") == "Months Janus Saturday_2024"


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2024, 1, 1), "2006")


def test_strftime():
    assert strftime(MOMENT, "%Y-%m-%d %H:%M:%S%L %a %A %b %B %y %I %p %z %Z 100%%") == (
        "2024-02-03 16:05:06.007 Sat Saturday Feb February 24 04 PM +0000 UTC 100%"
    )


def test_strftime_leaves_what_it_does_not_know():
    assert strftime(MOMENT, "%j %é %e %") == "%j %é %e %"


@given(st.datetimes(min_value=datetime(1, 1, 1)))
def test_a_layout_can_be_read_back(moment):
    shown = format_time(moment.replace(tzinfo=UTC), "2006-01-02T15:04:05.000000")
    assert datetime.fromisoformat(shown) == moment
