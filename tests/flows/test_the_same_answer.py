"""A request that is repeated answers what it answered first, byte for byte, and so does everything that shows the answer again:
whatever a model writes, and whatever a plugin passes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Cluster
from tests.flows.driver import Answer, Client
from tests.flows.furnished import House, furnish, open_house
from tests.world import add_customer as customer_of
from tests.world import open_shop, open_world, say
from tollhouse import plugin as th
from tollhouse.store.ids import new_id

NASTY = "a\ud800b\x00c\udc00\ud83d\ude00 \ud83d"
CLEAN = "a\ufffdb\ufffdc\ufffd\U0001f600 \ufffd"
TEXTS = st.one_of(st.text(min_size=1), st.text(st.characters(codec=None) | st.sampled_from("\x00\ud800\udfff")), st.just(NASTY))


@pytest.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(cluster.dsn, tmp_path) as house:
        yield house


async def turn(client: Client, agent: str, key: str, text: str = "Hello") -> Answer:
    body = {"agent": agent, "parts": [{"type": "text", "text": text}]}
    return await client.post("/api/v1/turns", body, idempotency_key=key)


async def test_what_a_model_wrote_is_the_same_wherever_it_is_read(house: House) -> None:
    shop = await furnish(house, "same")
    model, client = house.plugin.model, Client.program(house.app, shop.slug, shop.tokens["plain_key"])
    for number, written in enumerate((NASTY, "\x00", "\ud800", "fine", "\ufeff\u2028\u0085\x7f")):
        model.answer = lambda _, written=written: th.Completion(
            (th.Text(written), th.Text("2" + written)), th.TokenUsage(1, 1), model="m\ud800\x00", request_id="r\udfff"
        )
        first = await turn(client, f"guide-{shop.face}", f"key-{number}")
        assert first.status == 200, first.text
        again = await turn(client, f"guide-{shop.face}", f"key-{number}")
        assert again.json == first.json
        assert again.body == first.body
        kept = await client.get(f"/api/v1/turns/{first.json['id']}")
        assert kept.json["reply"] == first.json["reply"]
        assert {**kept.json, "replayed": None} == {**first.json, "replayed": None}
        talk = await client.get(f"/api/v1/conversations/{first.json['conversation_id']}/messages")
        assert talk.json["items"][-1]["parts"] == first.json["reply"]["parts"]
    assert first.json["reply"]["parts"][0]["text"] == "\ufeff\u2028\u0085\x7f"
    completion = {"model": f"guide-{shop.face}", "messages": [{"role": "user", "content": "Hello"}]}
    model.answer = lambda _: th.Completion((th.Text(NASTY),), th.TokenUsage(1, 1))
    first = await client.post("/v1/chat/completions", completion, idempotency_key="openai")
    again = await client.post("/v1/chat/completions", completion, idempotency_key="openai")
    assert first.status == 200
    assert first.body == again.body
    assert first.json["choices"][0]["message"]["content"] == CLEAN


async def test_what_a_plugin_says_of_a_failure_is_the_same(house: House) -> None:
    shop = await furnish(house, "fails")
    client = Client.program(house.app, shop.slug, shop.tokens["plain_key"])

    def refuse(_: th.CompletionRequest) -> th.Completion:
        raise th.BackendRejected(f"Not that: {NASTY}", private=NASTY)

    house.plugin.model.answer = refuse
    first = await turn(client, f"guide-{shop.face}", "key")
    assert (first.status, first.json["detail"]) == (502, f"Not that: {CLEAN}")
    kept = await client.get(f"/api/v1/turns/{first.json['turn_id']}")
    assert kept.json["error"]["detail"] == first.json["detail"]


def test_any_text_any_way(cluster: Cluster, tmp_path: Path) -> None:
    """Of a user, as a plugin's own route may pass it on, and of a model: what is read later is what was said first."""
    with asyncio.Runner() as runner:
        world = runner.run(open_world(cluster.dsn, tmp_path))
        shop = runner.run(open_shop(world.store))
        caller = runner.run(world.caller(shop.tenant_id, runner.run(customer_of(world.store, shop))))

        async def one(said: str, written: list[str], named: str, finish: Any) -> None:
            parts = tuple(th.Text(text) for text in written)
            world.model.answer = lambda _: th.Completion(parts, th.TokenUsage(1, 1), finish, named, named)
            request = say("x" + said.replace("\x00", ""), external_id=str(new_id()), store=True)
            turns, talks = world.container.turns, world.container.conversations
            first, again = await turns.run(caller, request), await turns.run(caller, request)
            stored = await turns.get(caller, first.id)
            for result in (again, stored):
                assert (result.reply, result.model, result.usage) == (first.reply, first.model, first.usage)
            assert first.reply is not None
            talk = await talks.messages(caller.user, first.conversation_id or "")
            assert [message.parts for message in talk.items] == [
                (th.Text(world.model.calls[-1].messages[-1].text),),
                first.reply.parts,
            ]
            title = (await talks.get(caller.user, first.conversation_id or "")).title
            assert title.encode()

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            TEXTS,
            st.lists(TEXTS, min_size=1, max_size=3).filter(lambda texts: any(map(str.strip, texts))),
            TEXTS,
            st.sampled_from(["stop", "length", "\ud800", None]),
        )
        @example(NASTY, [NASTY], NASTY, "stop")
        def check(said: str, written: list[str], named: str, finish: Any) -> None:
            runner.run(one(said, written, named, finish))

        try:
            check()
        finally:
            runner.run(world.container.close())


@pytest.mark.parametrize("parts", [(th.Text(None),), (th.Text(7),), ("text",), (None,)])  # type: ignore[arg-type]
async def test_what_is_no_text_is_no_answer(cluster: Cluster, tmp_path: Path, parts: Any) -> None:
    world = await open_world(cluster.dsn, tmp_path)
    shop = await open_shop(world.store)
    caller = await world.caller(shop.tenant_id, await customer_of(world.store, shop))
    world.container.turns._runtime.sleep = lambda _: asyncio.sleep(0)
    world.model.answer = lambda _: th.Completion(parts, th.TokenUsage(1, 1))
    with pytest.raises(th.BadCompletion):
        await world.container.turns.run(caller, say())
    await world.container.close()
