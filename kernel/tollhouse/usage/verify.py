"""``ledger verify``: recompute every projection from entries and holds, and name each difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.store import Store


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that does not add up. ``subject`` is the id of the row; ``expected`` is what the ledger says."""

    check: str
    tenant_id: UUID
    subject: UUID
    detail: str
    expected: Any = None
    found: Any = None


COUNTERS = text(
    """
    WITH charged AS (
        SELECT x.id, sum(x.amount) AS used FROM entries e, unnest(e.counter_ids, e.amounts) AS x(id, amount)
        WHERE e.tenant_id = :tenant GROUP BY x.id
    ), set_aside AS (
        SELECT x.id, sum(x.amount) AS held FROM holds h, unnest(h.counter_ids, h.amounts) AS x(id, amount)
        WHERE h.tenant_id = :tenant AND h.state = 'open' GROUP BY x.id
    )
    SELECT c.id, c.metric || '/' || c.window AS name, c.used, c.held,
           coalesce(charged.used, 0) AS should_use, coalesce(set_aside.held, 0) AS should_hold
    FROM counters c LEFT JOIN charged USING (id) LEFT JOIN set_aside USING (id)
    WHERE c.tenant_id = :tenant AND (c.used <> coalesce(charged.used, 0) OR c.held <> coalesce(set_aside.held, 0))
    """
)
# A short window's counter is pruned two days after it; any other, and one that was charged a moment ago, must be there.
MISSING = text(
    """
    SELECT x.id FROM entries e, unnest(e.counter_ids) AS x(id) WHERE e.tenant_id = :tenant
    GROUP BY x.id
    HAVING max(e.occurred_at) > now() - interval '1 day' OR max(e.occurred_at) - min(e.occurred_at) > interval '6 hours'
    EXCEPT SELECT id FROM counters WHERE tenant_id = :tenant
    """
)
# Set operations, not NOT EXISTS: whatever the statistics say, these read each table once.
UNPOSTED = text(
    """
    SELECT h.id FROM holds h WHERE h.tenant_id = :tenant AND h.state <> 'open'
    EXCEPT SELECT e.id FROM entries e WHERE e.tenant_id = :tenant
    """
)
FORGOTTEN = text(
    """
    SELECT h.id, h.created_at FROM holds h
    WHERE h.tenant_id = :tenant AND h.state = 'open' AND h.created_at < now() - interval '5 minutes'
      AND NOT EXISTS (SELECT 1 FROM runners r WHERE r.id = h.runner_id AND r.lease_until > now() - interval '2 minutes')
    """
)
UNCHARGED = text(
    """
    SELECT t.id FROM turns t WHERE t.tenant_id = :tenant AND t.state = 'done'
    EXCEPT SELECT e.turn_id FROM entries e WHERE e.tenant_id = :tenant AND e.outcome = 'ok'
    """
)
TWICE = text(
    """
    SELECT e.turn_id AS id, count(*) AS times FROM entries e
    WHERE e.tenant_id = :tenant AND e.turn_id IS NOT NULL AND e.calls > 0 AND cardinality(e.counter_ids) > 0
    GROUP BY e.turn_id HAVING count(*) > 1
    """
)


async def verify(store: Store, tenant_id: UUID) -> list[Difference]:
    """Every difference in one tenant's ledger, in one consistent snapshot; an empty list means that all adds up."""
    async with store.transaction(tenant_id) as conn:
        await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await conn.execute(text("SET LOCAL statement_timeout = '10min'"))
        return [
            *await _counters(conn, tenant_id),
            *await _rows(conn, tenant_id, MISSING, "counter_missing", "a counter that was charged is not there"),
            *await _rows(conn, tenant_id, UNPOSTED, "hold_without_entry", "a resolved hold has no entry"),
            *await _rows(conn, tenant_id, FORGOTTEN, "forgotten_hold", "its process is gone and nobody expired it"),
            *await _rows(conn, tenant_id, UNCHARGED, "turn_without_entry", "a finished turn has no entry"),
            *await _rows(conn, tenant_id, TWICE, "charged_twice", "a turn was charged more than once"),
        ]


async def _counters(conn: AsyncConnection, tenant_id: UUID) -> list[Difference]:
    found = []
    for row in (await conn.execute(COUNTERS, {"tenant": tenant_id})).mappings():
        for name, should in (("used", "should_use"), ("held", "should_hold")):
            if row[name] != row[should]:
                detail = f"counter {row['name']} says {row[name]} {name}, the ledger {row[should]}"
                found.append(Difference(f"counter_{name}", tenant_id, row["id"], detail, int(row[should]), int(row[name])))
    return found


async def _rows(conn: AsyncConnection, tenant_id: UUID, query: TextClause, check: str, detail: str) -> list[Difference]:
    rows = (await conn.execute(query, {"tenant": tenant_id})).mappings()
    return [Difference(check, tenant_id, row["id"], detail) for row in rows]
