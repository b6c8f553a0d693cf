"""Answers that break off on the way, over real connections: the customer pays nothing, the tenant what it may have cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from tests.flows.driver import Body
from tests.flows.first import Installation, claimed, installation, registered, say
from tollhouse.runtime import run
from tollhouse.wiring.commands import verify_ledgers

GOOD = {"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}
PRICE = {
    "backend": "openai",
    "model": "gpt-4o",
    "input_per_million": 1_000_000_000,
    "output_per_million": 2_000_000_000,
}  # a nano-unit is a thousandth of a token
OUTPUT = 50
NEWEST = "SELECT certainty, cost, input_tokens, output_tokens, calls FROM entries WHERE model = 'gpt-4o' ORDER BY id DESC"


async def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "5000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [{"message": {"role": "assistant", "content": "Hel')
    assert request.transport is not None
    request.transport.close()
    return response


async def _too_slow(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(2)
    return web.Response()


def _reporting(prompt: Any, completion: Any, **details: Any) -> Any:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, **details}
    return lambda: web.json_response({**GOOD, "usage": usage})


ANSWERS: dict[str, Any] = {
    "reset": _reset,
    "cut short": _cut_short,
    "too slow": _too_slow,
    "no json": lambda: web.Response(text='{"choices": [', content_type="application/json"),
    "empty": lambda: web.Response(text=""),
    "error in 200": lambda: web.json_response({"error": {"message": "upstream"}}),
    "500": lambda: web.json_response({"error": {"message": "oops"}}, status=500),
    "503": lambda: web.json_response({"error": {"message": "busy"}}, status=503),
    "400": lambda: web.json_response({"error": {"message": "no"}}, status=400),
    "401": lambda: web.json_response({"error": {"message": "no"}}, status=401),
    "404": lambda: web.json_response({"error": {"message": "no"}}, status=404),
    "429": lambda: web.json_response({"error": {"message": "no"}}, status=429),
    "huge": _reporting(10**12, 10**12),
    "beyond the prompt": _reporting(90_000, 3),
    "negative": _reporting(-5, 3),
    "text": _reporting("12", 3),
    "cached": _reporting(12, 3, prompt_tokens_details={"cached_tokens": 13}),
    "zero": _reporting(0, 0),
    "exact": _reporting(12, 3),
}


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    """An endpoint that breaks as the message asks it to."""

    async def complete(request: web.Request) -> web.StreamResponse:
        answer = ANSWERS[json.loads(await request.read())["messages"][-1]["content"]]
        return await answer(request) if asyncio.iscoroutinefunction(answer) else answer()  # type: ignore[no-any-return]

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


@pytest.fixture
async def first(empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    monkeypatch.setattr(run, "BACKOFF", 0.0)
    async with installation(empty_dsn, tmp_path, "openai") as made:
        yield made


async def connected(operator: Any, url: str) -> None:
    """The first agent answers by this endpoint; its model has a price, and there is a daily stop."""
    made = await operator.post(
        "/api/v1/admin/connections",
        {"kind": "llm", "plugin": "openai", "name": url, "values": {"base_url": url, "api_key": "sk-x"}},
    )
    assert made.status == 201, made.text
    [agent] = (await operator.get("/api/v1/admin/agents")).json["items"]
    path = f"/api/v1/admin/agents/{agent['id']}/versions"
    spec = (await operator.get(path)).json["items"][0]["spec"]
    spec |= {"primary": {"connection_id": made.json["id"], "model": "gpt-4o"}, "fallback": None}
    draft = await operator.post(path, {"spec": {**spec, "max_output_tokens": OUTPUT, "timeout": 1}})
    assert draft.status == 201, draft.text
    assert (await operator.post(f"/api/v1/admin/versions/{draft.json['id']}/activate", {})).status == 200
    assert (await operator.send("PUT", "/api/v1/admin/prices", Body.json(PRICE))).status == 200
    capped = await operator.send("PATCH", "/api/v1/admin/tenant", Body.json({"daily_cost_cap": 10**12}))
    assert capped.status == 200, capped.text


async def test_what_may_have_run_is_booked_as_unknown_and_what_cannot_be_is_estimated(
    first: Installation, provider: str
) -> None:
    operator = await claimed(first)
    await connected(operator, provider)
    ada = await registered(first, "ada@example.test")
    tenant_id = (await first.process.container.directory.by_slug("default")).id
    seen: dict[str, Any] = {}
    for mode in ANSWERS:
        answer = await say(ada, mode)
        async with first.process.store.transaction(tenant_id) as conn:
            rows = [tuple(row) for row in await conn.execute(text(NEWEST))]
            told = set((await conn.execute(text("SELECT code FROM alarms WHERE NOT resolved"))).scalars())
            await conn.execute(text("UPDATE alarms SET resolved = true"))
        seen[mode] = (answer.status, rows, told)
    before = 0
    for mode, (status, rows, told) in seen.items():
        newest, tries = rows[0], len(rows) - before
        before = len(rows)
        certainty, cost, sent, said, calls = newest
        if mode in ("400", "401", "404", "429"):
            assert (status >= 400, certainty, cost, sent, said) == (True, "exact", 0, 0, 0), mode
        elif mode in ("exact", "zero"):
            assert (status, certainty, calls) == (200, "exact", 1), mode
            assert (sent, said) == ((12, 3) if mode == "exact" else (0, 0)), mode
        elif mode in ("huge", "beyond the prompt", "negative", "text", "cached"):
            assert (status, certainty, calls) == (200, "estimated", 1), mode
            assert 0 < sent < 2_000, mode
            assert said == 2, mode  # six letters
            assert told == {"usage_absurd"}, mode
        else:
            assert (status >= 400, certainty, calls) == (True, "unknown", 0), mode
            assert said == (0 if mode in ("500", "503", "error in 200") else OUTPUT), mode
            assert cost == sent * 1_000 + said * 2_000 > 0, mode
            assert tries >= 1, mode
            assert all(row[:4] == newest[:4] for row in rows[:tries]), "each try may have cost as much"
    used = (await ada.get("/api/v1/usage")).json["items"]
    assert {one["used"] for one in used if one["metric"] == "calls"} == {len([s for s, _, _ in seen.values() if s == 200])}
    async with first.process.store.transaction(tenant_id) as conn:
        total = (await conn.execute(text("SELECT sum(cost) FROM entries WHERE model = 'gpt-4o'"))).scalar_one()
        stop = (await conn.execute(text("SELECT used FROM counters WHERE user_id IS NULL"))).scalar_one()
    assert stop == total, "the daily stop takes all of it"
    assert await verify_ledgers(first.process.container, None) == []


async def test_what_was_never_sent_costs_nothing(first: Installation) -> None:
    operator = await claimed(first)
    ada = await registered(first, "ada@example.test")
    for url in ("http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"):
        await connected(operator, url)
        assert (await say(ada, "exact")).status == 502
    async with first.process.store.transaction((await first.process.container.directory.by_slug("default")).id) as conn:
        found = (await conn.execute(text("SELECT DISTINCT certainty, cost, input_tokens, output_tokens FROM entries"))).all()
    assert [tuple(row) for row in found] == [("exact", 0, 0, 0)]
