"""Prompt versions: drafts that change, versions that never do, and what is active."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select, update

from tollhouse.agents.errors import AgentArchived, Stale, VersionFrozen, VersionInUse
from tollhouse.agents.models import prompt_versions
from tollhouse.agents.service import AgentService
from tollhouse.agents.spec import VersionSpec
from tollhouse.agents.versions import VersionCache
from tollhouse.auth.models import users
from tollhouse.host.models import connections
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.store.audit import CLI, Actor
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store


def spec(connection_id: UUID, template: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"template": template, "primary": {"connection_id": str(connection_id), "model": "m"}, **more}


@pytest.fixture
async def agent_id(service: AgentService, tenant_id: UUID) -> UUID:
    return (await service.create(tenant_id, CLI, slug="guide", name="Guide")).id


async def _state(service: AgentService, tenant_id: UUID, agent_id: UUID) -> list[tuple[int, str, int]]:
    return [(row.number, row.status, row.weight) for row in reversed(await service.versions(tenant_id, agent_id))]


async def test_a_draft_changes_until_it_is_activated_and_never_after(
    service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id, "One"), note="first")
    assert (draft.number, draft.status, draft.editable) == (1, "draft", True)
    draft = await service.update_draft(tenant_id, CLI, draft.id, spec=spec(connection_id, "Two"), expected=draft.updated_at)
    assert (draft.spec["template"], draft.note) == ("Two", "first")
    (active,) = await service.activate(tenant_id, CLI, draft.id)
    assert (active.status, active.weight, active.editable) == ("active", 10_000, False)
    with pytest.raises(VersionFrozen):
        await service.update_draft(tenant_id, CLI, draft.id, spec=spec(connection_id, "Three"))
    copy = await service.create_draft(tenant_id, CLI, agent_id, copy_of=draft.id)
    assert (copy.number, copy.spec) == (2, active.spec)
    await service.activate(tenant_id, CLI, copy.id)
    with pytest.raises(VersionFrozen):  # archived, but it was active once
        await service.update_draft(tenant_id, CLI, draft.id, note="other")
    assert await _state(service, tenant_id, agent_id) == [(1, "archived", 0), (2, "active", 10_000)]


async def test_two_editors_of_one_draft(
    store: Store, service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    store.at(datetime.now(UTC) + timedelta(minutes=1))
    await service.update_draft(tenant_id, CLI, draft.id, spec=spec(connection_id, "Ann's"), expected=draft.updated_at)
    with pytest.raises(Stale):
        await service.update_draft(tenant_id, CLI, draft.id, spec=spec(connection_id, "Bob's"), expected=draft.updated_at)
    assert (await service.version(tenant_id, draft.id)).spec["template"] == "Ann's"


async def test_who_and_when(store: Store, service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID) -> None:
    people = [new_id(), new_id()]
    async with store.transaction(tenant_id) as conn:
        await conn.execute(
            insert(users).values([{"tenant_id": tenant_id, "id": one, "email": f"{one}@example.test"} for one in people])
        )
    ann, bob = (Actor("user", one) for one in people)
    draft = await service.create_draft(tenant_id, ann, agent_id, spec=spec(connection_id))
    (first,) = await service.activate(tenant_id, bob, draft.id)
    assert (first.created_by, first.activated_by) == (ann.id, bob.id)
    store.at(datetime.now(UTC) + timedelta(days=1))
    (again,) = await service.activate(tenant_id, ann, draft.id)
    assert (again.activated_by, again.activated_at) == (bob.id, first.activated_at)
    async with store.transaction(tenant_id) as conn:
        rows = (await conn.execute(select(audit.c.action, audit.c.actor_id).order_by(audit.c.id))).all()
    assert [(row.action, row.actor_id) for row in rows[1:]] == [
        ("version.created", ann.id),
        ("version.activated", bob.id),
        ("version.activated", ann.id),
    ]


async def test_a_split_and_a_rollback(service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID) -> None:
    one, two, three = [(await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))).id for _ in range(3)]
    await service.activate(tenant_id, CLI, one)
    active = await service.activate(tenant_id, CLI, three, {three: 1_000, one: 9_000})
    assert [(row.number, row.weight) for row in active] == [(1, 9_000), (3, 1_000)]
    assert await _state(service, tenant_id, agent_id) == [(1, "active", 9_000), (2, "draft", 0), (3, "active", 1_000)]
    await service.activate(tenant_id, CLI, two)
    assert await _state(service, tenant_id, agent_id) == [(1, "archived", 0), (2, "active", 10_000), (3, "archived", 0)]
    await service.activate(tenant_id, CLI, one)  # the rollback
    assert await _state(service, tenant_id, agent_id) == [(1, "active", 10_000), (2, "archived", 0), (3, "archived", 0)]


@pytest.mark.parametrize(
    "shares",
    [
        {"one": 9_999},
        {"one": 5_000, "two": 5_001},
        {"one": 10_000, "two": 0},
        {"two": 10_000},
        {},
        {"one": 20_000, "two": -10_000},
    ],
)
async def test_weights_that_do_not_add_up_change_nothing(
    service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID, shares: dict[str, int]
) -> None:
    ids = {name: (await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))).id for name in ("one", "two")}
    await service.activate(tenant_id, CLI, ids["two"])
    with pytest.raises(InvalidInput) as refused:
        await service.activate(tenant_id, CLI, ids["one"], {ids[name]: weight for name, weight in shares.items()})
    assert refused.value.errors[0].pointer == "#/weights"
    assert await _state(service, tenant_id, agent_id) == [(1, "draft", 0), (2, "active", 10_000)]


async def test_versions_of_another_agent_cannot_share(
    service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    other = await service.create(tenant_id, CLI, slug="other", name="Other")
    mine = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    theirs = await service.create_draft(tenant_id, CLI, other.id, spec=spec(connection_id))
    with pytest.raises(NotFound):
        await service.activate(tenant_id, CLI, mine.id, {mine.id: 5_000, theirs.id: 5_000})
    with pytest.raises(NotFound):
        await service.create_draft(tenant_id, CLI, agent_id, copy_of=theirs.id)


async def test_archiving(service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID) -> None:
    one, two = [(await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))).id for _ in range(2)]
    await service.activate(tenant_id, CLI, one)
    with pytest.raises(VersionInUse):
        await service.archive_version(tenant_id, CLI, one)
    assert (await service.archive_version(tenant_id, CLI, two)).status == "archived"
    await service.archive(tenant_id, CLI, agent_id)
    with pytest.raises(AgentArchived):
        await service.create_draft(tenant_id, CLI, agent_id, copy_of=one)
    with pytest.raises(AgentArchived):
        await service.activate(tenant_id, CLI, two)


async def test_numbers_and_activations_of_many_writers(
    store: Store, service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    made = await asyncio.gather(*(service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id)) for _ in range(12)))
    assert sorted(row.number for row in made) == list(range(1, 13))
    await asyncio.gather(*(service.activate(tenant_id, CLI, row.id) for row in made))
    async with store.transaction(tenant_id) as conn:
        weights = (
            (await conn.execute(select(prompt_versions.c.weight).where(prompt_versions.c.status == "active"))).scalars().all()
        )
    assert weights == [10_000]


async def test_a_spec_that_is_not_valid_is_refused_field_by_field(
    service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    wrong = spec(connection_id, "Dear {{ plan.name }}", parameters={"temperature": 9}, surprise=1)
    with pytest.raises(InvalidInput) as refused:
        await service.create_draft(tenant_id, CLI, agent_id, spec=wrong)
    errors = {error.pointer: error.detail for error in refused.value.errors}
    assert set(errors) == {"#/spec/template", "#/spec/parameters", "#/spec/surprise"}
    assert "plan.name" in errors["#/spec/template"]
    assert "line 1, column 6" in errors["#/spec/template"]
    with pytest.raises(InvalidInput):
        await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id, "a\0b"))
    with pytest.raises(InvalidInput):
        await service.create_draft(tenant_id, CLI, agent_id)
    assert await service.versions(tenant_id, agent_id) == []


async def test_the_connection_must_be_a_model_of_the_tenant(
    store: Store,
    service: AgentService,
    connect: Any,
    tenant_id: UUID,
    other_tenant_id: UUID,
    agent_id: UUID,
    connection_id: UUID,
) -> None:
    foreign, payment, unknown = await connect(other_tenant_id), await connect(tenant_id, "payment"), new_id()
    texts = set()
    for wrong in (foreign, payment, unknown):
        with pytest.raises(InvalidInput) as refused:
            await service.create_draft(tenant_id, CLI, agent_id, spec=spec(wrong))
        texts.add((refused.value.errors[0].pointer, refused.value.detail))
        fallback = {"connection_id": str(wrong), "model": "n"}
        with pytest.raises(InvalidInput):
            await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id, fallback=fallback))
    assert texts == {("#/spec/primary/connection_id", "There is no model connection of this id.")}
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    async with store.transaction(tenant_id) as conn:
        await conn.execute(delete(connections).where(connections.c.id == connection_id))
    with pytest.raises(InvalidInput):
        await service.activate(tenant_id, CLI, draft.id)


async def test_a_diff(service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID) -> None:
    old = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id, "Be kind.\nBe brief."))
    new = await service.create_draft(
        tenant_id, CLI, agent_id, spec=spec(connection_id, "Be kind.\nBe long.", parameters={"seed": 1}, post={"footer": "x"})
    )
    diff = await service.diff(tenant_id, old.id, new.id)
    assert [(change.path, change.before, change.after) for change in diff.fields if change.path != "parameters"] == [
        ("parameters.seed", None, 1),
        ("post.footer", "", "x"),
    ]
    assert diff.template.splitlines() == [
        "--- version 1",
        "+++ version 2",
        "@@ -1,2 +1,2 @@",
        " Be kind.",
        "-Be brief.",
        "+Be long.",
    ]
    assert (await service.diff(tenant_id, old.id, old.id)).fields == ()


async def test_another_tenants_version_does_not_exist(
    store: Store, service: AgentService, tenant_id: UUID, other_tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    cache = VersionCache(store)
    await service.activate(tenant_id, CLI, draft.id)
    assert (await cache.get(tenant_id, draft.id)).id == draft.id
    for attempt in (
        cache.get(other_tenant_id, draft.id),
        service.version(other_tenant_id, draft.id),
        service.update_draft(other_tenant_id, CLI, draft.id, note="mine"),
        service.activate(other_tenant_id, CLI, draft.id),
        service.archive_version(other_tenant_id, CLI, draft.id),
        service.diff(other_tenant_id, draft.id, draft.id),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_the_cache_keeps_what_cannot_change_and_nothing_else(
    store: Store, service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID
) -> None:
    cache = VersionCache(store, size=1)
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id, "One"))
    assert (await cache.get(tenant_id, draft.id)).spec.template == "One"
    await service.update_draft(tenant_id, CLI, draft.id, spec=spec(connection_id, "Two {{ channel }}"))
    found = await cache.get(tenant_id, draft.id)
    assert found.template.render({"channel": "web"}) == "Two web"
    await service.activate(tenant_id, CLI, draft.id)
    kept = await cache.get(tenant_id, draft.id)
    async with store.transaction(tenant_id) as conn:
        await conn.execute(update(prompt_versions).where(prompt_versions.c.id == draft.id).values(note="not read again"))
    assert await cache.get(tenant_id, draft.id) is kept
    other = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    await service.activate(tenant_id, CLI, other.id)
    await cache.get(tenant_id, other.id)
    assert await cache.get(tenant_id, draft.id) is not kept  # bounded: the one used longest ago made room


@pytest.mark.parametrize("parsed", [False, True])
async def test_a_schema_that_cannot_be_used_is_not_saved(
    service: AgentService, tenant_id: UUID, agent_id: UUID, connection_id: UUID, parsed: bool
) -> None:
    bad: Any = spec(connection_id, post={"json_schema": {"$ref": "#/$defs/missing"}})
    if parsed:
        bad = VersionSpec.model_validate(bad)
    draft = await service.create_draft(tenant_id, CLI, agent_id, spec=spec(connection_id))
    for attempt in (
        service.create_draft(tenant_id, CLI, agent_id, spec=bad),
        service.update_draft(tenant_id, CLI, draft.id, spec=bad),
    ):
        with pytest.raises(InvalidInput) as refused:
            await attempt
        assert refused.value.errors[0].pointer == "#/spec/post/json_schema"
    assert len(await service.versions(tenant_id, agent_id)) == 1
