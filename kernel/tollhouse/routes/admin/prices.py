"""``/api/v1/admin/prices``: what models cost the tenant. Nano-units of the currency for a million tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field

from tollhouse.routes.admin.access import staff
from tollhouse.routes.admin.services import AdminServices
from tollhouse.routes.common import Cursor, Input, Items, Limit, Rate, View, items, nano_rate
from tollhouse.routes.vocabulary import example

MOST = 10**18


class PriceView(View):
    model_config = example(
        input_per_million=400_000_000,
        output_per_million=1_600_000_000,
        cached_per_million=100_000_000,
        currency="USD",
        source="openai",
    )
    input_per_million: int
    output_per_million: int
    cached_per_million: int | None
    currency: str
    source: str


class PriceEntryView(View):
    model_config = example(backend="openai", valid_from=None, created_by=None, suggestion=None)
    backend: str
    model: str
    price: PriceView | None = Field(description="In force; null: none in the currency in which the tenant counts costs.")
    suggestion: PriceView | None
    valid_from: datetime | None
    created_by: UUID | None


class PriceChangeView(View):
    """``converted``: the currency, the amounts and the rate (in nano-units) that it was made of, if it was converted."""

    price: PriceView
    valid_from: datetime
    created_by: UUID | None
    created_by_email: str | None
    converted: dict[str, Any] | None


class SetPrice(Input):
    model_config = example(
        backend="openai", model="gpt-4.1-mini", input_per_million=400_000_000, output_per_million=1_600_000_000, currency="USD"
    )
    backend: str = Field(max_length=100)
    model: str = Field(max_length=200)
    input_per_million: int = Field(ge=0, le=MOST)
    output_per_million: int = Field(ge=0, le=MOST)
    cached_per_million: int | None = Field(None, ge=0, le=MOST)
    currency: str | None = Field(
        None, max_length=10, description="The tenant's, if none is given; of another one, with a rate."
    )
    rate: Rate | None = Field(None, description="What one unit of ``currency`` is in the tenant's: it is converted once, now.")
    valid_from: datetime | None = None


def routes(services: AdminServices) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/prices", tags=["admin: prices"])
    prices = services.prices

    @router.get("", response_model=Items[PriceEntryView])
    async def list_prices(
        request: Request, search: Annotated[str, Query(max_length=200)] = "", cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """What is known of models' prices: the tenant's own, else what plugins suggest."""
        page = await prices.catalogue(staff(request, "view").tenant.id, search=search, cursor=cursor, limit=limit)
        return items(page.items, page.next_cursor)

    @router.put("", response_model=PriceView)
    async def set_price(request: Request, body: SetPrice) -> Any:
        """A price from now on; what was used before keeps the price it had."""
        caller = staff(request, "manage")
        values = body.model_dump()
        rate = values.pop("rate")
        backend, model = values.pop("backend"), values.pop("model")
        return await prices.set_price(caller, backend, model, rate=None if rate is None else nano_rate(rate), **values)

    @router.get("/history", response_model=Items[PriceChangeView])
    async def price_history(
        request: Request, backend: Annotated[str, Query(max_length=100)], model: Annotated[str, Query(max_length=200)]
    ) -> dict[str, Any]:
        """Every price a model has had."""
        return items(await prices.history(staff(request, "view").tenant.id, backend, model))

    return router
