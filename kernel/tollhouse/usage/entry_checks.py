"""What an entry must say: by itself, beside its hold, its turn, and the other calls of its turn. Each check is one line.

Everything that can be worked out again is: a cost from tokens and the price that the entry keeps, an amount from what was used
and held, a turn's usage from its calls. What an entry says of nothing else (a latency, a connection) only its seal protects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text


@dataclass(frozen=True, slots=True)
class RowCheck:
    """``wrong`` is SQL on an entry ``e``, the hold ``h`` of the same id, the entry's turn ``t``, what the calls ``b`` beside it
    came to, and whether one of its amounts is wrong (``l.id``). Each may be missing, and is null then."""

    name: str
    wrong: str
    detail: str


MOST: Final = 1_000
"""So many rows of a piece are named: where everything is wrong, nobody reads a list of everything."""
MARGIN: Final = (timedelta(hours=1), timedelta(days=60))
"""Calls beside an entry are written with it, and their ids are made then; its own id was made when its turn was admitted.
Nearly always that is less than the first; whatever seems wrong is looked at again with the second."""

# The cost, worked out again as usage/prices.py does: rounded half up, cached tokens at a price of their own.
_FREE = """0 = ALL (ARRAY[(e.price->>'input_per_million')::numeric, (e.price->>'output_per_million')::numeric,
    coalesce((e.price->>'cached_per_million')::numeric, 0)])"""
_CACHED = "least(coalesce(e.cached_tokens, 0), e.input_tokens)"
_NANO = f"""div(2 * ((e.input_tokens - {_CACHED}) * (e.price->>'input_per_million')::numeric
    + {_CACHED} * coalesce(e.price->>'cached_per_million', e.price->>'input_per_million')::numeric
    + e.output_tokens * (e.price->>'output_per_million')::numeric) + 1000000, 2000000)"""
_NO_CALL = "e.backend = '' AND e.model = ''"
_COST = f"""CASE WHEN e.input_tokens = 0 AND e.output_tokens = 0 THEN 0 WHEN {_NO_CALL} AND e.certainty = 'exact' THEN 0
    WHEN e.price IS NULL THEN NULL WHEN {_FREE} THEN 0 ELSE {_NANO} END"""
_PRICE_SET = """EXISTS (SELECT 1 FROM prices p WHERE p.tenant_id = e.tenant_id AND p.id = (e.price->>'id')::uuid
    AND (p.backend, p.model, p.input_per_million, p.output_per_million) = (e.backend, e.model,
         (e.price->>'input_per_million')::bigint, (e.price->>'output_per_million')::bigint)
    AND p.cached_per_million IS NOT DISTINCT FROM (e.price->>'cached_per_million')::bigint AND p.valid_from <= e.occurred_at)"""
_FACTS = ("agent_id", "version_id", "plan_version_id", "subscription_id")
_OTHER_FACTS = " OR ".join(f"e.{name}::text IS DISTINCT FROM h.facts->>'{name.removesuffix('_id')}'" for name in _FACTS)
_PAID = "(e.outcome = 'ok')::int"
_KINDS = ("input", "output", "cached", "reasoning")
_OTHER_USAGE = " OR ".join(
    f"coalesce((t.usage->>'{kind}')::bigint, 0) <> coalesce(e.{kind}_tokens, 0) + coalesce(b.{kind}, 0)" for kind in _KINDS
)
_COPIED = (
    *("user_id", "turn_id", "attempt", "agent_id", "version_id", "plan_version_id", "subscription_id", "connection_id"),
    *("channel", "backend", "model", "certainty", "cost_currency", "price", "counter_ids"),
)
_TURNED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")
# The one correction there is (see turns/repository.py): its id is the second after that of what it takes back, and the late
# one's lies between.
_CORRECTED = f"""SELECT 1 FROM entries o JOIN entries y ON y.tenant_id = e.tenant_id AND y.id > (e.detail->>'corrects')::uuid
        AND y.id < e.id
    WHERE o.tenant_id = e.tenant_id AND o.id = (e.detail->>'corrects')::uuid AND o.certainty = 'unknown'
    AND (y.kind, y.xid, y.turn_id, e.outcome) = ('late', e.xid, e.turn_id, 'corrected')
    AND ({", ".join("o." + name for name in _COPIED)}) IS NOT DISTINCT FROM ({", ".join("e." + name for name in _COPIED)})
    AND ({", ".join("o." + name for name in _TURNED)}) IS NOT DISTINCT FROM ({", ".join("-e." + name for name in _TURNED)})
    AND o.amounts = ARRAY(SELECT -z.amount FROM unnest(e.amounts) WITH ORDINALITY AS z (amount, place) ORDER BY z.place)"""
_BOTH = "e.id IS NOT NULL AND h.id IS NOT NULL"

ROW_CHECKS: Final[Sequence[RowCheck]] = (
    RowCheck("hold_without_entry", "e.id IS NULL AND h.state <> 'open'", "a resolved hold has no entry"),
    RowCheck("hold_open", "e.id IS NOT NULL AND h.state = 'open'", "a hold has an entry and is open all the same"),
    RowCheck("charges_unpaired", "cardinality(e.counter_ids) <> cardinality(e.amounts)", "not one amount for each counter"),
    RowCheck("entry_without_hold", "e.kind = 'turn' AND h.id IS NULL", "an entry of a turn has no hold: nobody admitted it"),
    RowCheck(
        "entry_cost",
        f"e.kind <> 'correction' AND (e.cost IS DISTINCT FROM {_COST} OR e.price->>'currency' <> e.cost_currency"
        f" OR e.price->>'id' IS NOT NULL AND NOT {_PRICE_SET})",
        "its cost is not what its tokens come to at its price, or that price was never set",
    ),
    RowCheck(
        "entry_form",
        f"""e.calls NOT IN (0, 1) OR e.calls = 1 AND e.outcome <> 'ok' OR e.kind = 'retry' AND e.calls <> 0 OR e.latency_ms < 0
        OR h.id IS NOT NULL AND (e.kind NOT IN ('turn', 'test', 'correction') OR e.calls <> {_PAID})
        OR e.certainty <> 'unknown' AND NOT ({_NO_CALL}) AND (e.input_tokens IS NULL OR e.output_tokens IS NULL)
        OR e.kind <> 'correction' AND least(e.input_tokens, e.output_tokens, e.cached_tokens, e.reasoning_tokens) < 0""",
        "its kind, outcome, calls and tokens do not go together",
    ),
    RowCheck(
        "entry_correction",
        f"e.kind = 'correction' AND NOT EXISTS ({_CORRECTED})",
        "a correction that nobody made: it is not the opposite of what was not known, beside what arrived late",
    ),
    RowCheck(
        "entry_hold",
        f"""{_BOTH} AND h.state <> 'open' AND ((e.turn_id, e.attempt, e.user_id, e.occurred_at, e.counter_ids, e.kind = 'test')
            IS DISTINCT FROM (h.turn_id, h.attempt, h.user_id, h.resolved_at, h.counter_ids, (h.facts->>'test')::boolean)
        OR e.channel IS DISTINCT FROM h.facts->>'channel' OR {_OTHER_FACTS} OR (h.state = 'settled') <> (e.outcome = 'ok')
        OR h.state = 'expired' AND (e.backend, e.model, e.price, e.input_tokens, e.output_tokens) IS DISTINCT FROM
            (h.facts->>'backend', h.facts->>'model', nullif(h.facts->'price', 'null'), (h.facts->>'input_tokens')::bigint,
             (h.facts->>'output_tokens')::bigint))""",
        "does not say what its hold says: who, by what, through what, when, or how it ended",
    ),
    RowCheck("entry_amounts", "l.id IS NOT NULL", "adds to a counter what is not what was used of it, or more than was held"),
    RowCheck("entry_without_turn", f"{_BOTH} AND t.id IS NULL", "its turn is not there"),
    RowCheck(
        "entry_turn",
        f"""{_BOTH} AND ((t.user_id, t.agent_id, t.channel) IS DISTINCT FROM (e.user_id, e.agent_id, e.channel)
        OR t.attempt < e.attempt
        OR t.attempt = e.attempt AND (t.version_id IS DISTINCT FROM e.version_id OR h.state = 'settled' AND (t.state <> 'done'
            OR t.model IS DISTINCT FROM coalesce(nullif(e.detail->>'reported_model', ''), e.model) OR {_OTHER_USAGE})))""",
        "does not say what its turn says: who, by what, by which model, or how many tokens",
    ),
)

_OF_PIECE = "tenant_id = :tenant AND id >= :low AND id < :high"
# Calls beside the one that ended a turn: written in the transaction of that one's entry, and without a hold of their own.
_BESIDE = """SELECT x.* FROM entries x LEFT JOIN holds o ON o.tenant_id = :tenant AND o.id = x.id
        AND o.id >= :low AND o.id < :beyond
    WHERE x.tenant_id = :tenant AND x.id >= :low AND x.id < :beyond AND x.kind IN ('retry', 'test') AND o.id IS NULL"""
_SUMS = f"""
    SELECT x.turn_id, x.attempt, x.xid, sum(x.cost) AS cost, bool_or(x.cost IS NULL) AS unknown,
           {", ".join(f"sum(x.{kind}_tokens) FILTER (WHERE x.outcome = 'ok') AS {kind}" for kind in _KINDS)},
           sum(x.cost) FILTER (WHERE x.outcome = 'ok') AS paid
    FROM ({_BESIDE}) x GROUP BY 1, 2, 3"""
_SAME = "b.turn_id = e.turn_id AND b.attempt = e.attempt AND b.xid = e.xid"
# A person is charged what was used and never more than was held; the tenant's own counter takes what all calls cost, if it is
# known.
_OWED = f"""CASE
    WHEN c.user_id IS NULL THEN CASE WHEN e.cost IS NULL OR b.unknown THEN x.amount ELSE e.cost + coalesce(b.cost, 0) END
    ELSE {_PAID} * least(x.held, CASE c.metric WHEN 'calls' THEN 1 WHEN 'cost' THEN coalesce(e.cost, 0) + coalesce(b.paid, 0)
        WHEN 'input_tokens' THEN coalesce(e.input_tokens, 0) + coalesce(b.input, 0)
        WHEN 'output_tokens' THEN coalesce(e.output_tokens, 0) + coalesce(b.output, 0)
        WHEN 'total_tokens' THEN coalesce(e.input_tokens, 0) + coalesce(b.input, 0) + coalesce(e.output_tokens, 0)
            + coalesce(b.output, 0)
        ELSE 0 END) END"""
# A turn is nearly always about as old as its entry; another attempt may come much later.
_TURNS = f"""
    SELECT id, user_id, agent_id, channel, version_id, attempt, state, model, usage FROM turns
    WHERE tenant_id = :tenant AND id >= :about AND id < :high
    UNION ALL SELECT id, user_id, agent_id, channel, version_id, attempt, state, model, usage FROM turns
    WHERE tenant_id = :tenant AND id < :about
      AND id = ANY(ARRAY(SELECT turn_id FROM entries WHERE {_OF_PIECE} AND turn_id < :about))"""

ROWS: Final = text(
    f"""
    WITH b AS MATERIALIZED ({_SUMS}),
    l AS MATERIALIZED (
        SELECT DISTINCT e.id FROM (SELECT * FROM entries WHERE {_OF_PIECE} AND kind <> 'correction') e
        JOIN (SELECT * FROM holds WHERE {_OF_PIECE} AND state <> 'open') h ON h.id = e.id
        CROSS JOIN unnest(e.counter_ids, e.amounts, h.amounts) AS x (counter, amount, held)
        JOIN counters c ON c.tenant_id = :tenant AND c.id = x.counter
        LEFT JOIN b ON {_SAME}
        WHERE x.amount IS DISTINCT FROM {_OWED}
    )
    SELECT coalesce(e.id, h.id) AS id, ARRAY[{", ".join(f"coalesce({check.wrong}, false)" for check in ROW_CHECKS)}] AS wrong
    FROM (SELECT * FROM entries WHERE {_OF_PIECE}) e FULL JOIN (SELECT * FROM holds WHERE {_OF_PIECE}) h ON h.id = e.id
    LEFT JOIN ({_TURNS}) t ON t.id = e.turn_id
    LEFT JOIN b ON {_SAME} LEFT JOIN l ON l.id = e.id
    WHERE {" OR ".join(f"({check.wrong})" for check in ROW_CHECKS)} LIMIT {MOST}
    """
)
ALONE: Final = text(
    f"""
    SELECT x.id FROM ({_BESIDE.replace(":beyond", ":high")}) x LEFT JOIN (
        SELECT e.turn_id, e.attempt, e.xid, e.occurred_at FROM entries e
        LEFT JOIN holds o ON o.tenant_id = :tenant AND o.id = e.id
        WHERE e.tenant_id = :tenant AND e.id >= :before AND e.id < :high AND (o.id IS NOT NULL OR e.kind = 'late')
    ) m ON (m.turn_id, m.attempt, m.xid, m.occurred_at) = (x.turn_id, x.attempt, x.xid, x.occurred_at)
    WHERE m.turn_id IS NULL LIMIT {MOST}
    """
)
"""Calls beside none: nothing of their turn was written with them."""
LATE: Final = text(
    f"SELECT id, turn_id, attempt, user_id, kind FROM entries WHERE {_OF_PIECE} AND kind IN ('late', 'correction')"
)
EXPIRED: Final = text(
    "SELECT id, turn_id, attempt, user_id FROM holds WHERE tenant_id = :tenant AND id = ANY(:ids) AND state = 'expired'"
)
"""What arrives late has the id after that of its hold, and what it corrects the next one: so there is one of each, by key."""
