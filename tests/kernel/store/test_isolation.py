"""Isolation by the database: what a tenant's transaction can see and touch."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from tollhouse.auth.models import users
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store


async def _add_user(store: Store, tenant_id: UUID) -> UUID:
    user_id = new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(insert(users).values(tenant_id=tenant_id, id=user_id, email=f"{user_id}@example.test"))
    return user_id


async def test_a_tenant_sees_only_its_own_rows(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    mine = await _add_user(store, tenant_id)
    await _add_user(store, other_tenant_id)
    async with store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(users.c.id))).scalars().all() == [mine]


async def test_a_row_cannot_be_written_for_another_tenant(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    with pytest.raises(DBAPIError, match="row-level security"):
        async with store.transaction(tenant_id) as conn:
            await conn.execute(insert(users).values(tenant_id=other_tenant_id, id=new_id(), email="x@example.test"))


async def test_the_role_of_a_transaction_cannot_bypass_the_policies(store: Store, tenant_id: UUID) -> None:
    async with store.transaction(tenant_id) as conn:
        row = (
            await conn.execute(text("SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = current_user"))
        ).one()
    assert tuple(row) == (False, False, False)
