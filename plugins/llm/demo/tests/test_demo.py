"""The demo backend passes the kit, and its switches do what the README says."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from PIL import Image
from pydantic import BaseModel
from tollhouse_demo import DemoBackend, DemoConfig, plugin
from tollhouse_demo.media import dimensions
from tollhouse_demo.tokens import count, cut

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
    Media,
    Message,
    Text,
    TokenUsage,
)
from tollhouse.testing import LLMBackendSuite, make_context
from tollhouse.testing.llm import CORPUS

FAILURES: Mapping[str, type[BackendError]] = {
    "timeout": BackendTimeout,
    "rate_limit": BackendRateLimited,
    "unavailable": BackendUnavailable,
    "rejected": BackendRejected,
    "auth": BackendAuthFailed,
    "filtered": ContentFiltered,
    "garbage": BadCompletion,
}


class TestDemo(LLMBackendSuite):
    model = "demo"
    slow_prompt: ClassVar[str | None] = "/slow 5 zzz"
    message_overhead = 0

    @pytest.fixture
    def backend(self) -> DemoBackend:
        return DemoBackend()

    @pytest.fixture
    def server_faults(self) -> Mapping[str, tuple[BaseModel, type[BackendError]]]:
        return {word: (DemoConfig.model_validate({"fail": word}), error) for word, error in FAILURES.items()}

    def echo_prompt(self, text: str) -> str:
        return f"/echo {text}"


async def ask(
    text: str, *media: Media, config: DemoConfig | None = None, history: tuple[Message, ...] = (), **kwargs: Any
) -> Completion:
    fields: dict[str, Any] = {"max_output_tokens": 4000, "timeout": 5.0, "attempt_id": "a1", **kwargs}
    messages = (*history, Message("user", (Text(text), *media)))
    async with make_context(config or DemoConfig()) as ctx:
        return await DemoBackend().complete(
            ctx, CompletionRequest(model=fields.pop("model", "demo"), messages=messages, **fields)
        )


async def said(text: str, *media: Media, **kwargs: Any) -> str:
    completion = await ask(text, *media, **kwargs)
    return "".join(part.text for part in completion.parts if isinstance(part, Text))


def test_the_plugin_registers_one_backend() -> None:
    (backend,) = plugin.register_llm_backends(None)
    assert backend.name == "demo"
    assert plugin.contract == (1, 0)


async def test_the_same_request_gives_the_same_answer() -> None:
    assert await ask("Hello there") == await ask("Hello there")


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What can you do?", "/slow 3"),
        ("Which plans are there?", "**plan**"),
        ("What are my limits?", "**Limits**"),
        ("How do I connect a real model?", "Base URL".lower()),
        ("Can I use Telegram?", "every channel"),
        ("Who are you?", "demo model"),
        ("hi", "Hello!"),
    ],
)
async def test_the_guide_knows_tollhouse(question: str, word: str) -> None:
    reply = await said(question)
    assert word.lower() in reply.lower()
    assert "no AI" in reply


async def test_anything_else_is_reflected_with_its_history() -> None:
    history = (
        Message("system", (Text("secret prompt"),)),
        Message("user", (Text("First question"),)),
        Message("assistant", (Text("x"),)),
    )
    reply = await said("The sky\nis green", history=history)
    assert "> The sky\n> is green" in reply
    assert "Earlier you asked “First question”" in reply
    assert "secret prompt" not in reply
    assert "Earlier" not in await said("The sky is green")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "JPEG", "BMP", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
async def test_pictures_are_named_with_their_pixels(kind: str, options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, kind, **(options if kind == "WEBP" else {}))
    picture = Media("image", f"image/{kind.lower()}", data=buffer.getvalue(), name="cat")
    assert f"picture “cat” ({kind})" in (reply := await said("What is this thing?", picture))
    assert "64 × 48 pixels" in reply


async def test_other_media_are_named() -> None:
    reply = await said(
        "", Media("audio", "audio/wav", data=b"RIFF" * 600), Media("file", "application/pdf", data=b"%PDF", name="a.pdf")
    )
    assert "sound (WAV), 2 kB" in reply
    assert "file “a.pdf” (PDF), 4 bytes" in reply
    assert "file “a.exe”, 5 kB" in await said("", Media("file", "text/plain", name="a.exe", size=5002))


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff", b"BM", b"RIFF1234WEBPVP8 ", b"GIF89a"]
)
def test_broken_pictures_have_no_pixels(data: bytes) -> None:
    assert dimensions(data) is None


@pytest.mark.parametrize(("word", "error"), FAILURES.items())
async def test_failures_on_demand(word: str, error: type[BackendError]) -> None:
    with pytest.raises(error) as caught:
        await ask(f"/fail {word} please")
    assert type(caught.value) is error
    assert caught.value.retry_after == (2 if word == "rate_limit" else None)


@pytest.mark.parametrize(
    ("word", "usage"),
    [
        ("missing", None),
        ("zero", TokenUsage(0, 0)),
        ("huge", TokenUsage(10**12, 10**12)),
        ("negative", TokenUsage(-6, -2)),
    ],
)
async def test_odd_usage_on_demand(word: str, usage: TokenUsage | None) -> None:
    text = f"/usage {word} /echo a"
    found = (await ask(text)).usage
    assert found == (TokenUsage(-count(text) - 1, -2) if word == "negative" else usage)
    assert (await ask("/echo a", config=DemoConfig.model_validate({"usage": word}))).usage is None or word != "missing"


async def test_length_is_exact_and_the_limit_cuts() -> None:
    whole = await ask("/length 500")
    assert whole.usage is not None
    assert (whole.usage.output, whole.finish) == (500, "stop")
    short = await ask("/length 500", max_output_tokens=20)
    assert short.usage is not None
    assert (short.usage.output, short.finish) == (20, "length")


async def test_echo_is_exact() -> None:
    assert await said("/echo  two  spaces\nand /slow 3") == " two  spaces\nand /slow 3"
    assert await said("/usage zero /echo x") == "x"


async def test_json_is_json_and_fits_its_schema() -> None:
    assert json.loads(await said("/json Hello")) == {"demo": True, "message": "Hello", "received": []}
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["good", "bad"]},
            "score": {"type": "integer", "minimum": 3},
            "tags": {"type": "array", "items": {"type": "string"}},
            "sure": {"type": "boolean"},
        },
    }
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    reply = json.loads(await said("Rate the sky", parameters=wanted))
    assert reply == {"mood": "good", "score": 3, "tags": ["Rate the sky"], "sure": True}


@pytest.mark.parametrize("text", ["/fail nonsense x", "/slow", "/slow -1 x", "/slow nan x", "/length many", "/unknown", "/"])
async def test_what_is_no_directive_is_text(text: str) -> None:
    assert f"> {text}" in await said(text)


async def test_directives_can_be_off() -> None:
    assert "> /fail timeout" in await said("/fail timeout", config=DemoConfig(directives=False))


async def test_a_slow_answer_ends_at_the_timeout() -> None:
    with pytest.raises(BackendTimeout):
        await ask("x", config=DemoConfig(latency_ms=5000), timeout=0.05)
    assert await said("/slow 0.01 /echo late") == "late"


async def test_what_it_cannot_take() -> None:
    with pytest.raises(BackendRejected):
        await ask("x", model="gpt-5")
    with pytest.raises(ContextTooLong):
        await ask("€" * 130_000)


async def test_health_tells_of_planned_failures() -> None:
    async with make_context(DemoConfig()) as ctx:
        assert (await DemoBackend().test(ctx)).ok
    async with make_context(DemoConfig(fail="auth")) as ctx:
        assert not (await DemoBackend().test(ctx)).ok


@pytest.mark.parametrize("text", CORPUS)
def test_cutting_and_counting_agree(text: str) -> None:
    total = count(text)
    assert cut(text, total) == (text, False)
    for tokens in range(total):
        shown, missing = cut(text, tokens)
        assert missing
        assert text.startswith(shown)
        assert count(shown) == tokens
        assert count(shown) + count(text[len(shown) :]) >= total
