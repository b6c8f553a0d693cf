"""Turns from end to end, under the API: what is admitted, answered, charged and remembered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import insert, select, update

from tests.conftest import Cluster
from tests.world import Shop, World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.agents.models import prompt_versions
from tollhouse.conversations.models import files
from tollhouse.host.models import connections
from tollhouse.plugin.errors import BackendAuthFailed, BackendRejected, BackendTimeout
from tollhouse.store.ids import new_id
from tollhouse.tenants.models import tenants
from tollhouse.turns import media
from tollhouse.turns.errors import OtherBody
from tollhouse.usage.models import alarms, counters, entries, holds
from tollhouse.usage.verify import verify

CALLS_3 = {"metric": "calls", "amount": 3, "window": "day"}


async def test_a_turn_is_answered_charged_and_adds_up(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    user = await add_customer(world.store, shop)
    caller = await world.caller(shop.tenant_id, user)
    result = await world.container.turns.run(caller, say())
    assert result.state == "done"
    assert result.reply is not None
    assert result.reply.text == "Hello."
    assert result.usage == th.TokenUsage(10, 5, 0, 0)
    limits = await world.container.policy.limits(caller.user)
    assert [(one.used, one.held, one.remaining) for one in limits] == [(1, 0, 2)]
    async with world.store.transaction(shop.tenant_id) as conn:
        entry = (await conn.execute(select(entries))).mappings().one()
        hold = (await conn.execute(select(holds))).mappings().one()
    assert entry["id"] == hold["id"]
    assert (entry["input_tokens"], entry["output_tokens"], entry["cost"]) == (10, 5, 20)
    assert hold["state"] == "settled"
    assert await verify(world.store, shop.tenant_id) == []


async def test_the_limit_denies_with_its_numbers(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    for _ in range(3):
        await world.container.turns.run(caller, say())
    with pytest.raises(th.AccessDenied) as denied:
        await world.container.turns.run(caller, say())
    decision = denied.value.decision
    assert (decision.reason, decision.status, decision.retryable) == ("limit_reached", 402, False)
    assert decision.limit is not None
    assert (decision.limit.amount, decision.limit.used, decision.limit.remaining) == (3, 3, 0)
    assert "3 messages a day" in decision.message
    assert len(world.model.calls) == 3


@pytest.mark.parametrize(("requests", "room"), [(60, 20)])
async def test_parallel_turns_never_pass_a_limit_nor_stay_below_it(world: World, requests: int, room: int) -> None:
    shop = await open_shop(
        world.store, {"metric": "calls", "amount": room, "window": "day"}, {"metric": "calls", "amount": 1000, "window": "hour"}
    )
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    async def one() -> bool:
        try:
            await world.container.turns.run(caller, say())
        except th.AccessDenied:
            return False
        return True

    outcomes = await asyncio.gather(*(one() for _ in range(requests)))
    assert sum(outcomes) == room
    assert await verify(world.store, shop.tenant_id) == []


async def test_the_same_key_answers_the_first_result_and_charges_once(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    first = await world.container.turns.run(caller, say(external_id="k1"))
    again = await world.container.turns.run(caller, say(external_id="k1"))
    assert (again.id, again.replayed, again.reply) == (first.id, True, first.reply)
    with pytest.raises(OtherBody):
        await world.container.turns.run(caller, say("Something else", external_id="k1"))
    assert len(world.model.calls) == 1


async def test_a_failing_model_costs_the_user_nothing_and_the_key_can_be_tried_again(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def refuse(request: th.CompletionRequest) -> th.Completion:
        raise th.BackendRejected(private="the provider's own text")

    world.model.answer = refuse
    with pytest.raises(th.BackendRejected):
        await world.container.turns.run(caller, say(external_id="k"))
    assert (await world.container.policy.limits(caller.user))[0].used == 0
    world.model.answer = world.model.polite
    result = await world.container.turns.run(caller, say(external_id="k"))
    assert result.state == "done"
    assert (await world.container.policy.limits(caller.user))[0].used == 1
    assert await verify(world.store, shop.tenant_id) == []


async def test_a_token_limit_clamps_the_output_and_is_never_passed(world: World) -> None:
    shop = await open_shop(world.store, {"metric": "total_tokens", "amount": 200, "window": "day"})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def greedy(request: th.CompletionRequest) -> th.Completion:
        return th.Completion((th.Text("x"),), th.TokenUsage(20, 10**6))

    world.model.answer = greedy
    await world.container.turns.run(caller, say())
    sent = world.model.calls[0].max_output_tokens
    assert sent <= 200
    async with world.store.transaction(shop.tenant_id) as conn:
        counter = (await conn.execute(select(counters))).mappings().one()
        raised = (await conn.execute(select(alarms.c.code))).scalars().all()
        cost = (await conn.execute(select(entries.c.output_tokens))).scalar_one()
    assert counter["used"] <= 200
    assert counter["held"] == 0
    assert raised == ["usage_beyond_hold"]
    assert cost == 10**6


async def test_another_tenants_user_finds_nothing(world: World) -> None:
    shop, other = await open_shop(world.store, CALLS_3), await open_shop(world.store, CALLS_3)
    mine = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    theirs = await world.caller(other.tenant_id, await add_customer(world.store, other))
    result = await world.container.turns.run(mine, say())
    with pytest.raises(th.NotFound):
        await world.container.turns.get(theirs, result.id)
    assert (await world.container.turns.get(mine, result.id)).id == result.id


async def test_a_conversation_is_remembered_and_sent_again(world: World) -> None:
    shop = await open_shop(world.store)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    first = await world.container.turns.run(caller, say("My name is Ada", store=True))
    await world.container.turns.run(caller, say("Who am I?", store=True, conversation=first.conversation_id))
    assert [message.text for message in world.model.calls[1].messages][1:] == ["My name is Ada", "Hello.", "Who am I?"]


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


async def test_an_empty_conversation_is_named_by_what_was_said_first(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    begun = await world.container.conversations.start(caller.user, shop.agent_id)
    for text in ("  How do I   bake bread?\nI have flour.", "And then?"):
        await world.container.turns.run(caller, say(text, store=True, conversation=begun.id))
    assert (await world.container.conversations.get(caller.user, begun.id)).title == "How do I bake bread?"


async def test_a_picture_is_kept_only_for_a_turn_that_was_admitted(world: World) -> None:
    shop = await open_shop(
        world.store, {"metric": "calls", "amount": 1, "window": "day"}, spec={"modalities": ["text", "image"]}
    )
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    picture = th.Media("image", "image/png", data=PNG, name="dot.png")
    request = say(parts=(th.Text("Look"), picture), store=True)
    result = await world.container.turns.run(caller, request)
    with pytest.raises(th.AccessDenied):
        await world.container.turns.run(caller, request)
    async with world.store.transaction(shop.tenant_id) as conn:
        kept = (await conn.execute(select(files.c.name, files.c.media_type))).all()
    assert [tuple(row) for row in kept] == [("dot.png", "image/png")]
    said = await world.container.conversations.messages(caller.user, result.conversation_id or "")
    shown = said.items[0].parts[1]
    assert isinstance(shown, th.Media)
    assert (await world.container.files.open(caller.user, shown.file_id or ""))[1] == PNG


async def test_the_same_file_uploaded_again_is_the_same_request(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3, spec={"modalities": ["text", "image"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    results = []
    for _ in range(2):
        ref = await world.container.files.put(caller.user, PNG, "dot.png")
        part = th.Media("image", "image/png", file_id=ref.id)
        results.append(await world.container.turns.run(caller, say(parts=(part,), external_id="k")))
    assert results[0].id == results[1].id
    assert results[1].replayed


def pictures_of_the_world(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address leads to a picture; those that were asked for."""
    fetched: list[str] = []

    async def fetch(url: str) -> bytes:
        fetched.append(url)
        return PNG

    monkeypatch.setattr(world.container.turns._media, "_fetch", fetch)
    return fetched


