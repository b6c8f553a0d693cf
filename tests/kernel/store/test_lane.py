"""Lanes: one transaction after another in one scope, each whole, with a message less between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.conftest import Cluster
from tollhouse.store.connection import ScopedConnection
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import new_id
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store

COUNT = "SELECT count(*) FROM users WHERE tenant_id = $1"


def _add(tenant_id: UUID) -> Callable[[Any], Awaitable[None]]:
    async def work(conn: Any) -> None:
        sql = "INSERT INTO users (tenant_id, id, email) VALUES ($1, $2, $3)"
        await conn.execute(sql, tenant_id, new_id(), f"{new_id()}@example.test")

    return work


async def _count(store: Store, tenant_id: UUID) -> int:
    async def work(conn: Any) -> int:
        found: int = await conn.fetchval(COUNT, tenant_id)
        return found

    return await store.run(tenant_scope(tenant_id), work)


@pytest.fixture
async def narrow(store: Store, cluster: Cluster) -> AsyncIterator[Store]:
    """A store with one connection for the hot path."""
    narrow = Store(store.dsn, pool_size=1, hot_pool_size=1)
    yield narrow
    await narrow.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How transactions begin and end, as the database is told."""
    said: list[str] = []
    execute = ScopedConnection.execute

    async def listen(self: ScopedConnection, query: str, *args: Any, timeout: float | None = None) -> str:
        if query.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
            said.append(";".join(part.split(" ")[0] for part in query.split(";") if not part.startswith("SET")))
        return await execute(self, query, *args, timeout=timeout)

    monkeypatch.setattr(ScopedConnection, "execute", listen)
    return said


async def test_an_end_and_a_begin_travel_together(narrow: Store, tenant_id: UUID, said: list[str]) -> None:
    left = [1, 1, 0]
    lane = narrow.lane(tenant_id, lambda: bool(left.pop(0)))
    for _ in range(3):
        await lane.run(_add(tenant_id))
    assert said == ["BEGIN", "COMMIT;BEGIN", "COMMIT;BEGIN", "COMMIT"]
    assert await _count(narrow, tenant_id) == 3


async def test_each_transaction_stands_for_itself(narrow: Store, tenant_id: UUID) -> None:
    lane = narrow.lane(tenant_id, lambda: True)
    await lane.run(_add(tenant_id))

    async def fail(conn: Any) -> None:
        await _add(tenant_id)(conn)
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await lane.run(fail)
    await lane.run(_add(tenant_id))
    await lane.close()
    assert await _count(narrow, tenant_id) == 2


async def test_what_was_to_follow_and_did_not_leaves_nothing_behind(
    narrow: Store, tenant_id: UUID, other_tenant_id: UUID, said: list[str]
) -> None:
    lane = narrow.lane(tenant_id, lambda: True)
    await lane.run(_add(tenant_id))
    await lane.close()
    await lane.close()
    assert said == ["BEGIN", "COMMIT;BEGIN", "ROLLBACK"]
    assert await _count(narrow, other_tenant_id) == 0, "the same connection, in another scope"
    assert await _count(narrow, tenant_id) == 1


async def test_nobody_keeps_a_connection_that_somebody_waits_for(narrow: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    lane, order = narrow.lane(tenant_id, lambda: True), []

    async def busy() -> None:
        for place in range(3):
            await lane.run(_add(tenant_id))
            order.append(place)
            await asyncio.sleep(0)  # as a group's callers would be answered
        await lane.close()

    async def other() -> None:
        await _count(narrow, other_tenant_id)
        order.append("other")

    async with asyncio.timeout(10):
        await asyncio.gather(busy(), other())
    assert order.index("other") <= 1


async def test_a_lost_connection_loses_only_what_was_not_committed(narrow: Store, cluster: Cluster, tenant_id: UUID) -> None:
    lane = narrow.lane(tenant_id, lambda: True)
    await lane.run(_add(tenant_id))

    async def cut(conn: Any) -> None:
        await _add(tenant_id)(conn)
        killer = await asyncpg.connect(cluster.superuser_dsn)
        await killer.execute("SELECT pg_terminate_backend($1)", conn.get_server_pid())
        await killer.close()
        await conn.fetchval("SELECT 1")

    with pytest.raises(DatabaseDown):
        await lane.run(cut)
    await lane.run(_add(tenant_id))
    await lane.close()
    assert await _count(narrow, tenant_id) == 2
