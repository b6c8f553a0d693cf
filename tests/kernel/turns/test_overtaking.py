"""A process that was taken for dead and comes back: its turn is paid and answered once, and what it used is not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.conftest import Cluster
from tests.kernel.turns.dying import customer_of, die, limits_of, stuck_turn
from tests.world import World, open_world, say
from tollhouse import plugin as th
from tollhouse.conversations.models import messages
from tollhouse.store.errors import DatabaseDown
from tollhouse.turns.errors import TurnRunning
from tollhouse.usage.models import alarms, entries
from tollhouse.usage.sweeper import sweep
from tollhouse.usage.verify import verify


async def test_usage_that_arrives_after_the_hold_expired_is_posted_late_and_charged(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k")
    await die(world)
    assert await sweep(world.store) == 1
    assert world.model.gate is not None
    world.model.gate.set()
    result = await task
    assert result.state == "done"
    assert await limits_of(world, caller) == {"calls": (1, 0), "concurrent": (0, 0)}
    async with world.store.transaction(shop.tenant_id) as conn:
        kinds = (await conn.execute(select(entries.c.kind).order_by(entries.c.id))).scalars().all()
        codes = (await conn.execute(select(alarms.c.code))).scalars().all()
    assert kinds == ["turn", "late", "correction"]
    assert codes == ["late_usage"]
    assert (await world.container.turns.get(caller, result.id)).state == "done"
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_turn_under_a_live_lease_is_not_run_twice_and_is_taken_over_when_it_lapses(
    world: World, cluster: Cluster, tmp_path: Path
) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "same")
    other = await open_world(cluster.dsn, tmp_path / "other")
    try:
        with pytest.raises(TurnRunning):
            await other.container.turns.run(caller, say(external_id="same"))
        await die(world)
        again = await other.container.turns.run(caller, say(external_id="same"))
        assert again.state == "done"
        await sweep(other.store)
        assert world.model.gate is not None
        world.model.gate.set()
        await task
        assert await limits_of(other, caller) == {"calls": (1, 0), "concurrent": (0, 0)}, "charged once"
        async with other.store.transaction(shop.tenant_id) as conn:
            costs = (await conn.execute(select(entries.c.kind).where(entries.c.outcome == "ok"))).scalars().all()
        assert sorted(costs) == ["late", "turn"], "both calls are cost"
        assert await verify(other.store, shop.tenant_id) == []
    finally:
        await other.container.close()


async def test_a_taken_over_turn_is_paid_and_answered_once_whoever_comes_back_first(
    world: World, cluster: Cluster, tmp_path: Path
) -> None:
    """The process was only slow: it comes back before anybody swept up after it, and its answer is ready."""
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "same", store=True)
    other = await open_world(cluster.dsn, tmp_path / "other")
    try:
        await die(world)
        other.model.answer = lambda request: th.Completion((th.Text("The second."),), th.TokenUsage(1, 1))
        again = await other.container.turns.run(caller, say(external_id="same", store=True))
        world.model.gate.set()
        late = await task
        assert [late.reply and late.reply.text, again.reply and again.reply.text] == ["The second."] * 2, "one answer"
        assert await limits_of(other, caller) == {"calls": (1, 0), "concurrent": (0, 0)}, "charged once"
        async with other.store.transaction(shop.tenant_id) as conn:
            said = (await conn.execute(select(messages.c.role).order_by(messages.c.id))).scalars().all()
        assert said == ["user", "assistant"]
        assert await verify(other.store, shop.tenant_id) == []
    finally:
        await other.container.close()


async def test_who_comes_back_while_another_attempt_runs_is_told_so(world: World, cluster: Cluster, tmp_path: Path) -> None:
    shop, caller = await customer_of(world)
    first = await stuck_turn(world, caller, "same")
    other = await open_world(cluster.dsn, tmp_path / "other")
    try:
        await die(world)
        second = await stuck_turn(other, caller, "same")
        world.model.gate.set()
        with pytest.raises(TurnRunning):
            await first
        other.model.gate.set()
        assert (await second).state == "done"
        assert await limits_of(other, caller) == {"calls": (1, 0), "concurrent": (0, 0)}
        assert await verify(other.store, shop.tenant_id) == []
    finally:
        await other.container.close()


async def test_late_usage_whose_answer_was_lost_is_posted_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller)
    await die(world)
    await sweep(world.store)
    settlement = world.container.turns._settlement
    post, lost = settlement._post_late, []
    run = world.store.run

    async def lose_the_answer(scope: Any, work: Any) -> Any:
        result = await run(scope, work)
        if getattr(work, "func", None) == post and not lost:
            lost.append(work)
            raise DatabaseDown()
        return result

    monkeypatch.setattr(world.store, "run", lose_the_answer)
    world.model.gate.set()
    await task
    assert lost
    async with world.store.transaction(shop.tenant_id) as conn:
        kinds = (await conn.execute(select(entries.c.kind).order_by(entries.c.kind))).scalars().all()
    assert kinds == ["correction", "late", "turn"]
    assert await verify(world.store, shop.tenant_id) == []
