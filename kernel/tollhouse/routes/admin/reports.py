"""``/api/v1/admin/usage`` and ``/api/v1/admin/reports``: used, earned, left over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from tollhouse.reports.service import to_csv
from tollhouse.routes.admin.access import operator, staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Day, Items, View, answers, items
from tollhouse.routes.vocabulary import WORDS, example, example_of

UsageBy = Literal["day", "user", "agent", "version", "plan", "channel", "model"]
RevenueBy = Literal["day", "plan", "user", "tenant", "agent", "version", "channel"]
MarginBy = Literal["day", "plan", "user", "agent", "version", "channel"]
Format = Annotated[Literal["json", "csv"], Query(alias="format")]


class UsageView(View):
    """``cost`` in nano-units. Currencies stand beside each other and are never added."""

    model_config = example(
        key="2026-01-15",
        label="2026-01-15",
        currency="USD",
        calls=41,
        errors=1,
        input_tokens=9120,
        output_tokens=3350,
        cost=9_008_000,
        unknown_cost=0,
        latency_ms=51250,
    )
    key: str
    label: str
    currency: str
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: int
    unknown_cost: int
    latency_ms: int


class RevenueView(View):
    model_config = example(key="2026-01-15", label="2026-01-15", orders=2, revenue=3998)
    key: str
    label: str
    currency: str
    orders: int
    revenue: int


class MarginView(View):
    model_config = example(
        key="2026-01-15", label="2026-01-15", revenue=39_980_000_000, cost=9_008_000, margin=39_970_992_000, complete=True
    )
    key: str
    label: str
    currency: str
    revenue: int
    cost: int
    margin: int
    complete: bool


def _csv(view: type[View]) -> dict[int | str, dict[str, Any]]:
    names = list(view.model_fields)
    row = example_of(view)
    shown = [str(row.get(name, WORDS.get(name))) for name in names]
    return answers(",".join(names) + "\n" + ",".join(shown) + "\n", "text/csv")


CSV_USAGE, CSV_REVENUE, CSV_MARGIN = _csv(UsageView), _csv(RevenueView), _csv(MarginView)


def routes(services: AdminServices) -> APIRouter:
    """The routes. ``first`` and ``last`` are local days of the tenant, both included."""
    router = APIRouter(tags=["admin: reports"])
    reports = services.reports

    @router.get("/usage", response_model=Items[UsageView], responses=CSV_USAGE)
    async def usage(request: Request, first: Day, last: Day, by: UsageBy = "day", as_: Format = "json") -> Any:
        """What was used and what it cost."""
        return _answer(await reports.usage(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/revenue", response_model=Items[RevenueView], responses=CSV_REVENUE)
    async def revenue(request: Request, first: Day, last: Day, by: RevenueBy = "day", as_: Format = "json") -> Any:
        """What was paid; by agent, version and channel, as subscribers used it. With an empty key: what they did not use."""
        return _answer(await reports.revenue(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/margin", response_model=Items[MarginView], responses=CSV_MARGIN)
    async def margin(request: Request, first: Day, last: Day, by: MarginBy = "day", as_: Format = "json") -> Any:
        """Revenue minus cost. By agent, version and channel, revenue is attributed by what subscribers used."""
        return _answer(await reports.margin(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/margin-by-tenant", response_model=Items[MarginView], responses=CSV_MARGIN)
    async def margin_by_tenant(request: Request, first: Day, last: Day, as_: Format = "json") -> Any:
        """The same for every tenant; the operator's."""
        operator(request)
        return _answer(await reports.margin_by_tenant(first, last), as_)

    return router


def _answer(rows: Any, as_: str) -> Any:
    if as_ == "csv":
        return Response(
            to_csv(rows), media_type="text/csv", headers={"content-disposition": 'attachment; filename="report.csv"'}
        )
    return items(rows)
