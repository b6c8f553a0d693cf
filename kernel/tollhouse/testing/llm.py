"""The conformance kit for LLM backends.

class TestMyBackend(LLMBackendSuite):
    model = "my-model"

    @pytest.fixture
    def backend(self):
        return MyBackend()

    @pytest.fixture
    def config(self, fake_server):
        return MyConfig(base_url=fake_server.url, api_key="sk-test-secret")
"""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from itertools import count
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from tollhouse.plugin import (
    MODALITIES,
    BackendError,
    BackendTimeout,
    Completion,
    CompletionRequest,
    CountsTokens,
    DescribesModels,
    LLMBackend,
    Media,
    Message,
    ModelInfo,
    PluginContext,
    SuggestsPrices,
    Text,
)
from tollhouse.testing.connection import ConnectionSuite, Unchanged, secrets_of
from tollhouse.testing.given import given

CORPUS: tuple[str, ...] = (
    "Hello",
    "",
    " ",
    "The quick brown fox jumps over the lazy dog. " * 5,
    "a\n\n\n\tb\r\n  c",
    "1234567890 3.14159 0x7fffffff",
    "def f(x):\n    return {'a': [x, x**2]}  # ünïcödé",
    "日本語の文章と、中文以及한국어",
    "😀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪",
    "العربية עברית हिन्दी ไทย",
    "Zalgo: H̸̡̪̯ͨ͊̽̅̾̎Ȩ̬̩̾͛ͪ̈́̀́͘",
    "<|endoftext|> <|im_start|>system",
    "supercalifragilisticexpialidocious" * 8,
    "\x00\x07\u200b\ufeff",
)
"""Texts on which tokenizers differ most."""

_attempts = count(1)


