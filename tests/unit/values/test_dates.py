"""Moment-style patterns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.values.convert import Unfit
from engine.values.dates import format_date, parse_date, zone

MOMENT = datetime(2026, 3, 1, 15, 4, 5, 678901, timezone(timedelta(hours=-3, minutes=-30)))


@pytest.mark.parametrize(
    "pattern,text",
    [
        ("YYYY-MM-DD HH:mm:ss.SSS", "2026-03-01 15:04:05.678"),
        ("YY M D H h m s A a", "26 3 1 15 3 4 5 PM pm"),
        ("MMMM MMM Mo Do", "March Mar 3rd 1st"),
        ("dddd ddd dd d e E", "Sunday Sun Su 0 0 7"),
        ("DDD DDDD Q W WW GGGG", "60 060 1 9 09 2026"),
        ("Z ZZ", "-03:30 -0330"),
        ("X x", "1772390045 1772390045679"),
        ("[Today is] dddd", "Today is Sunday"),
        ("[at LT] LT", "at LT 3:04 PM"),
        ("L", "03/01/2026"),
        ("LLLL", "Sunday, March 1, 2026 3:04 PM"),
        ("kk hh", "15 03"),
        ("", ""),
    ],
)
def test_tokens(pattern: str, text: str) -> None:
    assert format_date(MOMENT, pattern) == text


@pytest.mark.parametrize("day,text", [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st"), (23, "23rd")])
def test_ordinals(day: int, text: str) -> None:
    assert format_date(MOMENT.replace(day=day), "Do") == text


def test_midnight_and_noon_in_twelve_hours() -> None:
    assert format_date(MOMENT.replace(hour=0), "h A k") == "12 AM 24"
    assert format_date(MOMENT.replace(hour=12), "h A k") == "12 PM 12"


@pytest.mark.parametrize(
    "text,pattern,expected",
    [
        ("1st March 2026", "Do MMMM YYYY", datetime(2026, 3, 1, tzinfo=UTC)),
        ("Sun 1 mar 26", "ddd D MMM YY", datetime(2026, 3, 1, tzinfo=UTC)),
        ("12:30 am", "h:mm a", datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        ("2026-03-01T10:00:00.5+02:00", "YYYY-MM-DDTHH:mm:ss.SZ", datetime(2026, 3, 1, 8, 0, 0, 500000, UTC)),
        ("1772390045", "X", datetime(2026, 3, 1, 18, 34, 5, tzinfo=UTC)),
    ],
)
def test_reading(text: str, pattern: str, expected: datetime) -> None:
    assert parse_date(text, pattern, UTC) == expected


@pytest.mark.parametrize(
    "text,pattern", [("13:00 pm", "h:mm a"), ("1 Brumaire", "D MMMM"), ("32", "DD"), ("a", "YYYY")]
)
def test_what_cannot_be_read(text: str, pattern: str) -> None:
    with pytest.raises(Unfit):
        parse_date(text, pattern, UTC)


def test_zones() -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    assert summer.astimezone(zone("Europe/Prague")).hour == 2
    assert summer.astimezone(zone("-0130")).hour == 22
    for wrong in ("../etc", "Nowhere", "/etc/localtime", "+99:00", ""):
        with pytest.raises(Unfit, match="timezone"):
            zone(wrong)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)))
def test_what_was_written_reads_back(moment: datetime) -> None:
    pattern = "dddd D MMMM YYYY h:mm:ss.SSSSSS A ZZ"
    aware = moment.replace(tzinfo=UTC)
    assert parse_date(format_date(aware, pattern), pattern, UTC) == aware


@given(st.text(max_size=30), st.datetimes())
def test_no_pattern_crashes(pattern: str, moment: datetime) -> None:
    text = format_date(moment.replace(tzinfo=UTC), pattern.replace("X", "").replace("x", ""))
    try:
        parse_date(text, pattern, UTC)
    except Unfit:
        pass
