"""SQL of reports: it reads the ledger and the orders, and writes only daily sums and the watermark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Row = Mapping[Any, Any]

# The tenant's local day of an entry, by the zone that it had then: when it moves, no entry changes its day.
DAY = "(e.occurred_at AT TIME ZONE zone_at(t, e.occurred_at))::date"

# The sums of entries, in the same words for the projection and for what is not projected yet.
# What staff try out costs, but is nobody's use: it counts neither as a call nor as an error, and has no part in the latency.
# An error is a turn that failed, however many models were asked for it in vain.
_SUMS = """
       count(*) FILTER (WHERE e.outcome <> 'ok' AND e.kind = 'turn') AS errors,
       coalesce(sum(e.calls) FILTER (WHERE e.kind <> 'test'), 0) AS calls,
       coalesce(sum(e.input_tokens), 0) AS input_tokens, coalesce(sum(e.output_tokens), 0) AS output_tokens,
       coalesce(sum(e.cost), 0) AS cost, count(*) FILTER (WHERE e.cost IS NULL) AS unknown_cost,
       coalesce(sum(e.latency_ms) FILTER (WHERE e.kind <> 'test'), 0) AS latency_ms
"""
_KEYS = "user_id, agent_id, version_id, plan_version_id, channel, model, cost_currency"
_E_KEYS = "e." + _KEYS.replace(", ", ", e.")

# An entry's id is made when its turn is admitted, a little before it occurs; where tests set the clock ahead, further before.
LAG = "(interval '7 days' + greatest(app_now() - now(), interval '0'))"
# What may be of these days in any zone, by what the ledger is ordered by.
_ABOUT = f"""e.occurred_at >= ({{first}} - 1)::timestamp AT TIME ZONE 'UTC'
      AND e.occurred_at < ({{last}} + 2)::timestamp AT TIME ZONE 'UTC'
      AND e.id >= id_floor((({{first}} - 1)::timestamp AT TIME ZONE 'UTC') - {LAG})"""

_CLUSTER = "(SELECT system_identifier::text FROM pg_control_system())"
_WATERMARK = text(f"SELECT xid FROM watermarks WHERE name = :name AND cluster = {_CLUSTER}")
_MOVED_AT = text("SELECT at FROM watermarks WHERE name = :name")
_HORIZON = text("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint")
_ADVANCE = text(
    f"""
    INSERT INTO watermarks (id, name, xid, at, cluster) VALUES (:id, :name, :xid, app_now(), {_CLUSTER})
    ON CONFLICT (id) DO UPDATE SET at = app_now(), cluster = excluded.cluster,
      xid = CASE WHEN watermarks.cluster = excluded.cluster THEN greatest(watermarks.xid, excluded.xid) ELSE excluded.xid END
    """
)
_TOUCHED = text(
    f"""
    SELECT DISTINCT e.tenant_id, {DAY} AS day FROM entries e JOIN tenants t ON t.id = e.tenant_id
    WHERE e.xid >= :low AND e.xid < :high ORDER BY 1, 2
    """
)
_SPAN = text(
    """
    SELECT (SELECT id FROM entries WHERE tenant_id = :tenant_id ORDER BY id LIMIT 1) AS first,
           (SELECT id FROM entries WHERE tenant_id = :tenant_id ORDER BY id DESC LIMIT 1) AS last
    """
)
_DAYS = text(
    f"""
    SELECT DISTINCT {DAY} AS day FROM entries e JOIN tenants t ON t.id = e.tenant_id
    WHERE e.tenant_id = :tenant_id AND e.id >= :low AND e.id < :high ORDER BY 1
    """
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id, 7405))")
_DELETE = text("DELETE FROM usage_daily WHERE tenant_id = :tenant_id AND day = ANY(CAST(:days AS date[]))")
_INSERT = text(
    f"""
    INSERT INTO usage_daily (tenant_id, id, day, {_KEYS}, errors, calls, input_tokens, output_tokens, cost, unknown_cost,
                             latency_ms)
    SELECT e.tenant_id, gen_random_uuid(), d.day, {_E_KEYS}, {_SUMS}
    FROM unnest(CAST(:days AS date[])) AS d(day) JOIN tenants t ON t.id = :tenant_id
    JOIN entries e ON e.tenant_id = t.id AND {DAY} = d.day AND {_ABOUT.format(first="d.day", last="d.day")}
    GROUP BY e.tenant_id, d.day, {_E_KEYS}
    """
)


async def watermark(conn: AsyncConnection, name: str) -> int:
    """The first transaction that the projection has not seen; 0 where it has seen none of this server."""
    return int((await conn.execute(_WATERMARK, {"name": name})).scalar() or 0)


async def moved_at(conn: AsyncConnection, name: str) -> datetime | None:
    """When the watermark was moved last."""
    found: datetime | None = (await conn.execute(_MOVED_AT, {"name": name})).scalar()
    return found


async def horizon(conn: AsyncConnection) -> int:
    """The oldest transaction that may still commit: everything below it is decided for all snapshots."""
    return int((await conn.execute(_HORIZON)).scalar_one())


async def advance(conn: AsyncConnection, name: str, xid: int) -> None:
    """Move the watermark forwards; it never goes back on one server."""
    await conn.execute(_ADVANCE, {"id": uuid5(NAMESPACE_URL, f"watermark:{name}"), "name": name, "xid": xid})


async def touched_days(conn: AsyncConnection, low: int, high: int) -> list[tuple[UUID, date]]:
    """(tenant, local day) of every entry of these transactions."""
    return [(row.tenant_id, row.day) for row in await conn.execute(_TOUCHED, {"low": low, "high": high})]


async def span(conn: AsyncConnection, tenant_id: UUID) -> tuple[UUID, UUID] | None:
    """The first and the last entry of a tenant."""
    row = (await conn.execute(_SPAN, {"tenant_id": tenant_id})).one()
    return None if row.first is None else (row.first, row.last)


async def days_between(conn: AsyncConnection, tenant_id: UUID, low: UUID, high: UUID) -> list[date]:
    """The local days of a tenant's entries with these ids, ``high`` not included."""
    await allow_time(conn)
    return list((await conn.execute(_DAYS, {"tenant_id": tenant_id, "low": low, "high": high})).scalars())


