"""SQL of connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.host.models import connections as table
from tollhouse.host.models import plugin_state
from tollhouse.store.pages import page_by_id

Row = dict[str, Any]


def _is(tenant_id: UUID, connection_id: UUID) -> tuple[Any, ...]:
    return (table.c.tenant_id == tenant_id, table.c.id == connection_id)


async def insert(conn: AsyncConnection, tenant_id: UUID, values: Mapping[str, Any]) -> Row:
    """A new connection; ``values`` holds its id, because the secrets are bound to it."""
    statement = table.insert().values(tenant_id=tenant_id, **values).returning(table)
    return dict((await conn.execute(statement)).mappings().one())


async def private_addresses(conn: AsyncConnection, tenant_id: UUID) -> bool:
    """Whether connections of this tenant may lead to private addresses."""
    statement = text("SELECT private_addresses FROM tenants WHERE id = :tenant_id")
    return bool((await conn.execute(statement, {"tenant_id": tenant_id})).scalar())


async def find(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, *, lock: bool = False) -> Row | None:
    """One connection; ``lock`` keeps other writers away until the transaction ends."""
    statement = select(table).where(*_is(tenant_id, connection_id))
    row = (await conn.execute(statement.with_for_update() if lock else statement)).mappings().first()
    return dict(row) if row else None


async def change(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, values: Mapping[str, Any]) -> Row:
    """Change a row that exists. Every change is a new revision, which is what makes caches forget the old one."""
    statement = (
        update(table)
        .where(*_is(tenant_id, connection_id))
        .values(**values, revision=table.c.revision + 1, updated_at=func.app_now())
        .returning(table)
    )
    return dict((await conn.execute(statement)).mappings().one())


async def store_health(
    conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, revision: int, health: Mapping[str, Any]
) -> None:
    """Keep the outcome of a test, unless the connection was changed while it ran. Not a new revision."""
    statement = update(table).where(*_is(tenant_id, connection_id), table.c.revision == revision)
    await conn.execute(statement.values(health=dict(health)))


async def remove(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> None:
    """Delete it with what its plugin remembers of it; other rows that point to it make this fail."""
    state = plugin_state.c
    await conn.execute(delete(plugin_state).where(state.tenant_id == tenant_id, state.connection_id == connection_id))
    await conn.execute(delete(table).where(*_is(tenant_id, connection_id)))


async def page(
    conn: AsyncConnection, tenant_id: UUID, kind: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Connections, oldest first."""
    statement = select(table).where(table.c.tenant_id == tenant_id)
    if kind is not None:
        statement = statement.where(table.c.kind == kind)
    return await page_by_id(conn, statement, table.c.id, cursor=cursor, limit=limit, newest_first=False)


async def revisions(conn: AsyncConnection, tenant_id: UUID) -> dict[UUID, int]:
    """The revision of each active connection."""
    statement = select(table.c.id, table.c.revision).where(table.c.tenant_id == tenant_id, table.c.status == "active")
    return {row.id: row.revision for row in await conn.execute(statement)}


async def ids_with_secrets(conn: AsyncConnection) -> list[tuple[UUID, UUID]]:
    """(tenant, connection) of everything that holds secrets; for the operator."""
    rows = await conn.execute(select(table.c.tenant_id, table.c.id).where(table.c.secrets.is_not(None)).order_by(table.c.id))
    return [(row.tenant_id, row.id) for row in rows]


async def replace_envelope(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID, envelope: bytes) -> None:
    """The same secrets under another key: nothing that a reader could notice."""
    await conn.execute(update(table).where(*_is(tenant_id, connection_id)).values(secrets=envelope))
