"""Forgetting what was said: the turn and what it used stay, its words go."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import null, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.turns.models import turns


async def forget_replies(conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID) -> None:
    """Blank the replies of a conversation that is being deleted."""
    await conn.execute(
        update(turns)
        .where(turns.c.tenant_id == tenant_id, turns.c.conversation_id == conversation_id)
        .values(reply=null(), conversation_id=None)
    )


async def forget_replies_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Blank every reply to a person who is being erased."""
    await conn.execute(update(turns).where(turns.c.tenant_id == tenant_id, turns.c.user_id == user_id).values(reply=null()))
