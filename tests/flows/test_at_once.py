"""Two processes on one database: what is changed in one of them holds with the very next use in the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import Cluster
from tests.world import World, add_customer, open_shop, open_world, say
from tollhouse.plugin import AccessDenied
from tollhouse.store.audit import CLI
from tollhouse.usage.models import entries

WITHIN = 1.2
"""Seconds: what a process remembers for a second, and a moment."""


@pytest.fixture
async def two(cluster: Cluster, tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    here, there = await open_world(cluster.dsn, tmp_path), await open_world(cluster.dsn, tmp_path)
    yield here, there
    for world in (here, there):
        await world.container.close()


async def costs(world: World, tenant_id: UUID) -> list[tuple[int | None, str | None]]:
    async with world.store.transaction(tenant_id) as conn:
        rows = (await conn.execute(entries.select().where(entries.c.tenant_id == tenant_id).order_by(entries.c.id))).mappings()
        return [(row["cost"], (row["price"] or {}).get("source")) for row in rows]


async def set_price(world: World, caller: Any, amount: int, **when: Any) -> None:
    values = {"input_per_million": amount, "output_per_million": amount, "currency": "USD"}
    await world.container.prices.set_price(caller, "scripted", "m", **values, **when)


async def test_a_price_is_in_force_with_the_next_turn_in_every_process(two: tuple[World, World]) -> None:
    here, there = two
    shop = await open_shop(here.store)
    user = await add_customer(here.store, shop)
    mine, theirs = await here.caller(shop.tenant_id, user), await there.caller(shop.tenant_id, user)
    for amount in (10_000_000, 20_000_000, 40_000_000, 0):
        await there.container.turns.run(theirs, say())  # now it remembers the price before
        await set_price(here, mine, amount)
        await there.container.turns.run(theirs, say())
        assert (await costs(there, shop.tenant_id))[-1] == (15 * amount // 1_000_000, "tenant")


async def test_a_price_that_begins_later_is_in_force_from_that_moment(two: tuple[World, World]) -> None:
    here, there = two
    shop = await open_shop(here.store)
    user = await add_customer(here.store, shop)
    mine, theirs = await here.caller(shop.tenant_id, user), await there.caller(shop.tenant_id, user)
    await set_price(here, mine, 1_000_000)
    begins = datetime.now(UTC) + timedelta(hours=1)
    await set_price(here, mine, 9_000_000, valid_from=begins)
    await there.container.turns.run(theirs, say())
    there.store.at(begins + timedelta(seconds=1))
    await there.container.turns.run(theirs, say())
    there.store.at(None)
    assert [cost for cost, _ in await costs(there, shop.tenant_id)] == [15, 135]


async def test_many_turns_at_once_all_have_the_new_price(two: tuple[World, World]) -> None:
    here, there = two
    shop = await open_shop(here.store)
    users = [await add_customer(here.store, shop) for _ in range(8)]
    mine = await here.caller(shop.tenant_id, users[0])
    callers = [await there.caller(shop.tenant_id, user) for user in users]
    await there.container.turns.run(callers[0], say())
    await set_price(here, mine, 7_000_000)
    await asyncio.gather(*(there.container.turns.run(caller, say()) for caller in callers))
    assert [cost for cost, _ in await costs(there, shop.tenant_id)][1:] == [105] * 8


async def test_a_page_of_prices_shows_it_within_a_second(two: tuple[World, World]) -> None:
    here, there = two
    shop = await open_shop(here.store)
    user = await add_customer(here.store, shop)
    mine = await here.caller(shop.tenant_id, user)
    await there.container.prices.catalogue(shop.tenant_id)
    await set_price(here, mine, 3_000_000)
    began = time.monotonic()
    while (await there.container.prices.get(shop.tenant_id, "scripted", "m")).input_per_million != 3_000_000:  # type: ignore[union-attr]
        assert time.monotonic() - began < WITHIN
        await asyncio.sleep(0.02)


async def _runs(world: World, caller: Any) -> str:
    """What the next turn comes to."""
    try:
        result = await world.container.turns.run(caller, say())
    except AccessDenied as denied:
        return denied.decision.reason
    except Exception as error:
        return type(error).__name__
    return result.state


SWITCHES = {
    "the agent is paused": "UPDATE agents SET status = 'draft' WHERE tenant_id = :t",
    "the connection is off": "UPDATE connections SET status = 'disabled', revision = revision + 1 WHERE tenant_id = :t",
    "the subscription is ended": "UPDATE subscriptions SET status = 'ended' WHERE tenant_id = :t",
    "the person is blocked": "UPDATE users SET status = 'blocked' WHERE tenant_id = :t",
    "the daily stop is reached": "UPDATE tenants SET daily_cost_cap = 1 WHERE id = :t",
}


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
async def test_what_is_switched_off_is_off_with_the_next_turn(switch: str, two: tuple[World, World]) -> None:
    from sqlalchemy import text

    here, there = two
    shop = await open_shop(here.store)
    user = await add_customer(here.store, shop)
    theirs = await there.caller(shop.tenant_id, user)
    await set_price(here, await here.caller(shop.tenant_id, user), 1_000_000_000)
    assert await _runs(there, theirs) == "done"
    async with here.store.transaction(shop.tenant_id) as conn:
        await conn.execute(text(SWITCHES[switch]), {"t": shop.tenant_id})
    assert await _runs(there, theirs) != "done"


async def test_a_suspended_tenant_stops_at_once(two: tuple[World, World]) -> None:
    here, there = two
    shop = await open_shop(here.store)
    user = await add_customer(here.store, shop)
    theirs = await there.caller(shop.tenant_id, user)
    assert await _runs(there, theirs) == "done"
    await here.container.tenants.suspend(shop.tenant_id, actor=CLI)
    assert await _runs(there, theirs) == "tenant_suspended"
    await here.container.tenants.resume(shop.tenant_id, actor=CLI)
    assert await _runs(there, theirs) == "done"
