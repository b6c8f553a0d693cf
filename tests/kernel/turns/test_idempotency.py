"""Requests with one idempotency key: however many come at once, and whatever they meet, one turn runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import update

from tests.conftest import Cluster
from tests.kernel.turns.dying import customer_of, limits_of, stuck_turn
from tests.world import World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.auth.models import users
from tollhouse.plugin.errors import AccessDenied, BackendRejected
from tollhouse.store.ids import new_id
from tollhouse.turns.errors import AnswerDeleted, OtherBody, TurnRunning
from tollhouse.usage.verify import verify

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_twenty_requests_with_one_key_have_one_effect(world: World) -> None:
    shop, caller = await customer_of(world)
    world.model.delay = lambda: 0.02

    async def one() -> str:
        try:
            return (await world.container.turns.run(caller, say(external_id="k"))).id
        except TurnRunning:
            return "running"

    found = await asyncio.gather(*(one() for _ in range(20)))
    assert len({one for one in found if one != "running"}) == 1
    assert len(world.model.calls) == 1
    assert (await limits_of(world, caller))["calls"] == (1, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_whoever_meets_a_turn_that_is_being_settled_holds_the_counters_first(world: World, cluster: Cluster) -> None:
    """Settling locks in the order of admission: with the turn first, each would wait for the other until one is shot."""
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k")
    admin = await asyncpg.connect(cluster.dsn.replace("tollhouse@", "postgres@"))
    try:
        async with admin.transaction():
            await admin.execute("SELECT 1 FROM counters WHERE tenant_id = $1 FOR UPDATE", shop.tenant_id)
            assert world.model.gate is not None
            world.model.gate.set()
            async with asyncio.timeout(10):
                while not await admin.fetchval(WAITING):  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.005)
            await admin.fetch("SELECT 1 FROM turns WHERE tenant_id = $1 FOR UPDATE NOWAIT", shop.tenant_id)
    finally:
        await admin.close()
    assert (await task).state == "done"


async def test_of_parallel_retries_of_a_failed_turn_one_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = await open_shop(world.store, {"metric": "calls", "amount": 10, "window": "day"})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def refuse(request: th.CompletionRequest) -> th.Completion:
        raise BackendRejected(private="no")

    polite, world.model.answer = world.model.answer, refuse
    with pytest.raises(BackendRejected):
        await world.container.turns.run(caller, say(external_id="k"))
    world.model.answer, before = polite, len(world.model.calls)
    groups, gate = world.container.turns._admissions, asyncio.Event()
    admit = groups._work

    async def held_up(*group: Any) -> Any:
        await gate.wait()
        return await admit(*group)

    monkeypatch.setattr(groups, "_work", held_up)
    other = asyncio.create_task(world.container.turns.run(caller, say()))  # while this is admitted, they meet in one group
    tries = [asyncio.create_task(world.container.turns.run(caller, say(external_id="k"))) for _ in range(4)]
    async with asyncio.timeout(10):
        while not groups._queues or len(groups._queues[shop.tenant_id].waiting) < 4:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    gate.set()
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(one).__name__ for one in outcomes} <= {"TurnResult", "TurnRunning"}
    await other
    assert len(world.model.calls) == before + 2
    assert (await limits_of(world, caller))["calls"] == (2, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_of_parallel_requests_with_one_key_that_are_refused_each_is_told_why(world: World) -> None:
    shop = await open_shop(world.store, {"metric": "calls", "amount": 0, "window": "day"})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    tries = (world.container.turns.run(caller, say(external_id="k")) for _ in range(20))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in outcomes] == [AccessDenied] * 20


async def test_a_repeated_request_whose_answer_was_deleted_is_told_so_and_charged_once(world: World) -> None:
    shop, caller = await customer_of(world)
    result = await world.container.turns.run(caller, say(external_id="k", store=True))
    await world.container.conversations.delete(caller.user, result.conversation_id)
    with pytest.raises(AnswerDeleted) as gone:
        await world.container.turns.run(caller, say(external_id="k", store=True))
    assert (gone.value.http_status, gone.value.may_retry) == (410, False)
    assert (await limits_of(world, caller))["calls"] == (1, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_one_key_does_not_try_two_versions(world: World) -> None:
    shop, caller = await customer_of(world)
    async with world.store.transaction(shop.tenant_id) as conn:
        await conn.execute(update(users).where(users.c.id == caller.user.user_id).values(role="admin"))
    staff = replace(caller, principal=replace(caller.user, role="admin"))
    tried = {"test": True, "version": str(shop.version_id)}
    assert (await world.container.turns.run(staff, say(external_id="k", metadata=tried))).state == "done"
    with pytest.raises(OtherBody):
        await world.container.turns.run(staff, say(external_id="k", metadata={**tried, "version": str(new_id())}))
