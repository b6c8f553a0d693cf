"""Windows of limits: pure functions of a moment and a zone. There is no reset job; a new window is a new counter.

Minutes and hours are floors of the zone's offset at that moment; where the offset changes inside one (Lord Howe Island moves by
half an hour), the window is cut at the change, so that windows never overlap. Days and months are local: a day begins at the
first local midnight. If midnight does not exist (the clock jumps over it, as in Beirut), the day begins with the jump; if it
exists twice (Havana), at the first one; a day has 23, 24 or 25 hours and is counted once. ``period`` is given by the
subscription, ``lifetime`` begins with its anchor, and ``now`` has no bounds: it counts what is running.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tollhouse.billing.periods import FAR, Bounds, Zone, zone_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALWAYS: Bounds = (EPOCH, FAR)
_STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
_TICK = timedelta(microseconds=1)
_RECENT_SIZE = 4096
_recent: dict[tuple[str, Zone], Bounds] = {}


def window_bounds(window: str, at: datetime, zone: Zone, period: Bounds | None = None, since: datetime | None = None) -> Bounds:
    """The window ``[start, end)`` that ``at`` is in, in UTC.

    ``period``: the subscription's, for ``period``. ``since``: the subscription's anchor, for ``lifetime``. The last answer for
    each zone and window is remembered, so asking again within it costs a look-up.
    """
    last = _recent.get((window, zone))
    if last is not None and last[0] <= at < last[1]:
        return last
    if window == "period":
        if period is None:
            raise ValueError("the window 'period' needs the subscription's period")
        return period
    if window == "lifetime":
        if since is None:
            raise ValueError("the window 'lifetime' needs the subscription's anchor")
        return since, FAR
    if window == "now":
        return ALWAYS
    found = _floor(_STEPS[window], at, zone_of(zone)) if window in _STEPS else _local(window, at, zone_of(zone))
    if len(_recent) >= _RECENT_SIZE:
        _recent.clear()
    _recent[(window, zone)] = found
    return found


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _floor(step: timedelta, at: datetime, zone: ZoneInfo) -> Bounds:
    at = at.astimezone(UTC)
    offset = _offset(at, zone)
    start = at - (at - EPOCH + offset) % step
    end = start + step
    if _offset(start, zone) != offset:
        start = _transition(start, at, zone)
    if _offset(end - _TICK, zone) != offset:
        end = _transition(at, end - _TICK, zone)
    return start, end


def _transition(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after ``low`` that has the offset of ``high``; they lie on two sides of one change."""
    offset = _offset(high, zone)
    while high - low > _TICK:
        middle = low + (high - low) / 2
        if _offset(middle, zone) == offset:
            high = middle
        else:
            low = middle
    return high


def _local(window: str, at: datetime, zone: ZoneInfo) -> Bounds:
    if window == "day":
        first, step = at.astimezone(zone).date(), _days
    elif window == "month":
        first, step = at.astimezone(zone).date().replace(day=1), _months
    else:
        raise ValueError(f"no such window: {window}")
    # The local date is nearly always the answer; where the clock is set back over midnight, the day before has returned.
    while day_start(first, zone) > at:
        first = step(first, -1)
    while day_start(step(first, 1), zone) <= at:
        first = step(first, 1)
    return day_start(first, zone), day_start(step(first, 1), zone)


def _days(day: date, n: int) -> date:
    return day + timedelta(days=n)


def _months(day: date, n: int) -> date:
    years, month = divmod(day.month - 1 + n, 12)
    return date(day.year + years, month + 1, 1)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins, in UTC; see the module's text for days without a midnight or with two."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    # Midnight lies in a gap: between what the two offsets make of it, the clock jumps.
    return _transition(midnight.replace(fold=1).astimezone(UTC) - _TICK, start, zone)
