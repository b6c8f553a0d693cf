"""OpenAI's own client, unchanged, against a real server: the gateway around the plugin, the shipped fakes behind its ports."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
import uvicorn
from tollhouse_api import plugin

from tollhouse.gateway.application import build_application
from tollhouse.gateway.parts import GatewayParts
from tollhouse.host.host import Registered
from tollhouse.plugin import BackendUnavailable, Decision, Media, NotFound, Principal, Text, Unauthenticated
from tollhouse.settings import Settings
from tollhouse.tenants.values import Tenant
from tollhouse.testing.context import TENANT, make_context
from tollhouse.testing.ports import FakePorts
from tollhouse.testing.ports_turns import FakeConversations
from tollhouse.testing.world import World

HELLO = [{"role": "user", "content": "Hello"}]
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


class Door:
    """One tenant, and a key for each user of the world: what the gateway asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tenant = Tenant(
            TENANT.id,
            "default",
            "Acme",
            "active",
            "UTC",
            None,
            None,
            "EUR",
            "USD",
            "en",
            (),
            None,
            datetime(2026, 1, 1, tzinfo=UTC),
        )

    async def by_slug(self, slug: str) -> Tenant:
        if slug != "default":
            raise NotFound()
        return self.tenant

    async def by_host(self, host: str) -> Tenant:
        raise NotFound()

    async def authenticate(self, token: str, *, max_age: float = 1.0) -> Principal:
        if not token.startswith("key-of-"):
            raise Unauthenticated()
        who = self.world.principal(token.removeprefix("key-of-") + "@example.com")
        return replace(who, auth_provider="api_key", channel="api", credential_kind="api_key")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[str]:
    """Where it listens."""
    door = Door(world)
    [mount] = plugin.register_routes(None)
    async with make_context() as context:

        def contexts(name: str, caller: Any) -> Any:
            ports = FakePorts(world, caller.principal, plugin.ports)
            return replace(context, tenant=caller.tenant, principal=caller.principal, ports=ports)

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            parts = GatewayParts(
                settings=Settings(public_url=address),
                authenticator=door,
                directory=door,
                ports={},
                contexts=contexts,
                plugin_mounts=[Registered("api", mount)],
            )
            config = uvicorn.Config(build_application(parts), log_config=None, lifespan="off", server_header=False)
            running = uvicorn.Server(config)
            task = asyncio.create_task(running.serve(sockets=[listener]))
            while not running.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
                await asyncio.sleep(0.01)
            yield address
            running.should_exit = True
            await task


MakeClient = Callable[..., openai.AsyncOpenAI]


@pytest.fixture
async def client(server: str) -> AsyncIterator[MakeClient]:
    """OpenAI's own client: ``client()`` is Ada's."""
    made: list[openai.AsyncOpenAI] = []

    def make(key: str = "key-of-ada", **options: Any) -> openai.AsyncOpenAI:
        made.append(openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=key, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def heard(world):
    """The turns that arrived."""
    turns = []

    def reply(request):
        turns.append(request)
        return "Good day."

    world.reply = reply
    return turns


async def test_a_chat(client, world, heard):
    answer = await client().chat.completions.create(model="helper", messages=HELLO)
    assert answer.choices[0].message.content == "Good day."
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "helper", "chat.completion")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id.startswith("req_")
    [turn] = heard
    assert (turn.agent, turn.parts, turn.history, turn.store) == ("helper", (Text("Hello"),), (), False)
    assert world.conversations == {}


async def test_history_and_wishes_arrive(client, heard):
    await client().chat.completions.create(
        model="helper",
        messages=[
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": [{"type": "text", "text": "One"}]},
            {"role": "assistant", "content": "Two"},
            {"role": "developer", "content": "Be kind"},
            {"role": "user", "content": "Three"},
        ],
        max_tokens=50,
        max_completion_tokens=40,
        temperature=0.5,
        stop=["END"],
        extra_body={"something_new": {"deep": True}},
    )
    [turn] = heard
    assert [(message.role, message.text) for message in turn.history] == [
        ("system", "Be brief"),
        ("user", "One"),
        ("assistant", "Two"),
        ("system", "Be kind"),
    ]
    assert turn.parameters == {"max_tokens": 40, "temperature": 0.5, "stop": ["END"]}


async def test_pictures_sounds_and_files_arrive(client, heard):
    inside = base64.b64encode(PNG).decode()
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{inside}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": inside, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{inside}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f-1"}},
    ]
    await client().chat.completions.create(model="helper", messages=[{"role": "user", "content": content}])
    assert heard[0].parts == (
        Text("Look"),
        Media("image", "image/png", data=PNG, size=len(PNG)),
        Media("image", "image/*", url="https://example.com/a.png"),
        Media("audio", "audio/wav", data=PNG, size=len(PNG)),
        Media("file", "application/pdf", data=PNG, name="a.pdf", size=len(PNG)),
        Media("file", "application/octet-stream", file_id="f-1"),
    )


