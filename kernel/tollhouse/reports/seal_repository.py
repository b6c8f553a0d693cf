"""SQL of the chains: what a row of a log says, as a hash; links; and the watermark up to which all rows are in one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.anchor import ChainId, End
from tollhouse.store.audit import HASH as AUDIT_HASH
from tollhouse.store.ids import new_id
from tollhouse.store.models import seals

Row = Mapping[Any, Any]

ENTRY_COLUMNS: Final = (
    *(
        "tenant_id",
        "id",
        "kind",
        "turn_id",
        "attempt",
        "user_id",
        "agent_id",
        "version_id",
        "plan_version_id",
        "subscription_id",
    ),
    *("connection_id", "channel", "backend", "model", "outcome", "calls", "input_tokens", "output_tokens", "cached_tokens"),
    *(
        "reasoning_tokens",
        "certainty",
        "cost",
        "cost_currency",
        "price",
        "latency_ms",
        "counter_ids",
        "amounts",
        "detail",
        "xid",
    ),
)
_ENTRY_HASH = f"""sha256(convert_to(jsonb_build_array(1, {", ".join("x." + name for name in ENTRY_COLUMNS)},
    (extract(epoch FROM x.occurred_at) * 1000000)::bigint)::text, 'UTF8'))"""

LOGS: Final[Mapping[str, str]] = {"entries": _ENTRY_HASH, "audit": AUDIT_HASH}
"""By the name of the log, which is its table's: what one row ``x`` says, as a hash. The numbers in them count the forms: a
column that is added later makes a new form, and the old one stays for what was sealed in it."""

NAME: Final = "seals"
ANCHOR: Final = "anchor"
ENDPOINT: Final = "anchor:endpoint"
NOTHING: Final = UUID(int=0)
FEW: Final = 100
"""So many rows with one fault are named in a month; of the others it is said how many they are."""
PIECE: Final = 2_000
"""Rows of one link at most: it is made in one short transaction, and holds the loop for a moment."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark: up to which transaction of which server."""

    xid: int = 0
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """Which server this is, and its oldest transaction that may still commit."""

    cluster: str
    horizon: int
    now: datetime


_SERVER = text(
    """
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS cluster, app_now() AS now,
           (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint AS horizon
    """
)
_MARK = text("SELECT xid, cluster FROM watermarks WHERE name = :name")
_MOVE = text(
    """
    INSERT INTO watermarks (id, name, xid, cluster) VALUES (:id, :name, :xid, :cluster)
    ON CONFLICT (id) DO UPDATE SET xid = excluded.xid, cluster = excluded.cluster, at = app_now()
    """
)
_HEADS = text(
    """
    SELECT t.id AS tenant_id, l.log, h.*
    FROM tenants t CROSS JOIN (VALUES ('entries'), ('audit')) l (log) CROSS JOIN LATERAL (
        SELECT s.id, s.number, s.kind, s.cluster, s.low, s.high, s.partial, s.last_id, s.total, s.digest, s.public_key,
               (SELECT f.at FROM seals f WHERE f.tenant_id = t.id AND f.log = l.log AND f.number = 1) AS began
        FROM seals s WHERE s.tenant_id = t.id AND s.log = l.log ORDER BY s.number DESC LIMIT 1) h
    WHERE CAST(:tenant AS uuid) IS NULL OR t.id = :tenant
    """
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant || :log, 7406))")
_REANCHORED = text("SELECT EXISTS (SELECT 1 FROM seals WHERE tenant_id = :tenant AND log = :log AND kind = 'reanchor')")
_LINKS = text(
    """
    SELECT s.id, s.number, s.kind, s.cluster, s.low, s.high, s.partial, s.last_id, s.count, s.total, s.note,
           s.previous, s.digest,           s.public_key, s.signature, s.at, sha256(array_send(s.ids) || array_send(s.leaves)) AS
           body, CASE WHEN s.kind = 'blanked' THEN s.ids END AS ids
    FROM seals s WHERE s.tenant_id = :tenant AND s.log = :log ORDER BY s.number
    """
)
_AT = text("SELECT encode(digest, 'hex') FROM seals WHERE tenant_id = :tenant AND log = :log AND number = :number")
_SEALED_BEFORE = """
    LEFT JOIN (SELECT unnest(s.ids) AS id FROM seals s WHERE s.tenant_id = :tenant AND s.log = '{log}' AND s.kind = 'rows'
               AND s.last_id > :after) known ON known.id = x.id"""


