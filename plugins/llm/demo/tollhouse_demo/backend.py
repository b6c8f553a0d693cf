"""The demo backend: an :class:`~tollhouse.plugin.LLMBackend` that needs no network, no key and no state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    Completion,
    CompletionRequest,
    ContentFiltered,
    ContextTooLong,
    Health,
    Media,
    Message,
    ModelInfo,
    ModelPrice,
    PluginContext,
    Text,
    TokenUsage,
)
from tollhouse_demo import answers, tokens
from tollhouse_demo.directives import Fail, Switches, UsageKind, read_directives

MODEL = ModelInfo(
    id="demo",
    context_tokens=128_000,
    max_output_tokens=16_000,
    modalities=frozenset({"text", "image", "audio", "file"}),
    media_tokens=tokens.MEDIA_TOKENS,
)

HUGE = 10**12
"""Tokens reported by ``usage: huge``: more than anybody has set aside."""

_FAILURES: Mapping[Fail, type[BackendError]] = {
    "timeout": BackendTimeout,
    "rate_limit": BackendRateLimited,
    "unavailable": BackendUnavailable,
    "rejected": BackendRejected,
    "auth": BackendAuthFailed,
    "filtered": ContentFiltered,
    "garbage": BadCompletion,
}


class DemoConfig(BaseModel):
    """One connection to the demo model. Everything is as it should be unless a switch says otherwise."""

    model_config = ConfigDict(extra="forbid")

    latency_ms: int = Field(
        0, ge=0, le=600_000, title="Latency (ms)", description="How long every answer takes, in milliseconds."
    )
    fail: Fail = Field("none", title="Fail", description="Fail every call in this way, to see what users are told.")
    usage: UsageKind = Field(
        "exact", title="Reported usage", description="Report usage wrongly or not at all, to see how the ledger treats it."
    )
    directives: bool = Field(
        True,
        title="Directives",
        description="Obey /slow, /fail, /usage, /length, /echo and /json at the beginning of a message.",
    )


class DemoBackend:
    """Answers deterministically: the same request gives the same completion, for ever and on every machine."""

    name = "demo"
    title = "Demo model"
    Config: type[BaseModel] = DemoConfig

    async def models(self, ctx: PluginContext[DemoConfig]) -> Sequence[ModelInfo]:
        """The one model, ``demo``."""
        return (MODEL,)

    def describe(self, config: DemoConfig, model: str) -> ModelInfo | None:
        """Facts about ``demo``; None for any other name."""
        return MODEL if model == MODEL.id else None

    def count_tokens(self, model: str, text: str) -> int | None:
        """Exactly what :meth:`complete` reports for this text; see :mod:`tollhouse_demo.tokens`."""
        return tokens.count(text) if model == MODEL.id else None

    def suggest_prices(self) -> Iterable[ModelPrice]:
        """The demo costs nothing, and says so: an explicit zero, not an unknown price."""
        return (ModelPrice(MODEL.id, input_per_million=0, output_per_million=0, cached_per_million=0),)

    async def test(self, ctx: PluginContext[DemoConfig]) -> Health:
        """Always well, unless the connection is set up to fail."""
        if ctx.config.fail != "none":
            return Health(False, f"This demo connection is set up to fail: {ctx.config.fail}.")
        return Health(True, "The demo model is ready. It is not a real model: its answers are canned.")

    async def complete(self, ctx: PluginContext[DemoConfig], request: CompletionRequest) -> Completion:
        """Answer the newest user message.

        Raises:
            BackendRejected: any model but ``demo``.
            ContextTooLong: more input than the model's context.
            BackendError: the child that the connection or the message asked for.
        """
        if request.model != MODEL.id:
            raise BackendRejected(private=f"the demo backend has no model {request.model[:100]!r}")
        history, text, media = _split(request.messages)
        config = ctx.config
        switches = Switches(delay=config.latency_ms / 1000, fail=config.fail, usage=config.usage)
        if config.directives:
            switches, text = read_directives(text, switches)
        await _wait(switches.delay, request.timeout)
        used = tokens.count_messages(request.messages)
        if used > (MODEL.context_tokens or 0):
            raise ContextTooLong(private=f"{used} tokens of input, at most {MODEL.context_tokens}")
        if switches.fail != "none":
            raise _FAILURES[switches.fail](
                private="the demo model was asked to fail", retry_after=2 if switches.fail == "rate_limit" else None
            )
        return _completion(_reply(switches, text, media, history, request.parameters), used, switches.usage, request)


def _split(messages: tuple[Message, ...]) -> tuple[Sequence[Message], str, Sequence[Media]]:
    """What was said before, and text and media of the newest user message."""
    at = next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), None)
    if at is None:
        return messages, "", ()
    newest = messages[at]
    return messages[:at], newest.text, [part for part in newest.parts if isinstance(part, Media)]


async def _wait(delay: float, timeout: float) -> None:
    """Take ``delay`` seconds, but not longer than the caller waits."""
    if delay > timeout:
        await asyncio.sleep(timeout)
        raise BackendTimeout(private=f"the demo model was asked to take {delay} s, the timeout is {timeout} s")
    if delay:
        await asyncio.sleep(delay)


def _reply(
    switches: Switches, text: str, media: Sequence[Media], history: Sequence[Message], parameters: Mapping[str, Any]
) -> str:
    if switches.echo is not None:
        return switches.echo
    if switches.length is not None:
        return answers.filler(min(switches.length, MODEL.max_output_tokens or 0))
    if switches.json or answers.wants_json(parameters):
        return answers.as_json(text, media, parameters)
    return answers.answer(text, media, history)


def _completion(reply: str, used: int, kind: UsageKind, request: CompletionRequest) -> Completion:
    shown, missing = tokens.cut(reply, min(request.max_output_tokens, MODEL.max_output_tokens or 0))
    return Completion(
        parts=(Text(shown),),
        usage=_usage(kind, used, tokens.count(shown)),
        finish="length" if missing else "stop",
        model=MODEL.id,
        request_id=f"demo-{request.attempt_id}",
    )


def _usage(kind: UsageKind, used: int, written: int) -> TokenUsage | None:
    match kind:
        case "exact":
            return TokenUsage(used, written, cached=0, reasoning=0)
        case "missing":
            return None
        case "zero":
            return TokenUsage(0, 0)
        case "huge":
            return TokenUsage(HUGE, HUGE)
        case "negative":
            return TokenUsage(-used - 1, -written - 1)
