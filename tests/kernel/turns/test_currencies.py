"""One currency for what is sold and what it costs; prices of another one are converted once, and none is lost unseen."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse.host.caller import Caller
from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.audit import SYSTEM
from tollhouse.tenants.errors import PricesLost
from tollhouse.tenants.service import TenantChanges
from tollhouse.usage.models import entries
from tollhouse.usage.prices import convert

RATE = 920_000_000  # 1 USD = 0.92 EUR


async def staff_of(world: World, shop: Shop) -> Caller:
    return Caller((await world.caller(shop.tenant_id, shop.agent_id)).tenant, None)


async def costs(world: World, shop: Shop) -> list[tuple[int | None, str]]:
    """What a turn costs now."""
    await world.container.turns.run(await world.caller(shop.tenant_id, await add_customer(world.store, shop)), say())
    async with world.store.transaction(shop.tenant_id) as conn:
        newest = select(entries.c.cost, entries.c.cost_currency).order_by(entries.c.id.desc()).limit(1)
        return [(row.cost, row.cost_currency) for row in await conn.execute(newest)]


async def change(world: World, shop: Shop, **changes: Any) -> Any:
    tenant = await world.container.tenants.update(shop.tenant_id, TenantChanges(**changes), actor=SYSTEM)
    world.container.directory.forget()
    world.container.prices.forget(shop.tenant_id)
    return tenant


async def test_a_new_tenant_sells_and_counts_in_us_dollars_unless_it_chooses_otherwise(world: World) -> None:
    plain = await world.container.tenants.create("plain", "Plain", actor=SYSTEM)
    assert (plain.currency, plain.cost_currency) == ("USD", "USD")
    euro = await world.container.tenants.create("euro", "Euro", actor=SYSTEM, currency="EUR")
    assert (euro.currency, euro.cost_currency) == ("EUR", "EUR")
    moved = await world.container.tenants.update(euro.id, TenantChanges(currency="CHF"), actor=SYSTEM)
    assert (moved.currency, moved.cost_currency) == ("CHF", "CHF"), "one for both stays one"
    two = await world.container.tenants.create("two", "Two", actor=SYSTEM, currency="EUR", cost_currency="USD")
    moved = await world.container.tenants.update(two.id, TenantChanges(currency="CHF"), actor=SYSTEM)
    assert (moved.currency, moved.cost_currency) == ("CHF", "USD"), "who had two keeps two"


async def test_a_price_in_another_currency_is_converted_once_and_says_how(world: World) -> None:
    shop = await open_shop(world.store, currency="EUR", cost_currency="EUR")
    assert await costs(world, shop) == [(None, "USD")], "the suggestion is in dollars, and is not in force"
    admin = await staff_of(world, shop)
    price: dict[str, Any] = {"input_per_million": 1_000_000, "output_per_million": 2_000_000, "currency": "usd"}
    for rate in (None, 0, -1, 10**16):
        with pytest.raises(InvalidInput) as refused:
            await world.container.prices.set_price(admin, "scripted", "m", **price, rate=rate)
        assert [one.pointer for one in refused.value.errors] == ["#/currency" if rate is None else "#/rate"]
    made = await world.container.prices.set_price(admin, "scripted", "m", **price, rate=RATE)
    assert (made.input_per_million, made.output_per_million, made.currency) == (920_000, 1_840_000, "EUR")
    [(cost, currency)] = await costs(world, shop)
    assert (cost, currency) == (18, "EUR")  # 10 and 5 tokens: 18.4
    [kept] = await world.container.prices.history(shop.tenant_id, "scripted", "m")
    assert kept.converted == {
        "currency": "USD",
        "rate": RATE,
        "input_per_million": 1_000_000,
        "output_per_million": 2_000_000,
        "cached_per_million": None,
    }
    assert await world.container.alarms.open(shop.tenant_id) == [], "it has a price now"


async def test_nobody_loses_a_price_by_another_currency_without_being_told(world: World) -> None:
    shop = await open_shop(world.store, currency="USD", cost_currency="USD")
    admin = await staff_of(world, shop)
    await world.container.prices.set_price(admin, "mine", "big", input_per_million=500, output_per_million=1_001)
    await world.container.prices.set_price(admin, "mine", "free", input_per_million=0, output_per_million=0)
    with pytest.raises(PricesLost) as refused:
        await change(world, shop, currency="EUR")
    named = [(one["backend"], one["model"]) for one in refused.value.extra["prices"]]
    assert named == [("mine", "big"), ("scripted", "m")], (
        "its own, and what is suggested for the model in use; not what is free"
    )
    assert "mine/big, scripted/m" in refused.value.detail
    assert (await world.container.tenants.get(shop.tenant_id)).currency == "USD", "nothing was changed"
    moved = await change(world, shop, currency="EUR", rate=RATE)
    assert (moved.currency, moved.cost_currency) == ("EUR", "EUR")
    book = world.container.prices
    big, small = await book.get(shop.tenant_id, "mine", "big"), await book.get(shop.tenant_id, "scripted", "m")
    assert big is not None
    assert (big.input_per_million, big.output_per_million, big.currency) == (460, 921, "EUR")
    assert small is not None
    assert (small.input_per_million, small.currency) == (920_000, "EUR")
    assert await costs(world, shop) == [(18, "EUR")]
    assert (await change(world, shop, currency="USD")).cost_currency == "USD", "back: its dollar prices are there still"
    assert await costs(world, shop) == [(20, "USD")]


async def test_prices_may_be_left_behind_by_who_says_so(world: World) -> None:
    shop = await open_shop(world.store, currency="USD", cost_currency="USD")
    assert (await change(world, shop, currency="JPY", drop_prices=True)).cost_currency == "JPY"
    assert await costs(world, shop) == [(None, "USD")]


async def test_what_sells_in_one_and_counts_in_another_becomes_one(world: World) -> None:
    """As the installations before were: sales in euros, costs in dollars, and no margin."""
    shop = await open_shop(world.store, currency="EUR", cost_currency="USD")
    moved = await change(world, shop, cost_currency="EUR", rate=RATE)
    assert (moved.currency, moved.cost_currency) == ("EUR", "EUR")
    assert await costs(world, shop) == [(18, "EUR")]


def test_amounts_are_rounded_half_up_and_never_floats() -> None:
    for amount, rate, expected in (
        (1, 10**9, 1),
        (1, 5 * 10**8, 1),
        (1, 4 * 10**8, 0),
        (3, 5 * 10**8, 2),
        (10**15, 3, 3 * 10**6),
    ):
        made, kept = convert({"x": amount, "y": None}, "USD", "EUR", rate)
        assert made == {"x": expected, "y": None}
        assert kept == {"currency": "USD", "rate": rate, "x": amount, "y": None}
