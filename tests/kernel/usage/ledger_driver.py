"""Drives real turns of one tenant for the model of the ledger: each waits at a gate until it is told how its model answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text, update

from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.host.caller import Caller
from tollhouse.usage.models import runners
from tollhouse.usage.sweeper import sweep

ZONE = ZoneInfo("Europe/Berlin")
START = datetime(2026, 10, 24, 20, 30, tzinfo=UTC)  # the night in which the clock is set back
MOST_OUTPUT = 100
ABSURD = 10**9
LIMITS: dict[tuple[str, str], int] = {
    ("calls", "hour"): 4,
    ("total_tokens", "day"): 900,
    ("output_tokens", "month"): 500,
    ("cost", "lifetime"): 4_000,
    ("concurrent", "now"): 3,
}
CAP = 1_500
"""The tenant's daily cost in nano-units; a token costs 1 of them going in and 2 coming out."""

Window = tuple[str, str, datetime | date | str]


async def open_tenant(world: World) -> tuple[Shop, Caller]:
    """A tenant under all the limits, and its user."""
    limits = [{"metric": metric, "window": window, "amount": amount} for (metric, window), amount in LIMITS.items()]
    shop = await open_shop(world.store, *limits, spec={"max_output_tokens": MOST_OUTPUT}, timezone=ZONE.key, daily_cost_cap=CAP)
    return shop, await world.caller(shop.tenant_id, await add_customer(world.store, shop))


def request(key: str, words: str, output: int) -> th.TurnRequest:
    return say(words, external_id=key, parameters={"max_tokens": output})


async def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


Gate = asyncio.Future[Callable[[], th.Completion]]
TOLD: ContextVar[tuple[asyncio.Future[int], Gate]] = ContextVar("TOLD")


async def answer_when_told(ctx: Any, completion: th.CompletionRequest) -> th.Completion:
    """The model: each turn's task has a gate of its own, also when the runtime tries again."""
    asked, gate = TOLD.get()
    if not asked.done():
        asked.set_result(completion.max_output_tokens)
    return (await gate)()


async def start(world: World, caller: Caller, wanted: th.TurnRequest, gate: Gate) -> tuple[asyncio.Task[Any], int | None]:
    """Start a turn; when its model is asked, the most output that it is asked for. None if it never came to that."""
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    world.model.complete = answer_when_told  # type: ignore[method-assign, assignment]
    context = copy_context()
    context.run(TOLD.set, (asked, gate))
    task = asyncio.create_task(world.container.turns.run(caller, wanted), context=context)
    waited: set[asyncio.Future[Any]] = {task, asked}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    assert asked.done() or task.done(), "neither denied nor asked"
    return task, asked.result() if asked.done() else None


async def no_pause(seconds: float) -> None:
    """The runtime tries again at once."""


async def finished(task: asyncio.Task[Any]) -> Any:
    return await asyncio.wait_for(task, 20)


async def lapse(world: World) -> None:
    """The lease lapses, the sweeper comes, the lease is taken again."""
    async with world.store.operator() as conn:
        lapsed = update(runners).where(runners.c.id == world.container.runner.id)
        await conn.execute(lapsed.values(lease_until=text("now() - interval '1 second'")))
    await sweep(world.store)
    await world.container.runner.renew()


def window_of(row: Any) -> Window:
    metric = row["metric"] if row["user_id"] else "cap"
    local = row["window_start"].astimezone(ZONE)
    names = {"hour": row["window_start"], "day": local.date(), "month": f"{local:%Y-%m}"}
    return metric, row["window"], names.get(row["window"], "always")


async def learn_prompt(world: World) -> int:
    """What a prompt is taken for besides its words, learned from a turn in another tenant."""
    shop = await open_shop(world.store, {"metric": "input_tokens", "amount": 10**9, "window": "day"})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    await world.container.turns.run(caller, say("words"))
    async with world.store.transaction(shop.tenant_id) as conn:
        held = (await conn.execute(text("SELECT amounts[1] FROM holds"))).scalar_one()
    return int(held) - len("words")