async def allow_time(conn: AsyncConnection) -> None:
    """A job may take longer than a request."""
    await conn.execute(text("SET LOCAL statement_timeout = '60s'"))


async def lock_rollup(conn: AsyncConnection, tenant_id: UUID) -> None:
    """One rebuild of a tenant at a time."""
    await allow_time(conn)
    await conn.execute(_LOCK, {"tenant_id": str(tenant_id)})


async def rebuild_days(conn: AsyncConnection, tenant_id: UUID, days: Sequence[date]) -> None:
    """Sum these days up again from the ledger: from all that this snapshot sees, what is not below the horizon too. That is
    touched again by a later run."""
    await conn.execute(_DELETE, {"tenant_id": tenant_id, "days": list(days)})
    await conn.execute(_INSERT, {"tenant_id": tenant_id, "days": list(days)})


# -- reading ------------------------------------------------------------------------------------------------------------

_OWN = "x.tenant_id = :tenant_id AND x.id = u."
GROUPS: Mapping[str, tuple[str, str]] = {
    # name -> (the key, what it is called)
    "day": ("u.day::text", "u.day::text"),
    "user": ("u.user_id::text", f"(SELECT coalesce(x.email, x.name) FROM users x WHERE {_OWN}user_id)"),
    "agent": ("u.agent_id::text", f"(SELECT x.slug FROM agents x WHERE {_OWN}agent_id)"),
    "version": (
        "u.version_id::text",
        "(SELECT a.slug || ' v' || x.number FROM prompt_versions x JOIN agents a ON a.tenant_id = x.tenant_id"
        f" AND a.id = x.agent_id WHERE {_OWN}version_id)",
    ),
    "plan": (
        f"(SELECT x.plan_id FROM plan_versions x WHERE {_OWN}plan_version_id)::text",
        "(SELECT p.slug FROM plan_versions x JOIN plans p ON p.tenant_id = x.tenant_id AND p.id = x.plan_id"
        f" WHERE {_OWN}plan_version_id)",
    ),
    "channel": ("u.channel", "u.channel"),
    "model": ("u.model", "u.model"),
}
_RECENT = f"""
    SELECT {DAY} AS day, {_E_KEYS}, {_SUMS}
    FROM entries e JOIN tenants t ON t.id = e.tenant_id
    WHERE e.tenant_id = :tenant_id AND {DAY} BETWEEN CAST(:live_from AS date) AND CAST(:last AS date)
      AND {_ABOUT.format(first="CAST(:live_from AS date)", last="CAST(:last AS date)")}
    GROUP BY 1, {_E_KEYS}
"""


