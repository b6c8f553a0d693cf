"""The statements of turns: admitted in one, ended in one, however many at a time.

The parts that belong to the usage ledger come from there.
"""

from __future__ import annotations

from tollhouse.policy.facts import CREDENTIAL
from tollhouse.store.sql import Rows, Statement
from tollhouse.usage.entries import ENTRIES
from tollhouse.usage.holds import HOLD_COLUMNS, HOLD_CTES, RESOLVE_CTES

_ALIVE = "EXISTS (SELECT 1 FROM runners r WHERE r.id = t.runner_id AND r.lease_until > now())"

_COLUMNS = """
    t.id, t.state, t.attempt, t.body_hash, t.channel, t.created_at, t.conversation_id, t.reply, t.usage, t.error, t.model,
    t.agent_id, t.version_id, t.external_id, a.slug AS agent_slug, v.number AS version_number"""
_JOINS = """
    FROM turns t
    JOIN agents a ON a.tenant_id = t.tenant_id AND a.id = t.agent_id
    LEFT JOIN prompt_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id"""

_WHO = f"""
    SELECT u.status AS user_status, {CREDENTIAL} AS scopes
    FROM (SELECT :user_id::uuid AS user_id, :kind::text AS kind, :credential::uuid AS credential) x
    JOIN users u ON u.tenant_id = :tenant AND u.id = x.user_id"""
WHO = Statement(_WHO)
"""The person and what their credential is meant for, now: whatever is answered without an admission is answered to them."""

BY_EXTERNAL_ID = Statement(
    f"""
    SELECT w.user_status, w.scopes, f.* FROM ({_WHO}) w LEFT JOIN (
        SELECT {_COLUMNS}, t.runner_id, {_ALIVE} AS alive {_JOINS}
        WHERE t.tenant_id = :tenant AND t.source_id = :source AND t.external_id = :external_id
    ) f ON true
    """
)
"""Who asks, as in ``WHO``, and beside it the turn of their key, if there is one."""

BY_ID = Statement(f"SELECT {_COLUMNS}, t.user_id {_JOINS} WHERE t.tenant_id = :tenant AND t.id = :turn")

CONVERSATIONS = Statement(
    """
    SELECT x.place, c.agent_id,
        (SELECT jsonb_agg(jsonb_build_array(m.role, m.parts) ORDER BY m.id)
         FROM (SELECT id, role, parts FROM messages
               WHERE tenant_id = :tenant AND conversation_id = c.id AND turn_id IS DISTINCT FROM x.turn
                 AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.tenant_id = :tenant AND t.id = turn_id AND t.state = 'failed')
               ORDER BY id DESC LIMIT :most) m) AS messages
    FROM unnest(:conversations::uuid[], :users::uuid[], :turns::uuid[]) WITH ORDINALITY AS x(conversation, user_id, turn, place)
    JOIN conversations c ON c.id = x.conversation AND c.user_id = x.user_id
    WHERE c.tenant_id = :tenant AND c.id = ANY(:conversations::uuid[])
    """
)
"""One row for each conversation that is its user's; ``place`` counts from 1. Without what this very turn said before, and
without what was never answered: a message that a model refuses must not spoil all that follow."""

# Taking over is one UPDATE that raises the attempt: of two that try, the second finds another attempt and no row. A turn whose
# process is gone was failed before (`expire_turn`): while its hold is open, that process may still come back and settle it.
TAKE_OVER = Statement(
    """
    UPDATE turns t SET state = 'running', attempt = x.attempt, runner_id = :runner, version_id = x.version, error = NULL,
                       finished_at = NULL, conversation_id = x.conversation
    FROM unnest(:turns::uuid[], :attempts::bigint[], :versions::uuid[], :conversations::uuid[])
         AS x(turn, attempt, version, conversation)
    WHERE t.tenant_id = :tenant AND t.id = ANY(:turns::uuid[]) AND t.id = x.turn AND t.attempt = x.attempt - 1
      AND t.state = 'failed'
    RETURNING t.id
    """
)

