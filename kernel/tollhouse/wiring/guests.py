"""People who are known only by a messenger: found by their identity, or made as guests, once however many messages race."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.auth.models import identities, users
from tollhouse.billing.orders import Emit, begin_default, no_event
from tollhouse.plugin.access import Principal
from tollhouse.plugin.events import Sender
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store


async def find_guest(store: Store, tenant_id: UUID, sender: Sender, channel: str, emit: Emit = no_event) -> Principal:
    """The person behind ``sender``; a new guest on the tenant's default plan if nobody is."""
    async with store.transaction(tenant_id) as conn:
        user_id = await _known(conn, tenant_id, sender)
        if user_id is None:
            user_id = await _make(conn, tenant_id, sender, emit)
        row = (await conn.execute(select(users).where(users.c.tenant_id == tenant_id, users.c.id == user_id))).mappings().one()
    return Principal(
        tenant_id,
        row["id"],
        sender.provider,
        channel,
        email=row["email"],
        name=row["name"],
        role=row["role"],
        language=row["language"],
        credential_kind="identity",
    )


async def _known(conn: AsyncConnection, tenant_id: UUID, sender: Sender) -> UUID | None:
    statement = select(identities.c.user_id).where(
        identities.c.tenant_id == tenant_id,
        identities.c.provider == sender.provider,
        identities.c.issuer == sender.issuer,
        identities.c.subject == sender.subject,
    )
    found: UUID | None = (await conn.execute(statement)).scalar()
    return found


async def _make(conn: AsyncConnection, tenant_id: UUID, sender: Sender, emit: Emit) -> UUID:
    user_id = new_id()
    async with conn.begin_nested() as savepoint:
        await conn.execute(
            insert(users).values(tenant_id=tenant_id, id=user_id, name=sender.name or "", language=sender.language)
        )
        made = await conn.execute(
            upsert(identities)
            .values(
                tenant_id=tenant_id,
                id=new_id(),
                user_id=user_id,
                provider=sender.provider,
                issuer=sender.issuer,
                subject=sender.subject,
            )
            .on_conflict_do_nothing()
        )
        if not made.rowcount:
            await savepoint.rollback()
    if not made.rowcount:
        known = await _known(conn, tenant_id, sender)
        assert known is not None, "the identity that was in the way is there"
        return known
    await emit(conn, tenant_id, "user.registered", {"user_id": user_id, "by": sender.provider})
    await begin_default(conn, tenant_id, [user_id], emit)
    return user_id
