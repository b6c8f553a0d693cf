"""What stories about agents need: a tenant with a model connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from sqlalchemy import insert

from tollhouse.agents.service import AgentService
from tollhouse.host.models import connections
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store

Connect = Callable[..., Awaitable[UUID]]


@pytest.fixture
def connect(store: Store) -> Connect:
    """Adds a connection to a tenant."""

    async def add(tenant_id: UUID, kind: str = "llm") -> UUID:
        connection_id = new_id()
        values = {"tenant_id": tenant_id, "id": connection_id, "kind": kind, "plugin": "fake", "name": f"c{connection_id.hex}"}
        async with store.transaction(tenant_id) as conn:
            await conn.execute(insert(connections).values(values))
        return connection_id

    return add


@pytest.fixture
async def connection_id(connect: Connect, tenant_id: UUID) -> UUID:
    """A model connection of the tenant."""
    return await connect(tenant_id)


@pytest.fixture
def service(store: Store) -> AgentService:
    """The service itself, on the real database."""
    return AgentService(store)
