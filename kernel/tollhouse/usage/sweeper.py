"""The sweeper: holds whose runner is gone are expired, and their units come back.

What the model used in the meantime is not known; the entry says so, with the most that it may have been, which the tenant's
daily stop takes too. If the process was only paused and still settles, its usage is posted late (see turns/settle.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from tollhouse.plugin.llm import TokenUsage
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.scope import tenant_scope
from tollhouse.store.sql import Rows, Statement
from tollhouse.store.store import Store
from tollhouse.usage.entries import ENTRIES, Entry
from tollhouse.usage.holds import RESOLVE_CTES
from tollhouse.usage.prices import Price, cost_nano

log = logging.getLogger(__name__)

ORPHANS = text(
    """
    SELECT h.tenant_id, h.id FROM holds h
    WHERE h.state = 'open' AND NOT EXISTS (SELECT 1 FROM runners r WHERE r.id = h.runner_id AND r.lease_until > now())
    ORDER BY h.id LIMIT :batch
    """
)
FORGOTTEN = text(
    """
    SELECT tenant_id, id FROM holds
    WHERE state = 'open' AND runner_id = :runner AND id < :before AND NOT id = ANY(:busy)
    ORDER BY id LIMIT :batch
    """
)
GONE_RUNNERS = text("DELETE FROM runners WHERE lease_until < now() - interval '1 day'")
HOLD = Statement("SELECT * FROM holds WHERE tenant_id = :tenant AND id = :hold AND state = 'open'")
HOLD_OF_TURN = Statement(
    "SELECT id FROM holds WHERE tenant_id = :tenant AND turn_id = :turn AND runner_id = :runner AND state = 'open'"
)
STOPS = Statement("SELECT id FROM counters WHERE tenant_id = :tenant AND id = ANY(:ids::uuid[]) AND user_id IS NULL")
"""The tenant's own counters among these: they take all that models cost, or may have cost."""
ENDED = Rows("ended", hold="uuid", state="text")
EXPIRE = Statement(f"WITH {ENDED.cte}, {RESOLVE_CTES} SELECT count(*) FROM h")
INTERRUPT_TURN = Statement(
    """
    UPDATE turns SET state = 'failed', finished_at = app_now(), error = :error::jsonb
    WHERE tenant_id = :tenant AND id = :turn AND attempt = :attempt AND state = 'running'
    """
)
INTERRUPTED = {"code": "interrupted", "status": 503, "detail": "The server stopped while working on this; nothing was charged."}


async def sweep(store: Store, batch: int = 500) -> int:
    """Expire orphaned holds; how many. Safe to run in several processes at once: a hold is resolved once."""
    async with store.operator() as conn:
        orphans = (await conn.execute(ORPHANS, {"batch": batch})).all()
        await conn.execute(GONE_RUNNERS)
    expired = await _expire(store, orphans)
    if expired:
        log.warning("expired %d holds of processes that are gone", expired)
    return expired


async def expire_forgotten(store: Store, runner_id: UUID, before: UUID, busy: Collection[UUID], batch: int = 500) -> int:
    """Expire the holds of a living process that are older than ``before`` and that it does not work on; how many."""
    async with store.operator() as conn:
        params = {"runner": runner_id, "before": before, "busy": list(busy), "batch": batch}
        forgotten = (await conn.execute(FORGOTTEN, params)).all()
    expired = await _expire(store, forgotten)
    if expired:
        log.warning("expired %d holds that this process had lost sight of", expired)
    return expired


async def _expire(store: Store, found: Sequence[Any]) -> int:
    expired = 0
    for tenant_id, hold_id in found:

        async def expire(conn: Any, tenant_id: UUID = tenant_id, hold_id: UUID = hold_id) -> int:
            return await expire_hold(conn, tenant_id, hold_id)

        try:
            expired += await store.run(tenant_scope(tenant_id), expire)
        except DatabaseDown:
            raise
        except Exception:  # one that cannot be expired keeps nobody else's units
            log.exception("hold %s of tenant %s cannot be expired", hold_id, tenant_id)
    return expired


async def expire_hold(conn: Any, tenant_id: UUID, hold_id: UUID) -> int:
    """Expire one hold and fail its turn; 0 if somebody else was faster."""
    row = await HOLD.row(conn, tenant=tenant_id, hold=hold_id)
    if row is None:
        return 0
    entry, counters = _unknown_entry(row), row["counter_ids"]
    stops = {one["id"] for one in await STOPS.rows(conn, tenant=tenant_id, ids=counters)}
    used = [
        (held if entry.cost is None else entry.cost) if key in stops else 0
        for key, held in zip(counters, row["amounts"], strict=True)
    ]
    count: int = await EXPIRE.value(
        conn,
        tenant=tenant_id,
        **ENDED.params([{"hold": hold_id, "state": "expired"}]),
        **ENTRIES.params([entry.row(hold_id, counters, used)]),
    )
    if count:
        await INTERRUPT_TURN.rows(
            conn, tenant=tenant_id, turn=row["turn_id"], attempt=row["attempt"], error=json.dumps(INTERRUPTED)
        )
    return count


async def expire_turn(conn: Any, tenant_id: UUID, turn_id: UUID, runner_id: UUID) -> None:
    """Expire what a process that is gone holds for this turn, so that another attempt can be made at it.

    Nobody may run a turn whose earlier attempt can still be settled: it would be answered, and paid, twice.
    """
    hold = await HOLD_OF_TURN.row(conn, tenant=tenant_id, turn=turn_id, runner=runner_id)
    if hold is not None:
        await expire_hold(conn, tenant_id, hold["id"])


def _unknown_entry(row: Any) -> Entry:
    facts = json.loads(row["facts"])
    price = Price.of(facts.get("price"))
    most = TokenUsage(facts.get("input_tokens"), facts.get("output_tokens"))

    def known(name: str) -> UUID | None:
        return UUID(facts[name]) if facts.get(name) else None

    return Entry(
        user_id=row["user_id"],
        turn_id=row["turn_id"],
        attempt=row["attempt"],
        outcome="interrupted",
        certainty="unknown",
        kind="test" if facts.get("test") else "turn",
        agent_id=known("agent"),
        version_id=known("version"),
        plan_version_id=known("plan_version"),
        subscription_id=known("subscription"),
        connection_id=known("connection"),
        channel=facts.get("channel", ""),
        backend=facts.get("backend", ""),
        model=facts.get("model", ""),
        input_tokens=most.input,
        output_tokens=most.output,
        cost=None if price is None or most.total is None else cost_nano(price, most),
        cost_currency="USD" if price is None else price.currency,
        price=facts.get("price"),
    )
