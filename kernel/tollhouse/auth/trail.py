"""Reading the audit log, with the people's addresses beside their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from tollhouse.auth.models import users
from tollhouse.plugin.ports import Page
from tollhouse.store.models import audit
from tollhouse.store.pages import page_by_id
from tollhouse.store.store import Store

Row = Mapping[str, Any]
PROTECTS = frozenset(("tenant_id", "previous", "digest", "xid", "mark", "address_salt", "data_salt", "blanked"))
"""What guards an entry, and is nothing to read."""


class AuditTrail:
    """What was done in a tenant, newest first."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self,
        tenant_id: UUID,
        *,
        action: str = "",
        actor_id: UUID | None = None,
        target_id: str = "",
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Row]:
        """Entries. ``action``: the beginning of its name, such as ``plan.``; ``target_id``: a thing's id, or its kind."""
        columns = [column for column in audit.c if column.name not in PROTECTS]
        person = (users.c.tenant_id == audit.c.tenant_id) & (users.c.id == audit.c.actor_id)
        statement = select(*columns, users.c.email).join(users, person, isouter=True).where(audit.c.tenant_id == tenant_id)
        if action:
            statement = statement.where(audit.c.action.startswith(action, autoescape=True))
        if actor_id is not None:
            statement = statement.where(audit.c.actor_id == actor_id)
        if target_id:
            statement = statement.where(or_(audit.c.target_id == target_id, audit.c.target_kind == target_id))
        async with self._store.transaction(tenant_id) as conn:
            rows, following = await page_by_id(conn, statement, audit.c.id, cursor=cursor, limit=limit)
        return Page([dict(row) for row in rows], following)
