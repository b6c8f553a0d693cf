"""Holds: units set aside before the model is called, and resolved exactly once after it.

Everybody locks counters in one order (a person's by id, then the tenant's own): admission, settling, expiring. A hold that is
already resolved changes nothing, so every resolution may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from tollhouse.records import record
from tollhouse.store.sql import Statement
from tollhouse.usage.counters import Line
from tollhouse.usage.entries import APPENDED_CTE, ENTRIES

State = Literal["settled", "released", "expired"]


@record(frozen=True, slots=True)
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

HOLD_COLUMNS = {
    "hold": "uuid",
    "turn": "uuid",
    "attempt": "bigint",
    "user_id": "uuid",
    "counter_ids": "uuid[]",
    "amounts": "bigint[]",
    "facts": "jsonb",
}
# Parts of the statement that admits turns; see turns/repository.py for the rest of it. `admitted` has the columns above.
HOLD_CTES = """
    bumped AS (
        UPDATE counters c SET held = c.held + x.amount
        FROM (SELECT y.id, sum(y.amount)::bigint AS amount
              FROM admitted a, unnest(a.counter_ids, a.amounts) AS y(id, amount) GROUP BY y.id) x
        WHERE c.tenant_id = :tenant AND c.id = ANY(ARRAY(SELECT unnest(a.counter_ids) FROM admitted a)) AND c.id = x.id
    ),
    hold AS (
        INSERT INTO holds (tenant_id, id, turn_id, attempt, user_id, runner_id, counter_ids, amounts, facts)
        SELECT :tenant, a.hold, a.turn, a.attempt, a.user_id, :runner::uuid, a.counter_ids, a.amounts, a.facts FROM admitted a
    )"""

# Parts of the statement that ends turns. `ended` has the columns hold and state; `h` lacks those that somebody else resolved
# first: for them nothing happens. (Asking for the state instead would tempt the planner to the sweeper's index of open holds,
# which is full of those that were open a moment ago.) What was held is what the hold says, what was used what its entry says;
# several turns may move one counter, so what they move is added up before.
RESOLVE_CTES = f"""
    {ENTRIES.cte},
    h AS (
        UPDATE holds SET state = e.state, resolved_at = app_now() FROM ended e
        WHERE holds.tenant_id = :tenant AND holds.id = ANY(ARRAY(SELECT hold FROM ended)) AND holds.id = e.hold
          AND holds.resolved_at IS NULL
        RETURNING holds.id, holds.counter_ids, holds.amounts
    ),
    {APPENDED_CTE},
    moves AS MATERIALIZED (
        SELECT y.counter, sum(y.held)::bigint AS held, sum(y.used)::bigint AS used
        FROM h JOIN entry ON entry.id = h.id
        CROSS JOIN unnest(h.counter_ids, h.amounts, entry.amounts) AS y(counter, held, used) GROUP BY y.counter
    ),
    locked AS MATERIALIZED (
        SELECT c.id, m.held, m.used FROM moves m JOIN counters c ON c.id = m.counter
        WHERE c.tenant_id = :tenant AND c.id = ANY(ARRAY(SELECT counter FROM moves))
        ORDER BY c.user_id IS NULL, c.id FOR UPDATE OF c
    ),
    moved AS (
        UPDATE counters c SET held = c.held - l.held, used = c.used + l.used FROM locked l
        WHERE c.tenant_id = :tenant AND c.id = ANY(ARRAY(SELECT counter FROM moves)) AND c.id = l.id
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


CHARGE = Statement(
    """
    WITH locked AS MATERIALIZED (
        SELECT c.id, x.used FROM unnest(:ids::uuid[], :used::bigint[]) AS x(id, used) JOIN counters c ON c.id = x.id
        WHERE c.tenant_id = :tenant AND c.id = ANY(:ids::uuid[])
        ORDER BY c.user_id IS NULL, c.id FOR UPDATE OF c
    )
    UPDATE counters c SET used = c.used + l.used FROM locked l
    WHERE c.tenant_id = :tenant AND c.id = ANY(:ids::uuid[]) AND c.id = l.id
    """
)
"""Move counters without a hold: for what arrives after it was resolved."""


def charges(lines: Sequence[Line], spent: Mapping[str, int], cost: int | None) -> list[int]:
    """What each counter of a hold is charged.

    A person's: what was ``spent`` of its metric, never more than was held; a metric that is not in it (``concurrent``) is not
    used up by a turn. The tenant's own, which stops a day that becomes too dear: the ``cost`` of all calls, whatever came of
    them and however much was held; None means that nobody knows it, and then it is what was held.
    """
    return [_charge(line, spent, cost) for line in lines]


def _charge(line: Line, spent: Mapping[str, int], cost: int | None) -> int:
    if line.counter.user_id is not None:
        return min(spent.get(line.counter.metric, 0), line.amount)
    return line.amount if cost is None else cost
