"""Conversations: what a user and an agent said to each other. Always the asking user's own; nobody else's are found."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.conversations import files_repository, repository
from tollhouse.plugin.access import Principal
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.ports import ConversationInfo, Page, StoredMessage
from tollhouse.store.blobs import Blobs, blob_key
from tollhouse.store.ids import parse_id
from tollhouse.store.pages import MAX_LIMIT
from tollhouse.store.store import Store
from tollhouse.store.text import one_line

MAX_TITLE = 200

Forget = Callable[[AsyncConnection, UUID, UUID], Awaitable[None]]
"""``(conn, tenant_id, conversation_id)``: what else must be forgotten with a conversation, in the same transaction."""


class ConversationService:
    """What was said, of one user. Messages are written by the turns that they belong to."""

    def __init__(self, store: Store, blobs: Blobs, *, forget: Forget | None = None) -> None:
        """``forget``: packages above that keep copies of replies (turns) blank them by this."""
        self.store = store
        self.blobs = blobs
        self._forget = forget

    async def list(self, who: Principal, cursor: str | None = None, limit: int = 50) -> Page[ConversationInfo]:
        """The user's conversations, last used first."""
        limit = max(1, min(limit, MAX_LIMIT))
        after = _decode(cursor)
        async with self.store.transaction(who.tenant_id) as conn:
            found = await repository.list_conversations(conn, who.tenant_id, who.user_id, after=after, limit=limit + 1)
        more = len(found) > limit
        return Page(found[:limit], _encode(found[limit - 1]) if more else None)

    async def start(self, who: Principal, agent_id: UUID, title: str = "") -> ConversationInfo:
        """Begin an empty conversation; that the user may use the agent was decided before."""
        title = one_line(title, field="title", longest=MAX_TITLE)
        async with self.store.transaction(who.tenant_id) as conn:
            new = await repository.insert_conversation(
                conn, who.tenant_id, user_id=who.user_id, agent_id=agent_id, channel=who.channel, title=title
            )
            return await self.require(conn, who, new)

    async def get(self, who: Principal, conversation_id: str) -> ConversationInfo:
        """One conversation of the user.

        Raises:
            NotFound: unknown, or somebody else's.
        """
        async with self.store.transaction(who.tenant_id) as conn:
            return await self.require(conn, who, _id(conversation_id))

    async def messages(
        self, who: Principal, conversation_id: str, cursor: str | None = None, limit: int = 100
    ) -> Page[StoredMessage]:
        """The newest messages (before the cursor), oldest first."""
        async with self.store.transaction(who.tenant_id) as conn:
            found = await self.require(conn, who, _id(conversation_id))
            items, older = await repository.list_messages(conn, who.tenant_id, UUID(found.id), cursor=cursor, limit=limit)
        return Page(items, older)

    async def rename(self, who: Principal, conversation_id: str, title: str) -> ConversationInfo:
        """Give a conversation another title.

        Raises:
            InvalidInput: the title is empty or longer than 200 characters.
        """
        title = one_line(title, field="title", longest=MAX_TITLE, required=True)
        async with self.store.transaction(who.tenant_id) as conn:
            found = await self.require(conn, who, _id(conversation_id))
            await repository.set_title(conn, who.tenant_id, UUID(found.id), title)
            return await self.require(conn, who, UUID(found.id))

    async def delete(self, who: Principal, conversation_id: str) -> None:
        """Forget a conversation with its messages, and the files that no other message of the user refers to."""
        tenant_id, gone = who.tenant_id, []
        async with self.store.transaction(tenant_id) as conn:
            found = UUID((await self.require(conn, who, _id(conversation_id), lock=True)).id)
            if self._forget is not None:
                await self._forget(conn, tenant_id, found)
            candidates = sorted(await repository.file_ids_in(conn, tenant_id, found))
            await repository.delete_conversation(conn, tenant_id, found)
            for file_id in candidates:
                if await repository.is_file_used(conn, tenant_id, who.user_id, file_id):
                    continue
                if await files_repository.delete_file(conn, tenant_id, who.user_id, file_id):
                    gone.append(file_id)
        for file_id in gone:
            await self.blobs.delete(blob_key(tenant_id, file_id))

    async def require(
        self, conn: AsyncConnection, who: Principal, conversation_id: UUID, *, lock: bool = False
    ) -> ConversationInfo:
        """The user's conversation, in the caller's transaction; ``lock`` makes later writers of it wait.

        Raises:
            NotFound: unknown, or somebody else's.
        """
        found = await repository.find_conversation(conn, who.tenant_id, who.user_id, conversation_id, lock=lock)
        if found is None:
            raise NotFound()
        return found


def _id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise NotFound()
    return found


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _encode(last: ConversationInfo) -> str:
    microseconds = (last.updated_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">q", microseconds) + UUID(last.id).bytes).decode()


def _decode(cursor: str | None) -> tuple[datetime, UUID] | None:
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor)
        (microseconds,) = struct.unpack(">q", raw[:8])
        return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=raw[8:])
    except (ValueError, binascii.Error, struct.error, OverflowError):
        raise InvalidInput("The cursor is not one that this list gave out.", field="cursor") from None
