"""The kit, through the real litellm against a fake endpoint.

Skipped where litellm is not installed; ``make test`` installs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("litellm") is None or find_spec("tollhouse_litellm") is None:
    pytest.skip("litellm is not installed: make install PLUGIN=litellm", allow_module_level=True)

from pydantic import BaseModel
from tollhouse_litellm import LiteLLMBackend, LiteLLMConfig, LiteLLMSettings

from tollhouse.plugin import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendUnavailable,
    Completion,
    CompletionRequest,
    ContextTooLong,
    Message,
    Text,
    TokenUsage,
)
from tollhouse.testing import LLMBackendSuite, make_context

pytestmark = pytest.mark.filterwarnings("ignore")  # litellm's own deprecations are not ours


class TestLiteLLM(LLMBackendSuite):
    model = "openai/gpt-4o"
    slow_prompt = "slow"

    @pytest.fixture
    def backend(self) -> LiteLLMBackend:
        return LiteLLMBackend(LiteLLMSettings(allow_api_base=True))

    @pytest.fixture
    def config(self, server: Any) -> LiteLLMConfig:
        return LiteLLMConfig.model_validate({"provider": "openai", "api_key": server.key, "api_base": server.url})

    @pytest.fixture
    def server_faults(self, server: Any) -> Mapping[str, tuple[BaseModel, type[BackendError]]]:
        made = {"provider": "openai", "api_base": server.url}
        return {
            "wrong key": (LiteLLMConfig.model_validate({**made, "api_key": "sk-another-secret"}), BackendAuthFailed),
            "refused": (
                LiteLLMConfig.model_validate({**made, "api_key": server.key, "api_base": "http://127.0.0.1:9/v1"}),
                BackendUnavailable,
            ),
        }


async def complete(server: Any, **parameters: Any) -> Completion:
    config = LiteLLMConfig.model_validate({"provider": "openai", "api_key": server.key, "api_base": server.url})
    request = CompletionRequest("openai/gpt-4o", (Message("user", (Text("a b c"),)),), 5, 10, "a", parameters)
    async with make_context(config) as ctx:
        return await LiteLLMBackend(LiteLLMSettings(allow_api_base=True)).complete(ctx, request)


async def test_usage_is_not_zero(server: Any) -> None:
    assert (await complete(server)).usage == TokenUsage(3, 3)
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}
    server.usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, **details}
    assert (await complete(server)).usage == TokenUsage(9, 4, 2, 1)
    server.usage = None
    assert (await complete(server)).usage is None


async def test_only_what_is_allowed_is_sent(server: Any) -> None:
    await complete(
        server, temperature=0.5, api_base="http://127.0.0.1:9", mock_response="x", n=5, fallbacks=["y"], max_tokens=999
    )
    (body,) = server.bodies
    assert set(body) <= {"model", "messages", "max_tokens", "max_completion_tokens", "temperature"}
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 5


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ContextTooLong),
        (403, BackendAuthFailed),
        (404, BackendRejected),
        (422, BackendRejected),
        (429, BackendRateLimited),
        (500, BackendUnavailable),
        (503, BackendUnavailable),
    ],
)
async def test_statuses_are_mapped_and_not_retried(server: Any, status: int, expected: type[BackendError]) -> None:
    server.status = status
    with pytest.raises(BackendError) as error:
        await complete(server)
    assert type(error.value) is expected, error.value.private
    assert len(server.bodies) == 1
    assert server.key not in f"{error.value.detail} {error.value.private}"
    assert error.value.may_have_run is (status >= 500)
    assert (error.value.usage == TokenUsage(output=0)) is (status >= 500), "an answer that says nothing"


@pytest.mark.parametrize("how", ["reset", "cut short", "no json", "error in 200"])
async def test_what_broke_off_may_have_run(server: Any, how: str) -> None:
    server.broken = how
    with pytest.raises(BackendError) as error:
        await complete(server)
    assert (error.value.may_have_run, error.value.usage) == (True, None), error.value.private


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1", "tls"])
async def test_what_was_never_sent_did_not_run(server: Any, url: str) -> None:
    server.url = server.url.replace("http://", "https://") if url == "tls" else url
    with pytest.raises(BackendError) as error:
        await complete(server)
    assert (type(error.value), error.value.may_have_run) == (BackendUnavailable, False), error.value.private


async def test_health(server: Any) -> None:
    backend = LiteLLMBackend(LiteLLMSettings(allow_api_base=True))
    made = {"provider": "openai", "api_key": server.key, "api_base": server.url}
    async with make_context(LiteLLMConfig.model_validate(made)) as ctx:
        assert (await backend.test(ctx)).ok
    async with make_context(LiteLLMConfig.model_validate({**made, "api_key": "sk-wrong"})) as ctx:
        assert not (await backend.test(ctx)).ok


def test_the_bundled_file_is_understood() -> None:
    backend = LiteLLMBackend()
    assert len(list(backend.suggest_prices())) > 1000
    info = backend.describe(LiteLLMConfig.model_validate({"provider": "openai", "api_key": "k"}), "openai/gpt-4o")
    assert info is not None
    assert info.context_tokens == 128_000
