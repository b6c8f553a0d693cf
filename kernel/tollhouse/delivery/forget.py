"""Forgetting what messengers brought and took: the rows stay, so that nothing is handled twice; their content goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.delivery.media import blobs_in, forget_bytes
from tollhouse.store.blobs import Blobs

# What a person wrote is known by who they are to the messenger. What waits is not handled any more: it would make a new guest.
_WRITTEN = text(
    """
    SELECT m.id, m.connection_id, m.key, m.payload
    FROM inbox m JOIN connections c ON c.tenant_id = m.tenant_id AND c.id = m.connection_id
    JOIN identities i ON i.tenant_id = m.tenant_id AND i.provider IN (c.plugin, m.payload #>> '{sender,provider}')
     AND i.subject = m.payload #>> '{sender,subject}' AND i.issuer = m.payload #>> '{sender,issuer}'
    WHERE m.tenant_id = :tenant AND i.user_id = :user AND m.kind = 'message' AND m.payload <> '{}'
    ORDER BY m.id FOR UPDATE OF m
    """
)
_BLANK_WRITTEN = text(
    """
    UPDATE inbox SET payload = '{}', state = 'done', handled_at = coalesce(handled_at, app_now())
    WHERE tenant_id = :tenant AND id = ANY(:ids)
    """
)
# What was sent is known by its chat. What waits there may be for somebody else in it: it goes out, and is pruned later.
_BLANK_SENT = text(
    """
    UPDATE outbox SET payload = '{}', state = 'done' WHERE tenant_id = :tenant AND kind = 'delivery' AND state <> 'new'
      AND (subscriber, key) IN (SELECT * FROM unnest(CAST(:connections AS text[]), CAST(:keys AS text[])))
    """
)


async def erase_messages(
    conn: AsyncConnection, tenant_id: UUID, user_id: UUID, blobs: Blobs
) -> Callable[[], Awaitable[None]] | None:
    """Blank what a person wrote through messengers and was answered there. Needs the person's identities, so it comes before
    they go. What is given back removes the bytes that came with it, once the transaction is committed."""
    rows = (await conn.execute(_WRITTEN, {"tenant": tenant_id, "user": user_id})).all()
    if not rows:
        return None
    await conn.execute(_BLANK_WRITTEN, {"tenant": tenant_id, "ids": [row.id for row in rows]})
    chats = sorted({(str(row.connection_id), row.key) for row in rows})
    connections, keys = [connection for connection, _ in chats], [key for _, key in chats]
    await conn.execute(_BLANK_SENT, {"tenant": tenant_id, "connections": connections, "keys": keys})
    kept = sorted({blob for row in rows for blob in blobs_in(row.payload)})
    return lambda: forget_bytes(blobs, tenant_id, kept)
