"""What is kept for a while only. The ledger, the audit log, and that something was handled are kept for ever; see
docs/explanation/data.md for all of it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.conversations.repository import forget_of_erased
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.turns.forget import forget_stragglers

BATCH: Final = 10_000
"""Rows of one kind that are removed in one transaction: others wait for it no longer than a moment."""

# Of counters, only those of short windows to which nothing can be charged any more: `ledger verify` explains all others.
_OF_INSTALLATION: Final = (
    """DELETE FROM counters WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM counters
       WHERE "window" IN ('minute', 'hour') AND window_end < now() - interval '2 days' AND held = 0 LIMIT :batch)""",
    """DELETE FROM outbox WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM outbox
       WHERE state = 'done' AND handled_at < now() - interval '30 days' LIMIT :batch)""",
)
_OF_TENANT: Final = (
    """DELETE FROM sessions WHERE tenant_id = :tenant AND least(expires_at, revoked_at) < now() - interval '90 days'""",
    """DELETE FROM one_time_tokens WHERE tenant_id = :tenant AND least(expires_at, used_at) < now() - interval '90 days'""",
    """DELETE FROM sign_in_failures WHERE tenant_id = :tenant AND id IN (SELECT id FROM sign_in_failures
       WHERE tenant_id = :tenant AND last_at < now() - interval '90 days' LIMIT :batch)""",
    """UPDATE inbox SET payload = '{}' WHERE tenant_id = :tenant AND id IN (SELECT id FROM inbox
       WHERE tenant_id = :tenant AND state = 'done' AND payload <> '{}' AND handled_at < now() - interval '30 days'
       LIMIT :batch)""",
)
_DENIALS: Final = """DELETE FROM denials WHERE tenant_id = :tenant AND id IN (SELECT id FROM denials
       WHERE tenant_id = :tenant AND last_at < now() - interval '400 days' LIMIT :batch)"""


async def prune(store: Store) -> None:
    """Forget what is past its time, in batches; safe to run in several processes at once."""
    for statement in _OF_INSTALLATION:
        await _in_batches(store, None, text(statement))
    async with store.operator() as conn:
        ids = (await conn.execute(select(tenants.c.id))).scalars().all()
    for tenant_id in ids:
        for statement in _OF_TENANT:
            await _in_batches(store, tenant_id, text(statement))
        await _in_batches(store, tenant_id, text(_DENIALS), operator=True)
        async with store.transaction(tenant_id) as conn:
            await forget_stragglers(conn, tenant_id)
            await forget_of_erased(conn, tenant_id)


async def _in_batches(store: Store, tenant_id: UUID | None, statement: TextClause, *, operator: bool = False) -> None:
    named = statement.compile().params
    params: dict[str, Any] = {name: value for name, value in (("tenant", tenant_id), ("batch", BATCH)) if name in named}
    while True:
        scope = store.operator() if operator or tenant_id is None else store.transaction(tenant_id)
        async with scope as conn:
            if await _count(conn, statement, params) < BATCH:
                return


async def _count(conn: AsyncConnection, statement: TextClause, params: dict[str, Any]) -> int:
    return int((await conn.execute(statement, params)).rowcount)
