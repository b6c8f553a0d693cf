"""The statements of a turn: admitted in one, ended in one. Parts of them belong to the usage ledger and come from there."""

from __future__ import annotations

from itertools import product

from tollhouse.store.sql import Statement
from tollhouse.usage.entries import ENTRY_CTE
from tollhouse.usage.holds import HOLD_CTES, RESOLVE_CTES

_ALIVE = "EXISTS (SELECT 1 FROM runners r WHERE r.id = t.runner_id AND r.lease_until > now())"

_COLUMNS = """
    t.id, t.state, t.attempt, t.body_hash, t.channel, t.created_at, t.conversation_id, t.reply, t.usage, t.error, t.model,
    t.agent_id, t.version_id, a.slug AS agent_slug, v.number AS version_number"""
_JOINS = """
    FROM turns t
    JOIN agents a ON a.tenant_id = t.tenant_id AND a.id = t.agent_id
    LEFT JOIN prompt_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id"""

BY_EXTERNAL_ID = Statement(
    f"SELECT {_COLUMNS}, {_ALIVE} AS alive {_JOINS} "
    "WHERE t.tenant_id = :tenant AND t.source_id = :source AND t.external_id = :external_id"
)
BY_ID = Statement(f"SELECT {_COLUMNS}, t.user_id {_JOINS} WHERE t.tenant_id = :tenant AND t.id = :turn")

CONVERSATION = Statement(
    """
    SELECT c.agent_id, a.slug AS agent_slug,
        (SELECT jsonb_agg(jsonb_build_array(m.role, m.parts) ORDER BY m.id)
         FROM (SELECT id, role, parts FROM messages
               WHERE tenant_id = :tenant AND conversation_id = c.id AND turn_id IS DISTINCT FROM :turn
               ORDER BY id DESC LIMIT :most) m) AS messages
    FROM conversations c JOIN agents a ON a.tenant_id = c.tenant_id AND a.id = c.agent_id
    WHERE c.tenant_id = :tenant AND c.id = :conversation AND c.user_id = :user_id
    """
)

_NEW_TURN = """
    turn AS (
        INSERT INTO turns (tenant_id, id, source_id, external_id, body_hash, user_id, agent_id, version_id, conversation_id,
                           channel, runner_id, attempt)
        VALUES (:tenant, :turn, :source, :external_id, :body_hash, :user_id, :agent, :version, :conversation,
                :channel, :runner, :attempt)
        RETURNING id
    )"""

# Taking over is one UPDATE that raises the attempt: of two that try, the second finds another attempt and no row.
_TAKE_OVER = f"""
    turn AS (
        UPDATE turns t SET state = 'running', attempt = :attempt, runner_id = :runner, version_id = :version, error = NULL,
                           finished_at = NULL
        WHERE t.tenant_id = :tenant AND t.id = :turn AND t.attempt = :attempt - 1
          AND (t.state = 'failed' OR (t.state = 'running' AND NOT {_ALIVE}))
        RETURNING id
    )"""

_NEW_CONVERSATION = """
    talk AS (
        INSERT INTO conversations (tenant_id, id, user_id, agent_id, title, channel)
        VALUES (:tenant, :conversation, :user_id, :agent, :title, :channel)
    )"""

_SAID = """
    said AS (
        INSERT INTO messages (tenant_id, id, conversation_id, turn_id, role, parts)
        VALUES (:tenant, :message, :conversation, :turn, 'user', :parts::jsonb)
    )"""


def _admit(fresh: bool, new_talk: bool, stored: bool) -> Statement:
    parts = [HOLD_CTES, _NEW_TURN if fresh else _TAKE_OVER]
    if new_talk:
        parts.append(_NEW_CONVERSATION)
    if stored:
        parts.append(_SAID)
    return Statement(f"WITH {', '.join(parts)} SELECT 1 / count(*) FROM turn")


ADMIT = {key: _admit(*key) for key in product((True, False), repeat=3)}
"""By (a new turn, a new conversation, the message is stored). Fails with ``NOTHING_DONE`` when the turn was taken over."""

_FINISH = """
    done AS (
        UPDATE turns SET state = :turn_state, reply = :reply::jsonb, usage = :usage::jsonb, error = :error::jsonb,
                         model = :model, finished_at = app_now()
        WHERE tenant_id = :tenant AND id = :turn AND attempt = :entry_attempt AND EXISTS (SELECT 1 FROM h)
    )"""

_ANSWERED = """
    answered AS (
        INSERT INTO messages (tenant_id, id, conversation_id, turn_id, role, parts)
        SELECT :tenant, :message, :conversation, :turn, 'assistant', :parts::jsonb FROM h
        WHERE EXISTS (SELECT 1 FROM conversations WHERE tenant_id = :tenant AND id = :conversation)
    ),
    touched AS (
        UPDATE conversations SET updated_at = app_now(), title = CASE WHEN title = '' THEN :title ELSE title END
        WHERE tenant_id = :tenant AND id = :conversation AND EXISTS (SELECT 1 FROM h)
    )"""

_TOLD = """
    told AS (
        INSERT INTO outbox (tenant_id, id, kind, subscriber, payload)
        SELECT :tenant, x.id, 'event', x.subscriber, :event::jsonb
        FROM h, unnest(:outbox_ids::uuid[], :subscribers::text[]) AS x(id, subscriber)
    )"""


def _settle(answered: bool, told: bool) -> Statement:
    parts = [RESOLVE_CTES, ENTRY_CTE, _FINISH]
    if answered:
        parts.append(_ANSWERED)
    if told:
        parts.append(_TOLD)
    return Statement(f"WITH {', '.join(parts)} SELECT 1 / count(*) FROM h")


SETTLE = {key: _settle(*key) for key in product((True, False), repeat=2)}
"""By (the reply is stored in a conversation, somebody subscribed to the event). Fails with ``NOTHING_DONE`` if the hold was
resolved already."""

# -- Late: the hold was expired while the model was still answering --------------------------------------------------------

# One statement decides and charges: whoever turns the failed turn into a finished one is the one that the person pays for.
FINISH_LATE = Statement(
    """
    WITH locked AS MATERIALIZED (
        SELECT id FROM counters WHERE tenant_id = :tenant AND id = ANY(:counter_ids::uuid[])
        ORDER BY user_id IS NULL, id FOR UPDATE
    ),
    done AS (
        UPDATE turns SET state = 'done', reply = :reply::jsonb, usage = :usage::jsonb, error = NULL, model = :model,
                         finished_at = app_now()
        WHERE tenant_id = :tenant AND id = :turn AND state = 'failed' AND (SELECT count(*) FROM locked) >= 0
        RETURNING id
    ),
    moved AS (
        UPDATE counters c SET used = c.used + x.used
        FROM unnest(:counter_ids::uuid[], :used::bigint[]) AS x(id, used), locked
        WHERE c.tenant_id = :tenant AND c.id = x.id AND locked.id = x.id AND EXISTS (SELECT 1 FROM done)
    )
    SELECT count(*) FROM done
    """
)

# -- Denials -----------------------------------------------------------------------------------------------------------------

DENIED = Statement(
    """
    INSERT INTO denials (tenant_id, id, user_id, agent, channel, reason, minute, decision)
    VALUES (:tenant, :id, :user_id, :agent, :channel, :reason, date_trunc('minute', app_now()), :decision::jsonb)
    ON CONFLICT (tenant_id, user_id, agent, channel, reason, minute)
    DO UPDATE SET count = denials.count + 1, last_at = app_now(), decision = excluded.decision
    """
)
