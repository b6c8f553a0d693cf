"""What the plugin does without importing litellm; runs everywhere."""

from __future__ import annotations

import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

tollhouse_litellm = pytest.importorskip(
    "tollhouse_litellm", reason="the plugin is not enabled by default; install it with -e plugins/llm/litellm"
)

from tollhouse_litellm import LiteLLMBackend, LiteLLMConfig, LiteLLMSettings, plugin  # noqa: E402  only if it is installed
from tollhouse_litellm.catalogue import read  # noqa: E402
from tollhouse_litellm.faults import error_of  # noqa: E402
from tollhouse_litellm.messages import completion_of, to_litellm, usage_of  # noqa: E402

from tollhouse.plugin import (  # noqa: E402
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    CompletionRequest,
    ContentFiltered,
    ContextTooLong,
    Media,
    Message,
    ModelPrice,
    Text,
    TokenUsage,
)
from tollhouse.testing import make_context  # noqa: E402

FILE: dict[str, Any] = {
    "sample_spec": {"mode": "one of: chat, …", "litellm_provider": "one of …", "max_input_tokens": "a number"},
    "gpt-4o": {
        "mode": "chat",
        "litellm_provider": "openai",
        "max_input_tokens": 128000,
        "max_output_tokens": 16384,
        "input_cost_per_token": Decimal("2.5e-06"),
        "output_cost_per_token": Decimal("1e-05"),
        "cache_read_input_token_cost": Decimal("1.25e-06"),
        "supports_vision": True,
        "supports_pdf_input": True,
    },
    "groq/tiny": {"mode": "chat", "litellm_provider": "groq", "input_cost_per_token": 0, "output_cost_per_token": 0},
    "xai/odd": {
        "mode": "chat",
        "litellm_provider": "xai",
        "input_cost_per_token": Decimal("0.000015000020000000002"),
        "output_cost_per_token": Decimal(1),
    },
    "gemini-x": {"mode": "chat", "litellm_provider": "vertex_ai-language-models"},
    "per-call": {
        "mode": "chat",
        "litellm_provider": "perplexity",
        "input_cost_per_token": Decimal("1e-6"),
        "output_cost_per_token": Decimal("1e-6"),
        "input_cost_per_request": Decimal("0.005"),
    },
    "text-embedding-3": {"mode": "embedding", "litellm_provider": "openai", "input_cost_per_token": Decimal("1e-8")},
    "broken": 7,
}


def config(**changes: Any) -> LiteLLMConfig:
    return LiteLLMConfig.model_validate({"provider": "anthropic", "api_key": "sk-secret", **changes})


def test_the_file_is_read_in_whole_numbers() -> None:
    found = read(FILE)
    assert set(found) == {"openai/gpt-4o", "groq/tiny", "xai/odd", "vertex_ai/gemini-x", "perplexity/per-call"}
    assert found["openai/gpt-4o"].price == ModelPrice("openai/gpt-4o", 2_500_000_000, 10_000_000_000, 1_250_000_000)
    assert found["xai/odd"].price == ModelPrice("xai/odd", 15_000_020_001, 10**15)
    assert [found[model].price for model in ("groq/tiny", "vertex_ai/gemini-x", "perplexity/per-call")] == [None] * 3
    info = found["openai/gpt-4o"].info
    assert (info.context_tokens, info.max_output_tokens, info.modalities) == (
        128000,
        16384,
        frozenset({"text", "image", "file"}),
    )


def test_a_spelled_out_entry_wins() -> None:
    bare = {"mode": "chat", "litellm_provider": "xai", "max_input_tokens": 1}
    for order in (("xai/m", "m"), ("m", "xai/m")):
        raw = {key: {**bare, "max_input_tokens": 2} if "/" in key else bare for key in order}
        assert read(raw)["xai/m"].info.context_tokens == 2


def test_registering_imports_nothing_heavy() -> None:
    loaded = "litellm" in sys.modules
    (backend,) = plugin.register_llm_backends(None)
    assert backend.name == "litellm"
    assert ("litellm" in sys.modules) == loaded


def test_what_meters_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be metered"):
        config(provider="aiohttp_openai")


@pytest.mark.parametrize(
    ("settings", "changes", "model"),
    [
        ({}, {"provider": "bedrock"}, "bedrock/x"),
        ({}, {"api_base": "http://169.254.169.254/"}, "anthropic/x"),
        ({}, {}, "openai/gpt-4o"),
        ({}, {}, "aiohttp_openai/gpt-4o"),
        ({}, {}, "x"),
        ({"providers": ["bedrock"]}, {}, "anthropic/x"),
    ],
)
async def test_what_is_not_allowed_is_rejected_before_the_import(settings: Any, changes: Any, model: str) -> None:
    backend = LiteLLMBackend(LiteLLMSettings.model_validate(settings))
    async with make_context(config(**changes)) as ctx:
        with pytest.raises(BackendRejected):
            await backend.complete(ctx, CompletionRequest(model, (Message("user", (Text("Hi"),)),), 5, 5, "a"))


