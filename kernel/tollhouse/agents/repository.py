"""All SQL of agents and prompt versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.agents.models import agents, prompt_versions
from tollhouse.host.models import connections
from tollhouse.store.pages import page_by_id

Values = Mapping[str, Any]
Row = Mapping[Any, Any]


async def insert_agent(conn: AsyncConnection, tenant_id: UUID, values: Values) -> Row:
    added = agents.insert().values(tenant_id=tenant_id, **values).returning(agents)
    row: Row = (await conn.execute(added)).mappings().one()
    return row


async def agent_by_id(conn: AsyncConnection, tenant_id: UUID, agent_id: UUID, *, lock: bool = False) -> Row | None:
    """``lock``: until the transaction ends; whoever changes versions of an agent holds its row."""
    found = select(agents).where(agents.c.tenant_id == tenant_id, agents.c.id == agent_id)
    return (await conn.execute(found.with_for_update() if lock else found)).mappings().first()


async def agent_by_slug(conn: AsyncConnection, tenant_id: UUID, slug: str) -> Row | None:
    found = select(agents).where(agents.c.tenant_id == tenant_id, agents.c.slug == slug)
    return (await conn.execute(found)).mappings().first()


async def agent_page(
    conn: AsyncConnection, tenant_id: UUID, *, status: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[Any], str | None]:
    found = select(agents).where(agents.c.tenant_id == tenant_id)
    if status is not None:
        found = found.where(agents.c.status == status)
    return await page_by_id(conn, found, agents.c.id, cursor=cursor, limit=limit)


async def published_agents(conn: AsyncConnection, tenant_id: UUID) -> Sequence[Row]:
    found = select(agents).where(agents.c.tenant_id == tenant_id, agents.c.status == "published")
    return (await conn.execute(found.order_by(agents.c.position, agents.c.id))).mappings().all()


async def active_specs(conn: AsyncConnection, tenant_id: UUID, agent_ids: Sequence[UUID]) -> Sequence[Row]:
    """Agent id and spec of every active version of these agents."""
    found = select(prompt_versions.c.agent_id, prompt_versions.c.spec).where(
        prompt_versions.c.tenant_id == tenant_id,
        prompt_versions.c.agent_id.in_(agent_ids),
        prompt_versions.c.status == "active",
    )
    return (await conn.execute(found)).mappings().all()


async def update_agent(conn: AsyncConnection, tenant_id: UUID, agent_id: UUID, values: Values) -> Row:
    changed = (
        update(agents)
        .where(agents.c.tenant_id == tenant_id, agents.c.id == agent_id)
        .values(**values, updated_at=func.app_now())
        .returning(agents)
    )
    row: Row = (await conn.execute(changed)).mappings().one()
    return row


async def insert_version(conn: AsyncConnection, tenant_id: UUID, agent_id: UUID, values: Values) -> Row:
    """Add a version with the agent's next number; the caller holds the agent's row."""
    number = (
        select(func.coalesce(func.max(prompt_versions.c.number), 0) + 1)
        .where(prompt_versions.c.tenant_id == tenant_id, prompt_versions.c.agent_id == agent_id)
        .scalar_subquery()
    )
    added = prompt_versions.insert().values(tenant_id=tenant_id, agent_id=agent_id, number=number, **values)
    row: Row = (await conn.execute(added.returning(prompt_versions))).mappings().one()
    return row


async def version_by_id(conn: AsyncConnection, tenant_id: UUID, version_id: UUID) -> Row | None:
    found = select(prompt_versions).where(prompt_versions.c.tenant_id == tenant_id, prompt_versions.c.id == version_id)
    return (await conn.execute(found)).mappings().first()


async def versions_of(conn: AsyncConnection, tenant_id: UUID, agent_id: UUID) -> Sequence[Row]:
    """Every version of an agent, newest first."""
    found = select(prompt_versions).where(prompt_versions.c.tenant_id == tenant_id, prompt_versions.c.agent_id == agent_id)
    return (await conn.execute(found.order_by(prompt_versions.c.number.desc()))).mappings().all()


async def update_version(conn: AsyncConnection, tenant_id: UUID, version_id: UUID, values: Values) -> Row:
    changed = (
        update(prompt_versions)
        .where(prompt_versions.c.tenant_id == tenant_id, prompt_versions.c.id == version_id)
        .values(**values, updated_at=func.app_now())
        .returning(prompt_versions)
    )
    row: Row = (await conn.execute(changed)).mappings().one()
    return row


async def deactivate_all(conn: AsyncConnection, tenant_id: UUID, agent_id: UUID) -> None:
    """Take every active version of an agent out of use; the caller activates others in the same transaction."""
    await conn.execute(
        update(prompt_versions)
        .where(
            prompt_versions.c.tenant_id == tenant_id,
            prompt_versions.c.agent_id == agent_id,
            prompt_versions.c.status == "active",
        )
        .values(status="archived", weight=0, updated_at=func.app_now())
    )


async def connection_kinds(conn: AsyncConnection, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The kinds of those of these connections that this tenant has."""
    found = select(connections.c.id, connections.c.kind).where(connections.c.tenant_id == tenant_id, connections.c.id.in_(ids))
    return {row.id: row.kind for row in await conn.execute(found)}


async def connection_in_use(conn: AsyncConnection, tenant_id: UUID, connection_id: UUID) -> str | None:
    """Which agent's active version calls its model by this connection, in words; None if none does."""
    used = or_(
        prompt_versions.c.spec["primary"]["connection_id"].astext == str(connection_id),
        prompt_versions.c.spec["fallback"]["connection_id"].astext == str(connection_id),
    )
    statement = (
        select(agents.c.name)
        .join(
            prompt_versions, (prompt_versions.c.tenant_id == agents.c.tenant_id) & (prompt_versions.c.agent_id == agents.c.id)
        )
        .where(agents.c.tenant_id == tenant_id, prompt_versions.c.status == "active", used)
        .limit(1)
    )
    name = (await conn.execute(statement)).scalar()
    return None if name is None else f"the agent {name}"


_IN_USE = text(
    """
    SELECT DISTINCT c.plugin, x.choice->>'model' AS model
    FROM prompt_versions v
    CROSS JOIN LATERAL (VALUES (v.spec->'primary'), (v.spec->'fallback')) AS x(choice)
    JOIN connections c ON c.tenant_id = v.tenant_id AND c.id::text = x.choice->>'connection_id'
    WHERE v.tenant_id = :tenant AND v.status = 'active' ORDER BY 1, 2
    """
)


async def models_in_use(conn: AsyncConnection, tenant_id: UUID) -> list[tuple[str, str]]:
    """Backend and model of what active versions ask."""
    return [(row.plugin, row.model) for row in await conn.execute(_IN_USE, {"tenant": tenant_id})]
