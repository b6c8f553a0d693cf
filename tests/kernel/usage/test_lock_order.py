"""Everybody locks counters in one order: a person's own by id, then the tenant's. For every statement that locks, by no chance.

Somebody holds the counter that comes first. Whoever locks in order now waits for it with nothing else in hand, so the other
counter is still free; whoever does not, holds that one already, and two of them would wait for each other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import insert, update

import tollhouse
from tests.conftest import Cluster
from tests.world import Shop, add_customer, open_shop
from tollhouse.plugin.access import Principal
from tollhouse.policy import facts
from tollhouse.store.ids import new_id
from tollhouse.store.json_text import json_text
from tollhouse.store.scope import tenant_scope
from tollhouse.store.sql import Statement
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.turns import repository as turns_sql
from tollhouse.usage import holds as holds_sql
from tollhouse.usage.counters import CounterKey, Line
from tollhouse.usage.entries import ENTRIES, Entry
from tollhouse.usage.models import counters, holds
from tollhouse.usage.sweeper import expire_hold

LOW, HIGH = UUID(int=1 << 100), UUID(int=1 << 120)
PLANS = {
    "by index": "SET LOCAL enable_seqscan = off",
    "by heap": "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off",
}
"""However the database finds the rows: only what a statement says of their order counts."""


@dataclass
class Scene:
    """Two counters, written in the opposite of their order. ``first`` is to be locked before ``second``."""

    shop: Shop
    users: tuple[UUID, UUID]
    first: UUID
    second: UUID
    lines: tuple[Line, Line]

    @property
    def tenant(self) -> UUID:
        return self.shop.tenant_id


Pair = Literal["one person's", "two people's", "a person's and the tenant's"]
PAIRS: tuple[Pair, ...] = ("one person's", "two people's", "a person's and the tenant's")


async def scene(store: Store, pair: Pair) -> Scene:
    shop = await open_shop(store)
    users = (await add_customer(store, shop), await add_customer(store, shop))
    own = pair == "a person's and the tenant's"
    first, second = (HIGH, LOW) if own else (LOW, HIGH)
    owners = {first: users[0], second: None if own else users[1 if pair == "two people's" else 0]}
    async with store.operator() as conn:
        await conn.execute(update(tenants).where(tenants.c.id == shop.tenant_id).values(daily_cost_cap=10**9))
    async with store.transaction(shop.tenant_id) as conn:
        now = (await conn.exec_driver_sql("SELECT app_now()")).scalar_one()
        window = {"metric": "cost", "window": "day", "window_start": now, "window_end": now + timedelta(days=1), "held": 10}
        for counter in (second, first):
            row = {"tenant_id": shop.tenant_id, "id": counter, "user_id": owners[counter], **window}
            await conn.execute(insert(counters).values(row))
    keys = [CounterKey(one, owners[one], "cost", "day", now, now + timedelta(days=1)) for one in (second, first)]
    return Scene(shop, users, first, second, (Line(keys[0], 5), Line(keys[1], 5)))


async def open_hold(store: Store, at: Scene, user: UUID, *counter_ids: UUID) -> UUID:
    hold = new_id()
    row = {"turn_id": new_id(), "attempt": 1, "user_id": user, "runner_id": new_id(), "counter_ids": list(counter_ids)}
    async with store.transaction(at.tenant) as conn:
        await conn.execute(insert(holds).values(tenant_id=at.tenant, id=hold, **row, amounts=[5] * len(counter_ids), facts={}))
    return hold


# -- every statement that locks ------------------------------------------------------------------------------------------------

Work = Callable[[Any], Awaitable[object]]


async def admission(store: Store, at: Scene) -> Work:
    asked = [(Principal(at.tenant, user, "password", "api", credential_kind="identity"), "guide") for user in at.users[::-1]]
    return lambda conn: facts.read_all_facts(conn, at.tenant, asked, lock=True)


async def ensuring(store: Store, at: Scene) -> Work:
    return lambda conn: holds_sql.ensure_counters(conn, at.tenant, at.lines)


async def settling_one(store: Store, at: Scene) -> Work:
    hold = await open_hold(store, at, at.users[0], at.second, at.first)
    return lambda conn: expire_hold(conn, at.tenant, hold)


async def settling_a_group(store: Store, at: Scene) -> Work:
    ended = [await open_hold(store, at, at.users[1], at.second), await open_hold(store, at, at.users[0], at.first)]
    nothing = dict.fromkeys([*turns_sql.ENDED.columns, "conversation", "message"])
    rows = [{**nothing, "hold": one, "state": "released", "turn": new_id(), "attempt": 1} for one in ended]
    entry = Entry(user_id=at.users[0], outcome="error", certainty="exact")
    entries = [entry.row(ended[0], [at.second], [1]), entry.row(ended[1], [at.first], [1])]

    async def settle(conn: Any) -> object:
        params = {**turns_sql.ENDED.params(rows), **ENTRIES.params(entries)}
        return await turns_sql.SETTLE[False, False].rows(conn, tenant=at.tenant, **params)

    return settle


async def charging(store: Store, at: Scene) -> Work:
    return lambda conn: holds_sql.CHARGE.rows(conn, tenant=at.tenant, ids=[at.second, at.first], used=[1, 1])


async def finishing_late(store: Store, at: Scene) -> Work:
    nothing = json_text({})
    values = {"reply": nothing, "usage": nothing, "parts": nothing, "model": "m", "message": new_id(), "turn": new_id()}
    return lambda conn: turns_sql.FINISH_LATE.value(
        conn, tenant=at.tenant, counter_ids=[at.second, at.first], conversation=None, **values
    )


LOCKING = (admission, ensuring, settling_one, settling_a_group, charging, finishing_late)


def test_every_statement_that_locks_counters_is_here() -> None:
    """A new one is found by its words, and belongs into LOCKING."""
    found = set()
    for path in Path(tollhouse.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(
            r"counters\b(?:(?!\"\"\").)*?(?:FOR (?:NO KEY )?UPDATE|\{+lock\}+|DO UPDATE)", text, re.DOTALL
        ):
            found.add((path.name, text.count("\n", 0, match.start())))
    assert sorted(name for name, _ in found if name != "0001_initial.py") == [
        "facts.py",  # admission: the people's
        "facts.py",  # and the tenant's
        "holds.py",  # ensuring
        "holds.py",  # settling
        "holds.py",  # charging
        "repository.py",  # finishing late
    ]


# -- the story -----------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def superuser(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(cluster.dsn.replace("tollhouse@", "postgres@"))
    try:
        yield conn
    finally:
        await conn.close()


async def is_free_while_waiting_for_the_first(cluster: Cluster, store: Store, at: Scene, work: Work) -> bool:
    """Whether the second counter is free while ``work`` waits for the first."""
    lock = "SELECT 1 FROM counters WHERE tenant_id = $1 AND id = $2 FOR UPDATE"
    async with superuser(cluster) as holder, superuser(cluster) as other:
        holding = holder.transaction()
        await holding.start()
        await holder.execute(lock, at.tenant, at.first)
        task = asyncio.create_task(store.run(tenant_scope(at.tenant), work))
        try:
            waiting = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)))"
            async with asyncio.timeout(10):
                while not task.done() and not await other.fetchval(waiting, holder.get_server_pid()):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert not task.done(), "it did not lock the counter that was held"
            try:
                async with other.transaction():
                    await other.execute(f"{lock} NOWAIT", at.tenant, at.second)
            except asyncpg.LockNotAvailableError:
                return False
            return True
        finally:
            await holding.rollback()
            await task


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("locking", LOCKING)
async def test_the_first_counter_is_locked_first(
    cluster: Cluster, store: Store, locking: Callable[[Store, Scene], Awaitable[Work]], plan: str, pair: Pair
) -> None:
    at = await scene(store, pair)
    work = await locking(store, at)

    async def planned(conn: Any) -> None:
        await conn.execute(PLANS[plan])
        await work(conn)

    assert await is_free_while_waiting_for_the_first(cluster, store, at, planned)


async def test_a_statement_without_an_order_is_caught(cluster: Cluster, store: Store) -> None:
    """By the heap, rows come as they were written; where one was put into an older gap, another scene shows it."""
    careless = Statement("SELECT id FROM counters WHERE tenant_id = :tenant AND id = ANY(:ids::uuid[]) FOR UPDATE")
    caught = []
    for _ in range(5):
        at = await scene(store, "one person's")

        async def planned(conn: Any, at: Scene = at) -> None:
            await conn.execute(PLANS["by heap"])
            await careless.rows(conn, tenant=at.tenant, ids=[at.second, at.first])

        caught.append(not await is_free_while_waiting_for_the_first(cluster, store, at, planned))
    assert any(caught)
