"""A backend that is told what to answer, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tollhouse.plugin import (
    BackendTimeout,
    Completion,
    CompletionRequest,
    Health,
    Message,
    ModelInfo,
    ModelPrice,
    PluginContext,
    Text,
    TokenUsage,
)

MEDIA_TOKENS = 100
"""Tokens of one part that is not text."""

Answering = Callable[[CompletionRequest], Awaitable[Completion]]


class FakeBackendConfig(BaseModel):
    """One connection of the fake backend."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    api_key: SecretStr = Field(SecretStr("fake-key"), title="API key", description="Not used for anything.")


@dataclass(frozen=True, slots=True)
class _Planned:
    answer: str | Completion | Exception | Answering
    delay: float


class FakeBackend:
    """Answers what was enqueued, in order, and otherwise repeats the newest message. One character is one token.

    ``history`` has every request, oldest first. The object is made for one test: unlike a real backend it remembers.
    """

    name = "fake"
    title = "Fake model"
    Config: type[BaseModel] = FakeBackendConfig

    def __init__(self, model: str = "fake-1") -> None:
        self.history: list[CompletionRequest] = []
        self._model = ModelInfo(
            model, 100_000, 10_000, frozenset({"text", "image", "audio", "file"}), {"image": 100, "audio": 100, "file": 100}
        )
        self._planned: deque[_Planned] = deque()

    def enqueue(self, *answers: str | Completion | Exception | Answering, delay: float = 0.0) -> None:
        """Plan the next answers: a text, a whole completion, an error to raise, or an async function of the request.

        ``delay`` in seconds; if it is longer than the request's timeout the call ends in ``BackendTimeout``.
        """
        self._planned.extend(_Planned(answer, delay) for answer in answers)

    async def models(self, ctx: PluginContext[Any]) -> Sequence[ModelInfo]:
        """The one model."""
        return (self._model,)

    def describe(self, config: Any, model: str) -> ModelInfo | None:
        """Facts about the one model."""
        return self._model if model == self._model.id else None

    def count_tokens(self, model: str, text: str) -> int | None:
        """Characters of ``text``."""
        return len(text) if model == self._model.id else None

    def suggest_prices(self) -> Iterable[ModelPrice]:
        """1 USD per million in, 2 out, a tenth for what was cached."""
        return (ModelPrice(self._model.id, 10**9, 2 * 10**9, 10**8),)

    async def test(self, ctx: PluginContext[Any]) -> Health:
        """Always well."""
        return Health(True, "The fake model is ready.")

    async def complete(self, ctx: PluginContext[Any], request: CompletionRequest) -> Completion:
        """The next planned answer, or an echo."""
        self.history.append(request)
        planned = self._planned.popleft() if self._planned else _Planned(_newest(request.messages), 0.0)
        if planned.delay > request.timeout:
            await asyncio.sleep(request.timeout)
            raise BackendTimeout(private="the fake was planned to be slow")
        await asyncio.sleep(planned.delay)
        answer = planned.answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        return self._completion(request, answer) if isinstance(answer, str) else await answer(request)

    def _completion(self, request: CompletionRequest, text: str) -> Completion:
        shown = text[: request.max_output_tokens]
        heard = sum(
            len(part.text) if isinstance(part, Text) else MEDIA_TOKENS for message in request.messages for part in message.parts
        )
        return Completion(
            (Text(shown),),
            TokenUsage(heard, len(shown), 0, 0),
            "stop" if shown == text else "length",
            request.model,
            "fake-request",
        )


def _newest(messages: tuple[Message, ...]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user"), "")
