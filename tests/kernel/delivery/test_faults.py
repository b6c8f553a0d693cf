"""A messenger's plugin may do what it likes: its row is put aside within its tries, the chat goes on, and an alarm names it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tollhouse.border.errors import PluginFault
from tollhouse.delivery.service import QueueService
from tollhouse.plugin import Answer, Delivered, DeliveryFailed, Outgoing, RawRequest, Received
from tollhouse.store.audit import CLI
from tollhouse.store.jobs import TryAgain
from tollhouse.store.models import inbox, outbox
from tollhouse.testing.fakes import FakeMessenger
from tollhouse.usage.models import alarms

BAD = "bad"


class Odd(BaseException):
    """Neither an Exception nor one of the interpreter's own."""


def raising(error: BaseException) -> Callable[[], Any]:
    def does() -> Any:
        raise error

    return does


class Broken(FakeMessenger):
    """A messenger that misbehaves over what has the word *bad* in it."""

    def __init__(self, method: str, does: Callable[[], Any]) -> None:
        self.method, self.does = method, does

    async def receive(self, ctx: Any, request: RawRequest) -> Received:
        if self.method == "receive" and BAD in request.body.decode():
            return self.does()  # type: ignore[no-any-return]
        return await super().receive(ctx, request)

    def render(self, ctx: Any, answer: Answer) -> Any:
        text = answer.reply.text if answer.reply else answer.error or ""
        if self.method == "render" and (BAD in text or "went wrong" in text):
            return self.does()
        return super().render(ctx, answer)

    async def deliver(self, ctx: Any, outgoing: Outgoing) -> Delivered:
        if self.method == "deliver" and BAD in outgoing.payload["text"]:
            return self.does()  # type: ignore[no-any-return]
        return await super().deliver(ctx, outgoing)


DOES: dict[str, Callable[[], Any]] = {
    "gives nothing": lambda: None,
    "gives a wrong type": lambda: 7,
    "gives parts of a wrong type": lambda: [None],
    "gives too much": lambda: [Outgoing("chat", {"text": "x" * 3_000_000})],
    "gives no JSON": lambda: [Outgoing("chat", {"text": object()})],
    "raises": raising(ValueError("secret")),
    "leaves": raising(SystemExit(1)),
    "interrupts": raising(KeyboardInterrupt()),
    "cancels": raising(asyncio.CancelledError()),
    "raises what is no Exception": raising(Odd()),
    "blocks": lambda: time.sleep(600),
}


async def handled(stage: Any, tenant_id: UUID, bot: UUID) -> None:
    """The job of the chat, until it is through; a fault that never ends would be seen."""
    for _ in range(20):
        try:
            await stage.job(tenant_id, bot, "chat")
        except TryAgain:
            continue
        return
    pytest.fail("the chat is blocked")


async def sent(stage: Any, tenant_id: UUID) -> None:
    """The relay, until nothing waits: pauses are over at once."""
    for _ in range(30):
        await stage.relay.drain()
        async with stage.store.transaction(tenant_id) as conn:
            waits = await conn.execute(
                update(outbox).where(outbox.c.state == "new").values(next_at=outbox.c.created_at).returning(outbox.c.id)
            )
        if not waits.all():
            return
    pytest.fail("the chat is blocked")


async def alarmed(stage: Any, tenant_id: UUID) -> dict[str, str]:
    return {row["code"]: f"{row['subject']} {row['message']}" for row in await stage.rows(alarms, tenant_id)}


