"""What is given up of the audit log in order: fields of people who were erased, and what is past its time. The chain says so,
signed, and goes on.

A field is bound by a salted hash of its own: it goes with its salt, and the hash stays, so the row's hash is what it was. Rows
go in whole links, the oldest first. Both need the owner's rights, which no request has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.reports import seal_repository as rows
from tollhouse.reports.sealing import Sealer, disagreement
from tollhouse.store.anchor import Anchored, ChainId
from tollhouse.store.scope import OWNER

BATCH: Final = 1_000
LINKS: Final = 10
_ERASED: Final = "SELECT id FROM users WHERE tenant_id = :tenant AND status = 'erased'"
_NAMES: Final = _ERASED.replace("SELECT id", "SELECT id::text")
_OF_ERASED: Final = {
    "address": f"actor_kind = 'user' AND actor_id IN ({_ERASED}) AND address <> ''",
    # Staff may have written about them.
    "data": f"""data ? 'reason' AND (data->>'user_id' IN ({_NAMES}) OR target_id IN ({_NAMES})
        OR target_id IN (SELECT s.id::text FROM subscriptions s WHERE s.tenant_id = :tenant AND s.user_id IN ({_ERASED})))""",
}
_EMPTY: Final = {"address": ("address", "''"), "data": ("data::text", "'{}'::jsonb")}


def _blank(field: str) -> TextClause:
    plain, empty = _EMPTY[field]
    return text(
        f"""
        UPDATE audit SET {field} = {empty}, {field}_salt = NULL, blanked = blanked || jsonb_build_object(
            '{field}', encode(sha256({field}_salt || convert_to({plain}, 'UTF8')), 'hex'))
        WHERE tenant_id = :tenant AND id IN (SELECT id FROM audit WHERE tenant_id = :tenant AND {field}_salt IS NOT NULL
            AND {_OF_ERASED[field]} ORDER BY id LIMIT :batch) RETURNING id
        """
    )


_BLANKS = {field: _blank(field) for field in _OF_ERASED}
_PAST = text(
    """
    SELECT number FROM seals WHERE tenant_id = :tenant AND log = 'audit' AND kind = 'rows'
      AND at < app_now() - make_interval(days => :days)
      AND number > coalesce((SELECT max((note->>'to')::bigint) FROM seals
                             WHERE tenant_id = :tenant AND log = 'audit' AND kind = 'retired'), 0)
    ORDER BY number LIMIT :links
    """
)
_RETIRE = text(
    """
    DELETE FROM audit WHERE tenant_id = :tenant AND id IN (
        SELECT unnest(ids) FROM seals WHERE tenant_id = :tenant AND log = 'audit' AND kind = 'rows' AND number = ANY(:numbers))
    """
)


async def forget_audit(sealer: Sealer, days: int) -> None:
    """Blank what is kept of erased people, and give up what is older than so many ``days`` (0: nothing). Of every tenant."""
    async with sealer.store.operator() as conn:
        tenants = await rows.every_tenant(conn)
    for tenant_id in tenants:
        anchored = await sealer.anchored([])
        for field in _BLANKS:
            while await _blank_some(sealer, anchored, tenant_id, field) == BATCH:
                pass
        while days and await _retire_some(sealer, anchored, tenant_id, days) == LINKS:
            pass


async def _blank_some(sealer: Sealer, anchored: Anchored, tenant_id: UUID, field: str) -> int:
    chain = ChainId(tenant_id, "audit")
    async with sealer.store.transaction(OWNER) as conn:
        if not await _in_order(conn, anchored, chain):
            return 0
        ids: Sequence[UUID] = (await conn.execute(_BLANKS[field], {"tenant": tenant_id, "batch": BATCH})).scalars().all()
        if ids:
            await sealer.say(conn, chain, "blanked", {"field": field}, ids=sorted(ids))
    return len(ids)


async def _retire_some(sealer: Sealer, anchored: Anchored, tenant_id: UUID, days: int) -> int:
    chain, values = ChainId(tenant_id, "audit"), {"tenant": tenant_id, "days": days, "links": LINKS}
    async with sealer.store.transaction(OWNER) as conn:
        if not await _in_order(conn, anchored, chain):
            return 0
        numbers: Sequence[int] = (await conn.execute(_PAST, values)).scalars().all()
        if numbers:
            gone = (await conn.execute(_RETIRE, {"tenant": tenant_id, "numbers": list(numbers)})).rowcount
            await sealer.say(conn, chain, "retired", {"from": numbers[0], "to": numbers[-1], "rows": gone})
    return len(numbers)


async def _in_order(conn: AsyncConnection, anchored: Anchored, chain: ChainId) -> bool:
    """Whether this chain may be gone on with: one that was cut is left as it is until somebody has looked."""
    head: Any = await rows.lock_chain(conn, chain)
    end = anchored.ends.get(chain)
    return end is None or not await disagreement(conn, chain, head, end)
