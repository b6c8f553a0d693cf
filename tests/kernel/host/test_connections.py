"""Connections: configured by a tenant's admin, secret where it must be, used on the hot path."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text, update

from tollhouse import plugin as th
from tollhouse.host.connections import Connection, Connections
from tollhouse.host.errors import (
    ConnectionDisabled,
    ConnectionInUse,
    NameTaken,
    Outdated,
)
from tollhouse.host.logs import Scrubber
from tollhouse.host.models import connections as table
from tollhouse.store.audit import CLI, Actor
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit, inbox
from tollhouse.store.secrets import SecretUnreadable
from tollhouse.store.store import Store

KEY = "sk-the-secret-key-of-acme"
ADMIN = Actor("user", new_id(), "192.0.2.1")


async def made(world: Any, tenant_id: UUID, name: str = "Main", **values: Any) -> Connection:
    created: Connection = await world.connections.create(ADMIN, tenant_id, "llm", "acme", name, {"api_key": KEY, **values})
    return created


async def raw(store: Store, tenant_id: UUID, connection_id: UUID) -> dict[str, Any]:
    async with store.transaction(tenant_id) as conn:
        return dict((await conn.execute(select(table).where(table.c.id == connection_id))).mappings().one())


async def audited(store: Store, tenant_id: UUID) -> list[Any]:
    async with store.transaction(tenant_id) as conn:
        return list((await conn.execute(select(audit).where(audit.c.tenant_id == tenant_id).order_by(audit.c.id))).mappings())


def pointers(error: th.InvalidInput) -> list[str]:
    return [fault.pointer for fault in error.errors]


# -- making and changing -----------------------------------------------------------------------------------------------


async def test_a_connection_is_made_and_used(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id, retries=3)
    assert (created.kind, created.plugin, created.name, created.status, created.revision) == (
        "llm",
        "acme",
        "Main",
        "active",
        1,
    )
    assert created.config == {"retries": 3}
    assert created.secrets == {"api_key": True, "second_key": False}
    bound = await world.connections.bound(world.info(tenant_id), created.id)
    assert (bound.plugin_name, bound.obj, bound.revision) == ("acme-suite", world.backend, 1)
    assert bound.ctx.config.api_key.get_secret_value() == KEY
    assert bound.ctx.config.base_url == "https://acme.test", "a default is the plugin's, not frozen in the row"
    assert bound.ctx.connection_id == created.id
    (entry,) = await audited(world.store, tenant_id)
    assert (entry["action"], entry["actor_id"], entry["target_id"]) == ("connection.created", ADMIN.id, str(created.id))


async def test_no_secret_is_readable_anywhere(
    world: Any, tenant_id: UUID, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    created = await made(world, tenant_id)
    await world.connections.update(ADMIN, tenant_id, created.id, values={"second_key": KEY + "2"})
    bound = await world.connections.bound(world.info(tenant_id), created.id)
    page = await world.connections.list(tenant_id)
    row = await raw(world.store, tenant_id, created.id)
    entries = await audited(world.store, tenant_id)
    shown = [created, page, bound, row, row["config"], entries, world.connections, world.connections._cache, caplog.text]
    shown += [capfd.readouterr(), world.scrubber, world.box]
    assert KEY not in repr(shown)
    assert KEY.encode() not in row["secrets"]
    async with world.store.transaction(tenant_id) as conn:
        whole = (await conn.execute(text("SELECT c::text FROM connections c WHERE id = :id"), {"id": created.id})).scalar()
    assert KEY not in str(whole)
    assert KEY.encode().hex() not in str(whole)


async def test_a_secret_that_is_left_out_or_blank_is_kept(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id, second_key="the-second-secret")
    for values in ({"retries": 2}, {"api_key": "", "retries": 2}, {"api_key": "  ", "second_key": None}):
        updated = await world.connections.update(ADMIN, tenant_id, created.id, values=values)
        assert updated.secrets == {"api_key": True, "second_key": True}
        bound = await world.connections.bound(world.info(tenant_id), created.id)
        assert bound.ctx.config.api_key.get_secret_value() == KEY
        assert bound.ctx.config.second_key.get_secret_value() == "the-second-secret"
        assert bound.ctx.config.retries == values.get("retries", 1)
    await world.connections.update(ADMIN, tenant_id, created.id, values={"api_key": "another"})
    assert (await world.connections.bound(world.info(tenant_id), created.id)).ctx.config.api_key.get_secret_value() == "another"


async def test_a_secret_can_be_forgotten_unless_it_is_required(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id, second_key="the-second-secret", retries=4)
    cleared = await world.connections.update(ADMIN, tenant_id, created.id, clear=["second_key"])
    assert cleared.secrets == {"api_key": True, "second_key": False}
    assert cleared.config == {"retries": 4}
    for field, pointer in (("api_key", "#/values/api_key"), ("retries", "#/clear/0")):
        with pytest.raises(th.InvalidInput) as caught:
            await world.connections.update(ADMIN, tenant_id, created.id, clear=[field])
        assert pointers(caught.value) == [pointer]
    assert await world.connections.get(tenant_id, created.id) == cleared


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({}, "#/values/api_key"),
        ({"api_key": ""}, "#/values/api_key"),
        ({"api_key": 7}, "#/values/api_key"),
        ({"api_key": KEY, "retries": 9}, "#/values/retries"),
        ({"api_key": KEY, "retires": 1}, "#/values/retires"),
        ({"api_key": KEY, "a/b~c": 1}, "#/values/a~1b~0c"),
        ({"api_key": KEY, "base_url": "https://\0"}, "#/values/base_url"),
        ({"api_key": KEY, "base_url": "\ud800"}, "#/values/base_url"),
        ({"api_key": f"{KEY} spaced"}, "#/values/api_key"),
    ],
)
async def test_a_wrong_value_names_its_field_and_leaves_nothing(
    world: Any, tenant_id: UUID, values: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(th.InvalidInput) as caught:
        await world.connections.create(ADMIN, tenant_id, "llm", "acme", "Main", values)
    assert pointer in pointers(caught.value)
    assert KEY not in repr((caught.value, caught.value.errors, caught.value.__cause__, caught.value.__context__))
    assert (await world.connections.list(tenant_id)).items == []
    assert await audited(world.store, tenant_id) == []


@pytest.mark.parametrize(
    ("kind", "plugin", "name", "field"),
    [
        ("llm", "nobody", "Main", "plugin"),
        ("payment", "acme", "Main", "plugin"),
        ("channel", "page", "Main", "plugin"),
        ("toaster", "acme", "Main", "kind"),
        ("llm", "acme", "   ", "name"),
        ("llm", "acme", "x" * 101, "name"),
        ("llm", "acme", "a\0b", "name"),
        ("llm", "acme", "\udfff", "name"),
    ],
)
async def test_what_cannot_be_connected_names_the_field(
    world: Any, tenant_id: UUID, kind: str, plugin: str, name: str, field: str
) -> None:
    with pytest.raises(th.InvalidInput) as caught:
        await world.connections.create(ADMIN, tenant_id, kind, plugin, name, {"api_key": KEY})
    assert pointers(caught.value) == [f"#/{field}"]


async def test_a_name_belongs_to_one_connection_of_a_tenant(world: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    await made(world, tenant_id)
    second = await made(world, tenant_id, "Second")
    await made(world, other_tenant_id)
    with pytest.raises(NameTaken):
        await made(world, tenant_id)
    with pytest.raises(NameTaken):
        await world.connections.update(ADMIN, tenant_id, second.id, name="Main")
    renamed = await world.connections.update(ADMIN, tenant_id, second.id, name=" Third  one ")
    assert (renamed.name, renamed.revision, renamed.secrets["api_key"]) == ("Third one", 2, True)


async def test_of_two_admins_the_slower_one_is_told(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id)
    change = world.connections.update
    done = await asyncio.gather(
        *(change(ADMIN, tenant_id, created.id, values={"retries": n}, revision=1) for n in range(4)), return_exceptions=True
    )
    assert sorted(type(item).__name__ for item in done) == ["Connection", "Outdated", "Outdated", "Outdated"]
    with pytest.raises(Outdated):
        await change(ADMIN, tenant_id, created.id, name="x", revision=1)


async def test_lists_come_in_pages_by_kind(world: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    names = [(await made(world, tenant_id, f"n{i}")).name for i in range(3)]
    door = await world.connections.create(CLI, tenant_id, "auth", "door", "Door", {"api_key": KEY})
    await made(world, other_tenant_id)
    first = await world.connections.list(tenant_id, "llm", limit=2)
    rest = await world.connections.list(tenant_id, "llm", limit=2, cursor=first.next_cursor)
    assert [item.name for item in (*first.items, *rest.items)] == names
    assert rest.next_cursor is None
    assert [item.id for item in (await world.connections.list(tenant_id, "auth")).items] == [door.id]
    with pytest.raises(th.InvalidInput):
        await world.connections.list(tenant_id, "toaster\0")


def test_a_form_marks_its_secrets(world: Any) -> None:
    form = world.connections.form("acme", "llm")
    assert {name for name, field in form["properties"].items() if field.get("writeOnly")} == {"api_key", "second_key"}
    assert form["required"] == ["api_key"]
    assert form["properties"]["base_url"]["title"] == "Base URL"
    assert [(item.kind, item.plugin) for item in world.connections.available()] == [("auth", "door"), ("llm", "acme")]
    with pytest.raises(th.InvalidInput):
        world.connections.form("page", "channel")


# -- switching off and deleting ----------------------------------------------------------------------------------------


async def test_switched_off_means_off_at_once_in_every_process(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id)
    info = world.info(tenant_id)
    await world.connections.bound(info, created.id)
    other = world.again()
    off = await other.disable(ADMIN, tenant_id, created.id)
    assert (off.status, off.revision) == ("disabled", 2)
    for connections in (world.connections, other):
        with pytest.raises(ConnectionDisabled):
            await connections.bound(info, created.id)
        with pytest.raises(ConnectionDisabled):
            await connections.bound(info, created.id, revision=2)
    on = await other.enable(ADMIN, tenant_id, created.id)
    assert (await world.connections.bound(info, created.id, revision=on.revision)).revision == 3
    assert (await other.enable(ADMIN, tenant_id, created.id)).revision == 3, "already on"
    actions = [entry["action"] for entry in await audited(world.store, tenant_id)]
    assert actions == ["connection.created", "connection.disabled", "connection.enabled"]


async def test_what_is_in_use_is_not_deleted(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id)
    async with world.store.transaction(tenant_id) as conn:
        row = {"connection_id": created.id, "external_id": "1", "kind": "message", "key": "k"}
        await conn.execute(insert(inbox).values(tenant_id=tenant_id, id=new_id(), **row))
    bound = await world.connections.bound(world.info(tenant_id), created.id)
    assert await bound.ctx.state.put("cursor", 1, revision=0)
    with pytest.raises(ConnectionInUse, match="received messages"):
        await world.connections.delete(ADMIN, tenant_id, created.id)
    assert await bound.ctx.state.get("cursor") == (1, 1), "nothing half-deleted"


async def test_uses_that_no_foreign_key_knows_count_too(world: Any, tenant_id: UUID) -> None:
    created, other = await made(world, tenant_id), await made(world, tenant_id, "Other")

    async def agents(conn: Any, tenant: UUID, connection_id: UUID) -> str | None:
        return "the agent guide" if (tenant, connection_id) == (tenant_id, created.id) else None

    connections = Connections(world.store, world.host, world.box, world.connections.contexts, in_use=[agents])
    with pytest.raises(ConnectionInUse, match="the agent guide"):
        await connections.delete(ADMIN, tenant_id, created.id)
    await connections.delete(ADMIN, tenant_id, other.id)
    assert [item.id for item in (await connections.list(tenant_id)).items] == [created.id]


async def test_deleting_takes_what_the_plugin_remembered(world: Any, tenant_id: UUID) -> None:
    created = await made(world, tenant_id)
    info = world.info(tenant_id)
    bound = await world.connections.bound(info, created.id)
    await bound.ctx.state.put("cursor", 1, revision=0)
    await world.connections.delete(ADMIN, tenant_id, created.id)
    with pytest.raises(th.NotFound):
        await world.connections.bound(info, created.id)
    assert await bound.ctx.state.get("cursor") == (None, 0)
    assert (await audited(world.store, tenant_id))[-1]["action"] == "connection.deleted"


# -- what a plugin logs ------------------------------------------------------------------------------------------------


async def test_a_process_that_only_reads_a_secret_masks_it(world: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    """It was entered in another process, or before a restart: who uses it must keep it out of the log all the same."""
    created = await made(world, tenant_id)
    written, scrubber = io.StringIO(), Scrubber()
    handler = logging.StreamHandler(written)
    handler.addFilter(scrubber)
    reader = Connections(world.store, world.host, world.box, world.connections.contexts, scrubber=scrubber)

    async def use(**known: Any) -> str:
        bound = await reader.bound(world.info(tenant_id), created.id, **known)
        assert bound.ctx.config.api_key.get_secret_value() == KEY
        written.truncate(0)
        logging.getLogger("some.library").warning("sent %s", KEY)
        bound.ctx.log.warning("refused %s", KEY)
        return written.getvalue()

    logging.getLogger().addHandler(handler)
    try:
        for how in ({}, {"revision": 1}):
            assert KEY not in await asyncio.create_task(use(**how)), how
        at_hand = reader.at_hand(world.info(tenant_id), created.id, 1)
        assert at_hand is not None
        written.truncate(0)
        logging.getLogger("some.library").warning("sent %s", KEY)
        assert KEY not in written.getvalue()
        await made(world, other_tenant_id)  # the same key, by chance: the log of the other one is its own
        other = await reader.create(ADMIN, other_tenant_id, "llm", "acme", "Other", {"api_key": "another-key-0123"})
        await reader.bound(world.info(other_tenant_id), other.id)
        written.truncate(0)
        logging.getLogger("some.library").warning("sent %s and another-key-0123", KEY)
        assert f"sent {KEY} and ***" in written.getvalue()
    finally:
        logging.getLogger().removeHandler(handler)


async def test_a_key_that_is_a_word_rewrites_nobodys_result(world: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    first = await made(world, tenant_id)
    words = {"api_key": "endpoint", "second_key": "a-secret-no-9"}
    second = await world.connections.create(ADMIN, other_tenant_id, "llm", "acme", "Words", words)
    await world.connections.bound(world.info(other_tenant_id), second.id)
    world.backend.outcome = th.Health(True, f"The endpoint answers, a-secret-no-9, {KEY}.")
    ours = await world.connections.test(world.info(tenant_id), first.id, ADMIN)
    assert ours.detail == "The endpoint answers, a-secret-no-9, ***."
    kept = (await world.connections.get(tenant_id, first.id)).health
    assert kept["detail"] == ours.detail
    theirs = await world.connections.test(world.info(other_tenant_id), second.id, ADMIN)
    assert theirs.detail == f"The endpoint answers, ***, {KEY}."


# -- two tenants -------------------------------------------------------------------------------------------------------


async def test_another_tenants_connection_does_not_exist(world: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    mine = await made(world, tenant_id)
    service, foreign = world.connections, world.info(other_tenant_id)
    await service.bound(world.info(tenant_id), mine.id)
    before = await raw(world.store, tenant_id, mine.id)
    for connection_id in (mine.id, new_id()):
        for call in (
            service.get(other_tenant_id, connection_id),
            service.update(ADMIN, other_tenant_id, connection_id, name="taken"),
            service.enable(ADMIN, other_tenant_id, connection_id),
            service.disable(ADMIN, other_tenant_id, connection_id),
            service.delete(ADMIN, other_tenant_id, connection_id),
            service.test(foreign, connection_id, ADMIN),
            service.bound(foreign, connection_id),
            service.bound(foreign, connection_id, revision=1),
        ):
            with pytest.raises(th.NotFound) as caught:
                await call
            assert type(caught.value) is th.NotFound
    assert (await service.list(other_tenant_id)).items == []
    assert await raw(world.store, tenant_id, mine.id) == before
    assert await audited(world.store, other_tenant_id) == []


async def test_a_secret_that_was_copied_between_rows_or_tenants_is_refused(
    world: Any, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    mine, second, theirs = await made(world, tenant_id), await made(world, tenant_id, "B"), await made(world, other_tenant_id)
    stolen = (await raw(world.store, tenant_id, mine.id))["secrets"]
    for tenant, connection in ((tenant_id, second), (other_tenant_id, theirs)):
        async with world.store.transaction(tenant) as conn:
            await conn.execute(update(table).where(table.c.id == connection.id).values(secrets=stolen))
        with pytest.raises(SecretUnreadable):
            await world.connections.bound(world.info(tenant), connection.id)
        seen = await world.connections.get(tenant, connection.id)
        assert (seen.readable, seen.secrets["api_key"]) == (False, False)
        assert connection.id in [item.id for item in (await world.connections.list(tenant)).items], "a list still works"
        with pytest.raises(th.InvalidInput):
            await world.connections.update(ADMIN, tenant, connection.id, values={"retries": 2})
        mended = await world.connections.update(ADMIN, tenant, connection.id, values={"api_key": "entered-again"})
        assert mended.readable