async def usage(
    conn: AsyncConnection, tenant_id: UUID, by: str, first: date, last: date, live_from: date, limit: int, order: str
) -> Sequence[Row]:
    """Sums by one of ``GROUPS`` and currency: from the projection before ``live_from``, from the ledger itself since."""
    key, label = GROUPS[by]
    ordering = "1, 3" if order == "key" else "cost DESC, calls DESC, 1"
    statement = f"""
        SELECT key, coalesce(min(label), '') AS label, cost_currency AS currency, sum(calls)::bigint AS calls,
               sum(errors)::bigint AS errors,
               sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
               sum(cost)::bigint AS cost, sum(unknown_cost)::bigint AS unknown_cost, sum(latency_ms)::bigint AS latency_ms
        FROM (SELECT coalesce({key}, '') AS key, {label} AS label, u.*
              FROM (SELECT day, {_KEYS}, errors, calls, input_tokens, output_tokens, cost, unknown_cost, latency_ms
                    FROM usage_daily
                    WHERE tenant_id = :tenant_id AND day >= :first AND day <= :last AND day < :live_from
                    UNION ALL {_RECENT}) u WHERE u.day >= :first) g
        GROUP BY key, cost_currency ORDER BY {ordering} LIMIT :limit
    """
    values = {"tenant_id": tenant_id, "first": first, "last": last, "live_from": live_from, "limit": limit}
    return (await conn.execute(text(statement), values)).mappings().all()


_PAID_DAY = "(o.paid_at AT TIME ZONE zone_at(t, o.paid_at))::date"
_USER = "(SELECT coalesce(x.email, x.name) FROM users x WHERE x.tenant_id = o.tenant_id AND x.id = o.user_id)"
_PLAN = """
    JOIN plan_versions v ON v.tenant_id = o.tenant_id AND v.id = o.plan_version_id
    JOIN plans p ON p.tenant_id = v.tenant_id AND p.id = v.plan_id
"""
REVENUE_GROUPS: Mapping[str, tuple[str, str]] = {
    "day": (f"{_PAID_DAY}::text", f"{_PAID_DAY}::text"),
    "plan": ("p.id::text", "p.slug"),
    "user": ("o.user_id::text", _USER),
    "tenant": ("o.tenant_id::text", "t.slug"),
}


async def revenue(conn: AsyncConnection, tenant_id: UUID | None, by: str, first: date, last: date) -> Sequence[Row]:
    """Paid orders by one of ``REVENUE_GROUPS`` and currency, on the tenant's local days; ``tenant_id`` None: all tenants."""
    key, label = REVENUE_GROUPS[by]
    statement = f"""
        SELECT {key} AS key, coalesce(min({label}), '') AS label, o.currency, count(*) AS orders,
               sum(o.amount_minor)::bigint AS revenue
        FROM orders o JOIN tenants t ON t.id = o.tenant_id {_PLAN if by == "plan" else ""}
        WHERE o.state = 'paid' AND (CAST(:tenant_id AS uuid) IS NULL OR o.tenant_id = :tenant_id)
          AND {_PAID_DAY} BETWEEN :first AND :last
        GROUP BY 1, o.currency ORDER BY 1, o.currency
    """
    return (await conn.execute(text(statement), {"tenant_id": tenant_id, "first": first, "last": last})).mappings().all()


_TENANT_COST = text(
    """
    SELECT u.tenant_id::text AS key, t.slug AS label, u.cost_currency AS currency, sum(u.cost)::bigint AS cost,
           sum(u.unknown_cost)::bigint AS unknown_cost
    FROM usage_daily u JOIN tenants t ON t.id = u.tenant_id
    WHERE u.day BETWEEN :first AND :last GROUP BY 1, 2, 3 ORDER BY 1, 3
    """
)


async def cost_by_tenant(conn: AsyncConnection, first: date, last: date) -> Sequence[Row]:
    """What each tenant's models cost, from the daily sums; for the operator."""
    return (await conn.execute(_TENANT_COST, {"first": first, "last": last})).mappings().all()


_TODAY = text("SELECT (app_now() AT TIME ZONE zone_at(t, app_now()))::date FROM tenants t WHERE id = :tenant_id")


async def today(conn: AsyncConnection, tenant_id: UUID) -> date:
    """The tenant's local day."""
    found: date = (await conn.execute(_TODAY, {"tenant_id": tenant_id})).scalar_one()
    return found
