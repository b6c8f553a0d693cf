"""A fake endpoint that litellm's ``openai`` provider can talk to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

KEY = "sk-test-very-secret-0123456789"


class FakeEndpoint:
    """Echoes, ``slow`` after five seconds; ``status`` and ``usage`` change what it answers, ``broken`` how it breaks off."""

    key = KEY

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.status = 0
        self.usage: Any = ...
        self.broken = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        if self.broken:
            return await self._break_off(request)
        if self.status or request.headers.get("Authorization") != f"Bearer {KEY}":
            problem = "maximum context length" if self.status == 400 else "no"
            refusal = {"error": {"message": f"{problem}, {KEY}", "type": "x", "code": None}}
            return web.json_response(refusal, status=self.status or 401, headers={"Retry-After": "7"})
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        if text == "slow":
            await asyncio.sleep(5)
        words = text.split(" ")
        limit: int = body["max_tokens"] if "max_tokens" in body else body["max_completion_tokens"]
        shown = " ".join(words[:limit]) or "(nothing)"
        usage: dict[str, Any] = {"prompt_tokens": len(words), "completion_tokens": min(len(words), limit), "total_tokens": 0}
        message = {"role": "assistant", "content": shown}
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1795411781,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if len(words) > limit else "stop"}],
            "usage": usage if self.usage is ... else self.usage,
        }
        if self.usage is None:
            del answer["usage"]
        return web.json_response(answer)

    async def _break_off(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if self.broken == "no json":
            return web.Response(text='{"choices": [', content_type="application/json")
        if self.broken == "error in 200":
            return web.json_response({"error": {"message": "the upstream gave up"}})
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        if self.broken == "cut short":
            await response.prepare(request)
            await response.write(b'{"choices":')
        request.transport.close()
        return response


@pytest.fixture
async def server() -> AsyncIterator[FakeEndpoint]:
    """A running fake endpoint."""
    fake = FakeEndpoint()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield fake
    await runner.cleanup()
