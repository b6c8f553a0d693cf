"""Entries of the ledger: one immutable row for each call of a model, or for a turn that ended without one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from tollhouse.store.ids import new_id
from tollhouse.store.sql import Statement

Kind = Literal["turn", "retry", "late", "test", "correction"]
Certainty = Literal["exact", "estimated", "unknown"]

COLUMNS = (
    "kind, turn_id, attempt, user_id, agent_id, version_id, plan_version_id, subscription_id, connection_id, channel, backend, "
    "model, outcome, calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, certainty, cost, cost_currency, "
    "price, latency_ms, counter_ids, amounts, detail"
)


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

    def params(self) -> dict[str, Any]:
        """The parameters of the statements below, without the counters."""
        return {
            "kind": self.kind,
            "entry_turn": self.turn_id,
            "entry_attempt": self.attempt,
            "user_id": self.user_id,
            "agent": self.agent_id,
            "version": self.version_id,
            "plan_version": self.plan_version_id,
            "subscription": self.subscription_id,
            "connection": self.connection_id,
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
            "currency": self.cost_currency,
            "price": json.dumps(self.price) if self.price is not None else None,
            "latency": self.latency_ms,
            "detail": json.dumps(self.detail) if self.detail else "{}",
        }


_VALUES = """
    :kind::text, :entry_turn::uuid, :entry_attempt::bigint, :user_id::uuid, :agent::uuid, :version::uuid, :plan_version::uuid,
    :subscription::uuid, :connection::uuid, :channel::text, :backend::text, :model::text, :outcome::text, :calls::bigint,
    :input_tokens::bigint, :output_tokens::bigint, :cached_tokens::bigint, :reasoning_tokens::bigint, :certainty::text,
    :cost::bigint, :currency::text, :price::jsonb, :latency::bigint, :counter_ids::uuid[], :used::bigint[], :detail::jsonb"""

# The entry of a hold has the hold's id: one hold, one entry, by key.
ENTRY_CTE = f"""
    entry AS (
        INSERT INTO entries (tenant_id, id, {COLUMNS})
        SELECT :tenant, h.id, {_VALUES} FROM h
    )"""

APPEND = Statement(f"INSERT INTO entries (tenant_id, id, {COLUMNS}) VALUES (:tenant, :id, {_VALUES})")


async def append(
    conn: Any, tenant_id: UUID, entry: Entry, *, counter_ids: Sequence[UUID] = (), used: Sequence[int] = ()
) -> UUID:
    """Append an entry that belongs to no hold: a retry, a late posting, a correction."""
    entry_id = new_id()
    await APPEND.rows(conn, tenant=tenant_id, id=entry_id, counter_ids=list(counter_ids), used=list(used), **entry.params())
    return entry_id
