"""What an admin must see: alarms, and why people were told no."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, String, cast, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.ports import Page
from tollhouse.store.audit import Actor, record
from tollhouse.store.pages import page_by_id
from tollhouse.store.store import Store
from tollhouse.usage.models import alarms, denials

Row = dict[str, Any]


class AlarmService:
    """Alarms of a tenant. One is open while what it tells of lasts; resolved, it opens anew should that happen again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, tenant_id: UUID, *, resolved: bool = False, cursor: str | None = None, limit: int = 50) -> Page[Row]:
        """Open or resolved alarms, newest first."""
        statement = select(alarms).where(alarms.c.tenant_id == tenant_id, alarms.c.resolved == resolved)
        async with self._store.transaction(tenant_id) as conn:
            rows, following = await page_by_id(conn, statement, alarms.c.id, cursor=cursor, limit=limit)
        return Page([dict(row) for row in rows], following)

    async def open(self, tenant_id: UUID) -> Sequence[Row]:
        """Alarms that nobody has resolved, newest first."""
        return (await self.list(tenant_id, limit=100)).items

    async def resolve(self, tenant_id: UUID, alarm_id: UUID, actor: Actor) -> Row:
        """Take an alarm off the list.

        Raises:
            NotFound: unknown, another tenant's, or resolved already.
        """
        mine = (alarms.c.tenant_id == tenant_id) & (alarms.c.id == alarm_id) & ~alarms.c.resolved
        async with self._store.transaction(tenant_id) as conn:
            changed = await conn.execute(update(alarms).where(mine).values(resolved=True).returning(*alarms.c))
            row = changed.mappings().first()
            if row is None:
                raise NotFound()
            await record(conn, tenant_id, actor, "alarm.resolved", target=("alarm", alarm_id), data={"code": row["code"]})
        return dict(row)


class DenialService:
    """Why people were told no."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self,
        tenant_id: UUID,
        *,
        user_id: UUID | None = None,
        agent: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Row]:
        """Denials, newest first. ``agent``: its short name or id, whichever was asked for. ``since`` (included) and ``until``
        (not included): when the person was told, at least once."""
        statement = _denials(tenant_id)
        if user_id is not None:
            statement = statement.where(denials.c.user_id == user_id)
        if agent is not None:
            statement = statement.where(_of_agent(tenant_id, agent))
        if reason is not None:
            statement = statement.where(denials.c.reason == reason)
        if since is not None:
            statement = statement.where(denials.c.last_at >= since)
        if until is not None:
            statement = statement.where(denials.c.first_at < until)
        async with self._store.transaction(tenant_id) as conn:
            rows, following = await page_by_id(conn, statement, denials.c.id, cursor=cursor, limit=limit)
        return Page([dict(row) for row in rows], following)

    async def recent(self, tenant_id: UUID, *, user_id: UUID | None = None, limit: int = 10) -> Sequence[Row]:
        """The newest, of everybody or of one person."""
        statement = (
            _denials(tenant_id)
            .where(denials.c.last_at > func.app_now() - func.make_interval(0, 1))
            .order_by(denials.c.last_at.desc())
            .limit(limit)
        )
        if user_id is not None:
            statement = statement.where(denials.c.user_id == user_id)
        async with self._store.transaction(tenant_id) as conn:
            return [dict(row) for row in (await conn.execute(statement)).mappings()]


def _denials(tenant_id: UUID) -> Select[Any]:
    person = (users.c.tenant_id == denials.c.tenant_id) & (users.c.id == denials.c.user_id)
    return select(denials, users.c.email, users.c.name).join(users, person).where(denials.c.tenant_id == tenant_id)


def _of_agent(tenant_id: UUID, agent: str) -> ColumnElement[bool]:
    """Denials of an agent, whether it was asked for by this name or by its other one."""
    key = cast(agents.c.id, String)
    named, asked = (agents.c.slug == agent) | (key == agent), (denials.c.agent == agents.c.slug) | (denials.c.agent == key)
    return (denials.c.agent == agent) | select(agents.c.id).where(agents.c.tenant_id == tenant_id, named, asked).exists()
