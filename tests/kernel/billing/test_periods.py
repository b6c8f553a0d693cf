"""Anniversary periods: contiguous, never sliding, the same whenever one asks."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse.billing.periods import FAR, _period_at, next_end, period_at, previous_end

UTC = UTC
TICK = timedelta(microseconds=1)
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Beirut", "Pacific/Apia"]


def walk(anchor: datetime, interval: str, zone: str, count: int) -> list[datetime]:
    """The first ``count`` boundaries, each found by asking for the moment of the one before."""
    bounds = [anchor]
    for _ in range(count):
        start, end = period_at(anchor, interval, zone, bounds[-1])
        assert start == bounds[-1]
        bounds.append(end)
    return bounds


@pytest.mark.parametrize("day", range(1, 32))
@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles"])
def test_every_anchor_day_for_48_months_keeps_its_day(day: int, zone: str) -> None:
    local = datetime(2023, 1, day, 9, 30, tzinfo=ZoneInfo(zone))
    anchor = local.astimezone(UTC)
    bounds = walk(anchor, "month", zone, 48)
    for number, bound in enumerate(bounds):
        there = bound.astimezone(ZoneInfo(zone))
        year, month = divmod(2023 * 12 + number, 12)
        assert (there.year, there.month) == (year, month + 1)
        assert there.day == min(day, calendar.monthrange(year, month + 1)[1])
        assert (there.hour, there.minute) == (9, 30)
    for start, end in pairwise(bounds):
        for moment in (start, start + TICK, start + (end - start) / 2, end - TICK):
            assert _period_at(anchor, "month", ZoneInfo(zone), moment) == (start, end)


@pytest.mark.parametrize("interval", ["week", "year"])
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("anchor", [datetime(2024, 2, 29, 23, 45, tzinfo=UTC), datetime(2024, 3, 31, 1, 30, tzinfo=UTC)])
def test_weeks_and_years_are_contiguous_through_every_change_of_the_clock(interval: str, zone: str, anchor: datetime) -> None:
    bounds = walk(anchor, interval, zone, 210 if interval == "week" else 9)
    for start, end in pairwise(bounds):
        days = (end - start) / timedelta(days=1)
        assert 6.9 < days < 7.1 if interval == "week" else 364.9 < days < 366.1
        assert _period_at(anchor, interval, ZoneInfo(zone), end - TICK) == (start, end)


def test_a_leap_day_comes_back_every_fourth_year() -> None:
    anchor = datetime(2024, 2, 29, tzinfo=UTC)
    found = [(bound.month, bound.day) for bound in walk(anchor, "year", "UTC", 8)]
    assert found == [(2, 29), (2, 28), (2, 28), (2, 28), (2, 29), (2, 28), (2, 28), (2, 28), (2, 29)]


def test_a_wall_clock_time_that_does_not_exist_moves_with_the_clock_and_comes_back() -> None:
    zone = "Europe/Berlin"  # on 31 March 2024 there is no 02:30
    anchor = datetime(2024, 1, 31, 2, 30, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    bounds = [bound.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") for bound in walk(anchor, "month", zone, 4)]
    assert bounds == ["01-31 02:30", "02-29 02:30", "03-31 03:30", "04-30 02:30", "05-31 02:30"]


def test_an_anchor_in_the_second_of_two_equal_hours_is_its_own_boundary() -> None:
    anchor = datetime(2024, 10, 27, 1, 30, tzinfo=UTC)  # the second 02:30 in Berlin
    assert period_at(anchor, "month", "Europe/Berlin", anchor)[0] == anchor
    assert period_at(anchor, "month", "Europe/Berlin", anchor - TICK)[1] == anchor


def test_what_is_bought_once_has_one_period_without_an_end() -> None:
    anchor = datetime(2024, 1, 31, tzinfo=UTC)
    assert period_at(anchor, "once", "UTC", datetime(2031, 1, 1, tzinfo=UTC)) == (anchor, FAR)
    with pytest.raises(ValueError, match="fortnight"):
        period_at(anchor, "fortnight", "UTC", anchor)


moments = st.integers(1_577_836_800_000, 2_082_672_000_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))


@settings(max_examples=400, deadline=None)
@given(moments, st.sampled_from(["month", "year", "week"]), st.sampled_from(ZONES), moments)
def test_a_moment_is_in_exactly_one_period(anchor: datetime, interval: str, zone: str, at: datetime) -> None:
    start, end = period_at(anchor, interval, zone, at)
    assert start <= at < end
    assert period_at(anchor, interval, zone, start) == (start, end)
    assert period_at(anchor, interval, zone, end - TICK) == (start, end)
    assert period_at(anchor, interval, zone, end)[0] == end
    assert period_at(anchor, interval, zone, start - TICK)[1] == start
    assert next_end(anchor, interval, zone, start) == end
    assert previous_end(anchor, interval, zone, end) == start
    assert _period_at(anchor, interval, ZoneInfo(zone), at) == (start, end)
