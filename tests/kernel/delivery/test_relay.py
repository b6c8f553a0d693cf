"""Stories of what goes out: retried by itself, in order, isolated, and never lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tollhouse.delivery.service import QueueService
from tollhouse.plugin.channels import Outgoing
from tollhouse.plugin.errors import InvalidInput, NotFound
from tollhouse.plugin.events import DeliveryFailed, Event
from tollhouse.store import outbox
from tollhouse.store.audit import CLI
from tollhouse.store.ids import new_id

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def test_a_delivery_is_retried_without_running_the_turn_again(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    failures = [DeliveryFailed(), DeliveryFailed(retry_after=300), RuntimeError("reset by peer")]

    async def unlucky(outgoing: Outgoing) -> None:
        if failures:
            raise failures.pop(0)

    stage.deliver = unlucky
    stage.store.at(NOON)
    await stage.write(bot, "m1", "hello")
    await stage.job(tenant_id, bot, "chat")
    waits, now = [], NOON
    for _ in range(3):
        await stage.relay.drain()
        (row,) = await stage.outbox(tenant_id)
        await stage.relay.drain()  # not due yet: nothing happens
        assert await stage.sent(bot) == []
        waits.append((row["next_at"] - now).total_seconds())
        stage.store.at(now := row["next_at"])
    assert waits == [1, 300, 4]
    await stage.relay.drain()
    assert await stage.sent(bot) == ["You said: hello"]
    assert len(stage.asked) == 1


async def test_a_recipient_who_is_gone_is_not_tried_again(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    async def gone(outgoing: Outgoing) -> None:
        raise DeliveryFailed("The bot was blocked.", permanent=True)

    stage.deliver = gone
    await stage.write(bot, "m1", "hello")
    await stage.job(tenant_id, bot, "chat")
    await stage.relay.drain()
    (row,) = await stage.outbox(tenant_id)
    assert (row["state"], row["error"]) == ("done", "permanent: delivery_failed: The bot was blocked.")


async def test_messages_of_one_chat_are_sent_in_order_and_others_pass(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    """The first message of a chat waits: what follows it waits too, another chat does not."""
    stage.store.at(NOON)
    stuck = True

    async def deliver(outgoing: Outgoing) -> None:
        if stuck and outgoing.payload["text"] == "You said: one":
            raise DeliveryFailed()

    stage.deliver = deliver
    for number, (chat, said) in enumerate([("a", "one"), ("a", "two"), ("b", "three")]):
        await stage.write(bot, f"m{number}", said, chat=chat)
    for chat in "ab":
        await stage.job(tenant_id, bot, chat)
    await stage.relay.drain()
    assert await stage.sent(bot) == ["You said: three"]
    stuck = False
    stage.store.at(NOON + timedelta(seconds=1))
    await stage.relay.drain()
    assert await stage.sent(bot) == ["You said: three", "You said: one", "You said: two"]


def _event(tenant_id: UUID) -> Event:
    order = {"order_id": str(new_id()), "user_id": None, "subscription_id": None, "amount_minor": 1900, "currency": "EUR"}
    return Event(new_id(), "order.paid", tenant_id, NOON, order)


async def test_a_plugin_that_fails_holds_up_no_other(stage: Any, tenant_id: UUID, other_tenant_id: UUID) -> None:
    ours, theirs = _event(tenant_id), _event(other_tenant_id)

    async def notify(plugin: str, event: Event) -> None:
        if plugin == "broken":
            raise SystemExit("a plugin that wants to stop the server")
        await stage.hear(plugin, event)

    stage.notify = notify
    stage.store.at(NOON)
    for event in (ours, theirs):
        async with stage.store.transaction(event.tenant_id) as conn:
            await outbox.add_event(conn, event, ["broken", "well"])
    await stage.relay.drain()
    assert sorted(stage.told, key=str) == sorted([("well", ours), ("well", theirs)], key=str)
    while (due := await _waiting(stage, tenant_id)) is not None:
        stage.store.at(due)
        await stage.relay.drain()
    (broken,) = (await QueueService(stage.store, stage.blobs).list(tenant_id, "outbox", state="quarantined")).items
    assert (broken["subscriber"], broken["attempts"], broken["error"]) == (
        "broken",
        12,
        "plugin_failed: plugin 'broken': on_event raised SystemExit",
    )
    stage.notify = stage.hear
    await QueueService(stage.store, stage.blobs).replay(tenant_id, "outbox", str(broken["id"]), CLI)
    await stage.relay.drain()
    assert stage.told[-1] == ("broken", ours)


async def _waiting(stage: Any, tenant_id: UUID) -> datetime | None:
    return next((row["next_at"] for row in await stage.outbox(tenant_id) if row["state"] == "new"), None)


async def test_two_relays_send_each_row_once(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    async with stage.store.transaction(tenant_id) as conn:
        for number in range(40):
            payload = {"connection_id": str(bot), "recipient": "r", "payload": {"text": str(number)}}
            await outbox.add(conn, tenant_id, "delivery", str(bot), payload, f"chat{number % 4}")
    await asyncio.gather(stage.relay.drain(), stage.new_relay().drain(), stage.new_relay().drain())
    await stage.relay.drain()
    sent = await stage.sent(bot)
    assert sorted(map(int, sent)) == list(range(40))
    for chat in range(4):
        mine = [int(text) for text in sent if int(text) % 4 == chat]
        assert mine == sorted(mine)


async def test_a_relay_that_stops_gives_back_what_it_could_not_send(
    stage: Any, bot: UUID, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tollhouse.delivery import relay as module

    monkeypatch.setattr(module, "STOP_SECONDS", 0.05)
    begun = asyncio.Event()

    async def forever(outgoing: Outgoing) -> None:
        begun.set()
        await asyncio.Event().wait()

    stage.deliver = forever
    await stage.write(bot, "m1", "hello")
    await stage.job(tenant_id, bot, "chat")
    stop = asyncio.Event()
    running = asyncio.create_task(stage.relay.run(stop))
    await asyncio.wait_for(begun.wait(), 10)
    stop.set()
    await asyncio.wait_for(running, 10)
    (row,) = await stage.outbox(tenant_id)
    assert (row["state"], row["attempts"]) == ("new", 0)
    stage.deliver = None
    await stage.new_relay().drain()
    assert await stage.sent(bot) == ["You said: hello"]


async def test_a_row_of_a_dead_relay_is_due_again_after_its_lease(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    stage.store.at(NOON)
    await stage.write(bot, "m1", "hello")
    await stage.job(tenant_id, bot, "chat")
    async with stage.store.operator() as conn:
        (lost,) = [row for row in await outbox.claim_due(conn, 10) if row.tenant_id == tenant_id]
    await stage.relay.drain()
    assert await stage.sent(bot) == []
    stage.store.at(NOON + timedelta(seconds=outbox.LEASE_SECONDS))
    await stage.relay.drain()
    assert await stage.sent(bot) == ["You said: hello"]
    async with stage.store.transaction(tenant_id) as conn:
        await outbox.failed(conn, lost, "too late")  # whoever comes back from the dead changes nothing
    assert [row["state"] for row in await stage.outbox(tenant_id)] == ["done"]


async def test_nobody_sees_or_replays_another_tenants_rows(
    stage: Any, bot: UUID, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    queues = QueueService(stage.store, stage.blobs)
    await stage.write(bot, "m1", "hello")
    await stage.job(tenant_id, bot, "chat")
    for queue in ("inbox", "outbox"):
        (mine,) = (await queues.list(tenant_id, queue)).items
        assert (await queues.list(other_tenant_id, queue)).items == []
        for wanted in (str(mine["id"]), str(new_id()), "nonsense"):
            with pytest.raises(NotFound):
                await queues.replay(other_tenant_id, queue, wanted, CLI)
        with pytest.raises(InvalidInput):
            await queues.list(tenant_id, queue, state="odd")
