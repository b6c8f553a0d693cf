"""Running a call: every way to a reply, and every way to a failure, with a record of each call made."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

import pytest

from tollhouse.plugin.content import Media, Message, Text
from tollhouse.plugin.errors import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    ConfigError,
    ContentFiltered,
    ContextTooLong,
    NotFound,
    Unavailable,
)
from tollhouse.plugin.llm import Completion, ModelInfo, TokenUsage
from tollhouse.runtime.errors import RunFailed
from tollhouse.runtime.run import Runtime

PRIMARY, FALLBACK = UUID(int=1), UUID(int=2)


async def test_a_reply(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("Hello", input=20, output=3)]
    outcome = await world.run(make.version(parameters={"seed": 1}, timeout=7), revision=5)
    assert outcome.reply.text == "Hello"
    assert outcome.candidate.model == "m1"
    (request,) = world.primary.requests
    assert (request.model, request.max_output_tokens, request.timeout, request.attempt_id) == ("m1", 500, 7, "attempt")
    assert request.parameters == {"seed": 1}
    assert [message.role for message in request.messages] == ["system", "user"]
    assert world.connected == [(PRIMARY, 5)]
    (call,) = outcome.calls
    assert (call.connection_id, call.backend, call.model, call.outcome, call.answered) == (PRIMARY, "fake", "m1", "ok", True)
    assert (call.usage, call.reported_model, call.request_id) == (TokenUsage(20, 3), "m-real", "req-1")
    assert call.latency_ms >= 0
    assert not call.repair


async def test_output_is_bounded_by_what_was_granted_and_by_the_version(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("a"), make.completion("b")]
    await world.run(make.version(max_output_tokens=100), granted=40)
    await world.run(make.version(max_output_tokens=100), granted=4_000)
    assert [request.max_output_tokens for request in world.primary.requests] == [40, 100]


@pytest.mark.parametrize("error", [BackendRateLimited, BackendUnavailable])
async def test_a_retryable_error_is_tried_again_twice_then_the_fallback_answers(
    world: Any, make: Any, error: type[BackendError]
) -> None:
    world.primary.steps = [error(private=f"boom {number}", usage=TokenUsage(7, 0)) for number in range(3)]
    world.fallback.steps = [make.completion("from the second")]
    outcome = await world.run(make.version(fallback=make.fallback_choice))
    assert outcome.reply.text == "from the second"
    assert outcome.candidate.model == "m2"
    assert [(call.model, call.outcome, call.answered, call.error) for call in outcome.calls] == [
        ("m1", error.code, False, "boom 0"),
        ("m1", error.code, False, "boom 1"),
        ("m1", error.code, False, "boom 2"),
        ("m2", "ok", True, ""),
    ]
    assert outcome.calls[0].usage == TokenUsage(7, 0)
    assert 0.25 <= world.pauses[0] <= 0.5 <= world.pauses[1] <= 1
    assert len(world.pauses) == 2
    assert {request.attempt_id for request in world.primary.requests} == {"attempt"}
    assert world.fallback.requests[0].attempt_id != "attempt"


async def test_a_retry_that_succeeds(world: Any, make: Any) -> None:
    world.primary.steps = [BackendUnavailable(), make.completion("at last")]
    outcome = await world.run()
    assert outcome.reply.text == "at last"
    assert [call.outcome for call in outcome.calls] == ["model_unavailable", "ok"]


async def test_it_waits_as_long_as_the_provider_asks_up_to_five_seconds(world: Any, make: Any) -> None:
    world.primary.steps = [BackendRateLimited(retry_after=5), make.completion("ok")]
    await world.run()
    assert world.pauses == [5]
    world.primary.steps = [BackendRateLimited(retry_after=6)]
    world.fallback.steps = [make.completion("second")]
    outcome = await world.run(make.version(fallback=make.fallback_choice))
    assert outcome.reply.text == "second"
    assert world.pauses == [5]


async def test_refused_credentials_go_to_the_fallback_without_a_retry(world: Any, make: Any) -> None:
    world.primary.steps = [BackendAuthFailed(private="key sk-1 is bad")]
    world.fallback.steps = [make.completion("second")]
    outcome = await world.run(make.version(fallback=make.fallback_choice))
    assert [call.outcome for call in outcome.calls] == ["model_not_connected", "ok"]
    assert world.pauses == []


@pytest.mark.parametrize("error", [BackendRejected, ContextTooLong, ContentFiltered, BackendError])
async def test_what_asking_again_would_not_change_ends_the_run(world: Any, make: Any, error: type[BackendError]) -> None:
    world.primary.steps = [error(private="secret detail")]
    with pytest.raises(RunFailed) as failed:
        await world.run(make.version(fallback=make.fallback_choice))
    assert type(failed.value.error) is error
    assert "secret detail" not in str(failed.value)
    assert [(call.outcome, call.error) for call in failed.value.calls] == [(error.code, "secret detail")]
    assert world.fallback.requests == []


async def test_when_nothing_answers_every_call_is_told(world: Any, make: Any) -> None:
    world.primary.steps = [BackendUnavailable() for _ in range(3)]
    world.fallback.steps = [BackendTimeout() for _ in range(3)]
    with pytest.raises(RunFailed) as failed:
        await world.run(make.version(fallback=make.fallback_choice))
    assert isinstance(failed.value.error, BackendTimeout)
    assert [call.model for call in failed.value.calls] == ["m1"] * 3 + ["m2"] * 3
    assert failed.value.calls[-1].output_bound == 500  # it may have been generated all the same
    assert failed.value.calls[0].output_bound == 500  # what is not reached may have been: its backend did not say
    assert {call.may_have_run for call in failed.value.calls} == {True}


@pytest.mark.parametrize(
    "crash", [ValueError("token sk-1"), KeyError("x"), SystemExit(3), RecursionError(), asyncio.CancelledError()]
)
async def test_a_plugin_that_crashes_is_an_unavailable_model_and_named_in_the_log(
    world: Any, make: Any, crash: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    world.primary.steps = [crash, crash, crash]
    with caplog.at_level(logging.ERROR), pytest.raises(RunFailed) as failed:
        await world.run()
    assert isinstance(failed.value.error, BackendUnavailable)
    assert "sk-1" not in failed.value.error.detail
    assert failed.value.calls[0].error.startswith(type(crash).__name__)
    assert "scripted" in caplog.text


@pytest.mark.parametrize(
    "answer", [None, "Hello", {"text": "x"}, Completion(("Hello",)), Completion((Text("a"),), usage={"input": 1})]
)  # type: ignore[arg-type]
async def test_a_plugin_that_answers_with_something_else(world: Any, make: Any, answer: object) -> None:
    world.primary.steps = [answer, answer, answer]
    with pytest.raises(RunFailed) as failed:
        await world.run()
    assert isinstance(failed.value.error, BadCompletion)
    assert len(failed.value.calls) == 2


async def test_an_answer_that_cannot_be_used_is_asked_for_once_more_and_then_of_the_other_model(world: Any, make: Any) -> None:
    """Each is paid for: nobody asks three times, and whoever asked us is not told to ask again."""
    world.primary.steps = [make.completion("  "), make.completion("  ")]
    world.fallback.steps = [make.completion("from the second")]
    outcome = await world.run(make.version(fallback=make.fallback_choice))
    assert outcome.reply.text == "from the second"
    assert [call.outcome for call in outcome.calls] == ["bad_completion", "bad_completion", "ok"]
    world.primary.steps = [make.completion("  "), make.completion("  ")]
    with pytest.raises(RunFailed) as failed:
        await world.run()
    assert not failed.value.error.may_retry


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<think>\nHm.\n</think>\n\nHello.", "Hello."),
        ("  <thinking>Hm.</thinking>Hello.", "Hello."),
        ("<think></think>\n\nHello.", "Hello."),
        ("<think>One.</think>\n<think>Two.</think>Hello.", "Hello."),
        ("Hm, they greet me.\n</think>\n\nHello.", "Hello."),  # the prompt had the opening tag
        ("The tag `</think>` ends a thought.", "The tag `</think>` ends a thought."),
        ("Write <think>so</think> in your prompt.", "Write <think>so</think> in your prompt."),
        ("Hello. <think>Done?</think>", "Hello. <think>Done?</think>"),
        ("Hello.", "Hello."),
    ],
)
async def test_what_a_model_thinks_aloud_is_not_for_customers(world: Any, make: Any, said: str, shown: str) -> None:
    world.primary.steps = [make.completion(said)]
    outcome = await world.run()
    assert outcome.reply.text == shown


async def test_thoughts_that_used_up_the_whole_length_leave_no_answer(world: Any, make: Any) -> None:
    world.primary.steps = [Completion((Text("<think>Let me see"),), TokenUsage(5, 100), "length")]
    outcome = await world.run()
    assert (outcome.reply.text, outcome.reply.finish) == ("", "length")
    assert outcome.calls[0].output_bound == len("<think>Let me see"), "it was paid for"


async def test_an_empty_reply_is_none(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("  ", output=4), make.completion("now")]
    outcome = await world.run()
    assert outcome.reply.text == "now"
    assert [(call.outcome, call.answered) for call in outcome.calls] == [("bad_completion", True), ("ok", True)]
    assert outcome.calls[0].usage == TokenUsage(output=4)
    world.primary.steps = [make.completion("", "length", input=1, output=500)]
    assert (await world.run()).reply.finish == "length"
    world.primary.steps = [make.completion("", "content_filter")]
    with pytest.raises(RunFailed) as failed:
        await world.run()
    assert isinstance(failed.value.error, ContentFiltered)


async def test_a_call_that_takes_too_long_is_cut(world: Any, make: Any) -> None:
    cut: list[bool] = []

    async def hang(request: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(True)

    world.primary.steps = [hang, hang, hang]
    runtime = Runtime(world.runtime.connect, sleep=world.runtime.sleep, deadline=1.05)
    prepared = make.prepared(make.version(timeout=1))
    started = asyncio.get_running_loop().time()
    with pytest.raises(RunFailed) as failed:
        await runtime.run(prepared, 500, "attempt")
    assert isinstance(failed.value.error, BackendTimeout)
    assert 0.9 < asyncio.get_running_loop().time() - started < 3
    assert cut == [True]  # with too little time left there is no second try
    assert failed.value.calls[0].latency_ms >= 900


async def test_a_model_that_is_too_slow_is_followed_by_the_next_at_once(world: Any, make: Any) -> None:
    async def hang(request: Any) -> None:
        await asyncio.Event().wait()

    world.primary.steps = [hang]
    world.fallback.steps = [make.completion("from the second")]
    outcome = await world.run(make.version(timeout=1, fallback=make.fallback_choice))
    assert [call.outcome for call in outcome.calls] == ["model_timeout", "ok"]
    assert outcome.calls[0].model != outcome.calls[1].model


async def test_a_cancellation_of_the_caller_passes(world: Any, make: Any) -> None:
    begun = asyncio.Event()

    async def hang(request: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    world.primary.steps = [hang]
    task = asyncio.create_task(world.run(make.version(fallback=make.fallback_choice)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.fallback.requests == []


@pytest.mark.parametrize("refused", [NotFound(), ConfigError("the plugin is off"), BackendAuthFailed(), Unavailable()])
async def test_a_connection_that_cannot_be_opened_is_no_call(world: Any, make: Any, refused: Exception) -> None:
    world.refused[PRIMARY] = refused
    world.fallback.steps = [make.completion("second")]
    outcome = await world.run(make.version(fallback=make.fallback_choice))
    assert [call.model for call in outcome.calls] == ["m2"]
    with pytest.raises(RunFailed) as failed:
        await world.run()
    assert failed.value.calls == ()
    assert type(failed.value.error) is (BackendUnavailable if isinstance(refused, Unavailable) else BackendAuthFailed)


# -- Post-processing ------------------------------------------------------------------------------------------------------


async def _said(world: Any, make: Any, text: str, **post: Any) -> Any:
    world.primary.steps = [make.completion(text)]
    return (await world.run(make.version(post=post))).reply


async def test_stop_marks_length_redaction_footer(world: Any, make: Any) -> None:
    reply = await _said(world, make, "one END two STOP", stop=["STOP", "END"])
    assert (reply.text, reply.finish) == ("one", "stop")
    reply = await _said(world, make, "x" * 50, max_characters=10)
    assert (reply.text, reply.finish) == ("x" * 10, "length")
    reply = await _said(
        world,
        make,
        "mail a@b.test and key 1234567890",
        redact=[{"pattern": r"\S+@\S+"}, {"pattern": r"\d{8,}", "replacement": ""}],
    )
    assert reply.text == "mail [redacted] and key "
    reply = await _said(world, make, "x" * 50, max_characters=10, footer="Not advice.")
    assert reply.text == "x" * 10 + "\n\nNot advice."


async def test_a_secret_on_the_border_of_two_parts_or_of_the_length_is_redacted(world: Any, make: Any) -> None:
    version = make.version(post={"redact": [{"pattern": "sk-[a-z]{8}"}], "max_characters": 12})
    picture = Media("image", "image/png", b"x", size=1)
    world.primary.steps = [Completion((Text("key sk-ab"), picture, Text("cdefgh!")))]
    reply = (await world.run(version)).reply
    assert reply.parts == (Text("key [redacte"), picture)


async def test_a_long_reply_is_redacted_without_stopping_the_others(world: Any, make: Any) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    other = asyncio.create_task(tick())
    world.primary.steps = [make.completion("abc 12345 " * 20_000)]
    version = make.version(post={"redact": [{"pattern": r"\d+"}]}, max_output_tokens=50_000)
    reply = (await world.run(version, granted=50_000)).reply
    other.cancel()
    assert reply.text == "abc [redacted] " * 20_000
    assert ticks > 3


async def test_a_reply_that_cannot_be_searched_in_time_is_withheld(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("a" * 30_000)]
    with pytest.raises(RunFailed) as failed:
        await world.run(make.version(post={"redact": [{"pattern": "(a|aa)+b"}]}))
    assert isinstance(failed.value.error, BadCompletion)
    assert failed.value.calls[0].usage == TokenUsage(10, 5)


SCHEMA = {"json_schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}}


async def test_a_reply_that_follows_its_schema(world: Any, make: Any) -> None:
    reply = await _said(world, make, '```json\n{"a": 1}\n```', **SCHEMA)
    assert reply.text == '{"a": 1}'
    assert len(world.primary.requests) == 1


async def test_a_reply_that_does_not_is_repaired_once_with_what_is_left(world: Any, make: Any) -> None:
    world.primary.steps = [
        make.completion('{"a": "one"}', input=50, output=120),
        make.completion('{"a": 1}', input=200, output=8),
    ]
    outcome = await world.run(make.version(post=SCHEMA))
    assert outcome.reply.text == '{"a": 1}'
    first, second = world.primary.requests
    assert second.max_output_tokens == first.max_output_tokens - 120
    assert second.messages[:-2] == first.messages
    assert second.messages[-2] == Message("assistant", (Text('{"a": "one"}'),))
    assert "$.a" in second.messages[-1].text
    assert second.attempt_id != first.attempt_id
    assert [(call.outcome, call.repair, call.usage) for call in outcome.calls] == [
        ("ok", False, TokenUsage(50, 120)),
        ("ok", True, TokenUsage(200, 8)),
    ]
    held = make.prepared(make.version(post=SCHEMA)).estimate
    assert sum(call.input_bound for call in outcome.calls) <= held.input_tokens


async def test_a_repair_that_fails_ends_the_run_without_the_fallback(world: Any, make: Any) -> None:
    version = make.version(post=SCHEMA, fallback=make.fallback_choice)
    world.primary.steps = [make.completion("no"), make.completion("still no")]
    with pytest.raises(RunFailed) as failed:
        await world.run(version)
    assert isinstance(failed.value.error, BadCompletion)
    assert len(failed.value.calls) == 2
    world.primary.steps = [make.completion("no"), BackendUnavailable()]
    with pytest.raises(RunFailed) as failed:
        await world.run(version)
    assert [call.outcome for call in failed.value.calls] == ["ok", "model_unavailable"]
    assert world.fallback.requests == []


async def test_there_is_no_repair_beyond_what_was_held(world: Any, make: Any) -> None:
    world.primary.steps = [make.completion("no", input=10, output=490)]
    with pytest.raises(RunFailed):
        await world.run(make.version(post=SCHEMA))
    world.primary.steps = [Completion((Text("x" * 600),))]  # it did not say how much it used: the worst is assumed
    with pytest.raises(RunFailed):
        await world.run(make.version(post=SCHEMA))
    world.primary.steps = [make.completion("no", input=10, output=5)]
    with pytest.raises(RunFailed):  # and none that would not fit into the model's window
        await world.run(make.version(post=SCHEMA, max_output_tokens=500), info=ModelInfo("m1", context_tokens=1_100))
    assert len(world.primary.requests) == 3