ADMITTED = Rows(
    "admitted",
    **HOLD_COLUMNS,
    source="uuid",
    external_id="text",
    body_hash="bytea",
    agent="uuid",
    version="uuid",
    channel="text",
    conversation="uuid",
    title="text",  # of a conversation that begins with this turn
    message="uuid",  # of what the person said, if it is kept
    parts="jsonb",
)
_ADMIT = f"""
    WITH {ADMITTED.cte}, {HOLD_CTES},
    turn AS (
        INSERT INTO turns (tenant_id, id, source_id, external_id, body_hash, user_id, agent_id, version_id, conversation_id,
                           channel, runner_id, attempt)
        SELECT :tenant, a.turn, a.source, a.external_id, a.body_hash, a.user_id, a.agent, a.version, a.conversation,
               a.channel, :runner, a.attempt
        FROM admitted a WHERE a.attempt = 1
    )"""
_SAID = """,
    talk AS (
        INSERT INTO conversations (tenant_id, id, user_id, agent_id, title, channel)
        SELECT :tenant, a.conversation, a.user_id, a.agent, a.title, a.channel FROM admitted a WHERE a.title IS NOT NULL
    ),
    said AS (
        INSERT INTO messages (tenant_id, id, conversation_id, turn_id, role, parts)
        SELECT :tenant, a.message, a.conversation, a.turn, 'user', a.parts FROM admitted a WHERE a.message IS NOT NULL
    )"""
ADMIT = {kept: Statement(f"{_ADMIT}{_SAID if kept else ''} SELECT 1") for kept in (True, False)}
"""By whether a conversation keeps what anybody of the group says: the database starts up every part of a statement, for nothing
where nobody needs it."""

ENDED = Rows(
    "ended",
    hold="uuid",
    state="text",
    turn="uuid",
    attempt="bigint",
    turn_state="text",
    reply="jsonb",
    usage="jsonb",
    error="jsonb",
    model="text",
    conversation="uuid",
    title="text",
    message="uuid",  # of the reply, if it is kept in a conversation
    parts="jsonb",
)
EVENTS = Rows("events", hold="uuid", id="uuid", subscriber="text", payload="jsonb")
_SETTLE = f"""
    WITH {ENDED.cte}, {RESOLVE_CTES},
    done AS (
        UPDATE turns t SET state = e.turn_state, usage = e.usage, error = e.error, model = e.model, finished_at = app_now(),
                           reply = CASE WHEN e.conversation IS NULL OR t.conversation_id IS NOT NULL THEN e.reply END
        FROM h JOIN ended e ON e.hold = h.id
        WHERE t.tenant_id = :tenant AND t.id = ANY(ARRAY(SELECT turn FROM ended)) AND t.id = e.turn AND t.attempt = e.attempt
          AND (SELECT count(*) FROM locked) >= 0
    )"""
_ANSWERED = """,
    talks AS MATERIALIZED (
        SELECT c.id FROM conversations c
        WHERE c.tenant_id = :tenant
          AND c.id = ANY(ARRAY(SELECT e.conversation FROM h JOIN ended e ON e.hold = h.id WHERE e.message IS NOT NULL))
        ORDER BY c.id FOR NO KEY UPDATE
    ),
    answered AS (
        INSERT INTO messages (tenant_id, id, conversation_id, turn_id, role, parts)
        SELECT :tenant, e.message, e.conversation, e.turn, 'assistant', e.parts
        FROM h JOIN ended e ON e.hold = h.id JOIN talks ON talks.id = e.conversation
        WHERE e.message IS NOT NULL
    ),
    touched AS (
        UPDATE conversations c SET updated_at = app_now(), title = CASE WHEN c.title = '' THEN e.title ELSE c.title END
        FROM talks JOIN ended e ON e.conversation = talks.id
        WHERE c.tenant_id = :tenant AND c.id = ANY(ARRAY(SELECT id FROM talks)) AND c.id = talks.id
    )"""
_TOLD = f""",
    {EVENTS.cte},
    told AS (
        INSERT INTO outbox (tenant_id, id, kind, subscriber, payload)
        SELECT :tenant, x.id, 'event', x.subscriber, x.payload FROM h JOIN events x ON x.hold = h.id
    )"""
