"""To which agents, versions and channels what somebody paid belongs.

Nobody pays for an agent: people pay for a plan, and use it for this and that. So what an order brought is shared out by what
its subscriber did with the time that it paid for: by messages, from the day of the payment until its interval is over, or until
today. An order whose subscriber did nothing is told apart. Whole minor units, and no unit more or less than was paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.reports.repository import FRESH, GROUPS, PAID, PAID_DAY
from tollhouse.reports.sums import ZONES, Mark

BY: Final = ("agent", "version", "channel")
NOBODY: Final = ""
"""The key of what cannot be attributed: its subscribers used nothing of what they paid for."""


def share_out(amount: int, weights: Sequence[int]) -> list[int]:
    """``amount`` in whole units by ``weights``: by the largest remainder, of two that are equal the first."""
    total = sum(weights)
    parts = [amount * weight // total for weight in weights]
    rest = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % total), place))
    for place in rest[: amount - sum(parts)]:
        parts[place] += 1
    return parts


def attributed(rows: Iterable[Mapping[Any, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    """(key, currency) -> (orders, revenue) of the rows of :func:`read`: each an order, a key, and how much it was used."""
    orders: dict[UUID, list[Mapping[Any, Any]]] = {}
    for row in rows:
        orders.setdefault(row["id"], []).append(row)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for used in orders.values():
        amount = used[0]["amount_minor"]
        parts = share_out(amount, [row["calls"] for row in used]) if used[0]["calls"] else [amount]
        for row, part in zip(used, parts, strict=True):
            key = (row["key"] if row["calls"] else NOBODY, row["currency"])
            count, revenue = found.get(key, (0, 0))
            found[key] = (count + 1, revenue + part)
    return found


def statement(by: str) -> str:
    """The orders that were paid in the range, each with what its subscriber used in its time, by one of :data:`BY`."""
    column = GROUPS[by][0]
    return f"""
        WITH zones AS MATERIALIZED ({ZONES} WHERE t.id = :tenant_id),
        paid AS MATERIALIZED (
            SELECT o.id, o.user_id, o.currency, o.amount_minor, {PAID_DAY} AS day,
                   CASE v.interval WHEN 'once' THEN 'infinity'::date
                                   ELSE ({PAID_DAY} + CAST('1 ' || v.interval AS interval))::date END AS until
            {PAID} JOIN plan_versions v ON v.tenant_id = o.tenant_id AND v.id = o.plan_version_id
            WHERE o.state = 'paid' AND o.tenant_id = :tenant_id AND {PAID_DAY} BETWEEN :first AND :until
        ),
        payers AS MATERIALIZED (SELECT user_id, min(day) AS since FROM paid GROUP BY user_id),
        used AS (
            SELECT s.* FROM payers y CROSS JOIN LATERAL (
                SELECT user_id, day, {column} AS part, sum(calls) AS calls FROM usage_sums
                WHERE tenant_id = :tenant_id AND user_id = y.user_id AND day >= y.since AND generation = :generation
                  AND grain = 'full' AND calls > 0 GROUP BY 1, 2, 3) s
            UNION ALL
            SELECT user_id, day, {column}, calls FROM ({FRESH}) u
            WHERE calls > 0 AND user_id IN (SELECT user_id FROM payers)
        )
        SELECT p.id, p.currency, p.amount_minor, coalesce(u.part::text, '') AS key, coalesce(sum(u.calls), 0)::bigint AS calls
        FROM paid p LEFT JOIN used u ON u.user_id = p.user_id AND u.day >= p.day AND u.day < p.until
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 4
    """


async def read(
    conn: AsyncConnection, tenant_id: UUID, by: str, first: date, last: date, mark: Mark
) -> Sequence[Mapping[Any, Any]]:
    """The rows of :func:`statement`. ``mark`` must be of this connection's snapshot."""
    span = {"first": first, "until": last}
    values = {"tenant_id": tenant_id, **span, **mark.values(), "generation": mark.generation}
    return (await conn.execute(text(statement(by)), values)).mappings().all()


async def names(conn: AsyncConnection, tenant_id: UUID, by: str, keys: Sequence[str]) -> dict[str, str]:
    """What these keys are called."""
    if by == "channel":
        return {key: key for key in keys}
    query = f"SELECT k.part::text AS key, {GROUPS[by][2]} AS label FROM unnest(CAST(:keys AS uuid[])) AS k(part)"
    found = await conn.execute(text(query), {"tenant_id": tenant_id, "keys": [UUID(key) for key in keys]})
    return {row.key: row.label or "" for row in found}
