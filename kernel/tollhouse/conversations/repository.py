"""SQL of conversations and messages. Every function works in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, delete, func, insert, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.conversations.models import conversations, messages
from tollhouse.plugin.content import Part, Text, part_from_json
from tollhouse.plugin.ports import ConversationInfo, StoredMessage
from tollhouse.store.ids import new_id
from tollhouse.store.pages import page_by_id
from tollhouse.store.text import shown

TITLE_LENGTH = 60
LOOKED_AT = 4_096
"""How much of a message is looked at for its first line."""


def title_of(parts: Sequence[Part]) -> str:
    """A conversation's title: the first line of what the user said first, at most 60 characters."""
    text = next((said for part in parts if isinstance(part, Text) and (said := part.text[:LOOKED_AT].strip())), "")
    line = shown(text.splitlines()[0], len(text)) if text else ""
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


async def insert_conversation(
    conn: AsyncConnection, tenant_id: UUID, *, user_id: UUID, agent_id: UUID, channel: str, title: str = ""
) -> UUID:
    """Begin an empty conversation."""
    row = {"tenant_id": tenant_id, "id": new_id(), "user_id": user_id, "agent_id": agent_id, "channel": channel, "title": title}
    await conn.execute(insert(conversations).values(row))
    return row["id"]  # type: ignore[return-value]


async def find_conversation(
    conn: AsyncConnection, tenant_id: UUID, user_id: UUID, conversation_id: UUID, *, lock: bool = False
) -> ConversationInfo | None:
    """The user's own conversation; None for an unknown one and for somebody else's."""
    statement = _own(tenant_id, user_id).where(conversations.c.id == conversation_id)
    if lock:
        statement = statement.with_for_update(of=conversations)
    row = (await conn.execute(statement)).mappings().one_or_none()
    return _info(row) if row else None


async def latest_conversation(
    conn: AsyncConnection, tenant_id: UUID, user_id: UUID, channel: str, agent_id: UUID | None = None
) -> ConversationInfo | None:
    """Where a person goes on who names no conversation: the newest on this channel (with this agent)."""
    statement = _own(tenant_id, user_id).where(conversations.c.channel == channel)
    if agent_id is not None:
        statement = statement.where(conversations.c.agent_id == agent_id)
    statement = statement.order_by(conversations.c.updated_at.desc(), conversations.c.id.desc()).limit(1)
    row = (await conn.execute(statement)).mappings().one_or_none()
    return _info(row) if row else None


async def list_conversations(
    conn: AsyncConnection, tenant_id: UUID, user_id: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[ConversationInfo]:
    """Up to ``limit`` conversations, last used first, from after (updated_at, id)."""
    order = (conversations.c.updated_at, conversations.c.id)
    statement = _own(tenant_id, user_id).order_by(order[0].desc(), order[1].desc()).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*order) < tuple_(*after))
    return [_info(row) for row in (await conn.execute(statement)).mappings()]


async def set_title(conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID, title: str) -> None:
    """Rename; not a use, so the order of the list stays."""
    await conn.execute(update(conversations).where(_is(tenant_id, conversation_id)).values(title=title))


async def delete_conversation(conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID) -> None:
    """Remove it; its messages go with it."""
    await conn.execute(delete(conversations).where(_is(tenant_id, conversation_id)))


async def list_messages(
    conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID, *, cursor: str | None, limit: int
) -> tuple[list[StoredMessage], str | None]:
    """The newest ``limit`` messages (before the cursor), oldest first, and the cursor to older ones."""
    statement = select(messages).where(_of(tenant_id, conversation_id))
    rows, older = await page_by_id(conn, statement, messages.c.id, cursor=cursor, limit=limit)
    return [_message(row) for row in reversed(rows)], older


