"""Connections in use: on the hot path, after changes, and tried from their page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tollhouse import plugin as th
from tollhouse.host.connections import Connection
from tollhouse.host.errors import (
    ConnectionInvalid,
    PluginOff,
)
from tollhouse.host.loader import load_plugins
from tollhouse.host.models import connections as table
from tollhouse.host.repository import revisions
from tollhouse.settings import Settings
from tollhouse.store.audit import CLI, Actor
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.store import Store

KEY = "sk-the-secret-key-of-acme"
ADMIN = Actor("user", new_id(), "192.0.2.1")


async def made(world: Any, tenant_id: UUID, name: str = "Main", **values: Any) -> Connection:
    created: Connection = await world.connections.create(ADMIN, tenant_id, "llm", "acme", name, {"api_key": KEY, **values})
    return created


async def audited(store: Store, tenant_id: UUID) -> list[Any]:
    async with store.transaction(tenant_id) as conn:
        return list((await conn.execute(select(audit).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id))).mappings())


# -- the hot path ------------------------------------------------------------------------------------------------------


class Unreachable:
    """A store whose every use is a failure."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the database was used: {name}")


async def test_a_known_revision_asks_no_database(world: Any, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    created = await made(world, tenant_id)
    info = world.info(tenant_id)
    async with world.store.transaction(tenant_id) as conn:
        known = await revisions(conn, tenant_id)
    assert known == {created.id: 1}
    first = await world.connections.bound(info, created.id, revision=1)
    monkeypatch.setattr(world.connections, "store", Unreachable())
    monkeypatch.setattr(world.connections.contexts, "store", Unreachable())
    again = await world.connections.bound(info, created.id, revision=1)
    assert again.ctx.config is first.ctx.config
    for revision in (2, None):
        with pytest.raises(AssertionError, match="the database was used"):
            await world.connections.bound(info, created.id, revision=revision)


async def test_a_change_is_seen_by_the_next_use_in_every_process(world: Any, tenant_id: UUID) -> None:
    created, other, info = await made(world, tenant_id), world.again(), world.info(tenant_id)
    for process in (world.connections, other):
        await process.bound(info, created.id)
    await world.connections.update(ADMIN, tenant_id, created.id, values={"retries": 5})
    for process in (world.connections, other):
        assert (await process.bound(info, created.id, revision=2)).ctx.config.retries == 5
    stale = await other.bound(info, created.id, revision=1)
    assert (stale.revision, stale.ctx.config.retries) == (2, 5), "an old revision is never served again"


async def test_a_principal_is_bound_to_one_call_only(world: Any, tenant_id: UUID) -> None:
    created, info = await made(world, tenant_id), world.info(tenant_id)
    person = th.Principal(tenant_id, new_id(), "password", "web")
    first = await world.connections.bound(info, created.id, revision=1, principal=person)
    second = await world.connections.bound(info, created.id, revision=1)
    assert (first.ctx.principal, second.ctx.principal) == (person, None)


async def test_a_plugin_that_is_off_or_has_changed_is_said_so(world: Any, tenant_id: UUID) -> None:
    created, info = await made(world, tenant_id), world.info(tenant_id)
    nothing = world.again(host=load_plugins(Settings(), plugins={}, environ={}))
    with pytest.raises(PluginOff):
        await nothing.bound(info, created.id)
    seen = await nothing.get(tenant_id, created.id)
    assert (seen.plugin, seen.secrets) == ("acme", {"api_key": True})
    await nothing.delete(ADMIN, tenant_id, (await made(world, tenant_id, "Old")).id)
    async with world.store.transaction(tenant_id) as conn:
        await conn.execute(update(table).where(table.c.id == created.id).values(config={"gone": 1}))
    with pytest.raises(ConnectionInvalid):
        await world.again().bound(info, created.id)


# -- trying ------------------------------------------------------------------------------------------------------------


async def asks_for_help(ctx: Any) -> th.Health:
    return th.Health(True, f"connected with {ctx.config.api_key.get_secret_value()}")


@pytest.mark.parametrize(
    ("outcome", "ok", "detail"),
    [
        (th.Health(True, "2 models"), True, "2 models"),
        (th.Health(False, f"{KEY} was refused"), False, "*** was refused"),
        (asks_for_help, True, "connected with ***"),
        (th.BackendAuthFailed(private=KEY), False, th.BackendAuthFailed().detail),
        (RuntimeError(KEY), False, "The plugin failed: plugin 'acme-suite': test raised RuntimeError."),
        (SystemExit(KEY), False, "The plugin failed: plugin 'acme-suite': test raised SystemExit."),
        ("fine", False, "The plugin failed: plugin 'acme-suite': test gave a str."),
    ],
)
async def test_trying_a_connection(world: Any, tenant_id: UUID, outcome: Any, ok: bool, detail: str) -> None:
    created = await made(world, tenant_id)
    await world.connections.disable(ADMIN, tenant_id, created.id)
    world.backend.outcome = outcome
    assert await world.connections.test(world.info(tenant_id), created.id, ADMIN) == th.Health(ok, detail)
    seen = await world.connections.get(tenant_id, created.id)
    assert seen.health is not None
    assert (seen.health["ok"], seen.health["detail"], seen.revision) == (ok, detail, 2)
    assert (await audited(world.store, tenant_id))[-1]["action"] == "connection.tested"
    changed = await world.connections.update(ADMIN, tenant_id, created.id, values={"retries": 2})
    assert changed.health is None, "what was tried is not what is there now"


async def test_no_transaction_is_open_while_a_connection_is_tried(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id)

    async def count(ctx: Any) -> th.Health:
        changed = await world.connections.update(ADMIN, tenant_id, created.id, name="Changed meanwhile")
        return th.Health(True, f"revision {changed.revision}")

    world.backend.outcome = count
    assert (await world.connections.test(world.info(tenant_id), created.id, ADMIN)).detail == "revision 2"
    assert (await world.connections.get(tenant_id, created.id)).health is None, "it was the old one that was tried"


async def test_what_cannot_be_tried_says_so(world: Any, tenant_id: UUID) -> None:
    door = await world.connections.create(CLI, tenant_id, "auth", "door", "Door", {"api_key": KEY})
    with pytest.raises(th.InvalidInput):
        await world.connections.test(world.info(tenant_id), door.id, ADMIN)
