"""What is forgotten stays forgotten, whatever was under way; what was used stays in the ledger."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from tests.kernel.turns.dying import CALLS_3, customer_of, die, stuck_turn
from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.auth.models import users
from tollhouse.conversations.models import conversations, files, messages
from tollhouse.plugin.errors import BackendRejected
from tollhouse.store.audit import SYSTEM
from tollhouse.store.models import inbox, outbox
from tollhouse.turns.errors import TurnInterrupted
from tollhouse.turns.models import turns
from tollhouse.usage.models import denials, entries
from tollhouse.usage.sweeper import sweep
from tollhouse.usage.verify import verify
from tollhouse.wiring.retention import prune


async def _erase(world: World, shop: Shop, user_id: UUID) -> None:
    await world.container.accounts.erase(shop.tenant_id, user_id, by=None, actor=SYSTEM)


async def _said(world: World, shop: Shop) -> tuple[list[Any], list[Any]]:
    """The replies of all turns, and the roles of all messages."""
    async with world.store.transaction(shop.tenant_id) as conn:
        replies = list((await conn.execute(select(turns.c.reply))).scalars())
        return replies, list((await conn.execute(select(messages.c.role).order_by(messages.c.id))).scalars())


async def _let_go(world: World, task: asyncio.Task[Any]) -> None:
    assert world.model.gate is not None
    world.model.gate.set()
    await asyncio.gather(task, return_exceptions=True)


async def _ok_entries(world: World, shop: Shop) -> int:
    async with world.store.transaction(shop.tenant_id) as conn:
        found = (await conn.execute(select(entries.c.id).where(entries.c.outcome == "ok"))).all()
    return len(found)


@pytest.mark.parametrize("expired", [False, True])
async def test_a_turn_that_runs_while_its_person_is_erased_writes_no_word(world: World, expired: bool) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k", store=True)
    if expired:
        await die(world)
        assert await sweep(world.store) == 1
    await _erase(world, shop, caller.user.user_id)
    await _let_go(world, task)
    assert isinstance(task.exception(), TurnInterrupted) == expired, "nobody is told what nothing is left of"
    assert await _said(world, shop) == ([None], [])
    assert await _ok_entries(world, shop) == 1, "what it used is in the ledger"
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_turn_whose_conversation_is_deleted_meanwhile_keeps_no_word(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k", store=True)
    async with world.store.transaction(shop.tenant_id) as conn:
        conversation = (await conn.execute(select(conversations.c.id))).scalar_one()
    await world.container.conversations.delete(caller.user, str(conversation))
    await _let_go(world, task)
    assert await _said(world, shop) == ([None], [])
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_reply_that_came_late_is_in_its_conversation(world: World) -> None:
    shop, caller = await customer_of(world)
    task = await stuck_turn(world, caller, "k", store=True)
    await die(world)
    assert await sweep(world.store) == 1
    await _let_go(world, task)
    replies, roles = await _said(world, shop)
    assert (len(replies), replies[0] is None, roles) == (1, False, ["user", "assistant"])


async def test_deleting_a_conversation_blanks_its_turns_and_no_other(world: World) -> None:
    shop, caller = await customer_of(world)
    first = await world.container.turns.run(caller, say(store=True))
    await world.container.turns.run(caller, say("More", store=True, conversation=first.conversation_id))
    await world.container.turns.run(caller, say("Elsewhere", store=True))
    await world.container.conversations.delete(caller.user, str(first.conversation_id))
    replies, roles = await _said(world, shop)
    assert sorted(reply is None for reply in replies) == [False, True, True]
    assert roles == ["user", "assistant"]


async def test_an_export_says_what_was_said_bought_and_used(world: World) -> None:
    shop, caller = await customer_of(world)
    _, other = shop, await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    await world.container.turns.run(caller, say("What is mine?", store=True))
    await world.container.turns.run(other, say("Not mine", store=True))
    found = await world.container.accounts.export(shop.tenant_id, caller.user.user_id, by=None, actor=SYSTEM)
    (talk,) = found["conversations"]
    assert [message["role"] for message in talk["messages"]] == ["user", "assistant"]
    assert talk["messages"][0]["parts"][0]["text"] == "What is mine?"
    assert [one["status"] for one in found["billing"]["subscriptions"]] == ["active"]
    assert [(one["outcome"], one["input_tokens"]) for one in found["usage"]] == [("ok", 10)]
    assert found["files"] == []
    assert "Not mine" not in str(found)


async def test_what_is_past_its_time_goes_and_nothing_else(world: World) -> None:
    shop, caller = await customer_of(world)
    tenant, user = shop.tenant_id, caller.user.user_id
    await world.container.turns.run(caller, say(store=True))
    async with world.store.transaction(tenant) as conn:
        now = (await conn.execute(text("SELECT now()"))).scalar_one()
        for number, days in enumerate((1, 40)):
            at = now - timedelta(days=days)
            row = {"tenant_id": tenant, "id": UUID(int=number + 1), "payload": {"said": "hello"}, "handled_at": at}
            connection = (await conn.execute(text("SELECT id FROM connections LIMIT 1"))).scalar_one()
            in_ = {"connection_id": connection, "external_id": str(number), "kind": "message", "key": "k"}
            await conn.execute(inbox.insert().values(**row, **in_, state="done"))
            await conn.execute(outbox.insert().values(**row, kind="delivery", subscriber="s", state="done"))
            seen = now - timedelta(days=days * 11)
            why = {"user_id": user, "reason": "limit_reached", "minute": seen, "last_at": seen}
            await conn.execute(denials.insert().values(tenant_id=tenant, id=row["id"], **why))
    await prune(world.store)
    async with world.store.transaction(tenant) as conn:
        payloads = (await conn.execute(select(inbox.c.payload).order_by(inbox.c.id))).scalars().all()
        sent = (await conn.execute(select(outbox.c.id).where(outbox.c.kind == "delivery"))).scalars().all()
        why_not = (await conn.execute(select(denials.c.id))).scalars().all()
    assert payloads == [{"said": "hello"}, {}], "the row stays, so that nothing is handled twice"
    assert sent == why_not == [UUID(int=1)]
    assert (await _said(world, shop))[1] == ["user", "assistant"]
    assert await verify(world.store, tenant) == []


async def test_what_slipped_through_an_erasure_is_found_by_the_next_pruning(world: World) -> None:
    """A turn that was admitted in the very moment in which its person was erased."""
    shop, caller = await customer_of(world)
    await world.container.turns.run(caller, say(store=True))
    async with world.store.transaction(shop.tenant_id) as conn:
        await conn.execute(update(users).where(users.c.id == caller.user.user_id).values(status="erased"))
    await prune(world.store)
    assert await _said(world, shop) == ([None], [])


async def test_a_file_on_its_way_while_its_person_is_erased_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = await open_shop(world.store, CALLS_3, spec={"modalities": ["text", "file"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    loader = world.container.turns._media
    keep, gate, asked = loader.keep, asyncio.Event(), asyncio.Event()

    async def later(*args: Any) -> None:
        asked.set()
        await gate.wait()
        await keep(*args)

    monkeypatch.setattr(loader, "keep", later)
    part = th.Media("file", "text/plain", data=b"my secret", name="a.txt")
    task = asyncio.create_task(world.container.turns.run(caller, say(parts=(part,), store=True)))
    async with asyncio.timeout(10):
        await asked.wait()
    await _erase(world, shop, caller.user.user_id)
    gate.set()
    await asyncio.gather(task, return_exceptions=True)
    async with world.store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(files.c.id))).all() == []
    assert not [one for one in (world.container.settings.data_dir / "blobs").rglob("*") if one.is_file()]
    assert world.model.calls == [], "there was nobody to answer"
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_turn_tried_again_after_its_conversation_was_deleted_keeps_its_answer(world: World) -> None:
    shop, caller = await customer_of(world)

    def fail(request: th.CompletionRequest) -> th.Completion:
        raise BackendRejected()

    world.model.answer = fail
    with pytest.raises(BackendRejected) as failed:
        await world.container.turns.run(caller, say(external_id="k", store=True))
    await world.container.conversations.delete(caller.user, failed.value.extra["conversation_id"])
    world.model.answer = world.model.polite
    first = await world.container.turns.run(caller, say(external_id="k", store=True))
    again = await world.container.turns.run(caller, say(external_id="k", store=True))
    assert again.reply == first.reply
    assert again.conversation_id == first.conversation_id
    assert (await _said(world, shop))[1] == ["user", "assistant"]
