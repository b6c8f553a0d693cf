"""Another currency of model costs: prices go along at a rate, or nobody loses one without being told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents.repository import models_in_use
from tollhouse.store import audit
from tollhouse.store.audit import Actor
from tollhouse.store.ids import new_id
from tollhouse.tenants.errors import PricesLost
from tollhouse.tenants.service import Reprices
from tollhouse.tenants.values import Tenant
from tollhouse.usage import price_repository as rows
from tollhouse.usage.prices import Price, PriceBook, convert, price_of

AMOUNTS = ("input_per_million", "output_per_million", "cached_per_million")
MOST_NAMED = 20


def repricer(book: PriceBook) -> Reprices:
    """Converts what a tenant's models cost when it counts costs in another currency."""

    async def reprice(
        conn: AsyncConnection, tenant: Tenant, currency: str, actor: Actor, *, rate: int | None, drop: bool
    ) -> None:
        lost = await _lost(conn, tenant, currency, await book.suggestions())
        if not lost or (drop and rate is None):
            return
        if rate is None:
            raise _refusal(tenant, currency, lost)
        begins = await rows.now(conn)
        for (backend, model), price in lost.items():
            made, converted = convert({name: getattr(price, name) for name in AMOUNTS}, tenant.cost_currency, currency, rate)
            data = {"backend": backend, "model": model, **made, "currency": currency, "valid_from": begins}
            row = {**data, "converted": converted, "id": new_id(), "source": "tenant"}
            await rows.insert_price(conn, tenant.id, row)
            target = ("price", row["id"])
            await audit.record(conn, tenant.id, actor, "price.converted", target=target, data={**data, "rate": rate})

    return reprice


async def _lost(
    conn: AsyncConnection, tenant: Tenant, currency: str, suggested: Mapping[tuple[str, str], Price]
) -> dict[tuple[str, str], Price]:
    """What is in force now, and would not be: the tenant's own prices, and what is suggested for models in use."""
    now = await rows.now(conn)
    own: dict[tuple[str, str], dict[str, Price]] = {}
    for row in await rows.all_prices(conn, tenant.id):
        if row["valid_from"] <= now:
            own.setdefault((row["backend"], row["model"]), {})[row["currency"]] = price_of(row)
    lost = {}
    for key in [*own, *await models_in_use(conn, tenant.id)]:
        price = _in_force(own.get(key, {}), suggested.get(key), tenant.cost_currency)
        if price is not None and _in_force(own.get(key, {}), suggested.get(key), currency) is None:
            lost[key] = price
    return lost


def _in_force(own: Mapping[str, Price], suggested: Price | None, currency: str) -> Price | None:
    """A model's price, where costs are counted in this currency; the newest of the tenant's own in each is in ``own``."""
    if currency in own:
        return own[currency]
    free = next((price.counted_in(currency) for price in own.values() if price.free), None)
    return free or (None if suggested is None else suggested.counted_in(currency))


def _refusal(tenant: Tenant, currency: str, lost: Mapping[tuple[str, str], Price]) -> PricesLost:
    names = [f"{backend}/{model}" for backend, model in lost]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    prices: list[dict[str, Any]] = [
        {"backend": backend, "model": model, "currency": price.currency, **{name: getattr(price, name) for name in AMOUNTS}}
        for (backend, model), price in lost.items()
    ]
    text = f"These models would have no price in {currency}: {', '.join(names[:MOST_NAMED])}{more}."
    ask = f"Say what 1 {tenant.cost_currency} is in {currency}, and their prices are converted; or say that they may be lost."
    return PricesLost(f"{text} {ask}", prices=prices)
