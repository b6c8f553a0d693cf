"""Whether everything that can be recomputed is what it should be: ``ledger verify``, and a job each night."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from tollhouse.reports import repository as rows
from tollhouse.reports.rollup import NAME
from tollhouse.store.audit import broken_links
from tollhouse.store.store import Store
from tollhouse.usage.verify import Difference, verify

# Only days that are over, and of which no entry is still waiting for the worker.
COMPARE = text(
    f"""
    WITH summed AS (
        SELECT {rows.DAY} AS day,
               coalesce(sum(e.calls) FILTER (WHERE e.kind <> 'test'), 0) AS calls,
               coalesce(sum(e.input_tokens), 0) + coalesce(sum(e.output_tokens), 0) AS tokens, coalesce(sum(e.cost), 0) AS cost,
               bool_or(e.xid >= :mark AND e.id >= id_floor(CAST(:seen AS timestamptz) - {rows.LAG})) AS waiting
        FROM entries e JOIN tenants t ON t.id = e.tenant_id WHERE e.tenant_id = :tenant GROUP BY 1
    ), rolled AS (
        SELECT day, sum(calls) AS calls, sum(input_tokens + output_tokens) AS tokens, sum(cost) AS cost
        FROM usage_daily WHERE tenant_id = :tenant GROUP BY 1
    )
    SELECT day, coalesce(rolled.calls, 0) AS calls, coalesce(summed.calls, 0) AS should_calls,
           coalesce(rolled.tokens, 0) AS tokens, coalesce(summed.tokens, 0) AS should_tokens,
           coalesce(rolled.cost, 0) AS cost, coalesce(summed.cost, 0) AS should_cost
    FROM summed FULL JOIN rolled USING (day)
    WHERE NOT coalesce(waiting, false)
      AND day < (SELECT (app_now() AT TIME ZONE zone_at(t, app_now()))::date FROM tenants t WHERE id = :tenant)
      AND (coalesce(rolled.calls, 0), coalesce(rolled.tokens, 0), coalesce(rolled.cost, 0))
          IS DISTINCT FROM (coalesce(summed.calls, 0), coalesce(summed.tokens, 0), coalesce(summed.cost, 0))
    ORDER BY day
    """
)


async def verify_all(store: Store, tenant_id: UUID) -> list[Difference]:
    """Every difference: of the ledger's own projections, of the daily sums, and of the audit log's chain."""
    return [
        *await verify(store, tenant_id),
        *await verify_rollups(store, tenant_id),
        *await verify_audit(store, tenant_id),
    ]


async def verify_audit(store: Store, tenant_id: UUID) -> list[Difference]:
    """Each entry of the audit log that does not follow from the one before."""
    detail = "an entry of the audit log does not follow from the one before: one was changed, added or taken away"
    async with store.transaction(tenant_id) as conn:
        return [Difference("audit_broken", tenant_id, entry, detail) async for entry in broken_links(conn, tenant_id)]


async def verify_rollups(store: Store, tenant_id: UUID) -> list[Difference]:
    """Each day whose sums differ from its entries."""
    async with store.operator() as conn:
        mark, seen = await rows.watermark(conn, NAME), await rows.moved_at(conn, NAME)
    if not mark:
        return []  # nothing was summed up on this server yet
    async with store.transaction(tenant_id) as conn:
        await conn.execute(text("SET LOCAL statement_timeout = '10min'"))
        found = (await conn.execute(COMPARE, {"tenant": tenant_id, "mark": mark, "seen": seen})).mappings().all()
    return [
        Difference(
            "daily_sums",
            tenant_id,
            tenant_id,
            f"{row['day']}: {row['calls']} calls, {row['tokens']} tokens and cost {row['cost']}; the ledger says "
            f"{row['should_calls']}, {row['should_tokens']} and {row['should_cost']}",
        )
        for row in found
    ]
