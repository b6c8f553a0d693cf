"""The backend: one POST per completion on the kernel's shared HTTP session, with nothing in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel
from pydantic_core import from_json

from tollhouse.plugin import (
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    Completion,
    CompletionRequest,
    Health,
    Media,
    Modality,
    ModelInfo,
    PluginContext,
)
from tollhouse_openai import catalogue
from tollhouse_openai.answers import completion_of
from tollhouse_openai.config import ModelSpec, OpenAIConfig
from tollhouse_openai.faults import error_of_status
from tollhouse_openai.requests import body_of, refusal_of

MAX_BODY = 4 * 1024 * 1024
"""Bytes of an answer that are read; more than any chat completion has."""
MAX_ERROR = 64 * 1024
"""Bytes of an error that are read; what it says stands at its beginning."""
MAX_VALUES = 300_000
"""Values in an answer: each becomes an object, thirty times as large as its text. Counted are commas and brackets, which an
honest answer of that size has in its words."""
LARGE = 256 * 1024
"""Bytes that are made an object in a thread, so that other turns go on meanwhile."""

AT_ONCE = 1024 * 1024
"""Bytes of a request that are handed to the connection in one piece; more goes piece by piece."""

MAX_MODELS = 2_000
MAX_PRIVATE = 1_000
"""Characters of a provider's text that are kept for the log."""

CONNECT_TIMEOUT = 15.0
"""Seconds until an endpoint has to be connected: after that, too, it is known that it was asked nothing."""

LIST_TIMEOUT = 15.0
"""Seconds for ``GET /models``, which a person waits for."""


ResultT = TypeVar("ResultT")


class OpenAIBackend:
    """Talks to OpenAI and everything that speaks its chat-completions dialect (vLLM, Ollama, llama.cpp, OpenRouter, Groq …).

    It has no tokenizer on purpose: a compatible endpoint may serve any model, so a guess could be too low.
    """

    name = "openai"
    title = "OpenAI-compatible"
    Config: type[BaseModel] = OpenAIConfig

    async def complete(self, ctx: PluginContext[OpenAIConfig], request: CompletionRequest) -> Completion:
        """One POST to ``/chat/completions``.

        Raises:
            BackendError: one of its children, see :mod:`tollhouse_openai.faults`.
        """
        config = ctx.config
        body = await asyncio.to_thread(body_of, config, request) if _size(request) > LARGE else body_of(config, request)
        headers = config.headers()
        headers["Content-Type"] = "application/json"
        headers["Idempotency-Key"] = headers["X-Client-Request-Id"] = request.attempt_id
        return await _call(ctx, "POST", "/chat/completions", headers, request.timeout, completion_of, body)

    async def models(self, ctx: PluginContext[OpenAIConfig]) -> Sequence[ModelInfo]:
        """What ``GET /models`` lists, and what the configuration adds. The list may be missing if the latter has some.

        Raises:
            BackendAuthFailed: the key is not accepted.
            BackendUnavailable: the endpoint cannot be reached.
            BadCompletion: the endpoint lists its models in a way we do not understand.
        """
        config = ctx.config
        try:
            listed = await _call(ctx, "GET", "/models", config.headers(), LIST_TIMEOUT, _listed)
        except (BackendRejected, BadCompletion):  # not every compatible server has the list
            if not config.models:
                raise
            listed = {}
        ids = dict.fromkeys([spec.id for spec in config.models])
        ids.update(dict.fromkeys(model for model in listed if not config.is_openai or catalogue.talks(model)))
        return [self._describe(config, model, listed.get(model)) for model in ids]

    def describe(self, config: OpenAIConfig, model: str) -> ModelInfo | None:
        """What the configuration says of ``model``, over what we know by heart; None if neither knows it."""
        known = catalogue.known(model)
        spec = next((spec for spec in config.models if spec.id == model), None)
        return known if spec is None else _merge(known or ModelInfo(model), spec)

    def refuses(self, config: OpenAIConfig, model: str, media: Media) -> str | None:
        """What this API has no form for, whichever model is behind it."""
        return refusal_of(media)

    def _describe(self, config: OpenAIConfig, model: str, context_tokens: int | None) -> ModelInfo:
        return self.describe(config, model) or ModelInfo(model, context_tokens=context_tokens)

    async def test(self, ctx: PluginContext[OpenAIConfig]) -> Health:
        """Ask for the list of models: free, and it needs a valid key."""
        try:
            listed = await _call(ctx, "GET", "/models", ctx.config.headers(), LIST_TIMEOUT, _listed)
            return Health(True, f"Connected; the endpoint lists {len(listed)} models.")
        except (BackendRejected, BadCompletion):
            if ctx.config.models:
                return Health(True, "The endpoint answers but does not list its models, so the key was not tried.")
            return Health(False, "The endpoint answers, but not like an OpenAI-compatible API. Is the base URL right?")
        except BackendError as error:
            return Health(False, _SENTENCES.get(error.code, error.detail))


