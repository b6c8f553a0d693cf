"""A turn costs the same however much there is: its statements find rows by keys and read no table as a whole."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from tests.conftest import Cluster, make_tenant
from tollhouse.policy.facts import FACTS
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.turns import repository as sql

STATEMENTS = {
    "facts": FACTS[True],
    **{f"admit, kept={kept}": statement for kept, statement in sql.ADMIT.items()},
    **{f"settle, kept={kept} told={told}": statement for (kept, told), statement in sql.SETTLE.items()},
}
USERS = """
    INSERT INTO users (tenant_id, id, email) SELECT $1, gen_random_uuid(), n || '@example.test' FROM generate_series(1, 3000) n
"""
COUNTERS = """
    INSERT INTO counters (tenant_id, id, user_id, metric, "window", window_start, window_end)
    SELECT $1, gen_random_uuid(), u.id, 'calls', 'day', now() - n * interval '1 day', now() + (1 - n) * interval '1 day'
    FROM users u, generate_series(0, 4) n WHERE u.tenant_id = $1
"""
SCAN = re.compile(r"(?:Index (?:Only )?Scan using \w+|Bitmap Index Scan) on (\w+)")
GROWING = {"users", "subscriptions", "counters", "turns", "holds", "entries", "conversations", "messages"}
KEY = re.compile(r"\b(?:id|user_id) = ")


@pytest.fixture
async def grown(empty_dsn: str, cluster: Cluster) -> Any:
    """A store with people and their counters, which the database has counted, and one of the tenants."""
    store = Store(empty_dsn, pool_size=1, hot_pool_size=1)
    tenant_id = await make_tenant(store)
    name = empty_dsn.partition("@/")[2].partition("?")[0]
    owner = await asyncpg.connect(cluster.superuser_dsn, database=name)
    for fill in (USERS, COUNTERS):
        await owner.execute(fill, tenant_id)
    await owner.execute("ANALYZE")
    await owner.close()
    yield store, tenant_id
    await store.close()


async def test_the_statements_of_a_turn_find_rows_by_their_keys(grown: Any) -> None:
    store, tenant_id = grown
    seen: set[str] = set()

    async def look(conn: Any) -> None:
        for name, statement in STATEMENTS.items():
            values = ", ".join(f"'{tenant_id}'" if param in ("tenant", "runner") else "'[]'" for param in statement.names)
            await conn.execute(f"PREPARE asked_for AS {statement.sql}")
            plan = [row[0] for row in await conn.fetch(f"EXPLAIN EXECUTE asked_for({values})")]
            await conn.execute("DEALLOCATE asked_for")
            assert not [line for line in plan if "Seq Scan" in line], name
            for line, condition in pairwise(plan):
                table = SCAN.search(line)
                if table and _table(table[1]) in GROWING:
                    seen.add(_table(table[1]))
                    assert "Index Cond" in condition, (name, line)
                    assert KEY.search(condition), (name, line, condition)

    await store.run(tenant_scope(tenant_id), look)
    assert {"users", "counters", "turns", "holds", "conversations"} <= seen


def _table(scanned: str) -> str:
    """A bitmap scan names its index."""
    return next((table for table in GROWING if scanned.removeprefix("pk_") == table or f"_{table}_" in scanned), scanned)