SETTLE = {
    (kept, told): Statement(f"{_SETTLE}{_ANSWERED if kept else ''}{_TOLD if told else ''} SELECT id FROM h")
    for kept in (True, False)
    for told in (True, False)
}
"""By whether a conversation keeps anybody's reply, and whether anybody is told of it.

Gives the holds that it resolved; the others had been resolved before, and nothing was done for them. A turn whose
conversation was deleted meanwhile keeps no words. Counters are locked before turns, as admission does: who asks again with the
same idempotency key holds the counters when it meets the turn."""

HOLD_STATE = Statement(
    """
    SELECT state, EXISTS (SELECT 1 FROM entries WHERE tenant_id = :tenant AND id = :late) AS posted
    FROM holds WHERE tenant_id = :tenant AND id = :hold
    """
)

# -- Late: the hold was expired while the model was still answering --------------------------------------------------------

# Whoever turns the failed turn into a finished one is the one that the person pays for; with its counters locked before it.
FINISH_LATE = Statement(
    """
    WITH locked AS MATERIALIZED (
        SELECT id FROM counters WHERE tenant_id = :tenant AND id = ANY(:counter_ids::uuid[])
        ORDER BY user_id IS NULL, id FOR UPDATE
    ),
    done AS (
        UPDATE turns SET state = 'done', usage = :usage::jsonb, error = NULL, model = :model, finished_at = app_now(),
                         reply = CASE WHEN :conversation::uuid IS NULL OR conversation_id IS NOT NULL THEN :reply::jsonb END
        WHERE tenant_id = :tenant AND id = :turn AND state = 'failed' AND error->>'code' IS DISTINCT FROM 'erased'
          AND (SELECT count(*) FROM locked) >= 0
        RETURNING id
    ),
    talk AS MATERIALIZED (
        SELECT id FROM conversations
        WHERE tenant_id = :tenant AND id = :conversation::uuid AND EXISTS (SELECT 1 FROM done) FOR NO KEY UPDATE
    ),
    answered AS (
        INSERT INTO messages (tenant_id, id, conversation_id, turn_id, role, parts)
        SELECT :tenant, :message, talk.id, :turn, 'assistant', :parts::jsonb FROM talk
    ),
    touched AS (
        UPDATE conversations c SET updated_at = app_now() FROM talk WHERE c.tenant_id = :tenant AND c.id = talk.id
    )
    SELECT count(*) FROM done
    """
)

_OPPOSITE = {
    "id": ":id::uuid",
    "kind": "'correction'",
    "outcome": "'corrected'",
    "calls": "0",
    "latency_ms": "0",
    "detail": "jsonb_build_object('corrects', id)",
    "amounts": "ARRAY(SELECT -x.amount FROM unnest(amounts) WITH ORDINALITY AS x(amount, place) ORDER BY x.place)",
    **{name: f"-{name}" for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")},
}
TAKE_BACK = Statement(
    f"""
    INSERT INTO entries (tenant_id, {", ".join(ENTRIES.columns)})
    SELECT tenant_id, {", ".join(_OPPOSITE.get(name, name) for name in ENTRIES.columns)} FROM entries
    WHERE tenant_id = :tenant AND id = :entry AND certainty = 'unknown'
    RETURNING counter_ids, amounts
    """
)
"""The one correction there is: the opposite of what a call was taken for, of which more is known now."""

# -- Denials -----------------------------------------------------------------------------------------------------------------

DENIED = Statement(
    """
    INSERT INTO denials (tenant_id, id, user_id, agent, channel, reason, minute, decision)
    VALUES (:tenant, :id, :user_id, :agent, :channel, :reason, date_trunc('minute', app_now()), :decision::jsonb)
    ON CONFLICT (tenant_id, user_id, agent, channel, reason, minute)
    DO UPDATE SET count = denials.count + 1, last_at = app_now(), decision = excluded.decision
    RETURNING count = 1
    """
)
TOLD = Rows("told", id="uuid", subscriber="text")
TELL = Statement(
    f"""
    WITH {TOLD.cte}
    INSERT INTO outbox (tenant_id, id, kind, subscriber, payload)
    SELECT :tenant, told.id, 'event', told.subscriber, :payload::jsonb FROM told
    """
)
