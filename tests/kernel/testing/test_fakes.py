"""The fakes of plugins' objects pass the kits that real plugins have to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from tollhouse.plugin import (
    BackendTimeout,
    CheckoutOrder,
    Completion,
    CompletionRequest,
    LLMBackend,
    Money,
    NextAction,
    Outgoing,
    PluginContext,
    RawRequest,
    Text,
)
from tollhouse.testing import (
    AuthProviderSuite,
    ChannelSuite,
    FakeAuthProvider,
    FakeBackend,
    FakeMessenger,
    FakePaymentProvider,
    LLMBackendSuite,
    MessengerSuite,
    PaymentProviderSuite,
    make_context,
)
from tollhouse.testing.channel import units
from tollhouse.testing.fakes import signed_request, split


class TestFakeBackend(LLMBackendSuite):
    model = "fake-1"
    slow_prompt = "slow"

    @pytest.fixture
    def backend(self) -> FakeBackend:
        return FakeBackend()

    async def ask(self, backend: LLMBackend, config: BaseModel, request: CompletionRequest) -> Completion:
        self._plan(backend, request)
        return await super().ask(backend, config, request)

    async def _cancel(self, backend: LLMBackend, ctx: PluginContext[Any], prompt: str) -> list[asyncio.Task[Any]]:
        self._plan(backend, self.request(prompt))
        return await super()._cancel(backend, ctx, prompt)

    def _plan(self, backend: LLMBackend, request: CompletionRequest) -> None:
        if request.messages[-1].text == self.slow_prompt:
            assert isinstance(backend, FakeBackend)
            backend.enqueue("late", delay=5)

    @pytest.mark.xfail(reason="it remembers what it was asked; that is what this fake is for")
    async def test_it_holds_no_state(self, backend: LLMBackend, config: BaseModel) -> None:
        await super().test_it_holds_no_state(backend, config)

    async def test_it_answers_as_planned(self, backend: FakeBackend, config: BaseModel) -> None:
        async def shout(request: CompletionRequest) -> Completion:
            return Completion((Text(request.messages[-1].text.upper()),))

        backend.enqueue("one", BackendTimeout(), shout)
        assert (await self.ask(backend, config, self.request("a"))).parts == (Text("one"),)
        with pytest.raises(BackendTimeout):
            await self.ask(backend, config, self.request("b"))
        assert (await self.ask(backend, config, self.request("c"))).parts == (Text("C"),)
        assert (await self.ask(backend, config, self.request("d"))).parts == (Text("d"),)
        assert [request.messages[-1].text for request in backend.history] == ["a", "b", "c", "d"]


class TestFakeMessenger(MessengerSuite):
    can_deliver: ClassVar[bool] = True

    @pytest.fixture
    def channel(self) -> FakeMessenger:
        return FakeMessenger()

    @pytest.fixture
    def message(self) -> RawRequest:
        return signed_request({"id": "m1", "chat": "c1", "user": "u1", "name": "Ada", "text": "Hello"})

    @pytest.fixture
    def garbage(self) -> RawRequest:
        return signed_request(b"[1, 2")

    async def test_what_was_delivered_can_be_read(self, channel: FakeMessenger, config: BaseModel) -> None:
        async with self.context(config) as ctx:
            for number in range(2):
                await channel.deliver(ctx, Outgoing("c1", {"text": f"number {number}"}))
            assert [item["text"] for item in await channel.sent(ctx)] == ["number 0", "number 1"]


class TestInteractiveChannel(ChannelSuite):
    @pytest.fixture
    def channel(self) -> FakeMessenger:
        return FakeMessenger()


class TestFakePaymentProvider(PaymentProviderSuite):
    @pytest.fixture
    def provider(self) -> FakePaymentProvider:
        return FakePaymentProvider()

    @pytest.fixture
    def webhook(self) -> RawRequest:
        return signed_request({"id": "e1", "reference": "0199a0000000700080000000000000aa", "state": "paid"})

    async def charged(self, ctx: PluginContext[Any], order: CheckoutOrder, action: NextAction) -> Money:
        row, _ = await ctx.state.get(f"order:{action.provider_reference}")
        return Money(row["minor"], row["currency"])

    async def test_settling_changes_the_truth(self, provider: FakePaymentProvider, config: BaseModel) -> None:
        async with self.context(config) as ctx:
            action = await provider.checkout(ctx, self.order())
            await provider.settle(ctx, str(action.provider_reference))
            assert (await provider.fetch(ctx, self.order(), None)).state == "paid"


class TestFakeAuthProvider(AuthProviderSuite):
    @pytest.fixture
    def provider(self) -> FakeAuthProvider:
        return FakeAuthProvider()

    @pytest.fixture
    def callback(self) -> Mapping[str, str]:
        return {"code": "ok:subject-1:ada@example.com", "state": "x"}


def test_texts_are_split_between_characters() -> None:
    pieces = split("a😀" * 10, 4)
    assert "".join(pieces) == "a😀" * 10
    assert max(map(units, pieces)) <= 4
    assert split("", 4) == []


async def test_state_compares_and_sets() -> None:
    async with make_context() as ctx:
        assert await ctx.state.get("k") == (None, 0)
        assert await ctx.state.put("k", {"n": 1}, revision=0)
        assert not await ctx.state.put("k", {"n": 2}, revision=0)
        assert await ctx.state.get("k") == ({"n": 1}, 1)
        with pytest.raises(TypeError):
            await ctx.state.put("k", object(), revision=1)
        results = await asyncio.gather(*(ctx.state.put("k", n, revision=1) for n in range(5)))
        assert results.count(True) == 1