async def test_health_names_what_is_not_allowed() -> None:
    async with make_context(config(provider="bedrock")) as ctx:
        assert "not enabled here" in (await LiteLLMBackend().test(ctx)).detail


@pytest.mark.parametrize(
    ("names", "status", "expected"),
    [
        (("ContextWindowExceededError", "BadRequestError"), 400, ContextTooLong),
        (("ContentPolicyViolationError", "BadRequestError"), 400, ContentFiltered),
        (("PaymentRequiredError", "BadRequestError"), 402, BackendAuthFailed),
        (("UnsupportedParamsError", "BadRequestError"), 400, BackendRejected),
        (("AuthenticationError", "APIStatusError"), 401, BackendAuthFailed),
        (("PermissionDeniedError", "APIStatusError"), 403, BackendAuthFailed),
        (("RateLimitError", "APIStatusError"), 429, BackendRateLimited),
        (("Timeout", "APITimeoutError"), 408, BackendTimeout),
        (("InternalServerError", "APIStatusError"), 500, BackendUnavailable),
        (("APIConnectionError",), 500, BackendUnavailable),
        (("APIResponseValidationError",), 200, BadCompletion),
        (("APIError",), 403, BackendAuthFailed),
        (("NewKind",), 418, BackendRejected),
        (("NewKind",), 503, BackendUnavailable),
        (("NewKind",), None, BackendUnavailable),
    ],
)
def test_errors_are_mapped_children_first(names: tuple[str, ...], status: int | None, expected: type[BackendError]) -> None:
    kind: type[Exception] = Exception
    for name in reversed(names):
        kind = type(name, (kind,), {"status_code": status, "response": SimpleNamespace(headers={"retry-after": "1.5"})})
    error = error_of(kind("it said sk-secret"), "sk-secret")
    assert type(error) is expected
    assert error.retry_after == 2
    assert "sk-secret" not in f"{error} {error.private} {error.detail}"


def reply(content: Any = "Hi", finish: str = "stop", **message: Any) -> SimpleNamespace:
    choice = SimpleNamespace(message=SimpleNamespace(content=content, **message), finish_reason=finish)
    return SimpleNamespace(
        choices=[choice], model="m-1", id="id-1", usage=SimpleNamespace(prompt_tokens=3, completion_tokens=1)
    )


def test_completions_are_read_with_care() -> None:
    assert completion_of(reply(), "m").usage == TokenUsage(3, 1)
    assert completion_of(reply(None, "tool_calls", tool_calls=[1]), "m").finish == "tool_calls"
    assert completion_of(reply(None, "length"), "m").parts == ()
    with pytest.raises(ContentFiltered):
        completion_of(reply(None, "content_filter"), "m")
    for odd in (reply(None), reply(""), SimpleNamespace(choices=[]), SimpleNamespace(), None):
        with pytest.raises(BadCompletion):
            completion_of(odd, "m")


def test_usage_is_normalised() -> None:
    details = SimpleNamespace(cached_tokens=2)
    raw = SimpleNamespace(
        prompt_tokens=5,
        completion_tokens=4,
        prompt_tokens_details=details,
        completion_tokens_details=SimpleNamespace(reasoning_tokens=9),
    )
    assert usage_of(raw, True) == TokenUsage(5, 4, 2, 9), "the kernel knows what is possible"
    zeros = SimpleNamespace(prompt_tokens=0, completion_tokens=0)
    assert usage_of(zeros, True) is None
    assert usage_of(zeros, False) == TokenUsage(0, 0)
    assert usage_of(None, True) is None
    assert usage_of(SimpleNamespace(prompt_tokens="5", completion_tokens=-1), True) == TokenUsage(-1, -1)


def test_parts_have_openais_form() -> None:
    media = (
        Media("image", "image/png", data=b"a"),
        Media("audio", "audio/wav", data=b"b"),
        Media("file", "application/pdf", data=b"c"),
    )
    sent = to_litellm(Message("user", (Text("Look"), *media)))["content"]
    assert [part["type"] for part in sent] == ["text", "image_url", "input_audio", "file"]
    note = to_litellm(Message("user", (Media("file", "text/plain", data=b"Milk", name="list.txt"),)))["content"]
    assert note == [{"type": "text", "text": "[list.txt]\nMilk"}]
    assert to_litellm(Message("assistant", (Text("a"), Text("b")))) == {"role": "assistant", "content": "a\nb"}
    for odd in (
        Media("audio", "audio/ogg", data=b"a"),
        Media("file", "application/zip", data=b"a"),
        Media("image", "image/png"),
    ):
        with pytest.raises(BackendRejected):
            to_litellm(Message("user", (odd,)))