def _touched(log: str) -> TextClause:
    return text(
        f"""
        SELECT tenant_id, min(id::text)::uuid AS first FROM {log}
        WHERE xid >= :low AND xid < :high GROUP BY tenant_id ORDER BY tenant_id
        """
    )


def _piece(log: str, *, again: bool) -> TextClause:
    """``again``: without those that are in a link already, whatever their transactions' numbers."""
    return text(
        f"""
        SELECT x.id, encode(substr({LOGS[log]}, 1, 16), 'hex')::uuid AS leaf, {"x.mark" if log == "audit" else "NULL"} AS mark,
               {LOGS[log] if log == "audit" else "NULL"} AS hash, {"x.digest <> ''" if log == "audit" else "false"} AS old
        FROM (SELECT x.* FROM {log} x {_SEALED_BEFORE.format(log=log) if again else ""}
              WHERE x.tenant_id = :tenant AND x.id > :after AND x.xid >= :low AND x.xid < :high
                    {"AND known.id IS NULL" if again else ""}
              ORDER BY x.id LIMIT :limit) x
        ORDER BY x.id
        """
    )


_TOUCHED = {log: _touched(log) for log in LOGS}
_PIECES = {(log, again): _piece(log, again=again) for log in LOGS for again in (False, True)}


async def server(conn: AsyncConnection) -> Server:
    """Which server this is and how far its transactions are decided."""
    row = (await conn.execute(_SERVER)).one()
    return Server(row.cluster, int(row.horizon), row.now)


async def mark(conn: AsyncConnection, name: str) -> Mark | None:
    """A watermark; None where there is none."""
    row = (await conn.execute(_MARK, {"name": name})).first()
    return None if row is None else Mark(row.xid, row.cluster)


async def move(conn: AsyncConnection, name: str, to: Mark) -> None:
    """Set a watermark."""
    key = uuid5(NAMESPACE_URL, f"watermark:{name}")
    await conn.execute(_MOVE, {"id": key, "name": name, "xid": to.xid, "cluster": to.cluster})


async def heads(conn: AsyncConnection, tenant_id: UUID | None = None) -> dict[ChainId, Row]:
    """The last link of each chain."""
    rows = (await conn.execute(_HEADS, {"tenant": tenant_id})).mappings()
    return {ChainId(row["tenant_id"], row["log"]): row for row in rows}


def end_of(head: Row) -> End:
    """As the anchor writes it down."""
    return End(head["number"], head["total"], head["digest"].hex())


async def lock_chain(conn: AsyncConnection, chain: ChainId) -> Row | None:
    """The last link of a chain, which nobody else goes on with until this transaction ends."""
    await conn.execute(text("SET LOCAL statement_timeout = '300s'"))
    await conn.execute(_LOCK, {"tenant": str(chain.tenant_id), "log": chain.log})
    return (await heads(conn, chain.tenant_id)).get(chain)


async def every_tenant(conn: AsyncConnection) -> list[UUID]:
    """All of them."""
    return list((await conn.execute(text("SELECT id FROM tenants ORDER BY id"))).scalars())


async def touched(conn: AsyncConnection, log: str, low: int, high: int) -> dict[UUID, UUID]:
    """Whose rows these transactions wrote, and the first of each; everybody, where nothing was sealed yet."""
    if low == 0:
        return dict.fromkeys(await every_tenant(conn), NOTHING)
    await conn.execute(text("SET LOCAL statement_timeout = '300s'"))
    return {row.tenant_id: row.first for row in await conn.execute(_TOUCHED[log], {"low": low, "high": high})}


async def was_reanchored(conn: AsyncConnection, chain: ChainId) -> bool:
    """Whether numbers of transactions of another server may be among those of this chain's rows."""
    return bool((await conn.execute(_REANCHORED, {"tenant": chain.tenant_id, "log": chain.log})).scalar_one())


async def piece(
    conn: AsyncConnection, chain: ChainId, low: int, high: int, after: UUID, *, again: bool
) -> tuple[list[Row], bool]:
    """The next rows of these transactions in the order of their ids, and whether there are more."""
    values = {"tenant": chain.tenant_id, "low": low, "high": high, "after": after, "limit": PIECE + 1}
    rows: list[Row] = list((await conn.execute(_PIECES[chain.log, again], values)).mappings())
    return rows[:PIECE], len(rows) > PIECE


