"""What a call is taken to have used: what its provider says, if its model can have done that; else an estimate that says so."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.plugin.content import Media, Message, Text
from tollhouse.plugin.errors import (
    BackendAuthFailed,
    BackendError,
    BackendRateLimited,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadCompletion,
    ContentFiltered,
    ContextTooLong,
)
from tollhouse.plugin.llm import ModelInfo, TokenUsage
from tollhouse.runtime.call import PROVIDERS_OWN, Call, CallRecord, _record
from tollhouse.runtime.prepare import Candidate, Planned
from tollhouse.turns.counting import LARGEST, count

ASKED = 400  # bytes of prompt
GRANTED = 100  # tokens
MODEL = ModelInfo("m", context_tokens=8_000, max_output_tokens=1_000)


def made(
    *, error: BackendError | None = None, info: ModelInfo | None = MODEL, media: bool = False, **values: Any
) -> CallRecord:
    """The record of a call as the runtime makes it."""
    parts = (Text("x"), Media("file", "application/pdf", data=b"%PDF")) if media else (Text("x"),)
    planned = Planned(Candidate(UUID(int=1), "b", "m", info), (), ASKED, ASKED, GRANTED, None)
    record = _record(Call(planned, (Message("user", parts),), ASKED, GRANTED, {}, "a"), 0.0, None, error)
    return CallRecord(**{**{name: getattr(record, name) for name in CallRecord.__annotations__}, **values})


def answered(usage: Any, **values: Any) -> CallRecord:
    return made(usage=usage, answered=True, output_bound=40, **values)


def test_what_a_model_can_have_used_is_believed() -> None:
    for usage in (
        TokenUsage(0, 0),
        TokenUsage(120, 30, 100, 10),
        TokenUsage(7, 1_000),
        TokenUsage(2 * ASKED + PROVIDERS_OWN, 1),
    ):
        found = count(answered(usage), counts=False)
        assert (found.usage, found.certainty, found.problem) == (usage, "exact", None)


ABSURD: dict[str, Any] = {
    "negative input": TokenUsage(-1, 5),
    "negative output": TokenUsage(5, -1),
    "negative cached": TokenUsage(5, 5, -1),
    "negative reasoning": TokenUsage(5, 5, 0, -1),
    "more than was sent": TokenUsage(2 * ASKED + PROVIDERS_OWN + 1, 5),
    "more than the window": TokenUsage(8_001, 5),
    "more than it writes": TokenUsage(5, 1_001),
    "a million million": TokenUsage(10**12, 10**12),
    "more than the database holds": TokenUsage(10**30, 5),
    "more cached than sent": TokenUsage(5, 5, 6),
    "more thought than written": TokenUsage(5, 5, 0, 6),
    "a truth": TokenUsage(True, 5),
    "a text": TokenUsage("5", 5),  # type: ignore[arg-type]
    "a fraction": TokenUsage(5.5, 5),  # type: ignore[arg-type]
    "no number": TokenUsage(float("nan"), 5),  # type: ignore[arg-type]
    "a cached truth": TokenUsage(5, 5, True),
}


@pytest.mark.parametrize("name", ABSURD)
def test_what_it_cannot_have_used_is_estimated_and_told(name: str) -> None:
    found = count(answered(ABSURD[name]), counts=False)
    assert (found.usage, found.certainty, found.problem) == (TokenUsage(100, 10), "estimated", "usage_absurd")
    lost = count(made(error=BadCompletion(usage=ABSURD[name])), counts=False)
    assert (lost.usage.input, lost.certainty, lost.problem) == (100, "unknown", "usage_absurd")


@pytest.mark.parametrize("usage", [None, TokenUsage(), TokenUsage(5, None), TokenUsage(None, 5)])
def test_what_is_not_reported_is_estimated_and_told(usage: TokenUsage | None) -> None:
    found = count(answered(usage), counts=False)
    assert (found.usage, found.certainty, found.problem) == (TokenUsage(100, 10), "estimated", "usage_missing")
    assert count(answered(usage), counts=True).usage == TokenUsage(ASKED, 40), "somebody counts its tokens"


def test_media_may_fill_the_window_and_a_model_that_nobody_knows_has_a_limit_too() -> None:
    assert count(answered(TokenUsage(8_000, 5), media=True), counts=False).certainty == "exact"
    assert count(answered(TokenUsage(8_001, 5), media=True), counts=False).certainty == "estimated"
    assert count(answered(TokenUsage(5, LARGEST), info=None), counts=False).certainty == "exact"
    assert count(answered(TokenUsage(5, LARGEST + 1), info=None), counts=False).certainty == "estimated"


ANY = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.integers(), st.integers(0, 1_500))


@given(st.builds(TokenUsage, ANY, ANY, ANY, ANY))
def test_whatever_is_reported_what_is_booked_is_possible(usage: Any) -> None:
    for record in (answered(usage), made(error=BadCompletion(usage=usage)), made(error=BackendRejected(usage=usage))):
        found = count(record, counts=False).usage
        assert type(found.input) is int
        assert type(found.output) is int
        assert 0 <= found.input <= 8_000
        assert 0 <= found.output <= 1_000
        assert 0 <= (found.cached or 0) <= found.input
        assert 0 <= (found.reasoning or 0) <= found.output


NEVER_RAN = (BackendRateLimited, BackendRejected, BackendAuthFailed, ContextTooLong)
MAY_HAVE_RUN = (BackendError, BackendTimeout, BackendUnavailable, ContentFiltered, BadCompletion)


@pytest.mark.parametrize("error", NEVER_RAN)
def test_what_surely_never_ran_is_nothing(error: type[BackendError]) -> None:
    found = count(made(error=error()), counts=False)
    assert (found.usage, found.certainty, found.problem) == (TokenUsage(0, 0), "exact", None)
    assert count(made(error=error(may_have_run=True)), counts=False).certainty == "unknown", "unless its backend says otherwise"


@pytest.mark.parametrize("error", MAY_HAVE_RUN)
def test_what_may_have_run_is_unknown_and_taken_for_the_most(error: type[BackendError]) -> None:
    found = count(made(error=error()), counts=False)
    assert (found.usage, found.certainty, found.problem) == (TokenUsage(100, GRANTED), "unknown", None)
    silent = count(made(error=error(usage=TokenUsage(output=0))), counts=False)
    assert (silent.usage, silent.certainty) == (TokenUsage(100, 0), "unknown"), "it answered, and said nothing"
    assert count(made(error=error(usage=TokenUsage(9, 3))), counts=False).certainty == "exact", "it said what it charged"
    never = count(made(error=error(may_have_run=False)), counts=False)
    assert (never.usage, never.certainty) == (TokenUsage(0, 0), "exact")
