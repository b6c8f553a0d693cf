"""SQL of the daily sums: what a row of the ledger adds to them, which rows are in, and which are new.

The watermark is the number of a transaction: whatever wrote with a lower one is decided, and in the sums if it committed.
Numbers belong to a server; rows that were restored from another one's dump carry foreign ones. Such a row shows by its
``xmin``, which is not what it says itself, and is in the sums whatever its number: ``ceiling`` is the highest of them, beyond
it nobody has to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.pieces import Piece

NAME: Final = "usage_sums"
_MARK_ID: Final = uuid5(NAMESPACE_URL, f"watermark:{NAME}")
_GENERATIONS_ID: Final = uuid5(NAMESPACE_URL, f"watermark:{NAME}:generations")
BATCH: Final = 10_000

# Which zone a tenant had from when until when: `zone_at` as ranges, worked out once for each tenant and not for each entry.
ZONES = """
    SELECT t.id AS tenant_id, z.zone, z.since, z.until FROM tenants t CROSS JOIN LATERAL (
        SELECT f.value->>'timezone' AS zone,
               coalesce(max((f.value->>'until')::timestamptz) OVER (
                   ORDER BY f.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), '-infinity') AS since,
               least((f.value->>'until')::timestamptz, t.next_timezone_from) AS until
        FROM jsonb_array_elements(t.former_zones) WITH ORDINALITY AS f(value, place)
        UNION ALL
        SELECT t.timezone, coalesce((SELECT max((f->>'until')::timestamptz) FROM jsonb_array_elements(t.former_zones) f),
                                    '-infinity'), coalesce(t.next_timezone_from, 'infinity')
        UNION ALL
        SELECT t.next_timezone, t.next_timezone_from, 'infinity' WHERE t.next_timezone_from IS NOT NULL
    ) z
