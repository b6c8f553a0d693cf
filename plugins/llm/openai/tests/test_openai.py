"""What goes out and how answers are read, against a strict fake endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from tollhouse_openai import OpenAIBackend, OpenAIConfig, plugin
from tollhouse_openai.catalogue import known

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendRejected,
    BackendUnavailable,
    BadCompletion,
    Completion,
    CompletionRequest,
    ContentFiltered,
    Media,
    Message,
    Text,
    TokenUsage,
)
from tollhouse.testing import make_context

USER = Message("user", (Text("Hello"),))


async def complete(
    server: Any, *messages: Message, model: str = "m", config: dict[str, Any] | None = None, **kwargs: Any
) -> Completion:
    settings = OpenAIConfig.model_validate({"base_url": server.url, "api_key": server.key, **(config or {})})
    fields: dict[str, Any] = {"max_output_tokens": 50, "timeout": 5.0, "attempt_id": "attempt-1", **kwargs}
    async with make_context(settings) as ctx:
        return await OpenAIBackend().complete(ctx, CompletionRequest(model=model, messages=messages or (USER,), **fields))


def test_the_plugin_registers_one_backend() -> None:
    (backend,) = plugin.register_llm_backends(None)
    assert backend.name == "openai"


async def test_what_is_sent(server: Any) -> None:
    completion = await complete(
        server,
        Message("system", (Text("Be kind."),)),
        Message("assistant", (Text("a"), Text("b"))),
        USER,
        config={"organization": "org-1", "project": "proj-1"},
        parameters={"temperature": 0, "n": 9, "stream": True, "max_tokens": 10**6, "model": "dear", "seed": 7},
    )
    (body,) = server.bodies
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "a\nb"},
            {"role": "user", "content": "Hello"},
        ],
        "max_tokens": 50,
        "temperature": 0,
        "seed": 7,
    }
    headers = server.headers[0]
    assert (headers["OpenAI-Organization"], headers["OpenAI-Project"]) == ("org-1", "proj-1")
    assert headers["Idempotency-Key"] == headers["X-Client-Request-Id"] == "attempt-1"
    assert completion == Completion((Text("Hello"),), TokenUsage(1, 1), "stop", "gpt-4o-2024-11-20", "req_1")


async def test_media_are_sent_in_openais_form(server: Any) -> None:
    media = (
        Media("image", "image/png", data=b"\x89PNG"),
        Media("audio", "audio/x-wav", data=b"RIFF"),
        Media("audio", "audio/mpeg", data=b"ID3"),
        Media("file", "application/pdf", data=b"%PDF-1.7", name="a.pdf"),
    )
    await complete(server, Message("user", (Text("Look"), *media)))
    content = server.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "input_audio", "input_audio", "file"]
    assert content[1]["image_url"]["url"] == "data:image/png;base64,iVBORw=="
    assert [part["input_audio"]["format"] for part in content[2:4]] == ["wav", "mp3"]
    assert content[4]["file"]["filename"] == "a.pdf"


async def test_a_file_of_text_is_sent_as_what_it_says(server: Any) -> None:
    note = Media("file", "text/plain", data="\ufeffMilk, Käse".encode(), name="my\nlist.txt")
    await complete(server, Message("user", (Text("Sum up"), note)))
    content = server.bodies[0]["messages"][0]["content"]
    assert content == [{"type": "text", "text": "Sum up"}, {"type": "text", "text": "[my list.txt]\nMilk, Käse"}]


def test_what_has_no_form_is_said_beforehand() -> None:
    def why(kind: Any, media_type: str) -> str | None:
        return OpenAIBackend().refuses(OpenAIConfig(), "any", Media(kind, media_type))

    assert "WAV or MP3" in (why("audio", "audio/ogg") or "")
    assert "PDF" in (why("file", "application/zip") or "")
    taken = [("audio", "audio/mpeg"), ("file", "application/pdf"), ("file", "text/plain"), ("image", "image/webp")]
    assert [why(*one) for one in taken] == [None] * 4


@pytest.mark.parametrize(
    "media",
    [
        Media("audio", "audio/ogg", data=b"OggS"),
        Media("file", "application/zip", data=b"PK"),
        Media("image", "image/png", file_id="0199"),
    ],
)
async def test_what_has_no_form_is_rejected(server: Any, media: Media) -> None:
    with pytest.raises(BackendRejected):
        await complete(server, Message("user", (media,)))
    assert not server.bodies


async def test_parameters_that_are_not_json_are_rejected(server: Any) -> None:
    for value in (object(), float("nan")):
        with pytest.raises(BackendRejected):
            await complete(server, parameters={"temperature": value})


async def test_the_name_of_the_limit(server: Any) -> None:
    assert OpenAIConfig().output_limit_name == "max_completion_tokens"
    assert OpenAIConfig(base_url="https://api.openai.com.evil.example/v1").output_limit_name == "max_tokens"
    await complete(server, config={"max_tokens_parameter": "max_completion_tokens"})
    assert server.bodies[0]["max_completion_tokens"] == 50


async def test_surrogates_and_controls_travel(server: Any) -> None:
    await complete(server, Message("user", (Text("\ud800 \x00 😀"),)))
    assert server.bodies[0]["messages"][0]["content"] == "\ud800 \x00 😀"


USAGES: list[tuple[Any, TokenUsage | None]] = [
    (None, None),
    ({}, None),
    ([], None),
    ("12", None),
    ({"prompt_tokens": None, "completion_tokens": None}, None),
    ({"prompt_tokens": 0, "completion_tokens": 0}, TokenUsage(0, 0)),
    ({"prompt_tokens": "9", "completion_tokens": 2}, TokenUsage(-1, 2)),
    ({"prompt_tokens": True, "completion_tokens": -1}, TokenUsage(-1, -1)),
    ({"prompt_tokens": 9.0, "completion_tokens": 2.5}, TokenUsage(9, -1)),
    ({"prompt_tokens": 10**30, "completion_tokens": 2}, TokenUsage(10**30, 2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, TokenUsage(9, 2)),
    (
        {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        TokenUsage(9, 5, 4, 3),
    ),
    ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}}, TokenUsage(9, 5, 40)),
]


@pytest.mark.parametrize(("raw", "expected"), USAGES)
async def test_usage_is_read_with_care(server: Any, raw: Any, expected: TokenUsage | None) -> None:
    server.answers["m"] = {**server.chat(), "usage": raw}
    assert (await complete(server)).usage == expected


async def test_usage_may_be_missing(server: Any) -> None:
    server.answers["m"] = server.chat(usage=None)
    assert (await complete(server)).usage is None


async def test_contents_of_all_shapes(server: Any) -> None:
    server.answers |= {
        "array": server.chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "odd"}, 7]),
        "refusal": server.chat(None, refusal="I will not."),
        "refusal part": server.chat([{"type": "refusal", "refusal": "No."}]),
        "tools": server.chat(None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}], finish="tool_calls"),
        "thinking": server.chat(None, finish="length"),
        "filtered late": server.chat("Half a", finish="content_filter"),
        "odd finish": server.chat("Hello", finish={"a": 1}),
    }
    found = {name: await complete(server, model=name) for name in server.answers}
    seen = {name: ("".join(p.text for p in c.parts if isinstance(p, Text)), c.finish) for name, c in found.items()}
    assert seen == {
        "array": ("ab", "stop"),
        "refusal": ("I will not.", "content_filter"),
        "refusal part": ("No.", "content_filter"),
        "tools": ("", "tool_calls"),
        "thinking": ("", "length"),
        "filtered late": ("Half a", "content_filter"),
        "odd finish": ("Hello", "stop"),
    }


async def test_a_filter_that_leaves_nothing_is_an_error(server: Any) -> None:
    server.answers["m"] = server.chat(None, finish="content_filter")
    with pytest.raises(ContentFiltered) as error:
        await complete(server)
    assert error.value.usage == TokenUsage(9, 2)


@pytest.mark.parametrize(
    "payload", [[], "text", 7, {}, {"choices": []}, {"choices": [7]}, {"choices": [{"message": None}]}, {"choices": {"a": 1}}]
)
async def test_what_is_no_completion(server: Any, payload: Any) -> None:
    server.answers["m"] = payload
    with pytest.raises(BadCompletion):
        await complete(server)


async def test_saying_nothing_without_a_reason_keeps_the_usage(server: Any) -> None:
    contents: tuple[Any, ...] = (None, "", [], 5)
    for content in contents:
        server.answers["m"] = server.chat(content)
        with pytest.raises(BadCompletion) as error:
            await complete(server)
        assert error.value.usage == TokenUsage(9, 2)


async def test_models_are_merged(server: Any) -> None:
    own = [{"id": "mine", "context_tokens": 1000, "modalities": ["image"]}, {"id": "gpt-4o", "max_output_tokens": 5}]
    config = OpenAIConfig.model_validate({"base_url": server.url, "api_key": server.key, "models": own})
    server.models["data"] += [{"id": None}, {}, 7]
    async with make_context(config) as ctx:
        models = {info.id: info for info in await OpenAIBackend().models(ctx)}
    assert set(models) == {"mine", "gpt-4o", "tiny"}
    assert (models["mine"].context_tokens, models["mine"].modalities) == (1000, frozenset({"text", "image"}))
    assert (models["gpt-4o"].max_output_tokens, models["gpt-4o"].context_tokens) == (5, 128_000)
    assert models["tiny"].context_tokens == 4096


async def test_models_without_a_list(server: Any) -> None:
    server.models_status = 404
    backend = OpenAIBackend()
    async with make_context(OpenAIConfig(base_url=server.url, api_key=server.key)) as ctx:
        with pytest.raises(BackendRejected):
            await backend.models(ctx)
        assert not (await backend.test(ctx)).ok
    config = OpenAIConfig.model_validate({"base_url": server.url, "api_key": server.key, "models": [{"id": "mine"}]})
    async with make_context(config) as ctx:
        assert [info.id for info in await backend.models(ctx)] == ["mine"]
        assert (await backend.test(ctx)).ok


async def test_health(server: Any) -> None:
    backend = OpenAIBackend()
    async with make_context(OpenAIConfig(base_url=server.url, api_key=server.key)) as ctx:
        health = await backend.test(ctx)
        assert (health.ok, health.detail) == (True, "Connected; the endpoint lists 2 models.")
    async with make_context(OpenAIConfig(base_url=server.url, api_key="sk-wrong")) as ctx:
        health = await backend.test(ctx)
        assert not health.ok
        assert "key" in health.detail
        with pytest.raises(BackendAuthFailed):
            await backend.models(ctx)
    async with make_context(OpenAIConfig(base_url="http://127.0.0.1:9/v1")) as ctx:
        assert not (await backend.test(ctx)).ok
        with pytest.raises(BackendUnavailable):
            await backend.models(ctx)


def test_well_known_models() -> None:
    for model in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "o3", "gpt-4o-2024-08-06"):
        assert (info := known(model)) is not None
        assert info.id == model
    assert (old := known("gpt-4o-2024-05-13")) is not None
    assert old.max_output_tokens == 4096
    assert known("gpt-4o-finetuned:acme") is None


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "https://", "https://user:pw@host/v1", "https://host/v1?key=1", "nonsense", "https://host/v1#a"]
)
def test_base_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAIConfig(base_url=url)


def test_configuration_is_tidied_and_discreet() -> None:
    config = OpenAIConfig.model_validate(
        {"base_url": " https://h.example/v1/chat/completions ", "api_key": "  ", "project": " "}
    )
    assert (config.base_url, config.api_key, config.project) == ("https://h.example/v1", None, None)
    for key in ("sk-secret\nX: y", "sk-secret ü"):
        with pytest.raises(ValueError, match="no API key has") as error:
            OpenAIConfig.model_validate({"api_key": key})
        assert "sk-secret" not in str(error.value)
    assert "sk-secret" not in json.dumps(OpenAIConfig.model_validate({"api_key": "sk-secret"}).model_dump(mode="json"))


async def test_without_a_key_no_header_is_sent(server: Any) -> None:
    seen: list[Any] = []

    async def look(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(server.chat())

    server.answers["m"] = look
    assert "Authorization" not in OpenAIConfig(base_url=server.url).headers()
    await complete(server)
    assert seen == [f"Bearer {server.key}"]
