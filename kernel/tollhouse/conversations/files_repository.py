"""SQL of stored files. Every function works in the caller's transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, insert, select
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