async def file_ids_in(conn: AsyncConnection, tenant_id: UUID, conversation_id: UUID) -> set[UUID]:
    """The files that a conversation's messages refer to."""
    part = func.jsonb_array_elements(messages.c.parts).table_valued("value").lateral()
    file_id = part.c.value.op("->>")("file_id")
    source = messages.join(part, true())
    statement = select(file_id).select_from(source).where(_of(tenant_id, conversation_id), file_id.is_not(None)).distinct()
    return {UUID(found) for (found,) in await conn.execute(statement)}


async def is_file_used(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, file_id: UUID) -> bool:
    """Whether a message of the file's owner refers to it; nobody else's can."""
    same = and_(conversations.c.tenant_id == messages.c.tenant_id, conversations.c.id == messages.c.conversation_id)
    statement = (
        select(messages.c.id)
        .join(conversations, same)
        .where(
            messages.c.tenant_id == tenant_id,
            conversations.c.user_id == user_id,
            messages.c.parts.contains([{"file_id": str(file_id)}]),
        )
        .limit(1)
    )
    return (await conn.execute(statement)).first() is not None


async def delete_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """Forget everything that a user said."""
    await conn.execute(delete(conversations).where(conversations.c.tenant_id == tenant_id, conversations.c.user_id == user_id))


async def forget_of_erased(conn: AsyncConnection, tenant_id: UUID) -> None:
    """Forget what people said in the very moment in which they were erased."""
    erased = select(users.c.id).where(users.c.tenant_id == tenant_id, users.c.status == "erased")
    await conn.execute(delete(conversations).where(conversations.c.tenant_id == tenant_id, conversations.c.user_id.in_(erased)))


async def everything_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> list[dict[str, Any]]:
    """All conversations of a user with their messages, for an export."""
    said = (
        select(messages)
        .join(
            conversations,
            and_(conversations.c.tenant_id == messages.c.tenant_id, conversations.c.id == messages.c.conversation_id),
        )
        .where(messages.c.tenant_id == tenant_id, conversations.c.user_id == user_id)
        .order_by(messages.c.id)
    )
    by_conversation: dict[UUID, list[dict[str, Any]]] = {}
    for row in (await conn.execute(said)).mappings():
        message = {name: row[name] for name in ("role", "parts", "created_at", "turn_id")}
        by_conversation.setdefault(row["conversation_id"], []).append(message)
    found = (await conn.execute(_own(tenant_id, user_id).order_by(conversations.c.id))).mappings()
    names = ("id", "agent_slug", "title", "channel", "created_at", "updated_at")
    return [{**{name: row[name] for name in names}, "messages": by_conversation.get(row["id"], [])} for row in found]


def _is(tenant_id: UUID, conversation_id: UUID) -> Any:
    return and_(conversations.c.tenant_id == tenant_id, conversations.c.id == conversation_id)


def _of(tenant_id: UUID, conversation_id: UUID) -> Any:
    return and_(messages.c.tenant_id == tenant_id, messages.c.conversation_id == conversation_id)


def _own(tenant_id: UUID, user_id: UUID) -> Select[Any]:
    """The user's conversations with what an agent is called: one statement for a list."""
    return (
        select(conversations, agents.c.slug.label("agent_slug"), agents.c.name.label("agent_name"))
        .join(agents, and_(agents.c.tenant_id == conversations.c.tenant_id, agents.c.id == conversations.c.agent_id))
        .where(conversations.c.tenant_id == tenant_id, conversations.c.user_id == user_id)
    )


def _info(row: Any) -> ConversationInfo:
    return ConversationInfo(
        id=str(row["id"]),
        agent=row["agent_slug"],
        agent_name=row["agent_name"],
        title=row["title"],
        channel=row["channel"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _message(row: Any) -> StoredMessage:
    return StoredMessage(
        id=str(row["id"]),
        role=row["role"],
        parts=tuple(part_from_json(part) for part in row["parts"]),
        created_at=row["created_at"],
        turn_id=str(row["turn_id"]) if row["turn_id"] else None,
    )
