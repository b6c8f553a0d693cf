"""Anniversary periods: pure functions of an anchor, an interval, a zone and a moment.

The n-th boundary is the anchor's own wall-clock time in the zone, n intervals later, computed from the anchor each time and
never from the boundary before. So the anchor's day comes back after a short month (31 January, 29 February, 31 March), periods
neither overlap nor leave a gap, and the answer is the same whenever one asks. Where the wall-clock time does not exist on that
day (the clock jumps over it), the boundary is the same time by the offset before the jump; where it exists twice, it is the one
of the anchor's own fold. ``once`` is one period without an end.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

Zone = ZoneInfo | str
Bounds = tuple[datetime, datetime]

FAR = datetime(9999, 12, 31, tzinfo=UTC)
"""The end of what does not end."""
_MONTHS = {"month": 1, "year": 12}
_RECENT_SIZE = 8192
_recent: dict[tuple[datetime, str, str], Bounds] = {}


def zone_of(zone: Zone) -> ZoneInfo:
    """The zone itself; ZoneInfo keeps one object for each name."""
    return ZoneInfo(zone) if isinstance(zone, str) else zone


def period_at(anchor: datetime, interval: str, zone: Zone, at: datetime) -> Bounds:
    """The period ``[start, end)`` that ``at`` is in, in UTC. Before the anchor there are periods too, counted backwards."""
    if interval == "once":
        return anchor, FAR
    key = (anchor, interval, zone if isinstance(zone, str) else zone.key)
    last = _recent.get(key)
    if last is not None and last[0] <= at < last[1]:
        return last
    found = _period_at(anchor, interval, zone_of(zone), at)
    if len(_recent) >= _RECENT_SIZE:
        _recent.clear()
    _recent[key] = found
    return found


def next_end(anchor: datetime, interval: str, zone: Zone, end: datetime) -> datetime:
    """One interval after the boundary ``end``."""
    return FAR if interval == "once" else period_at(anchor, interval, zone, end)[1]


def previous_end(anchor: datetime, interval: str, zone: Zone, end: datetime) -> datetime:
    """One interval before the boundary ``end``."""
    return anchor if interval == "once" else period_at(anchor, interval, zone, end - timedelta(microseconds=1))[0]


def _period_at(anchor: datetime, interval: str, zone: ZoneInfo, at: datetime) -> Bounds:
    local = anchor.astimezone(zone)
    now = at.astimezone(zone)
    if interval == "week":
        n = (now.date() - local.date()).days // 7
    elif interval in _MONTHS:
        n = ((now.year - local.year) * 12 + now.month - local.month) // _MONTHS[interval]
    else:
        raise ValueError(f"no such interval: {interval}")
    # The guess is at most one off: the day or the time of day within the guessed period decides.
    while _boundary(local, interval, n) > at:
        n -= 1
    while _boundary(local, interval, n + 1) <= at:
        n += 1
    return _boundary(local, interval, n), _boundary(local, interval, n + 1)


def _boundary(local: datetime, interval: str, n: int) -> datetime:
    if interval == "week":
        moved = local + timedelta(weeks=n)  # wall-clock arithmetic: the offset is looked up again below
    else:
        years, month = divmod(local.month - 1 + n * _MONTHS[interval], 12)
        year = local.year + years
        day = min(local.day, calendar.monthrange(year, month + 1)[1])
        moved = local.replace(year=year, month=month + 1, day=day)
    return moved.replace(fold=local.fold).astimezone(UTC)