@pytest.mark.parametrize("does", DOES, ids=str)
async def test_render(stage: Any, tenant_id: UUID, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hurry(monkeypatch, "render")
    bot = await stage.add_connection(tenant_id, Broken("render", DOES[does]))
    await stage.write(bot, "m1", BAD)
    await stage.write(bot, "m2", "after it")
    await handled(stage, tenant_id, bot)
    await sent(stage, tenant_id)
    assert [(row["state"], row["attempts"]) for row in await stage.inbox(tenant_id)] == [("quarantined", 8), ("done", 1)]
    assert await stage.sent(bot) == ["You said: after it"]
    told = await alarmed(stage, tenant_id)
    assert set(told) == {"plugin_failed", "inbox_stuck"}
    for text in told.values():
        assert str(bot) in text
        assert "plugin 'fake': render " in text
        assert "secret" not in text
    assert len(stage.asked) == 2, "the turn was run once, however often its answer was rendered"


@pytest.mark.parametrize("does", DOES, ids=str)
async def test_deliver(stage: Any, tenant_id: UUID, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hurry(monkeypatch, "deliver")
    tries = itertools.count(1)
    bot = await stage.add_connection(tenant_id, Broken("deliver", lambda: (next(tries), DOES[does]())[1]))
    await stage.write(bot, "m1", BAD)
    await stage.write(bot, "m2", "after it")
    await handled(stage, tenant_id, bot)
    await sent(stage, tenant_id)
    assert [row["state"] for row in await stage.outbox(tenant_id)] == ["quarantined", "done"]
    assert await stage.sent(bot) == ["You said: after it"]
    told = await alarmed(stage, tenant_id)
    assert set(told) == {"plugin_failed", "outbox_stuck"}
    assert all(str(bot) in text and "plugin 'fake': deliver " in text for text in told.values())
    assert next(tries) - 1 == (1 if does.startswith("gives") else 12), "what was sent is not sent again"


@pytest.mark.parametrize("does", DOES, ids=str)
async def test_receive(stage: Any, tenant_id: UUID, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hurry(monkeypatch, "receive")
    bot = await stage.add_connection(tenant_id, Broken("receive", DOES[does]))
    with pytest.raises(PluginFault, match="plugin 'fake': receive "):
        await stage.write(bot, "m1", BAD)
    await stage.write(bot, "m2", "after it")
    assert [row["external_id"] for row in await stage.inbox(tenant_id)] == ["m2"]
    told = await alarmed(stage, tenant_id)
    assert list(told) == ["plugin_failed"]
    assert str(bot) in told["plugin_failed"]


@pytest.mark.parametrize("after", ["soon", -5, float("nan"), 10**12])
async def test_a_retry_that_cannot_be(stage: Any, tenant_id: UUID, after: Any) -> None:
    def fails() -> Any:
        raise DeliveryFailed("Busy.", retry_after=after)

    bot = await stage.add_connection(tenant_id, Broken("deliver", fails))
    await stage.write(bot, "m1", BAD)
    await handled(stage, tenant_id, bot)
    await sent(stage, tenant_id)
    assert [(row["state"], row["attempts"]) for row in await stage.outbox(tenant_id)] == [("quarantined", 12)]


async def test_what_a_plugin_changes_in_what_it_is_given_changes_nothing(stage: Any, tenant_id: UUID) -> None:
    class Careless(FakeMessenger):
        def render(self, ctx: Any, answer: Answer) -> Any:
            rendered = super().render(ctx, answer)
            answer.context.clear()  # type: ignore[attr-defined]
            return rendered

        async def deliver(self, ctx: Any, outgoing: Outgoing) -> Delivered:
            delivered = await super().deliver(ctx, outgoing)
            outgoing.payload.clear()  # type: ignore[attr-defined]
            return delivered

    bot = await stage.add_connection(tenant_id, Careless())
    await stage.write(bot, "m1", "hello")
    await handled(stage, tenant_id, bot)
    await sent(stage, tenant_id)
    assert (await stage.inbox(tenant_id))[0]["payload"]["context"] == {"reply_to": "m1"}
    assert (await stage.outbox(tenant_id))[0]["payload"]["payload"]["text"] == "You said: hello"


async def test_what_is_stuck_is_put_away_for_good(
    stage: Any, tenant_id: UUID, other_tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await stage.add_connection(tenant_id, Broken("deliver", lambda: None))
    await stage.write(bot, "m1", BAD)
    await handled(stage, tenant_id, bot)
    await sent(stage, tenant_id)
    queues = QueueService(stage.store, stage.blobs)
    [row] = (await queues.list(tenant_id, "outbox", state="quarantined")).items
    from tollhouse.plugin import Conflict, NotFound

    with pytest.raises(NotFound):
        await queues.dismiss(other_tenant_id, "outbox", str(row["id"]), CLI)
    await queues.dismiss(tenant_id, "outbox", str(row["id"]), CLI)
    [left] = await stage.outbox(tenant_id)
    assert (left["state"], left["payload"]) == ("done", {})
    with pytest.raises(Conflict):
        await queues.dismiss(tenant_id, "outbox", str(row["id"]), CLI)
    async with stage.store.transaction(tenant_id) as conn:
        await conn.execute(update(inbox).values(state="quarantined", error="seen"))
    [stuck] = (await queues.list(tenant_id, "inbox", state="quarantined")).items
    await queues.dismiss(tenant_id, "inbox", str(stuck["id"]), CLI)
    assert [(row["state"], row["payload"]) for row in await stage.inbox(tenant_id)] == [("done", {})]


def _hurry(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A limit that a test can wait for."""
    from dataclasses import replace

    from tollhouse.border import bounded, calls
    from tollhouse.border.returns import METHODS

    monkeypatch.setattr(calls, "METHODS", {**METHODS, method: replace(METHODS[method], seconds=0.05)})
    monkeypatch.setattr(bounded, "BLOCKED_SECONDS", 0.05)