_SENTENCES = {
    "model_not_connected": "The endpoint does not accept the API key (or the account is out of credit).",
    "model_unavailable": "The endpoint cannot be reached. Check the base URL and that this server may connect to it.",
    "model_timeout": f"The endpoint did not answer within {LIST_TIMEOUT:.0f} seconds.",
    "model_busy": "The endpoint answers, but refuses for now because of its rate limit.",
}


def _size(request: CompletionRequest) -> int:
    """How much is sent, roughly: characters of text and bytes of files."""
    parts = [part for message in request.messages for part in message.parts]
    return sum(len(part.data or b"") if isinstance(part, Media) else len(part.text) for part in parts)


def _merge(info: ModelInfo, spec: ModelSpec) -> ModelInfo:
    return replace(
        info,
        context_tokens=spec.context_tokens or info.context_tokens,
        max_output_tokens=spec.max_output_tokens or info.max_output_tokens,
        modalities=frozenset[Modality](spec.modalities | {"text"}) if spec.modalities else info.modalities,
    )


def _listed(payload: Any, request_id: str | None) -> dict[str, int | None]:
    """Model ids of a list, each with its context if the server says it (vLLM, OpenRouter and others do)."""
    data = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(data, list):
        raise BadCompletion(private="the list of models has no data")
    out: dict[str, int | None] = {}
    for item in data[:MAX_MODELS]:
        if isinstance(item, dict) and isinstance(model := item.get("id"), str) and model:
            sizes = (item.get(key) for key in ("max_model_len", "context_length", "context_window"))
            out[model] = next((size for size in sizes if type(size) is int and size > 0), None)
    return out


async def _call(
    ctx: PluginContext[OpenAIConfig],
    method: str,
    path: str,
    headers: dict[str, str],
    timeout: float,
    read: Callable[[Any, str | None], ResultT],
    body: bytes | None = None,
) -> ResultT:
    """One request; ``read`` gets the JSON of a 2xx and the provider's request id. Every error is a BackendError."""
    connect = min(timeout * 0.9, CONNECT_TIMEOUT)  # less than all, to be told apart
    try:
        async with ctx.http.request(
            method,
            ctx.config.base_url + path,
            data=BytesIO(body) if body is not None and len(body) > AT_ONCE else body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout, connect=connect),
            allow_redirects=False,
        ) as response:
            raw = await _read(response)
        payload = _loaded(raw) if len(raw) <= LARGE else await asyncio.to_thread(_loaded, raw)
        return read(_json_of(response, raw, payload, ctx), response.headers.get("x-request-id"))
    except BackendError as error:
        error.private = _clean(error.private, ctx.config)
        raise
    except aiohttp.ConnectionTimeoutError as error:
        private = f"{type(error).__name__}, no connection after at most {connect:g} s"
        raise BackendTimeout(private=private, may_have_run=False) from None
    except TimeoutError as error:
        raise BackendTimeout(private=f"{type(error).__name__} after at most {timeout:g} s") from None
    except aiohttp.InvalidURL:
        raise BackendRejected(private="the base URL cannot be used") from None
    except (aiohttp.ClientError, OSError) as error:
        # Refused, unknown host, TLS: nothing was sent. Reset, hung up, cut short: it may have been working.
        refused = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError)
        sent = not refused and getattr(error, "sent", True)  # the kernel says it of addresses that may not be called
        raise BackendUnavailable(private=f"{type(error).__name__}: {error}"[:500], may_have_run=sent) from None


def _clean(private: str | None, config: OpenAIConfig) -> str | None:
    """A text for the log: without the key, which some providers quote when they refuse it, and not endless."""
    if private and config.api_key is not None:
        private = private.replace(config.api_key.get_secret_value(), "***")
    return private[:MAX_PRIVATE] if private else private


def _json_of(response: aiohttp.ClientResponse, raw: bytes, payload: Any, ctx: PluginContext[OpenAIConfig]) -> Any:
    """The JSON of a 2xx, whatever its Content-Type says; the right error for all else."""
    if not 200 <= response.status < 300:
        raise error_of_status(response.status, response.headers, payload, raw.decode("utf-8", "replace"), ctx.now())
    if payload is None:
        kind = response.content_type
        raise BadCompletion(private=f"HTTP {response.status}, {len(raw)} bytes of {kind} that are not JSON")
    return payload


def _loaded(raw: bytes) -> Any:
    """What the bytes say as JSON; None if they are none. The fast reader is strict: half a surrogate pair is nothing to it."""
    if len(raw) > MAX_VALUES and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        return None
    try:
        return from_json(raw, cache_strings="keys")
    except ValueError:
        with suppress(ValueError, RecursionError):
            return json.loads(raw)
    return None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, up to :data:`MAX_BODY` bytes after decompression; of an error its beginning. Leaving early closes it."""
    good = 200 <= response.status < 300
    most, body = MAX_BODY if good else MAX_ERROR, bytearray()
    while chunk := await response.content.readany():
        body += chunk[: most + 1 - len(body)]
        if len(body) > most:
            response.close()
            if good:
                raise BadCompletion(private=f"HTTP {response.status} with more than {MAX_BODY} bytes")
            break
    return bytes(body[:most])
