"""SQL of reports: it reads the daily sums and what is newer in the ledger, and the orders. It writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.reports.sums import KEYS, MEASURES, NEW, SUMS, ZONES, Mark, rows_of

Row = Mapping[Any, Any]

_OWN = "x.tenant_id = :tenant_id AND x.id = "
GROUPS: Final[Mapping[str, tuple[str, str, str]]] = {
    # name -> (the column, the key of its value g.part, what a value k.part is called)
    "day": ("day", "g.part::text", "k.part::text"),
    "user": ("user_id", "g.part::text", f"(SELECT coalesce(x.email, x.name) FROM users x WHERE {_OWN}k.part)"),
    "agent": ("agent_id", "g.part::text", f"(SELECT x.slug FROM agents x WHERE {_OWN}k.part)"),
    "version": (
        "version_id",
        "g.part::text",
        "(SELECT a.slug || ' v' || x.number FROM prompt_versions x JOIN agents a ON a.tenant_id = x.tenant_id"
        f" AND a.id = x.agent_id WHERE {_OWN}k.part)",
    ),
    "plan": (
        "plan_version_id",
        f"(SELECT x.plan_id FROM plan_versions x WHERE {_OWN}g.part)::text",
        "(SELECT p.slug FROM plan_versions x JOIN plans p ON p.tenant_id = x.tenant_id AND p.id = x.plan_id"
        f" WHERE {_OWN}k.part)",
    ),
    "channel": ("channel", "g.part", "k.part"),
    "model": ("model", "g.part", "k.part"),
}
_MEASURES = ", ".join(MEASURES)
_TOTALS = f"""
    SELECT day, {", ".join(KEYS)}, {_MEASURES} FROM usage_totals
    WHERE tenant_id = :tenant_id AND generation = :generation AND grain = :grain AND day BETWEEN :first AND :last"""
FRESH = f"SELECT day, {', '.join(KEYS)}, {_MEASURES} FROM ({rows_of(f'e.tenant_id = :tenant_id AND {NEW}')}) fresh"


def usage_statement(by: str, order: str) -> str:
    """Sums by one of ``GROUPS`` and currency: the daily sums, and what the ledger has above their watermark."""
    column, key, label = GROUPS[by]
    ordering = "key, currency" if order == "key" else "cost DESC, calls DESC, key"
    return f"""
        WITH zones AS MATERIALIZED ({ZONES} WHERE t.id = :tenant_id)
        SELECT key, coalesce({label}, '') AS label, currency, {_MEASURES} FROM (
            SELECT coalesce({key}, '') AS key, (array_agg(g.part))[1] AS part, g.cost_currency AS currency, {SUMS} FROM (
                SELECT u.{column} AS part, u.cost_currency, {SUMS} FROM ({_TOTALS} UNION ALL {FRESH}) u
                WHERE u.day BETWEEN :first AND :last GROUP BY 1, 2
            ) g GROUP BY 1, g.cost_currency ORDER BY {ordering} LIMIT :limit
        ) k ORDER BY {ordering}
    """


async def usage(
    conn: AsyncConnection, tenant_id: UUID, by: str, first: date, last: date, mark: Mark, limit: int, order: str
) -> Sequence[Row]:
    """The rows of :func:`usage_statement`. ``mark`` must be of this connection's snapshot."""
    span = {"first": first, "last": last, "limit": limit, "grain": "user" if by == "user" else "offer"}
    values = {"tenant_id": tenant_id, **span, **mark.values(), "generation": mark.generation}
    return (await conn.execute(text(usage_statement(by, order)), values)).mappings().all()


PAID_DAY = "(o.paid_at AT TIME ZONE z.zone)::date"
PAID = """
    FROM orders o JOIN zones z ON z.tenant_id = o.tenant_id AND o.paid_at >= z.since AND o.paid_at < z.until
"""
_USER = "(SELECT coalesce(x.email, x.name) FROM users x WHERE x.tenant_id = o.tenant_id AND x.id = o.user_id)"
_PLAN = """
    JOIN plan_versions v ON v.tenant_id = o.tenant_id AND v.id = o.plan_version_id
    JOIN plans p ON p.tenant_id = v.tenant_id AND p.id = v.plan_id
"""
REVENUE_GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "day": (f"{PAID_DAY}::text", f"{PAID_DAY}::text"),
    "plan": ("p.id::text", "p.slug"),
    "user": ("o.user_id::text", _USER),
    "tenant": ("o.tenant_id::text", "t.slug"),
}


def revenue_statement(by: str, *, everybody: bool = False) -> str:
    """Paid orders by one of ``REVENUE_GROUPS`` and currency, on the tenant's local days; of ``everybody``, or one tenant."""
    key, label = REVENUE_GROUPS[by]
    own, zone = ("", "") if everybody else ("AND o.tenant_id = :tenant_id", "WHERE t.id = :tenant_id")
    return f"""
        WITH zones AS MATERIALIZED ({ZONES} {zone})
        SELECT {key} AS key, coalesce(min({label}), '') AS label, o.currency, count(*) AS orders,
               sum(o.amount_minor)::bigint AS revenue
        FROM orders o JOIN tenants t ON t.id = o.tenant_id
        JOIN zones z ON z.tenant_id = o.tenant_id AND o.paid_at >= z.since AND o.paid_at < z.until
        {_PLAN if by == "plan" else ""}
        WHERE o.state = 'paid' {own} AND {PAID_DAY} BETWEEN :first AND :last
          AND o.paid_at >= (CAST(:first AS date) - 1)::timestamp AT TIME ZONE 'UTC'
          AND o.paid_at < (CAST(:last AS date) + 2)::timestamp AT TIME ZONE 'UTC'
        GROUP BY 1, o.currency ORDER BY 1, o.currency
    """


async def revenue(conn: AsyncConnection, tenant_id: UUID | None, by: str, first: date, last: date) -> Sequence[Row]:
    """The rows of :func:`revenue_statement`; ``tenant_id`` None: of everybody."""
    values = {"first": first, "last": last} | ({"tenant_id": tenant_id} if tenant_id is not None else {})
    statement = revenue_statement(by, everybody=tenant_id is None)
    return (await conn.execute(text(statement), values)).mappings().all()


_TENANT_COST = text(
    f"""
    WITH zones AS MATERIALIZED ({ZONES})
    SELECT u.tenant_id::text AS key, t.slug AS label, u.cost_currency AS currency, sum(u.cost)::bigint AS cost,
           sum(u.unknown_cost)::bigint AS unknown_cost
    FROM tenants t JOIN (
        SELECT s.* FROM tenants CROSS JOIN LATERAL (
            SELECT tenant_id, day, cost_currency, cost, unknown_cost FROM usage_totals
            WHERE tenant_id = tenants.id AND generation = :generation AND grain = 'offer' AND day BETWEEN :first AND :last) s
        UNION ALL SELECT tenant_id, day, cost_currency, cost, unknown_cost FROM ({rows_of(NEW)}) fresh
    ) u ON t.id = u.tenant_id
    WHERE u.day BETWEEN :first AND :last GROUP BY 1, 2, 3 ORDER BY 1, 3
    """
)


async def cost_by_tenant(conn: AsyncConnection, first: date, last: date, mark: Mark) -> Sequence[Row]:
    """What each tenant's models cost; for the operator. ``mark`` as in :func:`usage`."""
    values = {"first": first, "last": last, **mark.values(), "generation": mark.generation}
    return (await conn.execute(_TENANT_COST, values)).mappings().all()
