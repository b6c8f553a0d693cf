"""A strict fake of an OpenAI-compatible endpoint: a real aiohttp server that refuses requests which are not right.

What it does is chosen by the model's name: a fault (``status-429``), an odd body (``usage-string``), or an echo.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web

KEY = "sk-test-very-secret-0123456789"

ECHO = "gpt-4o"


def chat(content: Any = "Hello", *, usage: Any = ..., finish: Any = "stop", **message: Any) -> dict[str, Any]:
    """A well-formed chat completion."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1795411781,
        "model": "gpt-4o-2024-11-20",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11} if usage is ... else usage,
    }
    if usage is None:
        del body["usage"]
    return body


def error(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    """An error in OpenAI's form; like some providers it quotes the key."""
    return {"error": {"message": f"{message} (your key: {KEY})", "type": kind, "param": None, "code": code}}


class FakeOpenAI:
    """``url`` is the base URL; ``bodies`` and ``headers`` are what was received, newest last."""

    key = KEY
    chat = staticmethod(chat)
    error = staticmethod(error)

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.answers: dict[str, Any] = {}
        self.models: Any = {"object": "list", "data": [{"id": ECHO, "object": "model"}, {"id": "tiny", "max_model_len": 4096}]}
        self.models_status = 200
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeOpenAI:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response(error("Incorrect API key", "invalid_api_key"), status=401)
        return web.json_response(self.models, status=self.models_status)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response(error("Incorrect API key", "invalid_api_key"), status=401)
        try:
            body = json.loads(await request.read())
            check(request, body)
        except (AssertionError, ValueError, KeyError) as problem:
            return web.json_response(error(f"strict fake: {problem!r}"), status=400)
        self.bodies.append(body)
        self.headers.append(request.headers)
        planned = self.answers.get(body["model"])
        if callable(planned):
            return await planned(request)  # type: ignore[no-any-return]
        if planned is not None:
            return web.json_response(planned)
        return await self._echo(body)

    async def _echo(self, body: dict[str, Any]) -> web.Response:
        """The newest text, one token per word and at most the limit."""
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        if text == "slow":
            await asyncio.sleep(5)
        words = text.split(" ")
        limit: int = body["max_completion_tokens"] if "max_completion_tokens" in body else body["max_tokens"]
        shown = " ".join(words[:limit]) or "(nothing)"
        usage = {"prompt_tokens": len(words), "completion_tokens": min(len(words), limit), "total_tokens": 0}
        return web.json_response(
            chat(shown, usage=usage, finish="length" if len(words) > limit else "stop"), headers={"x-request-id": "req_1"}
        )


def check(request: web.Request, body: Any) -> None:
    """Refuse what OpenAI would refuse."""
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"]
    assert isinstance(body["model"], str)
    assert body["messages"], "no messages"
    limits = [name for name in ("max_tokens", "max_completion_tokens") if name in body]
    assert len(limits) == 1, limits
    assert isinstance(body[limits[0]], int)
    assert body[limits[0]] > 0
    assert not {"n", "stream", "stream_options", "max_output_tokens"} & set(body)
    for message in body["messages"]:
        assert message["role"] in ("system", "user", "assistant")
        if not isinstance(message["content"], str):
            assert message["role"] == "user"
            for part in message["content"]:
                check_part(part)


def check_part(part: Any) -> None:
    """One content part in OpenAI's form, its base64 decoded."""
    match part["type"]:
        case "text":
            assert isinstance(part["text"], str)
        case "image_url":
            head, _, data = part["image_url"]["url"].partition(";base64,")
            assert head.startswith("data:image/")
            base64.b64decode(data, validate=True)
        case "input_audio":
            assert part["input_audio"]["format"] in ("wav", "mp3")
            base64.b64decode(part["input_audio"]["data"], validate=True)
        case "file":
            assert part["file"]["filename"]
            head, _, data = part["file"]["file_data"].partition(";base64,")
            assert head == "data:application/pdf"
            base64.b64decode(data, validate=True)
        case other:
            raise AssertionError(f"unknown part {other}")


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAI]:
    """A running fake endpoint."""
    async with FakeOpenAI() as fake:
        yield fake
