"""The start: how business goes today, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from starlette.responses import Response

from tollhouse.console import format as formats
from tollhouse.console.charts import bar_chart, days_between
from tollhouse.console.desk import Area, Desk
from tollhouse.console.figures import Spans, messages, money_figures
from tollhouse.console.users import agent_names, channel_titles, people
from tollhouse.reports.service import UsageRow

area = Area()
DAYS = 30


@area.get("")
async def show(desk: Desk) -> Response:
    """Figures, one chart, and the lists of what needs attention."""
    parts, tenant_id = desk.parts, desk.tenant.id
    today = local_day(desk)
    first = today - timedelta(days=DAYS - 1)
    usage = await parts.reports.usage(tenant_id, "day", first, today)
    orders = (await parts.subscription_admin.orders(tenant_id, state="pending", limit=5)).items
    alarms = await parts.alarms.open(tenant_id)
    spans = Spans.of(today, DAYS)
    money = await parts.reports.margin(tenant_id, "day", spans.earliest, today)
    unpriced = any(alarm["code"] == "unknown_price" for alarm in alarms)
    agents = (await parts.agents.list(tenant_id, limit=200)).items
    return desk.page(
        "overview.html",
        section="overview",
        figures=[messages(usage, spans), *money_figures(money, spans, desk.tenant.currency, unpriced=unpriced)],
        chart=bar_chart("Messages", f"last {DAYS} days", calls_by_day(usage, first, today), "messages"),
        alarms=alarms,
        orders=orders,
        who=await people(desk, (one.user_id for one in orders)),
        denials=await parts.denials.recent(tenant_id, limit=8),
        agent_names=agent_names(agents),
        channels=channel_titles(desk),
        fresh=not agents,
        unpayable=await _unpayable(desk),
    )


async def _unpayable(desk: Desk) -> bool:
    """Whether plans are offered for money, and there is no way to pay."""
    if not any(plan.public and not plan.version.free for plan in await desk.parts.plans.list(desk.tenant.id)):
        return False
    ways = (await desk.parts.connections.list(desk.tenant.id, "payment", limit=200)).items
    return not any(way.status == "active" for way in ways)


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
