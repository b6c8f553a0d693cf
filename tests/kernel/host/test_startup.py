"""A plugin has a bounded time for its start, whatever it does with it."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from tollhouse import plugin as th
from tollhouse.host.loader import load_plugins
from tollhouse.settings import Settings


async def waits(self: Any, settings: Any) -> None:
    await asyncio.sleep(3600)


async def refuses(self: Any, settings: Any) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if self.stop:
                raise


async def blocks(self: Any, settings: Any) -> None:
    time.sleep(3600)  # noqa: ASYNC251 - what a plugin must not do


async def times_out(self: Any, settings: Any) -> None:
    raise TimeoutError("the till does not answer")


async def cancels_itself(self: Any, settings: Any) -> None:
    raise asyncio.CancelledError


async def leaves(self: Any, settings: Any) -> None:
    raise SystemExit(3)


def plugin(start: Any) -> Any:
    start.__name__ = "on_startup"
    return type("Plugin", (), {"contract": (1, 0), "stop": False, "on_startup": th.impl(start)})()


async def line(start: Any) -> str:
    """What stops the start, if the plugin has a twentieth of a second."""
    made = plugin(start)
    host = load_plugins(Settings(), plugins={"slow": made}, environ={})
    try:
        with pytest.raises(th.ConfigError) as caught:
            await host.startup(timeout=0.05)
    finally:
        made.stop = True
    return caught.value.detail


@pytest.mark.parametrize("start", [waits, refuses, blocks])
async def test_a_plugin_that_takes_too_long_is_named(start: Any) -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert await line(start) == "plugin 'slow' did not finish its on_startup within 0.05 seconds"
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (times_out, "TimeoutError: the till does not answer"),
        (cancels_itself, "CancelledError"),
        (leaves, "SystemExit: 3"),
    ],
)
async def test_a_plugin_that_fails_by_itself_did_not_take_too_long(start: Any, says: str) -> None:
    assert await line(start) == f"plugin 'slow' failed in on_startup: {says}"


async def test_a_start_that_is_cancelled_is_no_fault_of_the_plugin() -> None:
    host = load_plugins(Settings(), plugins={"slow": plugin(waits)}, environ={})
    starting = asyncio.create_task(host.startup())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
