"""Forgetting what was said: the turn and what it used stay, its words go.

A turn that is still running must not write its words afterwards. Its row is the fence: settling it waits for this transaction
and then finds another attempt, or another conversation, than the one it began with (see ``turns/repository.py``).
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A conversation's turns are those of its messages: what was said is stored with the turn that it began.
_OF_CONVERSATION = text(
    """
    UPDATE turns SET reply = NULL, conversation_id = NULL
    WHERE tenant_id = :tenant AND id IN (
        SELECT turn_id FROM messages WHERE tenant_id = :tenant AND conversation_id = :conversation AND turn_id IS NOT NULL)
    """
)
# A person's turns are those of their entries, and those that still hold something.
_OF_USER = text(
    """
    UPDATE turns SET reply = NULL, conversation_id = NULL, finished_at = coalesce(finished_at, app_now()),
                     attempt = attempt + (state = 'running')::int,
                     error = CASE WHEN state = 'done' THEN error ELSE CAST(:erased AS jsonb) END,
                     state = CASE WHEN state = 'done' THEN state ELSE 'failed' END
    WHERE tenant_id = :tenant AND user_id = :user AND id IN (
        SELECT turn_id FROM entries WHERE tenant_id = :tenant AND user_id = :user AND turn_id IS NOT NULL
        UNION SELECT turn_id FROM holds WHERE tenant_id = :tenant AND user_id = :user AND state = 'open')
    """
)
_STRAGGLERS = text(
    """
    UPDATE turns t SET reply = NULL, conversation_id = NULL
    FROM users u JOIN entries e ON e.tenant_id = u.tenant_id AND e.user_id = u.id
    WHERE u.tenant_id = :tenant AND u.status = 'erased' AND e.id >= id_floor(now() - interval '2 days')
      AND t.tenant_id = :tenant AND t.id = e.turn_id AND t.reply IS NOT NULL
    """
)
ERASED = '{"code": "erased", "status": 410, "detail": "The person who asked was erased."}'


async def forget_replies(conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID) -> None:
    """Blank the replies of a conversation that is being deleted."""
    await conn.execute(_OF_CONVERSATION, {"tenant": tenant_id, "conversation": conversation_id})


async def forget_replies_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Blank every reply to a person who is being erased, and those that are still to come."""
    await conn.execute(_OF_USER, {"tenant": tenant_id, "user": user_id, "erased": ERASED})


async def forget_stragglers(conn: AsyncConnection, tenant_id: UUID) -> None:
    """Blank what turns said that were admitted in the very moment in which their person was erased."""
    await conn.execute(_STRAGGLERS, {"tenant": tenant_id})
