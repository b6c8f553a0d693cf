"""``/api/v1/admin/usage`` and ``/api/v1/admin/reports``: used, earned, left over."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from tollhouse.reports.service import to_csv
from tollhouse.routes.admin.access import operator, staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Items, View, items

UsageBy = Literal["day", "user", "agent", "version", "plan", "channel", "model"]
RevenueBy = Literal["day", "plan", "user", "tenant"]
MarginBy = Literal["day", "plan", "user"]
Format = Annotated[Literal["json", "csv"], Query(alias="format")]


class UsageView(View):
    """``cost`` in nano-units. Currencies stand beside each other and are never added."""

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
    key: str
    label: str
    currency: str
    orders: int
    revenue: int


class MarginView(View):
    key: str
    label: str
    currency: str
    revenue: int
    cost: int
    margin: int
    complete: bool


def routes(services: AdminServices) -> APIRouter:
    """The routes. ``first`` and ``last`` are local days of the tenant, both included."""
    router = APIRouter(tags=["admin: reports"])
    reports = services.reports

    @router.get("/usage", response_model=Items[UsageView])
    async def usage(request: Request, first: date, last: date, by: UsageBy = "day", as_: Format = "json") -> Any:
        """What was used and what it cost."""
        return _answer(await reports.usage(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/revenue", response_model=Items[RevenueView])
    async def revenue(request: Request, first: date, last: date, by: RevenueBy = "day", as_: Format = "json") -> Any:
        """What was paid."""
        return _answer(await reports.revenue(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/margin", response_model=Items[MarginView])
    async def margin(request: Request, first: date, last: date, by: MarginBy = "day", as_: Format = "json") -> Any:
        """Revenue minus cost."""
        return _answer(await reports.margin(staff(request, "view").tenant.id, by, first, last), as_)

    @router.get("/reports/margin-by-tenant", response_model=Items[MarginView])
    async def margin_by_tenant(request: Request, first: date, last: date, as_: Format = "json") -> Any:
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
