"""Agents: made, found, changed, published, by their own tenant only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from tollhouse.agents.errors import NoActiveVersion, SlugTaken
from tollhouse.agents.service import AgentService
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store


async def _audited(store: Store, tenant_id: UUID) -> list[str]:
    async with store.transaction(tenant_id) as conn:
        return list(
            (await conn.execute(select(audit.c.action).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id))).scalars()
        )


async def test_the_life_of_an_agent(store: Store, service: AgentService, tenant_id: UUID, connection_id: UUID) -> None:
    agent = await service.create(tenant_id, CLI, slug="guide", name=" Guide ", welcome="Hello")
    assert (agent.slug, agent.name, agent.status) == ("guide", "Guide", "draft")
    with pytest.raises(NoActiveVersion):
        await service.publish(tenant_id, CLI, agent.id)
    spec = {"template": "Hi", "primary": {"connection_id": str(connection_id), "model": "m"}, "modalities": ["text", "image"]}
    draft = await service.create_draft(tenant_id, CLI, agent.id, spec=spec)
    await service.activate(tenant_id, CLI, draft.id)
    await service.publish(tenant_id, CLI, agent.id)
    changed = await service.update(tenant_id, CLI, agent.id, name="Guide II", position=3)
    assert (changed.name, changed.welcome, changed.status, changed.position) == ("Guide II", "Hello", "published", 3)
    assert await service.published(tenant_id) == [(changed, frozenset({"text", "image"}))]
    assert await service.get(tenant_id, "guide") == await service.get(tenant_id, str(agent.id)) == changed
    assert (await service.archive(tenant_id, CLI, agent.id)).status == "archived"
    assert await service.published(tenant_id) == []
    assert (await service.unpublish(tenant_id, CLI, agent.id)).status == "draft"
    assert await _audited(store, tenant_id) == [
        "agent.created",
        "version.created",
        "version.activated",
        "agent.published",
        "agent.updated",
        "agent.archived",
        "agent.unpublished",
    ]


async def test_a_slug_is_unique_within_its_tenant_only(service: AgentService, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await service.create(tenant_id, CLI, slug="guide", name="Guide")
    other = await service.create(tenant_id, CLI, slug="other", name="Other")
    await service.create(other_tenant_id, CLI, slug="guide", name="Guide")
    with pytest.raises(SlugTaken):
        await service.create(tenant_id, CLI, slug="guide", name="Again")
    with pytest.raises(SlugTaken):
        await service.update(tenant_id, CLI, other.id, slug="guide")
    assert (await service.get(tenant_id, "other")).name == "Other"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", ""),
        ("slug", "Guide"),
        ("slug", "-a"),
        ("slug", "a-"),
        ("slug", "a b"),
        ("slug", "ä"),
        ("slug", "a" * 51),
        ("slug", "0199a000-0000-7000-8000-000000000000"),
        ("slug", "a\n"),
        ("name", " "),
        ("name", "x" * 101),
        ("name", "a\0b"),
        ("description", "x" * 2_001),
        ("welcome", "x" * 2_001),
    ],
)
async def test_a_malformed_field_is_named(service: AgentService, tenant_id: UUID, field: str, value: str) -> None:
    values: dict[str, Any] = {"slug": "fine", "name": "Fine", field: value}
    if value == "a\n":  # surrounding space is trimmed, not refused
        assert (await service.create(tenant_id, CLI, **values)).slug == "a"
        return
    with pytest.raises(InvalidInput) as refused:
        await service.create(tenant_id, CLI, **values)
    assert [error.pointer for error in refused.value.errors] == [f"#/{field}"]
    assert (await service.list(tenant_id)).items == []


async def test_lists_go_page_by_page(service: AgentService, tenant_id: UUID, other_tenant_id: UUID) -> None:
    made = [(await service.create(tenant_id, CLI, slug=f"a{number}", name="A")).slug for number in range(5)]
    await service.create(other_tenant_id, CLI, slug="foreign", name="F")
    first = await service.list(tenant_id, limit=3)
    rest = await service.list(tenant_id, limit=3, cursor=first.next_cursor)
    assert [agent.slug for agent in (*first.items, *rest.items)] == made[::-1]
    assert rest.next_cursor is None
    assert (await service.list(tenant_id, status="published")).items == []
    with pytest.raises(InvalidInput):
        await service.list(tenant_id, status="gone")


async def test_another_tenants_agent_does_not_exist(service: AgentService, tenant_id: UUID, other_tenant_id: UUID) -> None:
    agent = await service.create(tenant_id, CLI, slug="guide", name="Guide")
    spec = {"template": "Hi", "primary": {"connection_id": str(new_id()), "model": "m"}}
    for attempt in (
        service.get(other_tenant_id, agent.id),
        service.get(other_tenant_id, "guide"),
        service.update(other_tenant_id, CLI, agent.id, name="Mine"),
        service.publish(other_tenant_id, CLI, agent.id),
        service.unpublish(other_tenant_id, CLI, agent.id),
        service.archive(other_tenant_id, CLI, agent.id),
        service.versions(other_tenant_id, agent.id),
        service.create_draft(other_tenant_id, CLI, agent.id, spec=spec),
    ):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert refused.value.detail == NotFound().detail
    assert (await service.get(tenant_id, agent.id)) == agent
