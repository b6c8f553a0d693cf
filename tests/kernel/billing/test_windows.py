"""Windows of limits: every moment is in exactly one, through every change of the clock."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tollhouse.billing import windows
from tollhouse.billing.periods import FAR
from tollhouse.billing.windows import day_start, window_bounds

UTC = UTC
TICK = timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/Los_Angeles",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/Nuuk",
]


def transitions(zone: ZoneInfo) -> list[datetime]:
    """Every moment from 2024 to 2032 at which the zone's offset changes, to the minute."""
    found, step = [], timedelta(hours=6)
    at = datetime(2024, 1, 1, tzinfo=UTC)
    while at < datetime(2033, 1, 1, tzinfo=UTC):
        before = at.astimezone(zone).utcoffset()
        if before != (at + step).astimezone(zone).utcoffset():
            minutes = (at + timedelta(minutes=minute) for minute in range(1, 361))
            found.append(next(moment for moment in minutes if moment.astimezone(zone).utcoffset() != before))
        at += step
    return found


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    windows._recent.clear()


@pytest.mark.parametrize("name", ZONES)
def test_windows_are_contiguous_around_every_transition(name: str) -> None:
    zone = ZoneInfo(name)
    for change in transitions(zone):
        for window, reach in (("minute", timedelta(minutes=3)), ("hour", timedelta(hours=4)), ("day", timedelta(days=3))):
            at, end = change - reach, change + reach
            while at < end:
                windows._recent.clear()
                bounds = window_bounds(window, at, name)
                assert bounds[0] <= at < bounds[1]
                for moment in (bounds[0], bounds[1] - TICK, bounds[0] + (bounds[1] - bounds[0]) / 2):
                    windows._recent.clear()
                    assert window_bounds(window, moment, zone) == bounds
                assert window_bounds(window, bounds[1], zone)[0] == bounds[1]
                at = bounds[1]


@pytest.mark.parametrize("name", ZONES)
def test_there_is_one_window_for_every_local_day(name: str) -> None:
    zone = ZoneInfo(name)
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(9 * 366)]
    starts = [day_start(day, zone) for day in days]
    lengths = {end - start for start, end in pairwise(starts)}
    assert lengths <= {timedelta(hours=hours) for hours in (23, 23.5, 24, 24.5, 25)}
    for day, (start, end) in zip(days, pairwise(starts), strict=False):
        assert start.astimezone(zone).date() == day
        assert (start - TICK).astimezone(zone).date() == day - timedelta(days=1)
        assert window_bounds("day", start + (end - start) / 2, zone) == (start, end)


@pytest.mark.parametrize("name", ZONES)
def test_months_are_local_and_contiguous(name: str) -> None:
    zone = ZoneInfo(name)
    at = day_start(date(2024, 1, 1), zone)
    for number in range(12 * 8):
        windows._recent.clear()
        start, end = window_bounds("month", at, zone)
        assert start == at
        assert (start.astimezone(zone).month, start.astimezone(zone).day) == (number % 12 + 1, 1)
        windows._recent.clear()
        assert window_bounds("month", end - TICK, zone) == (start, end)
        at = end


def test_hours_follow_the_zones_offset() -> None:
    at = datetime(2026, 5, 4, 10, 10, tzinfo=UTC)
    assert window_bounds("hour", at, "Asia/Kolkata") == (at.replace(minute=30) - timedelta(hours=1), at.replace(minute=30))
    assert window_bounds("hour", at, "Asia/Kathmandu")[0] == at.replace(hour=9, minute=15)
    assert window_bounds("minute", at + timedelta(seconds=31), "Asia/Kolkata") == (at, at + timedelta(minutes=1))


def test_an_hour_is_cut_where_the_clock_moves_by_half_an_hour() -> None:
    change = datetime(2024, 4, 6, 15, 0, tzinfo=UTC)  # Lord Howe: 02:00 (+11) becomes 01:30 (+10:30)
    assert window_bounds("hour", change - TICK, "Australia/Lord_Howe") == (change - timedelta(hours=1), change)
    assert window_bounds("hour", change, "Australia/Lord_Howe") == (change, change + timedelta(minutes=30))


def test_a_day_without_a_midnight_begins_with_the_jump_and_one_with_two_at_the_first() -> None:
    beirut = day_start(date(2024, 3, 31), ZoneInfo("Asia/Beirut"))
    assert beirut == datetime(2024, 3, 30, 22, tzinfo=UTC)
    assert beirut.astimezone(ZoneInfo("Asia/Beirut")).hour == 1
    assert day_start(date(2024, 11, 3), ZoneInfo("America/Havana")) == datetime(2024, 11, 3, 4, tzinfo=UTC)
    # Nuuk jumps from 23:00 of the day before to midnight itself; Toronto once jumped over midnight by half an hour.
    assert day_start(date(1919, 3, 31), ZoneInfo("America/Toronto")) == datetime(1919, 3, 31, 4, 30, tzinfo=UTC)


def test_period_lifetime_and_now_have_the_bounds_they_are_given() -> None:
    at = datetime(2026, 5, 4, 10, 10, tzinfo=UTC)
    period = (at - timedelta(days=3), at + timedelta(days=20))
    assert window_bounds("period", at, "UTC", period) == period
    assert window_bounds("lifetime", at, "UTC", since=period[0]) == (period[0], FAR)
    assert window_bounds("now", at, "UTC") == (windows.EPOCH, FAR)
    for window in ("period", "lifetime", "fortnight"):
        with pytest.raises(ValueError):
            window_bounds(window, at, "UTC")


def test_asking_again_within_a_window_is_a_look_up() -> None:
    at = datetime(2026, 5, 4, 10, 10, tzinfo=UTC)
    window_bounds("day", at, "Asia/Beirut")
    began = time.perf_counter()
    for _ in range(20_000):
        window_bounds("day", at, "Asia/Beirut")
    assert (time.perf_counter() - began) / 20_000 < 20e-6
