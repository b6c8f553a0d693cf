"""What an admin must see: alarms, and why people were told no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

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

    async def recent(self, tenant_id: UUID, *, user_id: UUID | None = None, limit: int = 10) -> Sequence[Row]:
        """The newest, of everybody or of one person."""
        person = (users.c.tenant_id == denials.c.tenant_id) & (users.c.id == denials.c.user_id)
        statement = (
            select(denials, users.c.email, users.c.name)
            .join(users, person)
            .where(denials.c.tenant_id == tenant_id, denials.c.last_at > func.app_now() - func.make_interval(0, 1))
            .order_by(denials.c.last_at.desc())
            .limit(limit)
        )
        if user_id is not None:
            statement = statement.where(denials.c.user_id == user_id)
        async with self._store.transaction(tenant_id) as conn:
            return [dict(row) for row in (await conn.execute(statement)).mappings()]