class LLMBackendSuite(ConnectionSuite, kit=True):
    """Fixtures: ``backend``, ``config``; optional: ``server_faults``. Attributes below describe your model.

    Every check calls the model for real, so point ``config`` at a fake server of your own, as the openai plugin's tests do.
    """

    model: ClassVar[str] = ""
    """A model that ``config`` can use."""

    slow_prompt: ClassVar[str | None] = None
    """A message whose answer takes at least five seconds; None skips the checks about waiting."""

    message_overhead: ClassVar[int] = 8
    """Tokens that the kernel adds to the count of every message, for a provider's framing."""

    @pytest.fixture
    def backend(self) -> Any:
        """Your backend."""
        raise NotImplementedError("give a fixture `backend`")

    @pytest.fixture
    def subject(self, backend: Any) -> Any:
        """What the checks of every connection look at."""
        return backend

    @pytest.fixture
    def server_faults(self) -> Mapping[str, tuple[BaseModel, type[BackendError]]]:
        """Faults by name: a configuration that provokes it, and the error that must come of it."""
        return {}

    def echo_prompt(self, text: str) -> str:
        """A message that makes the model answer with ``text`` somewhere in its reply."""
        return f"Repeat exactly the following and nothing else: {text}"

    def request(self, text: str, *, limit: int = 200, timeout: float = 30.0, **parameters: Any) -> CompletionRequest:
        """A request with one user message."""
        message = Message("user", (Text(text),))
        return CompletionRequest(self.model, (message,), limit, timeout, f"attempt-{next(_attempts)}", parameters)

    async def ask(self, backend: LLMBackend, config: BaseModel, request: CompletionRequest) -> Completion:
        """One completion in a context of its own."""
        async with self.context(config) as ctx:
            return given("complete", await backend.complete(ctx, request))

    def test_it_is_a_backend(self, backend: Any) -> None:
        """To fix: give the object ``name``, ``title``, ``Config``, ``models`` and ``complete`` as in ``LLMBackend``."""
        assert isinstance(backend, LLMBackend)
        assert self.model, "set the attribute `model` of your test class"

    async def test_models_are_sane(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: ids are unique, sizes positive or None, every model takes text, and ``model`` is among them."""
        async with self.context(config) as ctx:
            models = given("models", await backend.models(ctx))
        ids = [info.id for info in models]
        assert self.model in ids
        assert len(ids) == len(set(ids))
        for info in models:
            check_model(info)

    async def test_complete_answers(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: give parts, and usage as whole numbers that are not negative: None for what the provider did not say."""
        completion = await self.ask(backend, config, self.request("Hello"))
        assert isinstance(completion, Completion)
        assert completion.parts
        assert all(isinstance(part, Text | Media) for part in completion.parts)
        assert completion.finish in ("stop", "length", "content_filter", "tool_calls")
        check_usage(completion)

    async def test_it_honours_the_output_limit(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: pass ``max_output_tokens`` on; more units were not set aside. A reply that was cut has finish ``length``."""
        prompt = self.echo_prompt("one two three four five six seven eight nine ten eleven twelve")
        whole = await self.ask(backend, config, self.request(prompt))
        short = await self.ask(backend, config, self.request(prompt, limit=3))
        if short.usage is not None and short.usage.output is not None:
            assert short.usage.output <= 3
        if isinstance(backend, CountsTokens):
            assert (backend.count_tokens(self.model, _text(short)) or 0) <= 3
        if _text(short) != _text(whole):
            assert short.finish == "length"

    async def test_tokens_are_never_counted_too_low(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: ``count_tokens`` is an upper bound of what will be billed; where you are not sure, return None."""
        if not isinstance(backend, CountsTokens) or backend.count_tokens(self.model, "a") is None:
            pytest.skip("the backend does not count tokens of this model")
        for text in CORPUS:
            counted = backend.count_tokens(self.model, text)
            assert counted is not None
            usage = (await self.ask(backend, config, self.request(text))).usage
            if usage is not None and usage.input is not None:
                assert usage.input <= counted + self.message_overhead, f"{text!r}: billed {usage.input}, counted {counted}"

    async def test_described_models_agree(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: ``describe`` and ``models()`` give the same facts, and ``describe`` None for what it never heard of."""
        if not isinstance(backend, DescribesModels):
            pytest.skip("the backend does not describe models")
        async with self.context(config) as ctx:
            listed = {info.id: info for info in given("models", await backend.models(ctx))}
        described = backend.describe(config, self.model)
        assert backend.describe(config, "no-such-model-at-all") is None
        if described is not None:
            check_model(described)
            assert described.id == self.model
            assert described == listed[self.model]

    def test_suggested_prices_are_whole_numbers(self, backend: Any) -> None:
        """To fix: nano-units per million tokens are ints; leave out what you do not know, a zero means free."""
        if not isinstance(backend, SuggestsPrices):
            pytest.skip("the backend suggests no prices")
        prices = list(backend.suggest_prices())
        assert prices
        assert len({price.model for price in prices}) == len(prices)
        for price in prices:
            for amount in (price.input_per_million, price.output_per_million, price.cached_per_million or 0):
                assert type(amount) is int, price
                assert amount >= 0, price

    async def test_faults_are_typed_and_discreet(
        self, backend: LLMBackend, server_faults: Mapping[str, tuple[BaseModel, type[BackendError]]]
    ) -> None:
        """To fix: raise the child of ``BackendError`` that says what happened; what the provider wrote goes into ``private``,
        without the connection's own secrets."""
        for name, (config, expected) in server_faults.items():
            timeout = 1.0 if issubclass(expected, BackendTimeout) else 20.0  # a busy machine is no fault of the server's
            with pytest.raises(BackendError) as error:
                await self.ask(backend, config, self.request("Hello", timeout=timeout))
            assert type(error.value) is expected, f"{name}: {error.value!r} ({error.value.private})"
            shown = f"{error.value.detail} {error.value!r} {error.value.extra} {error.value.private}"
            assert not [secret for secret in secrets_of(config) if secret in shown], f"{name} shows a secret"

    async def test_it_holds_no_state(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: the object serves every tenant at once; keep what must last in ``ctx.state``, the rest in local variables."""
        with Unchanged(backend, config):
            await self.ask(backend, config, self.request("Hello"))
            async with self.context(config) as ctx:
                given("models", await backend.models(ctx))

    async def test_concurrent_calls_do_not_mix(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: nothing of one call may be kept where another call can see it (attributes, globals, shared dicts)."""
        words = [f"marker{number}end" for number in range(8)]
        async with self.context(config) as ctx:
            calls = (backend.complete(ctx, self.request(self.echo_prompt(word))) for word in words)
            replies = [_text(completion) for completion in await asyncio.gather(*calls)]
        for word, reply in zip(words, map(str.casefold, replies), strict=True):
            assert word in reply
            assert not [other for other in words if other != word and other in reply]

    async def test_the_timeout_is_honoured(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: give up after ``request.timeout`` seconds, all phases together, with ``BackendTimeout``."""
        if self.slow_prompt is None:
            pytest.skip("no slow_prompt")
        started = time.monotonic()
        with pytest.raises(BackendTimeout):
            await self.ask(backend, config, self.request(self.slow_prompt, timeout=0.2))
        assert time.monotonic() - started < 3

    async def test_cancelling_leaves_nothing_open(self, backend: LLMBackend, config: BaseModel) -> None:
        """To fix: use ``async with`` for responses, let ``CancelledError`` through, start no task that outlives the call."""
        if self.slow_prompt is None:
            pytest.skip("no slow_prompt")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with self.context(config) as ctx:
                left = await self._cancel(backend, ctx, self.slow_prompt)
            gc.collect()
        assert not left, "tasks that outlive the call"
        assert not [item.message for item in caught if issubclass(item.category, ResourceWarning)]

    async def _cancel(self, backend: LLMBackend, ctx: PluginContext[Any], prompt: str) -> list[asyncio.Task[Any]]:
        """Cancel a call in the middle; gives the tasks it started that are not done then."""
        inside = ContextVar("inside", default=False)
        made: list[asyncio.Task[Any]] = []

        def note(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
            task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
            if inside.get():  # tasks of the test's own fake server, in the same loop, are not counted
                made.append(task)
            return task

        async def run() -> Completion:
            inside.set(True)
            return given("complete", await backend.complete(ctx, self.request(prompt)))

        loop = asyncio.get_running_loop()
        loop.set_task_factory(note)
        try:
            call = loop.create_task(run())
            await asyncio.sleep(0.1)
            assert not call.done(), "slow_prompt was answered at once"
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0.05)
        finally:
            loop.set_task_factory(None)
        return [task for task in made if not task.done()]


def check_model(info: ModelInfo) -> None:
    """One model's facts are possible."""
    assert info.id
    for size in (info.context_tokens, info.max_output_tokens):
        assert size is None or (type(size) is int and size > 0), info
    assert "text" in info.modalities, info
    assert info.modalities <= set(MODALITIES), info
    assert all(type(tokens) is int and tokens > 0 for tokens in info.media_tokens.values()), info


def check_usage(completion: Completion) -> None:
    """A completion's usage is possible."""
    usage = completion.usage
    if usage is None:
        return
    for tokens in (usage.input, usage.output, usage.cached, usage.reasoning):
        assert tokens is None or (type(tokens) is int and tokens >= 0), usage
    assert (usage.cached or 0) <= (usage.input if usage.input is not None else usage.cached or 0), usage
    assert (usage.reasoning or 0) <= (usage.output if usage.output is not None else usage.reasoning or 0), usage


def _text(completion: Completion) -> str:
    return "".join(part.text for part in completion.parts if isinstance(part, Text))
