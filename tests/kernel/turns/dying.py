"""How turns die half-way: for the stories of what becomes of them."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import text, update

from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse.usage.models import runners

CALLS_3 = {"metric": "calls", "amount": 3, "window": "day"}


async def customer_of(world: World) -> tuple[Shop, Any]:
    shop = await open_shop(world.store, CALLS_3, {"metric": "concurrent", "amount": 2, "window": "now"})
    return shop, await world.caller(shop.tenant_id, await add_customer(world.store, shop))


async def die(world: World) -> None:
    """The process is gone as far as the ledger can see: its lease has lapsed."""
    async with world.store.operator() as conn:
        lapsed = update(runners).where(runners.c.id == world.container.runner.id)
        await conn.execute(lapsed.values(lease_until=text("now() - interval '1 second'")))


async def stuck_turn(world: World, caller: Any, key: str | None = None, **values: Any) -> asyncio.Task[Any]:
    """A turn whose model does not answer before ``world.model.gate`` is set."""
    world.model.gate = asyncio.Event()
    before = len(world.model.calls)
    task = asyncio.create_task(world.container.turns.run(caller, say(external_id=key, **values)))
    async with asyncio.timeout(10):
        while len(world.model.calls) == before:  # noqa: ASYNC110 - the model is scripted, it tells nobody
            await asyncio.sleep(0.005)
    return task


async def limits_of(world: World, caller: Any) -> dict[str, tuple[int, int]]:
    return {one.metric: (one.used, one.held) for one in await world.container.policy.limits(caller.user)}
