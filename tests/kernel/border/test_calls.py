"""Whatever a plugin's method does, the kernel gets a fault that names plugin and method: each method, each misbehaviour."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from tollhouse import plugin as th
from tollhouse.border import bounded, calls, returns
from tollhouse.border.calls import ask, ask_now
from tollhouse.border.errors import PluginFault
from tollhouse.border.returns import METHODS

QUICK = ("render", "describe", "count_tokens", "refuses", "suggest_prices")
SLOW = tuple(name for name in METHODS if name not in QUICK and name != "on_event")
CHECKED = tuple(name for name in (*SLOW, *QUICK) if name != "cancel")
SECONDS = 0.05


class Odd(BaseException):
    """Neither an Exception nor one of the interpreter's own."""


class Unreadable:
    """Raises whatever is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("do not look")


def whole(**broken: Any) -> th.TollhouseError:
    """An error that the contract knows, with something broken in it."""
    error = th.Unavailable("Away.")
    for name, value in broken.items():
        setattr(error, name, value)
    return error


RAISED: list[BaseException] = [
    ValueError("secret text"),
    KeyError("secret text"),
    RecursionError(),
    MemoryError(),
    TimeoutError(),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    Odd("secret text"),
    whole(detail=5),
    whole(retry_after="soon"),
    whole(retry_after=-1),
    whole(retry_after=math.nan),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    quick = {name: replace(method, seconds=SECONDS) for name, method in METHODS.items()}
    for module in (returns, calls):
        monkeypatch.setattr(module, "METHODS", MappingProxyType(quick))
    monkeypatch.setattr(bounded, "BLOCKED_SECONDS", 0.05)
    monkeypatch.setattr(bounded, "CANCEL_SECONDS", 0.05)
    monkeypatch.setattr(bounded, "HELD_SECONDS", 0.04)


async def called(method: str, does: Callable[[], Any], *, slowly: Callable[[], Any] | None = None) -> PluginFault:
    """The fault that comes of a method that does this."""

    async def later(self: Any) -> Any:
        return await slowly() if slowly is not None else does()

    def at_once(self: Any) -> Any:
        return does()

    obj = type("Plugin", (), {method: at_once if method in QUICK else later})()
    try:
        await ask("odd", method, obj) if method not in QUICK else ask_now("odd", method, obj)
    except PluginFault as error:
        fault = error
    else:
        pytest.fail("it got through")
    assert (fault.plugin, fault.method, fault.status, fault.code) == ("odd", method, 502, "plugin_failed")
    assert fault.detail.startswith(f"plugin 'odd': {method} ")
    assert "secret" not in fault.detail
    return fault


def raises(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__}-{error}"[:40])
@pytest.mark.parametrize("method", [*SLOW, *QUICK])
async def test_what_it_raises(method: str, error: BaseException) -> None:
    fault = await called(method, lambda: raises(error))
    assert fault.__cause__ is error
    assert f"raised {type(error).__name__}" in fault.detail
    assert not fault.returned


FIVE, LONG, LIST = (lambda: 5), (lambda: "x" * 100_000), (lambda: [None])
MAY = (("refuses", LONG), ("count_tokens", FIVE))


@pytest.mark.parametrize("make", [FIVE, LONG, LIST, bytes, object, Unreadable, dict])
@pytest.mark.parametrize("method", CHECKED)
async def test_what_it_gives(method: str, make: Callable[[], Any]) -> None:
    found = make()
    if (method, make) in MAY:
        return
    assert (await called(method, lambda: found)).returned


@pytest.mark.parametrize("method", [name for name in CHECKED if name not in ("portal", "describe", "count_tokens", "refuses")])
async def test_nothing_is_no_answer(method: str) -> None:
    assert (await called(method, lambda: None)).detail.endswith("gave nothing (None)")


@pytest.mark.parametrize("method", SLOW)
async def test_one_that_hangs(method: str) -> None:
    fault = await called(method, lambda: None, slowly=asyncio.Event().wait)
    assert fault.timed_out
    assert fault.detail.endswith(f"took longer than {SECONDS} seconds")


@pytest.mark.parametrize("method", SLOW)
async def test_one_that_does_not_let_itself_be_cancelled(method: str) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except BaseException:
                continue

    assert (await called(method, lambda: None, slowly=stubborn)).timed_out


@pytest.mark.parametrize("method", [*SLOW, *QUICK])
async def test_one_that_blocks_the_loop(method: str) -> None:
    fault = await called(method, lambda: time.sleep(600))
    assert fault.timed_out
    await asyncio.sleep(0)  # the loop goes on


async def test_a_step_that_holds_the_loop_is_logged_with_the_plugins_name(caplog: pytest.LogCaptureFixture) -> None:
    async def cancel(self: Any) -> None:
        time.sleep(0.06)  # noqa: ASYNC251 - what a plugin must not do

    with caplog.at_level(logging.ERROR):
        await ask("odd", "cancel", type("Plugin", (), {"cancel": cancel})())
    assert "plugin 'odd': cancel held the event loop for 0.1 seconds" in caplog.text


async def test_what_cancels_us_is_not_mistaken_for_a_failure_of_the_plugin() -> None:
    begun, ended = asyncio.Event(), []

    class Slow:
        async def cancel(self) -> None:
            begun.set()
            try:
                await asyncio.sleep(600)
            finally:
                await asyncio.sleep(0)
                ended.append("in order")

    asking = asyncio.create_task(ask("slow", "cancel", Slow()))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended == ["in order"]


async def test_what_the_contract_knows_stays_as_it_is() -> None:
    class Away:
        async def checkout(self) -> None:
            raise th.Unavailable("The till is closed.", retry_after=30)

    with pytest.raises(th.Unavailable, match="The till is closed"):
        await ask("away", "checkout", Away())


# -- nonsense of the right type ------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SENDER = th.Sender("odd", "i", "s")
DEEP: dict[str, Any] = {}
DEEP["deep"] = DEEP


def message(**values: Any) -> th.Received:
    given = {"external_id": "1", "sender": SENDER, "parts": (th.Text("Hi"),), "key": "k", **values}
    return th.Received((th.InboundMessage(**given),))


def payment(**values: Any) -> th.Received:
    return th.Received((th.PaymentEvent(**{"external_id": "1", "reference": "r", "state": "paid", "key": "k", **values}),))


def action(**values: Any) -> th.NextAction:
    return th.NextAction(**{"kind": "redirect", "url": "https://pay.example/1", **values})


NONSENSE: list[tuple[str, Any]] = [
    ("receive", th.Received(events=None)),  # type: ignore[arg-type]
    ("receive", th.Received(events=(None,))),  # type: ignore[arg-type]
    ("receive", th.Received(events="message")),  # type: ignore[arg-type]
    ("receive", th.Received(response="ok")),  # type: ignore[arg-type]
    ("receive", th.Received(response=th.RawResponse(status=99))),
    ("receive", th.Received(response=th.RawResponse(status=True))),
    ("receive", th.Received(response=th.RawResponse(body="text"))),  # type: ignore[arg-type]
    ("receive", th.Received(response=th.RawResponse(media_type="text/html\r\nSet-Cookie: a=b"))),
    ("receive", th.Received(message().events * 5_000)),
    ("receive", message(external_id=None)),
    ("receive", message(external_id="")),
    ("receive", message(key=7)),
    ("receive", message(parts=())),
    ("receive", message(parts=("Hi",))),
    ("receive", message(parts=(th.Text(None),))),  # type: ignore[arg-type]
    ("receive", message(sender=None)),
    ("receive", message(sender=th.Sender("odd", "", "s"))),
    ("receive", message(context={"at": NOW})),
    ("receive", message(context=DEEP)),
    ("receive", message(context={"n": math.inf})),
    ("receive", message(recipient=5)),
    ("receive", message(agent=5)),
    ("receive", payment(state="stolen")),
    ("receive", payment(reference=None)),
    ("receive", payment(occurred_at="yesterday")),
    ("render", []),
    ("render", [None]),
    ("render", "Hello"),
    ("render", (one for one in [th.Outgoing("r", {})])),
    ("render", [th.Outgoing("", {"text": "Hi"})]),
    ("render", [th.Outgoing(None, {"text": "Hi"})]),  # type: ignore[arg-type]
    ("render", [th.Outgoing("r", None)]),  # type: ignore[arg-type]
    ("render", [th.Outgoing("r", {"at": NOW})]),
    ("render", [th.Outgoing("r", {"n": math.nan})]),
    ("render", [th.Outgoing("r", DEEP)]),
    ("render", [th.Outgoing("r", {"text": "x" * 2_000_000})]),
    ("render", [th.Outgoing("r", {"text": "Hi"})] * 5_000),
    ("deliver", th.Delivered(5)),  # type: ignore[arg-type]
    ("deliver", th.Delivered("x" * 100_000)),
    ("checkout", action(kind="teleport")),
    ("checkout", action(url=None)),
    ("checkout", action(url="javascript:alert(1)")),
    ("checkout", action(url="https://")),
    ("checkout", action(url="https://pay.example/\r\nSet-Cookie: a=b")),
    ("checkout", action(url="//pay.example")),
    ("checkout", action(kind="instructions", url="data:text/html,x")),
    ("checkout", action(kind="instructions", text=5)),
    ("checkout", action(text="x" * 1_000_000)),
    ("checkout", action(provider_reference=5)),
    ("fetch", th.PaymentState("unknown")),  # type: ignore[arg-type]
    ("portal", "javascript:alert(1)"),
    ("authorize_url", "javascript:alert(1)"),
    ("exchange", th.ExternalIdentity("", "s")),
    ("exchange", th.ExternalIdentity("i", "s", email_verified="true")),  # type: ignore[arg-type]
    ("test", th.Health("yes", "fine")),  # type: ignore[arg-type]
    ("test", th.Health(True, None)),  # type: ignore[arg-type]
    ("test", th.Health(True, "x" * 1_000_000)),
    ("models", ["gpt"]),
    ("models", [th.ModelInfo("")]),
    ("models", [th.ModelInfo("m", context_tokens=-1)]),
    ("models", [th.ModelInfo("m", media_tokens={"image": "many"})]),  # type: ignore[dict-item]
    ("describe", th.ModelInfo("m", max_output_tokens="many")),  # type: ignore[arg-type]
    ("describe", th.ModelInfo("m", modalities={"smell"})),  # type: ignore[arg-type]
    ("count_tokens", -1),
    ("count_tokens", True),
    ("count_tokens", 1.5),
    ("suggest_prices", [th.ModelPrice("m", -1, 1)]),
    ("suggest_prices", [th.ModelPrice("m", 1.5, 1)]),  # type: ignore[arg-type]
    ("complete", th.Completion(("Hi",))),  # type: ignore[arg-type]
    ("complete", th.Completion(None)),  # type: ignore[arg-type]
    ("complete", th.Completion((th.Text(None),))),  # type: ignore[arg-type]
    ("complete", th.Completion((), {"input": 1})),  # type: ignore[arg-type]
    ("complete", th.Completion((), finish="tired")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("method", "found"), NONSENSE, ids=lambda value: value if isinstance(value, str) else "")
async def test_nonsense_of_the_right_type(method: str, found: Any) -> None:
    assert (await called(method, lambda: found)).returned


RIGHT: list[tuple[str, Any]] = [
    ("receive", th.Received()),
    ("receive", message(context={"reply_to": [1, None, {"a": "b"}]}, agent="guide", recipient="chat")),
    ("receive", message(parts=[th.Media("image", "image/png", data=b"1"), th.Attachment("ref", "file")])),
    ("receive", message(external_id="x" * 5_000)),
    ("receive", payment(occurred_at=NOW)),
    ("receive", th.Received((), th.RawResponse(200, b"challenge", "text/plain; charset=utf-8"))),
    ("render", (th.Outgoing("chat", MappingProxyType({"text": "Hi \x00", "keys": {"a": [1, 2.5, True]}})),)),
    ("deliver", th.Delivered()),
    ("checkout", th.NextAction("instructions", text="Please transfer 5 EUR.")),
    ("checkout", action()),
    ("portal", None),
    ("test", th.Health(False, "The key is not accepted.")),
    ("models", [th.ModelInfo("m", 8_000, None, frozenset({"text", "image"}), {"image": 1_700})]),
    ("describe", None),
    ("count_tokens", 0),
    ("complete", th.Completion((th.Text("Hi"), th.Media("image", "image/png", url="https://a.example/1")), th.TokenUsage())),
    ("cancel", object()),
]


@pytest.mark.parametrize(("method", "found"), RIGHT, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_right_gets_through(method: str, found: Any) -> None:
    assert METHODS[method].checked(found) is found
