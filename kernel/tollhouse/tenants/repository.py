"""All SQL of tenants: a tenant reads and changes its own row, the operator all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Executable, RowMapping, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.pages import page_by_id
from tollhouse.tenants.models import tenants

Row: TypeAlias = RowMapping


async def _row(conn: AsyncConnection, statement: Executable) -> Row | None:
    return (await conn.execute(statement)).mappings().one_or_none()


async def get(conn: AsyncConnection, tenant_id: UUID, *, lock: bool = False) -> Row | None:
    statement = select(tenants).where(tenants.c.id == tenant_id)
    return await _row(conn, statement.with_for_update() if lock else statement)


async def names_of(conn: AsyncConnection, tenant_id: UUID) -> Sequence[str]:
    """What everybody calls it."""
    row = await get(conn, tenant_id)
    return () if row is None else (row["name"], row["slug"])


async def find_by_slug(conn: AsyncConnection, slug: str) -> Row | None:
    """The tenant of a short name, in nobody's scope: the rest of the transaction is in its."""
    return await _found(conn, _BY_SLUG, slug)


async def find_by_host(conn: AsyncConnection, host: str) -> Row | None:
    """The same by a host name."""
    return await _found(conn, _BY_HOST, host)


# A tenant's scope shows its own row and no other. Which id a name belongs to is all that can be asked beyond it.
_ENTER = "SELECT set_config('app.tenant', coalesce({}::text, ''), true)"
_BY_SLUG, _BY_HOST = text(_ENTER.format("tenant_by_slug(:name)")), text(_ENTER.format("tenant_by_host(:name)"))


async def _found(conn: AsyncConnection, enter: Executable, name: str) -> Row | None:
    found = (await conn.execute(enter, {"name": name})).scalar_one()
    return await get(conn, UUID(found)) if found else None


async def page(
    conn: AsyncConnection, *, search: str, status: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[Row], str | None]:
    """Newest first; ``search`` is the beginning of a short name or of a name."""
    statement = select(tenants)
    if search:
        found = (tenants.c.slug.istartswith(search, autoescape=True), tenants.c.name.istartswith(search, autoescape=True))
        statement = statement.where(or_(*found))
    if status is not None:
        statement = statement.where(tenants.c.status == status)
    return await page_by_id(conn, statement, tenants.c.id, cursor=cursor, limit=limit)


async def add(conn: AsyncConnection, **values: Any) -> Row | None:
    """The new tenant, or None if the short name is taken. Needs the operator's scope."""
    statement = insert(tenants).values(**values).on_conflict_do_nothing(index_elements=["slug"])
    return await _row(conn, statement.returning(tenants))


async def change(conn: AsyncConnection, tenant_id: UUID, **values: Any) -> Row | None:
    """``status`` needs the operator's scope; everything else the tenant's own, or the operator's."""
    statement = update(tenants).where(tenants.c.id == tenant_id).values(**values).returning(tenants)
    return await _row(conn, statement)


async def lock_hosts(conn: AsyncConnection) -> None:
    """Whoever gives host names to a tenant does it one after the other, in every process."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(7403221021)"))


async def taken_hosts(conn: AsyncConnection, tenant_id: UUID, hosts: Sequence[str]) -> Sequence[str]:
    """Which of these belong to other tenants."""
    return (await conn.execute(_TAKEN, {"hosts": list(hosts), "tenant_id": tenant_id})).scalars().all()


_TAKEN = text("SELECT host FROM unnest(CAST(:hosts AS text[])) host WHERE tenant_by_host(host) <> :tenant_id ORDER BY host")


_TOOK_EFFECT = text(
    """
    SELECT former_zones || jsonb_build_object('timezone', timezone, 'until', next_timezone_from)
    FROM tenants WHERE id = :tenant_id AND next_timezone_from <= app_now()
    """
)


async def took_effect(conn: AsyncConnection, tenant_id: UUID) -> list[dict[str, str]] | None:
    """The former zones of a tenant whose next zone has become its zone; None if it has not."""
    found: list[dict[str, str]] | None = (await conn.execute(_TOOK_EFFECT, {"tenant_id": tenant_id})).scalar()
    return found


async def now(conn: AsyncConnection) -> Any:
    return (await conn.execute(select(func.app_now()))).scalar_one()
