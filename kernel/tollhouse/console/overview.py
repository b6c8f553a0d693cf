"""The start: how business goes today, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from starlette.responses import Response

from tollhouse.console import format as formats
from tollhouse.console.charts import bar_chart, days_between
from tollhouse.console.desk import Area, Desk
from tollhouse.console.users import people
from tollhouse.reports.service import MarginRow, UsageRow

area = Area()
DAYS = 30


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``full``: the exact value, where the shown one is shortened; ``note``: what must be known about it."""

    label: str
    value: str
    full: str = ""
    note: str = ""


@area.get("")
async def show(desk: Desk) -> Response:
    """Figures, one chart, and the lists of what needs attention."""
    parts, tenant_id = desk.parts, desk.tenant.id
    today = local_day(desk)
    first = today - timedelta(days=DAYS - 1)
    usage = await parts.reports.usage(tenant_id, "day", first, today)
    orders = (await parts.subscription_admin.orders(tenant_id, state="pending", limit=5)).items
    month = await parts.reports.margin(tenant_id, "day", today.replace(day=1), today)
    return desk.page(
        "overview.html",
        section="overview",
        figures=[_turns(usage, today), *_money(month, desk.tenant.currency)],
        chart=bar_chart("Messages", f"last {DAYS} days", calls_by_day(usage, first, today), "messages"),
        alarms=await parts.alarms.open(tenant_id),
        orders=orders,
        who=await people(desk, (one.user_id for one in orders)),
        denials=await parts.denials.recent(tenant_id, limit=8),
        fresh=not (await parts.agents.list(tenant_id, limit=1)).items,
    )


@area.post("/alarms/{id}/resolve", "help")
async def resolve(desk: Desk) -> Response:
    """Take an alarm off the list."""
    await desk.parts.alarms.resolve(desk.tenant.id, desk.id(), desk.actor)
    return desk.done("", "resolved")


def local_day(desk: Desk) -> date:
    """Today where the tenant is."""
    return desk.parts.now().astimezone(ZoneInfo(desk.tenant.timezone)).date()


def calls_by_day(usage: Sequence[UsageRow], first: date, last: date) -> list[tuple[str, int]]:
    """Messages of each day, also of those without any."""
    calls: dict[str, int] = {}
    for row in usage:
        calls[row.key] = calls.get(row.key, 0) + row.calls
    return [(formats.day(day), calls.get(day.isoformat(), 0)) for day in days_between(first, last)]


def _turns(usage: Sequence[UsageRow], today: date) -> Figure:
    calls = sum(row.calls for row in usage if row.key == today.isoformat())
    return Figure("Messages today", formats.short(calls), formats.number(calls))


def _money(month: Sequence[MarginRow], currency: str) -> list[Figure]:
    """Revenue, cost and margin of the month. Different currencies stand beside each other and are never added."""
    revenue: dict[str, int] = {}
    costs: dict[str, int] = {}
    for row in month:
        revenue[row.currency] = revenue.get(row.currency, 0) + row.revenue
        costs[row.currency] = costs.get(row.currency, 0) + row.cost
    earned = {code: nano for code, nano in revenue.items() if nano} or {currency: 0}
    spent = {code: nano for code, nano in costs.items() if nano} or {currency: 0}
    incomplete = "" if all(row.complete for row in month) else "Some costs are not known"
    figures = [_amounts("Revenue this month", earned), _amounts("Cost this month", spent, incomplete)]
    if len(earned.keys() | spent.keys()) > 1:
        return [*figures, Figure("Margin this month", "–", note="Revenue and cost are in different currencies")]
    code = next(iter(earned))
    return [*figures, _amounts("Margin this month", {code: earned[code] - spent.get(code, 0)}, incomplete)]


def _amounts(label: str, amounts: dict[str, int], note: str = "") -> Figure:
    shown = " + ".join(formats.short_cost(nano, code) for code, nano in sorted(amounts.items()))
    full = " + ".join(formats.exact_cost(nano, code) for code, nano in sorted(amounts.items()))
    return Figure(label, shown, full, note)
