"""Holds: units set aside before the model is called, and resolved exactly once after it.

Everybody locks counters in one order (a person's by id, then the tenant's own): admission, settling, expiring. A hold that is
already resolved changes nothing, so every resolution may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from tollhouse.store.sql import Statement
from tollhouse.usage.counters import Line

State = Literal["settled", "released", "expired"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as the process that made it remembers it."""

    id: UUID
    turn_id: UUID
    attempt: int
    lines: tuple[Line, ...]


ENSURE = Statement(
    """
    INSERT INTO counters (tenant_id, id, user_id, metric, agent_id, channel, "window", window_start, window_end)
    SELECT :tenant, x.id, x.user_id, x.metric, x.agent_id, x.channel, x.win, x.start_at, x.end_at
    FROM unnest(:ids::uuid[], :users::uuid[], :metrics::text[], :agents::uuid[], :channels::text[], :windows::text[],
                :starts::timestamptz[], :ends::timestamptz[])
         AS x(id, user_id, metric, agent_id, channel, win, start_at, end_at)
    ORDER BY x.user_id IS NULL, x.id
    ON CONFLICT (tenant_id, id) DO UPDATE SET window_end = greatest(counters.window_end, excluded.window_end)
    """
)

# A part of the statement that admits a turn; see turns/repository.py for the rest of it.
HOLD_CTES = """
    bumped AS (
        UPDATE counters c SET held = c.held + x.amount
        FROM unnest(:counter_ids::uuid[], :amounts::bigint[]) AS x(id, amount)
        WHERE c.tenant_id = :tenant AND c.id = x.id
    ),
    hold AS (
        INSERT INTO holds (tenant_id, id, turn_id, attempt, user_id, runner_id, counter_ids, amounts, facts)
        VALUES (:tenant, :hold, :turn, :attempt, :user_id, :runner, :counter_ids::uuid[], :amounts::bigint[], :facts::jsonb)
    )"""

# A part of the statement that ends a turn. `h` is empty when somebody else resolved the hold first: then nothing happens.
RESOLVE_CTES = """
    h AS (
        UPDATE holds SET state = :state, resolved_at = app_now()
        WHERE tenant_id = :tenant AND id = :hold AND state = 'open'
        RETURNING id
    ),
    locked AS MATERIALIZED (
        SELECT c.id FROM counters c
        WHERE c.tenant_id = :tenant AND c.id = ANY(:counter_ids::uuid[]) AND EXISTS (SELECT 1 FROM h)
        ORDER BY c.user_id IS NULL, c.id FOR UPDATE
    ),
    moved AS (
        UPDATE counters c SET held = c.held - x.held, used = c.used + x.used
        FROM unnest(:counter_ids::uuid[], :held::bigint[], :used::bigint[]) AS x(id, held, used), locked
        WHERE c.tenant_id = :tenant AND c.id = x.id AND locked.id = x.id
    )"""


async def ensure_counters(conn: Any, tenant_id: UUID, lines: Sequence[Line]) -> None:
    """Make the counters that are missing, or prolong one whose window is longer under another plan.

    Commit before locking them: then everybody locks rows that everybody sees.
    """
    keys = [line.counter for line in lines]
    await ENSURE.rows(
        conn,
        tenant=tenant_id,
        ids=[key.id for key in keys],
        users=[key.user_id for key in keys],
        metrics=[key.metric for key in keys],
        agents=[key.agent_id for key in keys],
        channels=[key.channel for key in keys],
        windows=[key.window for key in keys],
        starts=[key.start for key in keys],
        ends=[key.end for key in keys],
    )


def charges(lines: Sequence[Line], spent: Mapping[str, int]) -> list[int]:
    """What each counter of a hold is charged: what was spent of its metric, never more than was held.

    ``spent`` maps metrics to units; a metric that is not in it (``concurrent``) is not used up by a turn.
    """
    return [min(spent.get(line.counter.metric, 0), line.amount) for line in lines]
