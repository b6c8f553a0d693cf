"""Entries of the ledger: one immutable row for each call of a model, or for a turn that ended without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.ids import new_id
from tollhouse.store.sql import Rows, Statement

Kind = Literal["turn", "retry", "late", "test", "correction"]
Certainty = Literal["exact", "estimated", "unknown"]


@dataclass(slots=True)
class Entry:
    """What is known of one call, until it is appended.

    ``cost`` is in nano-units of ``cost_currency``, and None while its price is unknown.
    ``price`` is the snapshot that the cost was computed with. ``detail`` holds numbers and codes, never what was said.
    """

    user_id: UUID
    outcome: str
    certainty: Certainty
    kind: Kind = "turn"
    turn_id: UUID | None = None
    attempt: int = 1
    agent_id: UUID | None = None
    version_id: UUID | None = None
    plan_version_id: UUID | None = None
    subscription_id: UUID | None = None
    connection_id: UUID | None = None
    channel: str = ""
    backend: str = ""
    model: str = ""
    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: int | None = None
    cost_currency: str = "USD"
    price: Mapping[str, Any] | None = None
    latency_ms: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)

    def row(self, entry_id: UUID, counter_ids: Sequence[UUID] = (), amounts: Sequence[int] = ()) -> dict[str, Any]:
        """The row of :data:`ENTRIES`, with what this entry added to which counters."""
        return {
            "id": entry_id,
            "kind": self.kind,
            "turn_id": self.turn_id,
            "attempt": self.attempt,
            "user_id": self.user_id,
            "agent_id": self.agent_id,
            "version_id": self.version_id,
            "plan_version_id": self.plan_version_id,
            "subscription_id": self.subscription_id,
            "connection_id": self.connection_id,
            "channel": self.channel,
            "backend": self.backend,
            "model": self.model,
            "outcome": self.outcome,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "certainty": self.certainty,
            "cost": self.cost,
            "cost_currency": self.cost_currency,
            "price": self.price,
            "latency_ms": self.latency_ms,
            "counter_ids": counter_ids,
            "amounts": amounts,
            "detail": self.detail,
        }


ENTRIES = Rows(
    "entry",
    id="uuid",
    kind="text",
    turn_id="uuid",
    attempt="bigint",
    user_id="uuid",
    agent_id="uuid",
    version_id="uuid",
    plan_version_id="uuid",
    subscription_id="uuid",
    connection_id="uuid",
    channel="text",
    backend="text",
    model="text",
    outcome="text",
    calls="bigint",
    input_tokens="bigint",
    output_tokens="bigint",
    cached_tokens="bigint",
    reasoning_tokens="bigint",
    certainty="text",
    cost="bigint",
    cost_currency="text",
    price="jsonb",
    latency_ms="bigint",
    counter_ids="uuid[]",
    amounts="bigint[]",
    detail="jsonb",
)
_INSERT = f"INSERT INTO entries (tenant_id, {', '.join(ENTRIES.columns)}) SELECT :tenant::uuid, entry.* FROM entry"

# Of the statement that resolves holds: the entry of a hold has the hold's id, so there is one entry for one hold, by key.
APPENDED_CTE = f"appended AS ({_INSERT} JOIN h ON h.id = entry.id)"

_EVERYTHING = text(
    """
    SELECT id, kind, turn_id, agent_id, channel, model, outcome, calls, input_tokens, output_tokens, occurred_at
    FROM entries WHERE tenant_id = :tenant AND user_id = :user ORDER BY id
    """
)

APPEND = Statement(f"WITH {ENTRIES.cte} {_INSERT}")


async def everything_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> list[dict[str, Any]]:
    """What a user used, for an export. What it cost the tenant is not theirs."""
    rows = (await conn.execute(_EVERYTHING, {"tenant": tenant_id, "user": user_id})).mappings()
    return [dict(row) for row in rows]


async def append(
    conn: Any,
    tenant_id: UUID,
    entry: Entry,
    *,
    entry_id: UUID | None = None,
    counter_ids: Sequence[UUID] = (),
    used: Sequence[int] = (),
) -> UUID:
    """Append an entry that belongs to no hold: a retry, a late posting, a correction."""
    entry_id = entry_id or new_id()
    await APPEND.rows(conn, tenant=tenant_id, **ENTRIES.params([entry.row(entry_id, counter_ids, used)]))
    return entry_id