async def test_a_stream_is_the_whole_reply_in_one_chunk(client, heard):
    stream = await client().chat.completions.create(
        model="helper", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    contents = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert contents == ["Good day."]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices] == [None, None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1
    without = await client().chat.completions.create(model="helper", messages=HELLO, stream=True)
    assert all(chunk.usage is None for chunk in [chunk async for chunk in without])


async def test_agents_are_models(client):
    models = [model.id async for model in client().models.list()]
    assert models == ["helper"]  # the expert is not in the plan
    found = await client().models.retrieve("helper")
    assert (found.id, found.object, found.owned_by) == ("helper", "model", "default")
    for name in ("expert", "nobody", "a/b"):
        with pytest.raises(openai.NotFoundError) as refused:
            await client().models.retrieve(name)
        assert refused.value.code == "model_not_found"


async def test_the_tenants_own_address_works_too(server):
    async with openai.AsyncOpenAI(base_url=f"{server}/t/default/v1", api_key="key-of-ada") as client:
        assert (await client.chat.completions.create(model="helper", messages=HELLO)).choices


async def test_a_used_up_limit_is_told_once_and_not_retried(client, world):
    world.calls_per_day = 2
    ada = client()
    for _ in range(2):
        await ada.chat.completions.create(model="helper", messages=HELLO)
    with pytest.raises(openai.APIStatusError) as refused:
        await ada.chat.completions.create(model="helper", messages=HELLO)
    error = refused.value
    assert (error.status_code, error.code, error.type) == (402, "limit_reached", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert error.request_id == error.response.json()["request_id"]
    assert error.response.json()["used"] == 2
    assert (await client("key-of-bob").chat.completions.create(model="helper", messages=HELLO)).choices


async def test_a_short_limit_may_be_retried(client, world):
    world.denials["helper"] = Decision(False, "limit_reached", "Wait a little.", 429, retryable=True, retry_after=7)
    with pytest.raises(openai.RateLimitError) as refused:
        await client(max_retries=0).chat.completions.create(model="helper", messages=HELLO)
    assert refused.value.response.headers["x-should-retry"] == "true"
    assert refused.value.response.headers["retry-after"] == "7"


async def test_errors_are_of_the_right_kind(client, world):
    with pytest.raises(openai.AuthenticationError):
        await client("stolen").chat.completions.create(model="helper", messages=HELLO)
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await client().chat.completions.create(model="expert", messages=HELLO)
    assert denied.value.code == "agent_not_in_plan"
    with pytest.raises(openai.NotFoundError) as unknown:
        await client().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as other:
        await client().embeddings.create(model="helper", input="x")
    assert other.value.code == "unknown_endpoint"


async def test_a_model_that_is_down_is_retried_by_the_client(client, world):
    tries = []

    def fail(request):
        tries.append(1)
        if len(tries) < 2:
            raise BackendUnavailable(private="sk-secret refused")
        return "back"

    world.reply = fail
    answer = await client(max_retries=1).chat.completions.create(model="helper", messages=HELLO)
    assert answer.choices[0].message.content == "back"
    tries.clear()
    with pytest.raises(openai.InternalServerError) as failed:
        await client(max_retries=0).chat.completions.create(model="helper", messages=HELLO)
    assert "sk-secret" not in failed.value.response.text


_FILE = "messages.0.content.0.file"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}, *HELLO]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": 5}}]}]}, _FILE + ".file_id"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
            "messages.0.content.0.image_url.url",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,??"}}]}
                ]
            },
            "messages.0.content.0.image_url.url",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(client, heard, change, param):
    with pytest.raises(openai.BadRequestError) as refused:
        await client().chat.completions.create(**{"model": "helper", "messages": HELLO, **change})
    assert refused.value.param == param
    assert heard == []


async def test_a_key_makes_it_safe_to_repeat(client, heard, world):
    async def ask(key, text="Hello"):
        raw = client().chat.completions.with_raw_response
        messages = [{"role": "user", "content": text}]
        return await raw.create(model="helper", messages=messages, extra_headers={"Idempotency-Key": key})

    first, again = await ask('"abc"'), await ask("abc")
    assert json.loads(first.content) == json.loads(again.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(heard) == 1
    with pytest.raises(openai.UnprocessableEntityError) as other:
        await ask("abc", "Something else")
    assert other.value.code == "idempotency_mismatch"
    await ask("k" * 255)
    for bad in ("k" * 256, '""'):
        with pytest.raises(openai.BadRequestError):
            await ask(bad)


async def test_a_stored_conversation_goes_on(client, world, heard):
    ada = client()
    conversation = (await _start(world)).id
    raw = await ada.chat.completions.with_raw_response.create(
        model="helper",
        messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "old"}, {"role": "user", "content": "new"}],
        extra_headers={"X-Conversation-Id": conversation},
    )
    assert raw.headers["x-conversation-id"] == conversation
    [turn] = heard
    assert (turn.store, turn.conversation, [m.role for m in turn.history]) == (True, conversation, ["system"])
    assert [message.role for message in world.messages[conversation]] == ["user", "assistant"]
    with pytest.raises(openai.NotFoundError) as foreign:
        await client("key-of-bob").chat.completions.create(
            model="helper", messages=HELLO, metadata={"conversation_id": conversation}
        )
    assert foreign.value.code == "not_found"


async def _start(world):
    return await FakeConversations(world, world.principal()).start("helper")
