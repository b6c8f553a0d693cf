"""The inbox: each event once, the oldest first, one job for each row, nothing across tenants."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from tollhouse.host.models import connections
from tollhouse.plugin.channels import Attachment
from tollhouse.plugin.content import Media, Text
from tollhouse.plugin.errors import Conflict, NotFound
from tollhouse.plugin.events import InboundMessage, PaymentEvent, Sender
from tollhouse.store import events, inbox
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store

SENDER = Sender("chat", "issuer", "ada", "Ada", "de")


def message(external_id: str, key: str = "chat", said: str = "hi") -> InboundMessage:
    return InboundMessage(external_id, SENDER, (Text(said),), key, recipient=key)


async def connect(store: Store, tenant_id: UUID) -> UUID:
    connection_id = new_id()
    row = {"tenant_id": tenant_id, "id": connection_id, "kind": "channel", "plugin": "fake", "name": connection_id.hex}
    async with store.transaction(tenant_id) as conn:
        await conn.execute(connections.insert().values(row))
    return connection_id


async def put(store: Store, tenant_id: UUID, connection_id: UUID, *new: Any) -> list[UUID]:
    async with store.transaction(tenant_id) as conn:
        return await inbox.put(conn, tenant_id, connection_id, new)


async def take(store: Store, tenant_id: UUID, connection_id: UUID, key: str = "chat") -> inbox.InboxRow | None:
    async with store.transaction(tenant_id) as conn:
        return await inbox.take_oldest(conn, tenant_id, connection_id, key)


async def jobs(store: Store, tenant_id: UUID) -> list[tuple[str, dict[str, str]]]:
    find = text("SELECT lock, args FROM procrastinate_jobs WHERE args->>'tenant_id' = :tenant ORDER BY id")
    async with store.operator() as conn:
        return [(row.lock, row.args) for row in await conn.execute(find, {"tenant": str(tenant_id)})]


async def test_an_event_is_stored_once_and_wakes_one_job(store: Store, tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)
    assert len(await put(store, tenant_id, bot, message("1"), message("2", "other"), message("1"))) == 2
    assert len(await put(store, tenant_id, bot, message("1"), message("3"))) == 1
    assert await put(store, tenant_id, bot) == []
    payment = PaymentEvent("1", "order", "paid", "order")
    assert len(await put(store, tenant_id, bot, payment)) == 1  # another kind may use the same id
    waiting = await jobs(store, tenant_id)
    assert [lock for lock, _ in waiting] == [f"{tenant_id}:{bot}:{key}" for key in ("chat", "other", "chat", "order")]
    assert waiting[0][1] == {"tenant_id": str(tenant_id), "connection_id": str(bot), "key": "chat"}


async def test_a_transaction_that_fails_wakes_nobody(store: Store, tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)

    async def fail() -> None:
        async with store.transaction(tenant_id) as conn:
            await inbox.put(conn, tenant_id, bot, [message("1")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await jobs(store, tenant_id) == []
    assert await take(store, tenant_id, bot) is None


async def test_two_deliveries_of_the_same_batch_do_not_deadlock(store: Store, tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)
    batch = [message(str(number)) for number in range(20)]
    for _ in range(10):
        stored = await asyncio.gather(put(store, tenant_id, bot, *batch), put(store, tenant_id, bot, *reversed(batch)))
        assert sum(map(len, stored)) in (0, 20)


async def test_the_oldest_comes_first_and_attempts_are_counted(store: Store, tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)
    await put(store, tenant_id, bot, message("b"), message("a"))  # as they came, not as they are called
    first = await take(store, tenant_id, bot)
    assert first is not None
    assert (first.external_id, first.attempt) == ("b", 1)
    again = await take(store, tenant_id, bot)
    assert again is not None
    assert (again.external_id, again.attempt) == ("b", 2)
    async with store.transaction(tenant_id) as conn:
        await inbox.give_back(conn, first)  # an older attempt gives nothing back
        await inbox.give_back(conn, again)
        await inbox.remember(conn, again, {"route": {"agent": "guide"}})
    third = await take(store, tenant_id, bot)
    assert third is not None
    assert (third.attempt, third.payload["route"]) == (2, {"agent": "guide"})
    async with store.transaction(tenant_id) as conn:
        assert await inbox.lock_unhandled(conn, third)
        await inbox.done(conn, third)
        assert not await inbox.lock_unhandled(conn, third)
        await inbox.quarantine(conn, third, "too late")  # what is done stays done
    second = await take(store, tenant_id, bot)
    assert second is not None
    assert second.external_id == "a"


async def test_replay_wakes_a_job_and_is_audited(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)
    await put(store, tenant_id, bot, message("1"))
    row = await take(store, tenant_id, bot)
    assert row is not None
    async with store.transaction(tenant_id) as conn:
        with pytest.raises(Conflict):
            await inbox.replay(conn, tenant_id, row.id, CLI)
        await inbox.quarantine(conn, row, "poison\x00")
    assert await take(store, tenant_id, bot) is None
    async with store.transaction(other_tenant_id) as conn:
        with pytest.raises(NotFound):
            await inbox.replay(conn, other_tenant_id, row.id, CLI)
    async with store.transaction(tenant_id) as conn:
        await inbox.replay(conn, tenant_id, row.id, CLI)
        actions = (await conn.execute(text("SELECT action FROM audit"))).scalars().all()
    assert actions == ["inbox.replayed"]
    assert len(await jobs(store, tenant_id)) == 2
    again = await take(store, tenant_id, bot)
    assert again is not None
    assert again.attempt == 1


async def test_nothing_crosses_tenants(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    bot, theirs = await connect(store, tenant_id), await connect(store, other_tenant_id)
    await put(store, tenant_id, bot, message("1"))
    assert len(await put(store, other_tenant_id, theirs, message("1"))) == 1
    assert await take(store, other_tenant_id, bot) is None
    with pytest.raises(Exception, match="foreign key"):
        await put(store, other_tenant_id, bot, message("2"))
    async with store.transaction(other_tenant_id) as conn:
        rows, _ = await inbox.page(conn, other_tenant_id)
        assert await inbox.payloads(conn, tenant_id, [row["id"] for row in rows]) == []
    assert len(rows) == 1


async def test_ids_too_long_for_an_index_are_told_apart(store: Store, tenant_id: UUID) -> None:
    bot = await connect(store, tenant_id)
    assert len(await put(store, tenant_id, bot, message("x" * 9000 + "1"), message("x" * 9000 + "2"))) == 2
    assert await put(store, tenant_id, bot, message("x" * 9000 + "1")) == []


def test_events_survive_storage() -> None:
    parts = (Text("hi"), Media("image", "image/png", url="blob:1", size=4), Attachment("ref", "audio", 10, "a.ogg"))
    sent = InboundMessage("1", SENDER, parts, "chat", "guide", "to", {"a": [1, {"b": None}]})  # type: ignore[arg-type]
    assert events.message_from_json(events.event_to_json(sent)) == sent
    paid = PaymentEvent("1", "order", "paid", "key", datetime(2026, 1, 1, tzinfo=UTC), "p-1")
    assert events.payment_from_json(events.event_to_json(paid)) == paid


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=[])))
def test_any_text_can_be_stored(said: str) -> None:
    cleaned = events.clean(said)
    assert "\x00" not in cleaned
    cleaned.encode()
    if "\x00" not in said and not any(0xD800 <= ord(char) <= 0xDFFF for char in said):
        assert cleaned == said
