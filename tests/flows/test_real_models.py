"""Models on a server that others wrote: an admin connects it, and people talk to it through either of our backends."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import text

from tests.flows.first import Installation, claimed, installation, registered, say
from tests.peers import KEY, AIMock, aimock, needs_aimock
from tollhouse.wiring.commands import verify_ledgers

pytestmark = needs_aimock

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
NO_PICTURE = "data:image/png;base64,AAECAwQFBgc="
FIXTURES = [
    {
        "match": {"userMessage": "Hello!"},
        "response": {"content": "Hi from afar.", "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}},
    },
    {"match": {"userMessage": "Hi"}, "response": {"content": "Hi."}},  # a connection's trial
    {"match": {"userMessage": "What is this?"}, "response": {"content": "A dot."}},
    {"match": {"userMessage": "Too fast"}, "response": {"error": {"message": "Slow down", "type": "x"}, "status": 429}},
]
BACKENDS = [("openai", "gpt-4o"), ("litellm", "openai/gpt-4o")]


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[AIMock]:
    async with aimock(tmp_path, FIXTURES) as server:
        yield server


@pytest.fixture
async def first(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Installation]:
    settings = "[settings.litellm]\nallow_api_base = true\n"
    async with installation(empty_dsn, tmp_path, "openai", "litellm", settings=settings) as made:
        yield made


async def _connect(operator: Any, plugin: str, peer: AIMock, key: str = KEY) -> dict[str, Any]:
    where = {"base_url": peer.base_url} if plugin == "openai" else {"provider": "openai", "api_base": peer.base_url}
    values = {**where, "api_key": key}
    body = {"kind": "llm", "plugin": plugin, "name": f"{plugin} {key[-4:]}", "values": values}
    made = await operator.post("/api/v1/admin/connections", body)
    assert made.status == 201, made.text
    return dict(made.json)


async def _use(operator: Any, connection: dict[str, Any], model: str) -> None:
    """A new version of the first agent on this model, in use."""
    [agent] = (await operator.get("/api/v1/admin/agents")).json["items"]
    path = f"/api/v1/admin/agents/{agent['id']}/versions"
    spec = (await operator.get(path)).json["items"][0]["spec"]
    spec = {**spec, "primary": {"connection_id": connection["id"], "model": model}, "modalities": ["text", "image"]}
    draft = await operator.post(path, {"spec": spec})
    assert draft.status == 201, draft.text
    activated = await operator.post(f"/api/v1/admin/versions/{draft.json['id']}/activate", {})
    assert activated.status == 200, activated.text


@pytest.mark.parametrize(("plugin", "model"), BACKENDS)
async def test_what_a_real_server_answers_is_answered_and_counted(
    first: Installation, peer: AIMock, plugin: str, model: str
) -> None:
    operator = await claimed(first)
    connection = await _connect(operator, plugin, peer)
    tested = await operator.post(f"/api/v1/admin/connections/{connection['id']}/test", {})
    assert tested.json["ok"], tested.text
    await _use(operator, connection, model)
    ada = await registered(first, "ada@example.test")
    answer = await say(ada)
    assert answer.status == 200, answer.text
    assert answer.json["reply"]["parts"] == [{"type": "text", "text": "Hi from afar."}]
    assert (answer.json["usage"]["input_tokens"], answer.json["usage"]["output_tokens"]) == (11, 4)

    key = (await ada.post("/api/v1/api-keys", {"name": "laptop"})).json["key"]
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}}
    async with openai.AsyncOpenAI(base_url=f"{first.address}/v1", api_key=key, max_retries=0) as client:
        content: Any = [{"type": "text", "text": "What is this?"}, picture]
        reply = await client.chat.completions.create(model="guide", messages=[{"role": "user", "content": content}])
        assert reply.choices[0].message.content == "A dot."
        asked = {"role": "user", "content": content}
        talk: Any = [asked, {"role": "assistant", "content": "A dot."}, {"role": "user", "content": "What is this?"}]
        again = await client.chat.completions.create(model="guide", messages=talk)
        assert again.choices[0].message.content == "A dot."
        talk[0] = {"role": "user", "content": [content[0], {"type": "image_url", "image_url": {"url": NO_PICTURE}}]}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="guide", messages=talk)
        assert refused.value.param == "messages.0.content.1"
    for place, body in ((-1, (await peer.received())[-2]), (0, (await peer.received())[-1])):
        sent = [message for message in body["messages"] if message["role"] == "user"][place]["content"]
        assert [part["type"] for part in sent] == ["text", "image_url"]
        assert base64.b64decode(sent[1]["image_url"]["url"].split(",", 1)[1]) == PNG

    busy = await say(ada, "Too fast")
    assert (busy.status, busy.json["code"], busy.json["retryable"]) == (503, "model_busy", True), busy.text
    unknown = await say(ada, "Nobody has an answer to this")
    assert (unknown.status, unknown.json["code"][:6]) == (502, "model_"), unknown.text
    async with first.process.store.transaction((await first.process.container.directory.by_slug("default")).id) as conn:
        kept = (await conn.execute(text("SELECT outcome, calls FROM entries WHERE kind = 'turn' ORDER BY id"))).all()
    assert [tuple(row) for row in kept] == [("ok", 1), ("ok", 1), ("ok", 1), ("model_busy", 0), (unknown.json["code"], 0)]
    assert await verify_ledgers(first.process.container, None) == []


@pytest.mark.parametrize(("plugin", "model"), BACKENDS)
async def test_a_wrong_key_is_said_by_the_test_and_is_no_fault_of_the_customer(
    first: Installation, peer: AIMock, plugin: str, model: str
) -> None:
    operator = await claimed(first)
    connection = await _connect(operator, plugin, peer, "sk-wrong-0000")
    tested = await operator.post(f"/api/v1/admin/connections/{connection['id']}/test", {})
    assert "sk-wrong-0000" not in tested.text
    assert tested.json["ok"] is False, tested.text
    await _use(operator, connection, model)
    answer = await say(await registered(first, "ada@example.test"))
    assert answer.status == 502, answer.text
    assert "sk-wrong-0000" not in answer.text
