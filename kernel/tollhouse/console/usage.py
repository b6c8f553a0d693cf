"""Usage: what was used and what it cost, cut in seven ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from starlette.responses import Response

from tollhouse.console.charts import Chart, bar_chart
from tollhouse.console.desk import Area, Desk
from tollhouse.console.overview import calls_by_day, local_day
from tollhouse.plugin.errors import InvalidInput
from tollhouse.reports.service import MarginRow, UsageRow, margins, to_csv
from tollhouse.store.exact import day_within

area = Area()
GROUPS: Final[Mapping[str, str]] = {
    "day": "Day",
    "agent": "Agent",
    "version": "Version",
    "plan": "Plan",
    "channel": "Channel",
    "user": "User",
    "model": "Model",
}
EARNING: Final = GROUPS.keys() - {"model"}
DAYS: Final = 30
MOST_BARS: Final = 100
SHOWN: Final = 200


@area.get("/usage")
async def show(desk: Desk) -> Response:
    """A chart of days, and the table of the group that was chosen."""
    by, first, last = _wanted(desk)
    rows = await desk.parts.reports.usage(desk.tenant.id, by, first, last, order="key" if by == "day" else "cost")
    earned = await _margins(desk, rows, by, first, last)
    days = rows if by == "day" else await desk.parts.reports.usage(desk.tenant.id, "day", first, last)
    used = {(row.key, row.currency) for row in rows}
    values: dict[str, Any] = {
        "by": by,
        "first": first,
        "last": last,
        "groups": GROUPS,
        "rows": _shown(rows, by),
        "count": len(rows),
        "margins": earned,
        "apart": [one for key, one in earned.items() if key not in used and one.revenue],
    }
    return desk.page("usage.html", section="usage", chart=_chart(days, first, last), totals=_totals(rows), **values)


async def _margins(desk: Desk, used: Sequence[UsageRow], by: str, first: date, last: date) -> dict[tuple[str, str], MarginRow]:
    """What each group earned and what is left of it, where that can be told: a model is not what is paid for."""
    if by not in EARNING:
        return {}
    earned = await desk.parts.reports.revenue(desk.tenant.id, by, first, last)
    return {(row.key, row.currency): row for row in margins(earned, used)}


@area.get("/usage.csv")
async def download(desk: Desk) -> Response:
    """The same as a file."""
    by, first, last = _wanted(desk)
    rows = await desk.parts.reports.usage(desk.tenant.id, by, first, last)
    headers = {"content-disposition": f'attachment; filename="usage-by-{by}-{first}-{last}.csv"'}
    return Response(to_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


def _wanted(desk: Desk) -> tuple[str, date, date]:
    by = desk.query("by") or "day"
    if by not in GROUPS:
        raise InvalidInput("Choose one of the list.", field="by")
    last = _day(desk, "last", local_day(desk))
    return by, _day(desk, "first", last - timedelta(days=DAYS - 1)), last


def _day(desk: Desk, name: str, otherwise: date) -> date:
    try:
        return day_within(date.fromisoformat(desk.query(name))) if desk.query(name) else otherwise
    except ValueError:
        raise InvalidInput("Write a date, as 2026-11-23.", field=name) from None


def _shown(rows: Sequence[UsageRow], by: str) -> Sequence[UsageRow]:
    return list(reversed(rows))[:SHOWN] if by == "day" else rows[:SHOWN]


def _chart(days: Sequence[UsageRow], first: date, last: date) -> Chart | None:
    """Bars, as long as each can still be seen."""
    if (last - first).days >= MOST_BARS:
        return None
    return bar_chart("Messages", "by day", calls_by_day(days, first, last), "messages")


def _totals(rows: Sequence[UsageRow]) -> dict[str, int]:
    """Cost by currency: currencies are never added."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row.currency] = totals.get(row.currency, 0) + row.cost
    return {currency: nano for currency, nano in totals.items() if nano}