"""
KEYS: Final = ("user_id", "agent_id", "version_id", "plan_version_id", "channel", "model", "cost_currency")
# What staff try out costs, but is nobody's use: it counts neither as a call nor as an error, and has no part in the latency.
# An error is a turn that failed, however many models were asked for it in vain.
MEASURES: Final[Mapping[str, str]] = {
    "calls": "CASE WHEN e.kind <> 'test' THEN e.calls ELSE 0 END",
    "errors": "(e.outcome <> 'ok' AND e.kind = 'turn')::int",
    "input_tokens": "coalesce(e.input_tokens, 0)",
    "output_tokens": "coalesce(e.output_tokens, 0)",
    "cost": "coalesce(e.cost, 0)",
    "unknown_cost": "(e.cost IS NULL)::int",
    "latency_ms": "CASE WHEN e.kind <> 'test' THEN e.latency_ms ELSE 0 END",
}
SUMS: Final = ", ".join(f"sum({name})::bigint AS {name}" for name in MEASURES)
_NATIVE = "e.xmin::text::bigint = e.xid & 4294967295"
IN = f"(e.xid < :mark OR e.xid <= :ceiling AND NOT {_NATIVE})"
NEW = f"e.xid >= :mark AND (e.xid > :ceiling OR {_NATIVE})"


def rows_of(where: str) -> str:
    """The entries of ``where`` as rows of day, keys and measures; stands behind ``WITH zones AS (ZONES)``."""
    return f"""
        SELECT e.tenant_id, (e.occurred_at AT TIME ZONE z.zone)::date AS day, {", ".join(f"e.{key}" for key in KEYS)},
               {", ".join(f"{value} AS {name}" for name, value in MEASURES.items())}
        FROM entries e JOIN zones z ON z.tenant_id = e.tenant_id AND e.occurred_at >= z.since AND e.occurred_at < z.until
        WHERE {where}"""


def _add(where: str) -> TextClause:
    offer, columns = (
        "agent_id, version_id, plan_version_id, channel, model",
        f"grain, day, {', '.join(KEYS)}, {', '.join(MEASURES)}",
    )

    def into(table: str, grains: str) -> str:
        """Add the sums of these grains to those that are there."""
        return f"""
            INSERT INTO {table} (tenant_id, id, generation, {columns})
            SELECT tenant_id, gen_random_uuid(), :generation, {columns} FROM summed WHERE {grains}
            ON CONFLICT ON CONSTRAINT uq_{table}_key
            DO UPDATE SET {", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in MEASURES)}"""

    return text(
        f"""
        WITH zones AS MATERIALIZED ({ZONES}),
        summed AS MATERIALIZED (
            SELECT tenant_id, day, user_id, agent_id, version_id, plan_version_id, coalesce(channel, '') AS channel,
                   coalesce(model, '') AS model, cost_currency, {SUMS},
                   CASE WHEN GROUPING(user_id) = 1 THEN 'offer' WHEN GROUPING(agent_id) = 1 THEN 'user' ELSE 'full' END AS grain
            FROM ({rows_of(where)}) fresh
            GROUP BY GROUPING SETS ((tenant_id, day, cost_currency, user_id, {offer}), (tenant_id, day, cost_currency, {offer}),
                                    (tenant_id, day, cost_currency, user_id))
        ),
        details AS ({into("usage_sums", "grain = 'full'")})
        {into("usage_totals", "grain <> 'full'")}
        """
    )


_CLUSTER = "(SELECT system_identifier::text FROM pg_control_system())"
_PIECE = "e.tenant_id = :tenant AND e.id >= :low AND e.id < :high"
ADD_NEW = _add(f"{NEW} AND e.xid < :upto")
_ADD_PIECE = _add(f"{_PIECE} AND {IN.replace(':ceiling', str(2**63 - 1))}")
_FOREIGN = text(f"SELECT max(e.xid) FROM entries e WHERE {_PIECE} AND NOT {_NATIVE}")
_MARK = f"SELECT xid, generation, ceiling, cluster = {_CLUSTER} AS here, app_now() - at AS age FROM watermarks WHERE id = :id"
_LOCK = text(f"{_MARK} FOR UPDATE SKIP LOCKED")
_READ = text(_MARK)
_HORIZON = text("SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint")
_FOLLOWING = text("SELECT min(xid) FROM entries WHERE xid >= :low AND xid < :high")
_ADVANCE = text("UPDATE watermarks SET xid = :xid, at = app_now() WHERE id = :id")
_COUNT_UP = text(
    """
    INSERT INTO watermarks (id, name, xid) VALUES (:id, :name, 1)
    ON CONFLICT (id) DO UPDATE SET xid = watermarks.xid + 1, at = app_now() RETURNING xid
    """
)
_SWITCH = text(
    f"""
    INSERT INTO watermarks (id, name, xid, at, cluster, generation, ceiling)
    VALUES (:id, :name, :mark, app_now(), {_CLUSTER}, :generation, :ceiling)
    ON CONFLICT (id) DO UPDATE SET xid = excluded.xid, at = excluded.at, cluster = excluded.cluster, ceiling = excluded.ceiling,
                                   generation = excluded.generation WHERE watermarks.generation < excluded.generation
    """
)
_FORGET = {
    table: text(
        f"""
        DELETE FROM {table} WHERE tenant_id = :tenant AND id IN (
            SELECT id FROM {table} WHERE tenant_id = :tenant AND generation < :generation LIMIT :batch)
        """
    )
    for table in ("usage_sums", "usage_totals")
}
# Every statement here finds its rows by a range, and how long that is only its values tell: never a plan for any value.
_SETTINGS = text(
    """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true),
           set_config('statement_timeout', :timeout, true)
    """
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where the ledger is in the sums. ``here``: the numbers are of this server; ``age``: how long ago it was moved."""

    xid: int = 0
    generation: int = 0
    ceiling: int = 0
    here: bool = False
    age: timedelta = timedelta()

    def values(self) -> dict[str, int]:
        """The parameters of ``IN`` and ``NEW``."""
        return {"mark": self.xid, "ceiling": self.ceiling}


async def read_mark(conn: AsyncConnection) -> Mark | None:
    """The watermark; None before the first run."""
    return _mark((await conn.execute(_READ, {"id": _MARK_ID})).first())


async def lock_mark(conn: AsyncConnection) -> Mark | None:
    """The watermark, which nobody else moves until this transaction ends; None if somebody does, or there is none."""
    return _mark((await conn.execute(_LOCK, {"id": _MARK_ID})).first())


def _mark(row: Any) -> Mark | None:
    return None if row is None else Mark(row.xid, row.generation, row.ceiling, row.here, row.age)


async def by_ranges(conn: AsyncConnection, timeout: str) -> None:
    """For the rest of this transaction, plan for ranges."""
    await conn.execute(_SETTINGS, {"timeout": timeout})


async def horizon(conn: AsyncConnection) -> int:
    """The oldest transaction that may still commit: everything below it is decided for all snapshots."""
    return int((await conn.execute(_HORIZON)).scalar_one())


async def add_new(conn: AsyncConnection, mark: Mark, upto: int) -> int:
    """Add what is new below ``upto``, and move the watermark there; how many totals changed."""
    values = {**mark.values(), "generation": mark.generation, "upto": upto}
    added = int((await conn.execute(ADD_NEW, values)).rowcount)
    await conn.execute(_ADVANCE, {"id": _MARK_ID, "xid": upto})
    return added


async def following(conn: AsyncConnection, low: int, high: int) -> int:
    """The first of these transactions that wrote an entry; ``high`` if none did."""
    found: int | None = (await conn.execute(_FOLLOWING, {"low": low, "high": high})).scalar()
    return high if found is None else found


async def new_generation(conn: AsyncConnection) -> int:
    """A number that no other sums have."""
    values = {"id": _GENERATIONS_ID, "name": f"{NAME}:generations"}
    return int((await conn.execute(_COUNT_UP, values)).scalar_one())


async def add_piece(conn: AsyncConnection, tenant_id: UUID, piece: Piece, generation: int, mark: int) -> int:
    """Add to sums that nobody reads yet what is decided at ``mark``; the highest foreign number that was met."""
    bounds = {"tenant": tenant_id, **piece.bounds()}
    await conn.execute(_ADD_PIECE, {**bounds, "generation": generation, "mark": mark})
    return int((await conn.execute(_FOREIGN, bounds)).scalar() or 0)


async def switch(conn: AsyncConnection, mark: Mark) -> bool:
    """Let everybody read these sums from now on; whether there were no newer ones."""
    values = {"id": _MARK_ID, "name": NAME, **mark.values(), "generation": mark.generation}
    return bool((await conn.execute(_SWITCH, values)).rowcount)


async def forget(conn: AsyncConnection, tenant_id: UUID, generation: int) -> bool:
    """Delete some of the sums before this generation; whether there may be more."""
    values = {"tenant": tenant_id, "generation": generation, "batch": BATCH}
    return any([int((await conn.execute(statement, values)).rowcount) == BATCH for statement in _FORGET.values()])
