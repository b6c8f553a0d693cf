"""What holds the loop is named in the log: the route, its plugin, and where."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tollhouse.wiring import watchdog
from tollhouse.wiring.watchdog import watched


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop() if request.param == "asyncio" else pytest.importorskip("uvloop").new_event_loop()
    yield made
    made.close()


def _block(seconds: float) -> None:
    time.sleep(seconds)


def _compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        json.dumps(list(range(1000)))


async def _named(name: str, work: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.set_name(name)
    await work


async def _do(function: Any, *arguments: Any) -> None:
    await asyncio.sleep(0)
    function(*arguments)


@pytest.mark.parametrize("function", [_block, _compute])
def test_who_holds_the_loop_is_named_with_the_place(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    monkeypatch.setattr(watchdog, "LONG_SECONDS", 60.0)  # on a busy machine a little computing takes long

    async def work() -> None:
        await asyncio.sleep(0.1)
        await asyncio.gather(_named("POST /slow (plugin snail)", _do(function, 0.4)), asyncio.sleep(0.6))

    with watched(loop):
        loop.run_until_complete(work())
    [said] = [one.getMessage() for one in caplog.records if one.name == watchdog.__name__]
    assert "by POST /slow (plugin snail): " in said
    assert f" {function.__name__}" in said
    assert 300 < float(said.split(" held for ")[1].split(" ms")[0]) < 60_000


def test_a_task_that_a_request_starts_is_called_like_it(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def request() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_do(_block, 0.3))

    async def work() -> None:
        await asyncio.create_task(_named("POST /turns", request()))
        await asyncio.sleep(0.1)

    with watched(loop):
        loop.run_until_complete(work())
    assert "by POST /turns: " in caplog.text


def test_what_never_ends_is_named_while_it_lasts(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG_SECONDS", 0.3)

    async def never() -> None:
        until = time.monotonic() + 10
        while "the loop is held" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)  # noqa: ASYNC251 - this is what the test is about

    with watched(loop):
        loop.run_until_complete(loop.create_task(_named("job usage.sweep", never())))
    assert "the loop is held since 0.3 s by job usage.sweep" in caplog.text


def test_waiting_is_no_holding(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        await asyncio.gather(*(asyncio.sleep(0.3) for _ in range(10)), asyncio.to_thread(time.sleep, 0.4))

    with caplog.at_level(logging.DEBUG), watched(loop):
        loop.run_until_complete(work())
    assert "held" not in caplog.text


def test_the_same_is_not_said_again_and_again(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        for _ in range(4):
            await asyncio.create_task(_named("GET /slow", _do(_block, 0.2)))
            await asyncio.sleep(0.1)

    with watched(loop):
        loop.run_until_complete(work())
    assert caplog.text.count("by GET /slow") == 1