async def test_a_repeated_request_needs_no_remote_picture(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is what was asked for; what it leads to may change, or go."""
    shop = await open_shop(world.store, CALLS_3, spec={"modalities": ["text", "image"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    fetched = pictures_of_the_world(world, monkeypatch)
    part = th.Media("image", "image/png", url="https://pictures.example/dot.png")
    first = await world.container.turns.run(caller, say(parts=(part,), external_id="k"))
    again = await world.container.turns.run(caller, say(parts=(part,), external_id="k"))
    assert (again.id, again.replayed, fetched) == (first.id, True, [part.url])
    other = th.Media("image", "image/png", url="https://pictures.example/other.png")
    with pytest.raises(OtherBody):
        await world.container.turns.run(caller, say(parts=(other,), external_id="k"))


async def test_a_repeated_answer_is_the_first_answer(world: World) -> None:
    """Of a turn that took two attempts as well."""
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def fail(request: th.CompletionRequest) -> th.Completion:
        raise BackendRejected()

    world.model.answer = fail
    with pytest.raises(BackendRejected):
        await world.container.turns.run(caller, say(external_id="k"))
    world.model.answer = world.model.polite
    first = await world.container.turns.run(caller, say(external_id="k"))
    again = await world.container.turns.run(caller, say(external_id="k"))
    assert replace(again, replayed=False) == first


async def test_a_model_that_is_free_costs_nothing_when_it_fails_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens nobody knows that it used."""
    monkeypatch.setattr(world.model, "suggest_prices", lambda: [th.ModelPrice("m", 0, 0)])
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def cut_off(request: th.CompletionRequest) -> th.Completion:
        raise BackendTimeout()

    world.model.answer = cut_off
    with pytest.raises(BackendTimeout):
        await world.container.turns.run(caller, say())
    async with world.store.transaction(shop.tenant_id) as conn:
        kept = (await conn.execute(select(entries.c.cost, entries.c.certainty))).all()
        told = (await conn.execute(select(alarms.c.code))).scalars().all()
    assert {tuple(row) for row in kept} == {(0, "unknown")}
    assert told == []


async def test_a_history_that_came_along_has_its_files_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps what was said sends its pictures again with every message: the newest are looked at again."""
    shop = await open_shop(world.store, CALLS_3, spec={"modalities": ["text", "image"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    fetched = pictures_of_the_world(world, monkeypatch)
    monkeypatch.setattr(media, "MAX_PAST_MEDIA", 5)
    ref = await world.container.files.put(caller.user, PNG, "dot.png")
    urls = [f"https://pictures.example/{number}.png" for number in range(5)]
    remote = [th.Message("user", (th.Text("Look"), th.Media("image", "image/*", url=url))) for url in urls]
    uploaded = th.Message("user", (th.Media("file", "application/octet-stream", file_id=ref.id),))
    history = (*remote, uploaded, th.Message("assistant", (th.Text("I see."),)))
    await world.container.turns.run(caller, say(history=history))
    assert fetched == urls[1:]
    sent = [part for message in world.model.calls[-1].messages for part in message.parts]
    pictures = [part for part in sent if isinstance(part, th.Media)]
    assert [(picture.type, picture.data) for picture in pictures] == [("image", PNG)] * 5
    assert th.Text("(image that was sent before)") in sent
    lost = th.Message("user", (th.Media("image", "image/png", file_id=str(new_id())),))
    with pytest.raises(th.InvalidInput) as refused:
        await world.container.turns.run(caller, say(history=(history[-1], lost)))
    assert refused.value.errors[0].pointer == "#/history/1/parts/0/file_id"


async def test_all_files_of_a_call_have_a_size_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is refused; of its history the newest are sent along, whether it is kept here or by the client."""
    shop = await open_shop(world.store, CALLS_3, spec={"modalities": ["text", "image"]})
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    monkeypatch.setattr(media, "MAX_BYTES", 3 * len(PNG))
    picture = th.Media("image", "image/png", data=PNG, size=len(PNG))
    with pytest.raises(th.InvalidInput, match="together") as refused:
        await world.container.turns.run(caller, say(parts=(th.Text("Look"), *[picture] * 4)))
    assert refused.value.errors[0].pointer == "#/parts/4"
    said = th.Message("user", (th.Text("Look"), picture))
    first = await world.container.turns.run(caller, say(parts=(picture, picture), history=(said, said), store=True))
    assert _pictures(world) == ["(image that was sent before)", PNG, PNG, PNG]
    for _ in range(2):
        await world.container.turns.run(caller, say(parts=(picture,), conversation=first.conversation_id, store=True))
    assert _pictures(world) == ["(image that was sent before)", PNG, PNG, PNG]


def _pictures(world: World) -> list[bytes | str | None]:
    """What the model was sent of pictures, in order."""
    sent = [part for message in world.model.calls[-1].messages for part in message.parts]
    return [
        part.data if isinstance(part, th.Media) else part.text
        for part in sent
        if isinstance(part, th.Media) or "sent before" in part.text
    ]


async def test_a_connection_that_cannot_be_used_leaves_the_answer_to_the_other(world: World) -> None:
    """Its plugin was removed, or what is stored for it does not fit it any more: the admin is told, the customer is served."""
    gone, key = new_id(), {"model": "m"}
    spec = {"primary": {"connection_id": str(gone), **key}}
    shop = await open_shop(world.store, CALLS_3, spec=spec)
    async with world.store.transaction(shop.tenant_id) as conn:
        values = {"tenant_id": shop.tenant_id, "id": gone, "kind": "llm", "plugin": "removed", "name": "Gone", "config": {}}
        await conn.execute(insert(connections).values(**values))
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    with pytest.raises(BackendAuthFailed) as alone:
        await world.container.turns.run(caller, say())
    assert "plugin_not_enabled" in (alone.value.private or "")
    assert await alarms_of(world, shop) == [("connection_failed", str(gone), 1)]
    spec["fallback"] = {"connection_id": str(shop.connection_id), **key}
    async with world.store.transaction(shop.tenant_id) as conn:
        number = {"tenant_id": shop.tenant_id, "id": new_id(), "agent_id": shop.agent_id, "number": 2, "weight": 10_000}
        old = update(prompt_versions).where(prompt_versions.c.id == shop.version_id)
        await conn.execute(old.values(status="archived", weight=0))
        full = {"template": "You are helpful.", "max_output_tokens": 100, **spec}
        await conn.execute(insert(prompt_versions).values(**number, status="active", spec=full))
    assert (await world.container.turns.run(caller, say())).state == "done"
    assert await alarms_of(world, shop) == [("connection_failed", str(gone), 2)]
    assert await verify(world.store, shop.tenant_id) == []


async def test_credentials_that_are_refused_are_an_alarm(world: World) -> None:
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))

    def refuse(request: th.CompletionRequest) -> th.Completion:
        raise BackendAuthFailed(private="401: no such key")

    world.model.answer = refuse
    with pytest.raises(BackendAuthFailed):
        await world.container.turns.run(caller, say())
    assert await alarms_of(world, shop) == [("connection_failed", str(shop.connection_id), 1)]


