"""The daily stop of a tenant: it counts all that models cost, whoever pays for it and whatever came of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from tests.kernel.turns.dying import stuck_turn
from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.plugin.errors import AccessDenied, BadCompletion
from tollhouse.usage.models import counters, entries
from tollhouse.usage.price_repository import cost_is_counted
from tollhouse.usage.verify import verify


async def test_what_failed_replies_cost_counts_towards_the_daily_stop(world: World) -> None:
    """A person can make replies fail as often as they like, and pays nothing for it; the tenant pays for each."""
    spec = {"post": {"json_schema": {"type": "object"}}, "max_output_tokens": 50}
    shop = await open_shop(world.store, spec=spec, daily_cost_cap=5_000)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    world.model.answer = lambda request: th.Completion((th.Text("Prose."),), th.TokenUsage(100, 20))
    outcomes = []
    while outcomes[-1:] != ["tenant_cap_reached"]:
        assert len(outcomes) < 100, "nothing stops it"
        try:
            await world.container.turns.run(caller, say())
        except AccessDenied as denied:
            outcomes.append(denied.decision.reason)
        except BadCompletion as error:
            outcomes.append(error.http_code)
    async with world.store.transaction(shop.tenant_id) as conn:
        costs = (await conn.execute(select(entries.c.cost))).scalars().all()
        [counted] = (await conn.execute(select(counters.c.used).where(counters.c.user_id.is_(None)))).scalars().all()
    assert costs == [140] * 2 * (len(outcomes) - 1), "each was asked twice"
    assert counted == sum(costs)
    assert await verify(world.store, shop.tenant_id) == []


async def test_where_nobody_knows_what_it_cost_it_is_what_was_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that was broken off while the model worked at it; one that never came to that has cost nothing."""
    shop = await open_shop(world.store, spec={"max_output_tokens": 50}, daily_cost_cap=100_000)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    task = await stuck_turn(world, caller)
    [(used, held)] = await stop_of(world, shop)
    assert (used, held > 100) == (0, True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await stop_of(world, shop) == [(held, 0)]
    async with world.store.transaction(shop.tenant_id) as conn:
        assert await cost_is_counted(conn, shop.tenant_id) == "what a running cost limit has counted"
    groups, decided, go = world.container.turns._admissions, asyncio.Event(), asyncio.Event()
    admit = groups._work

    async def slow(*group: Any) -> Any:
        outcome = await admit(*group)
        decided.set()
        await go.wait()
        return outcome

    monkeypatch.setattr(groups, "_work", slow)
    task = asyncio.create_task(world.container.turns.run(caller, say()))
    async with asyncio.timeout(10):
        await decided.wait()
        task.cancel()
        go.set()
        await asyncio.gather(task, return_exceptions=True)
        while groups._tasks:
            await asyncio.gather(*groups._tasks)
    assert await stop_of(world, shop) == [(held, 0)]
    assert await verify(world.store, shop.tenant_id) == []


async def stop_of(world: World, shop: Shop) -> list[tuple[int, int]]:
    """What the tenant's own counter has used and holds."""
    async with world.store.transaction(shop.tenant_id) as conn:
        found = (await conn.execute(select(counters.c.used, counters.c.held).where(counters.c.user_id.is_(None)))).all()
    return [(used, held) for used, held in found]
