"""Tries to sign in that failed: what staff see of somebody who guesses.

A table of its own beside the audit log: repeats within an hour share a row, nothing is locked that anybody else waits for, and
it is forgotten after a while. Tries that were not even looked at (429) are not in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.errors import LinkInvalid
from tollhouse.auth.fields import printable
from tollhouse.auth.models import sign_in_failures as table
from tollhouse.auth.models import users
from tollhouse.plugin.ports import Page
from tollhouse.store.ids import new_id
from tollhouse.store.pages import page_by_id
from tollhouse.store.rates import networks
from tollhouse.store.store import Store

Row = Mapping[str, Any]
Reason = Literal["wrong_password", "unknown_email", "blocked", "link"]
SHOWN: Final = ("id", "user_id", "account", "network", "reason", "count", "first_at", "last_at")


class SignInFailures:
    """Notes them, and lists them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def note(
        self, tenant_id: UUID, reason: Reason, address: str, *, account: str = "", user_id: UUID | None = None
    ) -> None:
        """One more. ``account``: the e-mail that was tried, if somebody has it; ``user_id``: who."""
        network = printable(networks(address)[0][0], 64)
        key = {"account": account, "network": network, "reason": reason, "hour": func.date_trunc("hour", func.app_now())}
        new = insert(table).values(tenant_id=tenant_id, id=new_id(), user_id=user_id, **key)
        again = new.on_conflict_do_update(
            constraint="uq_sign_in_failures_repeats",
            set_={"count": table.c.count + 1, "last_at": func.app_now(), "user_id": new.excluded.user_id},
        )
        async with self._store.transaction(tenant_id) as conn:
            await conn.execute(again)

    @asynccontextmanager
    async def of_links(self, tenant_id: UUID, address: str) -> AsyncIterator[None]:
        """Around the use of a link: one that is not valid is noted."""
        try:
            yield
        except LinkInvalid:
            await self.note(tenant_id, "link", address)
            raise

    async def list(
        self, tenant_id: UUID, *, user_id: UUID | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Row]:
        """Newest first; ``user_id``: only tries on this person's account."""
        person = (users.c.tenant_id == table.c.tenant_id) & (users.c.id == table.c.user_id)
        statement = select(*[table.c[name] for name in SHOWN], users.c.email).join(users, person, isouter=True)
        statement = statement.where(table.c.tenant_id == tenant_id)
        if user_id is not None:
            statement = statement.where(table.c.user_id == user_id)
        async with self._store.transaction(tenant_id) as conn:
            rows, following = await page_by_id(conn, statement, table.c.id, cursor=cursor, limit=limit)
        return Page([dict(row) for row in rows], following)


async def everything_of(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> Sequence[Row]:
    """Of one person, for their export."""
    columns = [table.c[name] for name in SHOWN if name not in ("id", "user_id")]
    found = select(*columns).where(table.c.tenant_id == tenant_id, table.c.user_id == user_id).order_by(table.c.id)
    return [dict(row) for row in (await conn.execute(found)).mappings()]


async def forget_of_user(conn: AsyncConnection, tenant_id: UUID, user_id: UUID) -> None:
    """What names a person who is erased."""
    email = select(users.c.email).where(users.c.tenant_id == tenant_id, users.c.id == user_id).scalar_subquery()
    theirs = (table.c.user_id == user_id) | (table.c.account == email)
    await conn.execute(delete(table).where(table.c.tenant_id == tenant_id, theirs))
