"""SQL of stored files. Every function works in the caller's transaction."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.models import users
from tollhouse.conversations.models import files
from tollhouse.plugin.content import FileRef


async def insert_file(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, file: FileRef) -> None:
    """Record a file whose bytes are stored already."""
    values = {name: getattr(file, name) for name in ("name", "type", "media_type", "size", "sha256", "width", "height")}
    await conn.execute(insert(files).values(tenant_id=tenant_id, id=UUID(file.id), user_id=user_id, **values))


async def may_keep(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> bool:
    """Whether a user may have files; until the transaction ends, nobody can erase them."""
    present = select(users.c.id).where(users.c.tenant_id == tenant_id, users.c.id == user_id, users.c.status != "erased")
    return (await conn.execute(present.with_for_update(key_share=True))).first() is not None


async def find_file(
    conn: AsyncConnection, tenant_id: UUID, user_id: UUID, file_id: UUID, *, lock: bool = False
) -> FileRef | None:
    """The user's own file; None for an unknown one and for somebody else's."""
    statement = select(files).where(_own(tenant_id, user_id), files.c.id == file_id)
    if lock:
        statement = statement.with_for_update()
    row = (await conn.execute(statement)).mappings().one_or_none()
    return _file(row) if row else None


async def delete_file(conn: AsyncConnection, tenant_id: UUID, user_id: UUID, file_id: UUID) -> bool:
    """Forget a file; False if the user has no such file."""
    gone = await conn.execute(delete(files).where(_own(tenant_id, user_id), files.c.id == file_id).returning(files.c.id))
    return gone.first() is not None


async def room_used(conn: AsyncConnection, tenant_id: UUID, user_id: UUID | None = None) -> tuple[int, int]:
    """How many files a user, or everybody in the tenant, has, and their bytes."""
    statement = select(func.count(), func.coalesce(func.sum(files.c.size), 0)).where(files.c.tenant_id == tenant_id)
    if user_id is not None:
        statement = statement.where(files.c.user_id == user_id)
    count, size = (await conn.execute(statement)).one()
    return int(count), int(size)


# A message comes after the upload it shows, or at most a moment before it (what a turn brings is kept once it is admitted), so
# older messages need not be looked at. When a conversation was last used says nothing: a turn that failed is no use of it.
# Uploads older than four days were looked at before, or are shown by something: the sweep runs each hour.
_UNUSED: Final = text(
    """
    DELETE FROM files WHERE tenant_id = :tenant AND id IN (
        SELECT f.id FROM files f
        WHERE f.tenant_id = :tenant AND f.created_at < app_now() - interval '24 hours'
          AND f.created_at > app_now() - interval '4 days'
          AND NOT EXISTS (
            SELECT 1 FROM conversations c JOIN messages m ON m.tenant_id = c.tenant_id AND m.conversation_id = c.id
            WHERE c.tenant_id = :tenant AND c.user_id = f.user_id AND m.created_at >= f.created_at - interval '1 day'
              AND m.parts @> jsonb_build_array(jsonb_build_object('file_id', f.id::text)))
        ORDER BY f.id LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
)


async def delete_unused(conn: AsyncConnection, tenant_id: UUID, batch: int) -> list[UUID]:
    """Forget files of more than a day ago that no message shows; the caller deletes their blobs once that is committed."""
    return list((await conn.execute(_UNUSED, {"tenant": tenant_id, "batch": batch})).scalars())


async def everything_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> list[dict[str, Any]]:
    """What is recorded of a user's files, for an export; the bytes are fetched one by one."""
    rows = (await conn.execute(select(files).where(_own(tenant_id, user_id)).order_by(files.c.id))).mappings()
    return [{name: row[name] for name in row if name not in ("tenant_id", "user_id")} for row in rows]


async def delete_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> list[UUID]:
    """Forget a user's files; the caller deletes the blobs of these ids once that is committed."""
    gone = await conn.execute(delete(files).where(_own(tenant_id, user_id)).returning(files.c.id))
    return [row.id for row in gone]


def _own(tenant_id: UUID, user_id: UUID) -> Any:
    return and_(files.c.tenant_id == tenant_id, files.c.user_id == user_id)


def _file(row: Any) -> FileRef:
    return FileRef(
        id=str(row["id"]),
        **{name: row[name] for name in ("name", "type", "media_type", "size", "sha256", "width", "height")},
    )
