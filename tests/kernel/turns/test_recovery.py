"""What happens when something dies half-way: nothing is lost, nothing is counted twice, and the person gets an answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, text

from tests.conftest import Cluster
from tests.kernel.turns.dying import CALLS_3, customer_of, die, limits_of, stuck_turn
from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.plugin.errors import BadCompletion
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import new_id
from tollhouse.turns import settle
from tollhouse.usage.models import alarms, entries, holds
from tollhouse.usage.runners import Runner
from tollhouse.usage.sweeper import sweep
from tollhouse.usage.verify import verify


async def test_holds_of_a_dead_process_come_back_with_an_entry_that_says_so(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller)
    assert await limits_of(world, caller) == {"calls": (0, 1), "concurrent": (0, 1)}
    assert await sweep(world.store) == 0, "a living process keeps its holds"
    await die(world)
    swept = await asyncio.gather(sweep(world.store), sweep(world.store))
    assert sum(swept) == 1
    assert await limits_of(world, caller) == {"calls": (0, 0), "concurrent": (0, 0)}
    async with world.store.transaction(shop.tenant_id) as conn:
        found = (await conn.execute(select(entries.c.outcome, entries.c.certainty, entries.c.cost))).one()
    assert tuple(found) == ("interrupted", "unknown", await most_of_a_call(world, shop)), "it may have cost as much"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_database_that_goes_away_while_settling_loses_nothing(world: World, cluster: Cluster) -> None:

    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller)
    admin = await asyncpg.connect(cluster.superuser_dsn)
    name = cluster.dsn.split("@/", 1)[1].split("?")[0]
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        assert world.model.gate is not None
        world.model.gate.set()
        with pytest.raises(DatabaseDown):
            await world.container.policy.limits(caller.user)
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()
    assert (await task).state == "done"
    assert (await limits_of(world, caller))["calls"] == (1, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_settlement_whose_answer_was_lost_is_not_posted_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)
    settlement = world.container.turns._settlement
    settle, lost = settlement._settle, []

    async def commit_and_lose_the_answer(*group: Any) -> list[bool]:
        outcome = await settle(*group)
        if not lost:
            lost.append(outcome)
            raise DatabaseDown()
        return outcome

    monkeypatch.setattr(settlement._groups, "_work", commit_and_lose_the_answer)
    assert (await world.container.turns.run(caller, say())).state == "done"
    assert lost == [[True]]
    async with world.store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(entries.c.kind))).scalars().all() == ["turn"]
        assert (await conn.execute(select(alarms.c.code))).scalars().all() == []
    assert (await limits_of(world, caller))["calls"] == (1, 0)


async def test_an_admission_whose_answer_was_lost_does_not_stay_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)
    groups = world.container.turns._admissions
    admit = groups._work

    async def commit_and_lose_the_answer(*group: Any) -> Any:
        await admit(*group)
        raise DatabaseDown()

    with monkeypatch.context() as patched:
        patched.setattr(groups, "_work", commit_and_lose_the_answer)
        with pytest.raises(DatabaseDown):
            await world.container.turns.run(caller, say(external_id="k"))
    task = await stuck_turn(world, caller)
    assert await limits_of(world, caller) == {"calls": (0, 2), "concurrent": (0, 2)}
    assert await world.container.runner.let_go() == 0, "it may be on its way"
    assert await world.container.runner.let_go(older_than=-1) == 1, "what is being worked on stays"
    assert await limits_of(world, caller) == {"calls": (0, 1), "concurrent": (0, 1)}
    world.model.gate.set()
    assert (await task).state == "done"
    assert (await world.container.turns.run(caller, say(external_id="k"))).state == "done", "the same key may try again"
    assert world.container.runner.busy == set()
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_settlement_outlives_its_caller(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)
    settlement = world.container.turns._settlement
    settle, gate, asked = settlement._settle, asyncio.Event(), asyncio.Event()

    async def held_up(*group: Any) -> list[bool]:
        asked.set()
        await gate.wait()
        return await settle(*group)

    monkeypatch.setattr(settlement._groups, "_work", held_up)
    task = asyncio.create_task(world.container.turns.run(caller, say()))
    async with asyncio.timeout(10):
        await asked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*settlement._tasks)
    assert (await limits_of(world, caller))["calls"] == (1, 0)
    assert world.container.runner.busy == set()
    assert await verify(world.store, shop.tenant_id) == []


async def test_what_cannot_be_written_is_settled_as_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)
    row = settle._turn
    monkeypatch.setattr(settle, "_turn", lambda ended: row(ended) | ({"turn_state": "no state"} if ended.reply else {}))
    with pytest.raises(asyncpg.PostgresError):
        await world.container.turns.run(caller, say())
    assert await limits_of(world, caller) == {"calls": (0, 0), "concurrent": (0, 0)}
    async with world.store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(entries.c.outcome, entries.c.certainty))).all() == [("interrupted", "unknown")]
    assert await verify(world.store, shop.tenant_id) == []


async def test_the_lease_is_renewed_after_whatever_went_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(world.store, renew_seconds=0.001)
    renewed = asyncio.Event()
    outcomes = iter([RuntimeError("a bug"), DatabaseDown(), None])

    async def renew() -> None:
        outcome = next(outcomes, None)
        if outcome is None:
            renewed.set()
        else:
            raise outcome

    await runner.start()
    monkeypatch.setattr(runner, "renew", renew)
    async with asyncio.timeout(10):
        await renewed.wait()
    await runner.stop()


async def test_a_fault_of_ours_between_admission_and_the_model_holds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, caller = await customer_of(world)

    async def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(world.container.turns._media, "hydrate", full)
        with pytest.raises(OSError, match="No space"):
            await world.container.turns.run(caller, say())
    assert await limits_of(world, caller) == {"calls": (0, 0), "concurrent": (0, 0)}
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_turn_that_is_cancelled_gives_back_what_it_held_at_once(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await limits_of(world, caller) == {"calls": (0, 0), "concurrent": (0, 0)}
    async with world.store.transaction(shop.tenant_id) as conn:
        found = (await conn.execute(select(entries.c.outcome, entries.c.certainty, entries.c.cost))).all()
    assert [tuple(one) for one in found] == [("interrupted", "unknown", await most_of_a_call(world, shop))]
    world.model.gate = None
    assert (await world.container.turns.run(caller, say(external_id="k"))).state == "done", "the same key may try again"
    assert await verify(world.store, shop.tenant_id) == []


async def test_in_one_group_some_are_refused_and_the_others_go_on(world: World) -> None:
    shop, caller = await customer_of(world)  # 3 a day, 2 at once
    other = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    stranger = replace(other, principal=replace(other.user, user_id=new_id()))
    await world.container.turns.run(caller, say())
    await world.container.turns.run(other, say())
    world.model.gate = asyncio.Event()
    turns = [asyncio.create_task(world.container.turns.run(who, say())) for who in (caller, stranger, caller, caller, other)]
    async with asyncio.timeout(10):
        while len(world.model.calls) < 5:  # noqa: ASYNC110 - the model is scripted, it tells nobody
            await asyncio.sleep(0.005)
    world.model.gate.set()
    done = await asyncio.gather(*turns, return_exceptions=True)
    assert [getattr(one, "state", type(one).__name__) for one in done] == [
        "done",
        "Unauthenticated",
        "done",
        "AccessDenied",
        "done",
    ]
    assert (await limits_of(world, caller))["calls"] == (3, 0)
    assert (await limits_of(world, other))["calls"] == (2, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_every_hold_is_resolved_once_whoever_races(world: World) -> None:
    shop, caller = await customer_of(world)
    for _ in range(10):
        task = await stuck_turn(world, caller)
        await die(world)
        assert world.model.gate is not None
        world.model.gate.set()
        await asyncio.gather(task, sweep(world.store), sweep(world.store), return_exceptions=True)
        async with world.store.transaction(shop.tenant_id) as conn:
            await conn.execute(text("DELETE FROM counters"))  # a fresh allowance for the next round
            open_holds = (await conn.execute(select(holds.c.id).where(holds.c.state == "open"))).all()
        assert open_holds == []
        await world.container.runner.renew()
    async with world.store.transaction(shop.tenant_id) as conn:
        resolved = (await conn.execute(select(holds.c.id))).scalars().all()
        posted = (await conn.execute(select(entries.c.id).where(entries.c.kind == "turn"))).scalars().all()
    assert sorted(resolved) == sorted(posted)


async def test_a_reply_with_odd_characters_is_stored_as_it_was_said(world: World) -> None:
    shop, caller = await customer_of(world)
    odd = "it's \\ a \"quote\"; DROP TABLE turns; -- $1 :name 'x'' \u2028 \U0001f600 {}"
    world.model.answer = lambda request: th.Completion((th.Text(odd),), th.TokenUsage(1, 1))
    result = await world.container.turns.run(caller, say(odd, store=True))
    assert result.reply is not None
    assert result.reply.text == odd
    again = await world.container.turns.get(caller, result.id)
    assert again.reply is not None
    assert again.reply.text == odd
    assert await verify(world.store, shop.tenant_id) == []


@pytest.mark.parametrize("odd", ["half a pair \ud83d", "NUL \0 in it", "\\u0000 spelt out", "NUL \0, \ud83d and \\ud83d"])
async def test_what_the_database_cannot_hold_is_marked_where_it_was(world: World, odd: str) -> None:
    shop, caller = await customer_of(world)
    world.model.answer = lambda request: th.Completion((th.Text(odd),), th.TokenUsage(1, 1))
    result = await world.container.turns.run(caller, say("Hello", store=True))
    again = await world.container.turns.get(caller, result.id)
    assert again.reply is not None
    assert again.reply.text == odd.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")
    assert await verify(world.store, shop.tenant_id) == []


@pytest.mark.parametrize("answer", ["1e400", "1" * 401])
async def test_what_an_unusable_answer_cost_is_in_the_ledger(world: World, answer: str) -> None:
    """A number that no float can hold, where the schema asks for a multiple."""
    shop = await open_shop(world.store, CALLS_3, spec={"post": {"json_schema": {"multipleOf": 0.5}}})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    world.model.answer = lambda request: th.Completion((th.Text(answer),), th.TokenUsage(100, 50))
    with pytest.raises(BadCompletion):
        await world.container.turns.run(caller, say())
    async with world.store.transaction(shop.tenant_id) as conn:
        kept = (await conn.execute(select(entries.c.outcome, entries.c.input_tokens, entries.c.certainty))).all()
    assert {tuple(row)[1:] for row in kept} == {(100, "exact")}
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_fault_of_ours_after_the_model_answered_loses_no_cost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, caller = await customer_of(world)

    async def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("tollhouse.runtime.run.polish", broken)
    with pytest.raises(BadCompletion):
        await world.container.turns.run(caller, say())
    async with world.store.transaction(shop.tenant_id) as conn:
        kept = (await conn.execute(select(entries.c.outcome, entries.c.input_tokens, entries.c.cost))).all()
    assert kept == [("bad_completion", 10, 20)]
    assert await limits_of(world, caller) == {"calls": (0, 0), "concurrent": (0, 0)}


async def most_of_a_call(world: World, shop: Shop) -> int:
    """What the newest call was held for: its prompt, at a nano-unit a token, and all of its output, at two."""
    asked = world.model.calls[-1]
    async with world.store.transaction(shop.tenant_id) as conn:
        sent = (await conn.execute(select(entries.c.input_tokens).order_by(entries.c.id.desc()).limit(1))).scalar_one()
    assert sent >= sum(len(message.text) for message in asked.messages)
    return int(sent + 2 * asked.max_output_tokens)