async def insert_link(conn: AsyncConnection, tenant_id: UUID, link: Mapping[str, Any]) -> None:
    """Append a link."""
    await conn.execute(seals.insert().values(tenant_id=tenant_id, id=new_id(), **link))


async def links(conn: AsyncConnection, chain: ChainId) -> AsyncIterator[Row]:
    """Every link of a chain in its order, with the hash of what it holds computed anew."""
    result = await conn.stream(_LINKS, {"tenant": chain.tenant_id, "log": chain.log})
    async for row in result.mappings():
        yield row


async def digest_at(conn: AsyncConnection, chain: ChainId, number: int) -> str | None:
    """The digest of one link, if it is there."""
    found: str | None = (await conn.execute(_AT, {"tenant": chain.tenant_id, "log": chain.log, "number": number})).scalar()
    return found


# -- comparing rows with links ------------------------------------------------------------------------------------------------

_COMPARE = """
    WITH there AS MATERIALIZED (
        SELECT x.id, x.xid, encode(substr({hash}, 1, 16), 'hex')::uuid AS leaf FROM {log} x
        WHERE x.tenant_id = :tenant AND x.id >= :low AND x.id < :high
    ), sealed AS MATERIALIZED (
        SELECT y.id, y.leaf, s.number FROM seals s, unnest(s.ids, s.leaves) AS y (id, leaf)
        WHERE s.tenant_id = :tenant AND s.log = '{log}' AND s.kind = 'rows' AND s.first_id < :high AND s.last_id >= :low
          AND s.number > :retired
          AND y.id >= :low AND y.id < :high
    ), odd AS MATERIALIZED (
        SELECT id, there.xid, sealed.number, there.id IS NULL AS missing, sealed.id IS NULL AS added
        FROM there FULL JOIN sealed USING (id) WHERE there.leaf IS DISTINCT FROM sealed.leaf
    )
    SELECT 'pending' AS what, NULL::uuid AS id, NULL::bigint AS number, count(*) AS times FROM odd WHERE added AND {early}
    UNION ALL SELECT 'added', NULL, NULL, count(*) FROM odd WHERE added AND NOT {early}
    UNION ALL (SELECT 'added', id, NULL, 0 FROM odd WHERE added AND NOT {early} ORDER BY id LIMIT {few})
    UNION ALL SELECT CASE WHEN missing THEN 'missing' ELSE 'changed' END, NULL, NULL, count(*) FROM odd WHERE NOT added
    GROUP BY missing
    UNION ALL (SELECT CASE WHEN missing THEN 'missing' ELSE 'changed' END, id, number, 0 FROM odd WHERE NOT added
               ORDER BY id LIMIT {few})
"""
_COMPARISONS = {
    log: text(_COMPARE.format(log=log, hash=LOGS[log], early="(xid >= :mark OR :unmarked)", few=FEW)) for log in LOGS
}


async def compare(
    conn: AsyncConnection, chain: ChainId, low: UUID, high: UUID, known: Mark | None, retired: int
) -> Sequence[Row]:
    """Rows of these ids that are not as they were sealed: how many (``times``), and some of them by ``id``.

    ``known``: up to where all rows are sealed, None if nobody can say. Links up to ``retired`` hold nothing any more.
    """
    values = {"tenant": chain.tenant_id, "low": low, "high": high, "retired": retired}
    more = {"mark": known.xid if known is not None else 0, "unmarked": known is None}
    return (await conn.execute(_COMPARISONS[chain.log], {**values, **more})).mappings().all()


_MARKS = text(
    f"""
    SELECT x.id, x.mark, x.xid, {AUDIT_HASH} AS hash, x.digest <> '' AS old,
           array_remove(ARRAY[CASE WHEN x.address_salt IS NULL AND x.blanked ? 'address' THEN 'address' END,
                              CASE WHEN x.data_salt IS NULL AND x.blanked ? 'data' THEN 'data' END], NULL) AS blanked,
           x.blanked ? 'address' AND x.address <> '' OR x.blanked ? 'data' AND x.data <> '{{}}' AS refilled
    FROM audit x WHERE x.tenant_id = :tenant ORDER BY x.id
    """
)


async def marks(conn: AsyncConnection, tenant_id: UUID) -> AsyncIterator[Row]:
    """Every entry of the audit log with its hash, its mark, and which fields were blanked in it."""
    result = await conn.stream(_MARKS, {"tenant": tenant_id})
    async for row in result.mappings():
        yield row
