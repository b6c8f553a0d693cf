"""The cast: Ada and Eve in one tenant, Mallory in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func

from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.conversations import models
from tollhouse.conversations.files import FileLimits, FileService
from tollhouse.conversations.service import ConversationService
from tollhouse.plugin.access import Principal
from tollhouse.plugin.content import Part, part_to_json
from tollhouse.plugin.errors import InvalidInput
from tollhouse.store.blobs import BlobStore
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store


@dataclass(frozen=True)
class Found:
    """What a sniffer says."""

    type: Any = "image"
    media_type: str = "image/png"
    width: int | None = 10
    height: int | None = 10


async def person(store: Store, tenant_id: UUID, **values: Any) -> Principal:
    user_id = new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, **values))
    return Principal(tenant_id, user_id, "password", "web")


async def add_message(store: Store, who: Principal, conversation: str, role: str, parts: Sequence[Part]) -> None:
    """What a turn writes."""
    talks, key = models.conversations, {"tenant_id": who.tenant_id, "conversation_id": UUID(conversation)}
    mine = (talks.c.tenant_id == who.tenant_id) & (talks.c.id == UUID(conversation))
    values = {**key, "id": new_id(), "role": role, "parts": [part_to_json(part) for part in parts]}
    async with store.transaction(who.tenant_id) as conn:
        await conn.execute(models.messages.insert().values(values))
        await conn.execute(talks.update().where(mine).values(updated_at=func.app_now()))


async def agent(store: Store, tenant_id: UUID, slug: str = "guide") -> UUID:
    agent_id = new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(
            agents.insert().values(tenant_id=tenant_id, id=agent_id, slug=slug, name=slug.title(), status="published")
        )
    return agent_id


@pytest.fixture
async def ada(store: Store, tenant_id: UUID) -> Principal:
    return await person(store, tenant_id)


@pytest.fixture
async def eve(store: Store, tenant_id: UUID) -> Principal:
    return await person(store, tenant_id)


@pytest.fixture
async def mallory(store: Store, other_tenant_id: UUID) -> Principal:
    return await person(store, other_tenant_id)


@pytest.fixture
async def guide(store: Store, tenant_id: UUID) -> UUID:
    return await agent(store, tenant_id)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def conversations(store: Store, blobs: BlobStore) -> ConversationService:
    return ConversationService(store, blobs)


def sniff(data: bytes) -> object:
    if data.startswith(b"MZ"):
        raise InvalidInput("That type is not supported.", field="file")
    return Found(width=6000, height=6000) if data.startswith(b"HUGE") else Found()


@pytest.fixture
def files(store: Store, blobs: BlobStore) -> FileService:
    return FileService(store, blobs, FileLimits(size=1000), sniff)
