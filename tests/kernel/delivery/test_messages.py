"""Stories of messengers: a person writes, the agent answers once, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from tollhouse.delivery.intake import Intake
from tollhouse.host.errors import ConnectionDisabled
from tollhouse.plugin.access import Decision, Principal
from tollhouse.plugin.content import Reply, Text
from tollhouse.plugin.errors import (
    AccessDenied,
    BackendTimeout,
    Conflict,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from tollhouse.plugin.ports import TurnRequest
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.jobs import TryAgain
from tollhouse.store.store import Store
from tollhouse.testing.fakes import signed_request

Workers = Callable[[int], None]
Wait = Callable[..., Awaitable[None]]


async def test_the_same_webhook_five_times_is_one_turn_and_one_answer(
    stage: Any, bot: UUID, tenant_id: UUID, at_work: Workers, wait_until: Wait
) -> None:
    at_work(2)
    answers = await asyncio.gather(*(stage.write(bot, "m1", "hello") for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5

    async def answered() -> bool:
        rows = await stage.outbox(tenant_id)
        return bool(rows) and all(row["state"] == "done" for row in rows)

    await wait_until(answered)
    await stage.write(bot, "m1", "hello")
    assert [row["state"] for row in await stage.inbox(tenant_id)] == ["done"]
    assert len(stage.asked) == 1
    assert await stage.sent(bot) == ["You said: hello"]
    assert stage.asked[0][1].external_id == f"{bot}:m1"


async def test_order_is_kept_in_a_chat_by_three_workers(
    stage: Any, bot: UUID, tenant_id: UUID, at_work: Workers, wait_until: Wait
) -> None:
    working: dict[str, int] = {}

    async def slowly(who: Principal, request: TurnRequest) -> Reply:
        chat = str(who.user_id)
        working[chat] = working.get(chat, 0) + 1
        assert working[chat] == 1, "two messages of one chat at the same time"
        await asyncio.sleep(0.01)
        working[chat] -= 1
        return Reply(request.parts)

    stage.answer = slowly
    at_work(3)
    for number in range(8):
        await asyncio.gather(*(stage.write(bot, f"{chat}-{number}", f"{chat}{number}", chat=chat, user=chat) for chat in "abc"))

    async def all_sent() -> bool:
        return len(await stage.sent(bot)) == 24

    await wait_until(all_sent)
    sent = await stage.sent(bot)
    for chat in "abc":
        assert [text for text in sent if text[0] == chat] == [f"{chat}{number}" for number in range(8)]
    assert all(row["attempts"] == 1 for row in await stage.inbox(tenant_id))


async def test_what_commits_while_a_job_of_the_chat_ends_is_not_forgotten(
    stage: Any, bot: UUID, tenant_id: UUID, at_work: Workers, wait_until: Wait
) -> None:
    """The lost wake-up: a job of the chat is fetched and finished while a second message is stored but not committed."""
    from tollhouse.plugin.events import InboundMessage, Sender
    from tollhouse.store import inbox

    late = InboundMessage("late", Sender("fakechat", str(bot), "ada"), (Text("late"),), "chat", recipient="chat")
    at_work(1)
    async with stage.store.transaction(tenant_id) as conn:
        assert len(await inbox.put(conn, tenant_id, bot, [late])) == 1
        await stage.write(bot, "early", "early")

        async def early_sent() -> bool:
            return bool(await stage.sent(bot) == ["You said: early"])

        await wait_until(early_sent)

    async def both_sent() -> bool:
        return bool(await stage.sent(bot) == ["You said: early", "You said: late"])

    await wait_until(both_sent)


async def test_a_poison_message_is_quarantined_and_the_others_go_on(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    poisonous = True

    async def answer(who: Principal, request: TurnRequest) -> Reply:
        if poisonous and request.parts == (Text("poison"),):
            raise RuntimeError("a bug with a secret in its text")
        return await stage.echo(who, request)  # type: ignore[no-any-return]

    stage.answer = answer
    await stage.write(bot, "m1", "poison")
    await stage.write(bot, "m2", "after it")
    await stage.write(bot, "m3", "elsewhere", chat="other")
    pauses = []
    for _ in range(7):
        with pytest.raises(TryAgain) as again:
            await stage.job(tenant_id, bot, "chat")
        pauses.append(again.value.seconds)
        await stage.job(tenant_id, bot, "other")  # another chat is not held up
    assert pauses == [1, 2, 4, 8, 16, 32, 64]
    await stage.job(tenant_id, bot, "chat")  # the eighth time gives it up, and goes on
    await stage.relay.drain()
    states = {row["external_id"]: (row["state"], row["error"]) for row in await stage.inbox(tenant_id)}
    assert states == {"m1": ("quarantined", "RuntimeError"), "m2": ("done", None), "m3": ("done", None)}
    sent = await stage.sent(bot)
    assert sorted(sent) == sorted(
        ["You said: elsewhere", next(one for one in sent if "went wrong" in one), "You said: after it"]
    )

    from tollhouse.delivery.service import QueueService
    from tollhouse.store.audit import CLI

    queues = QueueService(stage.store, stage.blobs)
    stuck = (await queues.list(tenant_id, "inbox", state="quarantined")).items
    assert [(row["external_id"], row["attempts"]) for row in stuck] == [("m1", 8)]
    assert "payload" not in stuck[0]
    poisonous = False
    await queues.replay(tenant_id, "inbox", str(stuck[0]["id"]), CLI)
    await stage.job(tenant_id, bot, "chat")
    await stage.relay.drain()
    assert (await stage.sent(bot))[-1] == "You said: poison"
    with pytest.raises(Conflict):
        await queues.replay(tenant_id, "inbox", str(stuck[0]["id"]), CLI)


async def test_a_message_that_kills_its_worker_is_quarantined_too(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    from tollhouse.store import inbox

    await stage.write(bot, "m1", "boom")
    for _ in range(8):  # each worker dies after taking it
        async with stage.store.transaction(tenant_id) as conn:
            await inbox.take_oldest(conn, tenant_id, bot, "chat")
    await stage.job(tenant_id, bot, "chat")
    assert [(row["state"], row["error"]) for row in await stage.inbox(tenant_id)] == [
        ("quarantined", "its worker died each time")
    ]
    assert stage.asked == []


async def test_a_denial_and_an_error_are_answers(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    denial = Decision(False, "limit_reached", "You have used all 20 messages.", 402, upgrade_url="https://x.example/plans")
    ends: list[Exception] = [AccessDenied(denial), BackendTimeout(), InvalidInput("Too long."), NotFound()]

    async def answer(who: Principal, request: TurnRequest) -> Reply:
        raise ends.pop(0)

    stage.answer = answer
    for number in range(4):
        await stage.write(bot, f"m{number}", "hello")
    await stage.job(tenant_id, bot, "chat")
    await stage.relay.drain()
    assert await stage.sent(bot) == [
        "You have used all 20 messages.",
        "The model took too long; nothing was charged",
        "Too long.",
        "There is nothing here",
    ]
    assert {row["state"] for row in await stage.inbox(tenant_id)} == {"done"}
    assert (await stage.outbox(tenant_id))[0]["payload"]["payload"]["button"] == "https://x.example/plans"


class Running(Conflict):
    code = "turn_running"


@pytest.mark.parametrize("passing", [Running(), Unavailable(), DatabaseDown()])
async def test_what_passes_by_itself_is_tried_again(stage: Any, bot: UUID, tenant_id: UUID, passing: Exception) -> None:
    async def unlucky(who: Principal, request: TurnRequest) -> Reply:
        raise passing

    stage.answer = unlucky
    await stage.write(bot, "m1", "hello")
    with pytest.raises(type(passing) if isinstance(passing, DatabaseDown) else TryAgain):
        await stage.job(tenant_id, bot, "chat")
    assert await stage.outbox(tenant_id) == []
    stage.answer = stage.echo
    await stage.job(tenant_id, bot, "chat")
    await stage.relay.drain()
    assert await stage.sent(bot) == ["You said: hello"]


async def test_a_second_attempt_asks_for_the_very_same_turn(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    """The first attempt began a conversation and died: the second must not send it there, that would be another turn."""
    from tollhouse.agents.models import agents
    from tollhouse.conversations import repository
    from tollhouse.store.ids import new_id

    agent_id = new_id()
    async with stage.store.transaction(tenant_id) as conn:
        await conn.execute(agents.insert().values(tenant_id=tenant_id, id=agent_id, slug="guide", name="Guide"))

    async def begins_and_dies(who: Principal, request: TurnRequest) -> Reply:
        async with stage.store.transaction(tenant_id) as conn:
            await repository.insert_conversation(conn, tenant_id, user_id=who.user_id, agent_id=agent_id, channel=who.channel)
        raise Unavailable()

    stage.answer = begins_and_dies
    await stage.write(bot, "m1", "hello")
    with pytest.raises(TryAgain):
        await stage.job(tenant_id, bot, "chat")
    stage.answer = stage.echo
    await stage.job(tenant_id, bot, "chat")
    first, second = (request for _, request in stage.asked)
    assert first == second
    assert first.conversation is None
    await stage.write(bot, "m2", "go on")
    await stage.job(tenant_id, bot, "chat")
    assert stage.asked[-1][1].conversation is not None  # the next message continues it
    await stage.write(bot, "m3", "somebody else", agent="poet")
    await stage.job(tenant_id, bot, "chat")
    assert (stage.asked[-1][1].agent, stage.asked[-1][1].conversation) == ("poet", None)


async def test_guests_are_made_once_and_belong_to_one_tenant(
    stage: Any, bot: UUID, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    theirs = await stage.add_connection(other_tenant_id)
    for connection, tenant in ((bot, tenant_id), (theirs, other_tenant_id)):
        await asyncio.gather(*(stage.write(connection, f"m{number}", "hi", chat=f"c{number}") for number in range(4)))
        await asyncio.gather(*(stage.job(tenant, connection, f"c{number}") for number in range(4)))
    people = {(who.tenant_id, who.user_id) for who, _ in stage.asked}
    assert len(people) == 2
    assert {tenant for tenant, _ in people} == {tenant_id, other_tenant_id}
    assert {who.channel for who, _ in stage.asked} == {"fakechat"}


async def test_a_messenger_cannot_claim_another_way_of_signing_in(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    from tollhouse.plugin.events import InboundMessage, Sender
    from tollhouse.store import inbox

    forged = InboundMessage("m1", Sender("password", "", "owner@example.com"), (Text("hi"),), "chat", recipient="chat")
    async with stage.store.transaction(tenant_id) as conn:
        await inbox.put(conn, tenant_id, bot, [forged])
    await stage.job(tenant_id, bot, "chat")
    assert stage.asked[0][0].auth_provider == "fakechat"


async def test_a_clean_stop_gives_the_running_message_back(
    stage: Any, bot: UUID, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch, at_work: Workers, wait_until: Wait
) -> None:
    from tollhouse.store import jobs as queue

    monkeypatch.setattr(queue, "STOP_SECONDS", 0.1)
    begun = asyncio.Event()

    async def forever(who: Principal, request: TurnRequest) -> Reply:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    stage.answer = forever
    stop = asyncio.Event()
    worker = asyncio.create_task(stage.new_jobs().run(stop))
    await stage.write(bot, "m1", "hello")
    await asyncio.wait_for(begun.wait(), 20)
    stop.set()
    await asyncio.wait_for(worker, 20)
    (row,) = await stage.inbox(tenant_id)
    assert (row["state"], row["attempts"]) == ("new", 0)
    stage.answer = stage.echo
    at_work(1)

    async def sent() -> bool:
        return bool(await stage.sent(bot) == ["You said: hello"])

    await wait_until(sent)


async def test_nothing_is_stored_that_was_not_verified(stage: Any, bot: UUID, tenant_id: UUID, other_tenant_id: UUID) -> None:
    genuine = signed_request({"id": "m1", "chat": "c", "user": "u", "text": "t"})
    forged = signed_request({"id": "m1", "chat": "c", "user": "u", "text": "t"}, secret="guessed")
    with pytest.raises(Unauthenticated):
        await stage.intake.accept(str(tenant_id), str(bot), forged)
    with pytest.raises(InvalidInput):
        await stage.intake.accept(str(tenant_id), str(bot), signed_request(b"[]"))
    receives_nothing = await stage.add_connection(tenant_id, object())
    for tenant, connection in (
        (other_tenant_id, bot),
        (tenant_id, other_tenant_id),
        (tenant_id, "nonsense"),
        ("nobody", bot),
        (tenant_id, receives_nothing),
    ):
        with pytest.raises(NotFound):
            await stage.intake.accept(str(tenant), str(connection), genuine)

    async def switched_off(tenant: UUID, connection: UUID) -> Any:
        raise ConnectionDisabled()

    with pytest.raises(NotFound) as error:
        await Intake(stage.store, stage.blobs, stage.find_tenant, switched_off).accept(str(tenant_id), str(bot), genuine)
    assert error.value.detail == NotFound().detail
    assert await stage.inbox(tenant_id) == []
    assert await stage.inbox(other_tenant_id) == []


async def test_a_database_that_is_away_makes_the_vendor_try_again(stage: Any, bot: UUID, tenant_id: UUID) -> None:
    away = Store("postgresql://tollhouse@/gone?host=/nowhere&port=1")
    intake = Intake(away, stage.blobs, stage.find_tenant, stage.connect)
    with pytest.raises(Unavailable) as error:
        await intake.accept(str(tenant_id), str(bot), signed_request({"id": "m1", "chat": "c", "user": "u", "text": "t"}))
    assert error.value.http_status == 503
    await away.close()
