"""The outbox: leases, order, growing pauses, quarantine, nothing across tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tollhouse.plugin.errors import Conflict, NotFound
from tollhouse.store import outbox
from tollhouse.store.audit import CLI
from tollhouse.store.store import Store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def noon(store: Store) -> AsyncIterator[None]:
    async with store.operator() as conn:  # what other stories left waiting is not ours
        await conn.execute(text("UPDATE outbox SET state = 'done' WHERE state = 'new'"))
    store.at(NOON)
    yield
    store.at(None)


async def add(store: Store, tenant_id: UUID, said: str, *, kind: str = "delivery", key: str = "chat") -> None:
    async with store.transaction(tenant_id) as conn:
        await outbox.add(conn, tenant_id, kind, "bot", {"said": said}, key)


async def claim(store: Store, limit: int = 100) -> list[outbox.OutboxRow]:
    async with store.operator() as conn:
        return await outbox.claim_due(conn, limit)


async def said(store: Store) -> list[str]:
    return [row.payload["said"] for row in await claim(store)]


async def test_deliveries_of_a_key_wait_for_each_other_and_events_do_not(
    store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    for one in ("1", "2"):
        await add(store, tenant_id, one)
        await add(store, tenant_id, f"event {one}", kind="event", key="")
    await add(store, tenant_id, "other chat", key="other")
    await add(store, other_tenant_id, "other tenant")
    first = await claim(store)
    assert [row.payload["said"] for row in first] == ["1", "event 1", "event 2", "other chat", "other tenant"]
    assert await claim(store) == []
    async with store.transaction(tenant_id) as conn:
        assert not await outbox.failed(conn, first[0], "later")
    assert await claim(store) == []
    store.at(NOON + timedelta(seconds=1))
    (again,) = await claim(store)
    assert (again.payload["said"], again.attempt) == ("1", 2)
    async with store.transaction(tenant_id) as conn:
        await outbox.done(conn, again)
    assert await said(store) == ["2"]


async def test_claims_at_the_same_time_never_share_a_row(store: Store, tenant_id: UUID) -> None:
    for number in range(30):
        await add(store, tenant_id, str(number), key=str(number % 10))
    claims = await asyncio.gather(*(claim(store, 7) for _ in range(5)))
    ids = [row.id for rows in claims for row in rows]
    assert len(ids) == len(set(ids))
    assert len({row.key for rows in claims for row in rows}) == len(ids)


async def test_it_gives_up_after_twelve_attempts_and_the_next_one_goes(store: Store, tenant_id: UUID) -> None:
    await add(store, tenant_id, "poison")
    await add(store, tenant_id, "next")
    now, quarantined = NOON, False
    while not quarantined:
        (row,) = await claim(store)
        async with store.transaction(tenant_id) as conn:
            quarantined = await outbox.failed(conn, row, "no")
        store.at(now := now + timedelta(hours=1))
    assert (row.payload["said"], row.attempt) == ("poison", 12)
    assert await said(store) == ["next"]
    async with store.transaction(tenant_id) as conn:
        await outbox.replay(conn, tenant_id, row.id, CLI)
        with pytest.raises(Conflict):
            await outbox.replay(conn, tenant_id, row.id, CLI)
    (again,) = await claim(store)
    assert (again.id, again.attempt) == (row.id, 1)


@pytest.mark.parametrize(
    ("attempt", "retry_after", "seconds"),
    [(1, None, 1), (2, None, 2), (5, 3, 16), (5, 60, 60), (13, None, 3600), (1, 10**9, 86_400)],
)
def test_pauses_grow(attempt: int, retry_after: int | None, seconds: float) -> None:
    assert outbox.pause(attempt, retry_after) == seconds


async def test_only_the_owner_of_a_claim_closes_it(store: Store, tenant_id: UUID) -> None:
    await add(store, tenant_id, "hello")
    (lost,) = await claim(store)
    store.at(NOON + timedelta(seconds=outbox.LEASE_SECONDS))
    (current,) = await claim(store)
    async with store.transaction(tenant_id) as conn:
        await outbox.done(conn, lost)
        await outbox.give_back(conn, lost)
        rows, _ = await outbox.page(conn, tenant_id)
    assert [(row["state"], row["attempts"]) for row in rows] == [("new", 2)]
    assert "payload" not in rows[0]
    async with store.transaction(tenant_id) as conn:
        await outbox.give_back(conn, current)
    assert await said(store) == ["hello"]


async def test_what_the_hot_path_writes_by_hand_is_claimed(store: Store, tenant_id: UUID) -> None:
    write = (
        "INSERT INTO outbox (tenant_id, id, kind, subscriber, payload) VALUES (:tenant, gen_random_uuid(), 'event', 'p', :p)"
    )
    async with store.transaction(tenant_id) as conn:
        await conn.execute(text(write), {"tenant": tenant_id, "p": '{"said": "by hand"}'})
    assert await said(store) == ["by hand"]


async def test_nothing_crosses_tenants(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await add(store, tenant_id, "hello")
    (row,) = await claim(store)
    async with store.transaction(other_tenant_id) as conn:
        assert (await outbox.page(conn, other_tenant_id))[0] == []
        await outbox.done(conn, row)  # row-level security: it is not there
        with pytest.raises(NotFound):
            await outbox.replay(conn, other_tenant_id, row.id, CLI)
    async with store.transaction(tenant_id) as conn:
        assert (await outbox.page(conn, tenant_id))[0][0]["state"] == "new"