async def alarms_of(world: World, shop: Shop) -> list[tuple[str, str, int]]:
    return [(one["code"], one["subject"], one["count"]) for one in await world.container.alarms.open(shop.tenant_id)]


async def test_costs_are_never_counted_in_a_currency_that_was_left(world: World) -> None:
    """Prices are a few seconds old at most; the currency of costs is the one of now."""
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    await world.container.turns.run(caller, say())
    async with world.store.transaction(shop.tenant_id) as conn:  # by another process
        await conn.execute(update(tenants).where(tenants.c.id == shop.tenant_id).values(cost_currency="EUR"))
    await world.container.turns.run(caller, say())
    async with world.store.transaction(shop.tenant_id) as conn:
        costs = (await conn.execute(select(entries.c.cost, entries.c.cost_currency).order_by(entries.c.id))).all()
    assert [tuple(cost) for cost in costs] == [(20, "USD"), (None, "USD")], "the price in dollars is none, which is an alarm"
    assert ("unknown_price", "scripted/m", 1) in await alarms_of(world, shop)


async def test_nothing_is_looked_up_while_counters_are_locked(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a connection of the other pool must not hold up those who wait for the counters."""
    shop = await open_shop(world.store, CALLS_3)
    caller = await world.caller(shop.tenant_id, await add_customer(world.store, shop))
    watcher = await asyncpg.connect(cluster.dsn)
    inside = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'"
    looked_up: list[tuple[str, int]] = []

    async def watched(name: str, load: Any, *given: Any) -> Any:
        looked_up.append((name, await watcher.fetchval(inside)))
        return await load(*given)

    c, caches = world.container, world.container.turns._admissions._work.__self__._caches  # type: ignore[attr-defined]
    for owner, name in ((c.policy.plans, "get"), (caches.versions, "get"), (c.connections, "bound"), (c.prices, "_load")):
        monkeypatch.setattr(owner, name, partial(watched, name, getattr(owner, name)))
    assert (await world.container.turns.run(caller, say())).state == "done"
    assert {name for name, _ in looked_up} == {"get", "bound", "_load"}
    assert [found for _, found in looked_up] == [0] * len(looked_up)
    looked_up.clear()
    assert (await world.container.turns.run(caller, say())).state == "done"
    assert [name for name, _ in looked_up] in ([], ["bound"]), "the runtime asks for the connection, the admission for nothing"
    await watcher.close()
