"""The tokens of a call: as its provider counted them, if the model can have used so many; else estimated. Pure."""

from __future__ import annotations

from tollhouse.plugin.llm import TokenUsage
from tollhouse.records import record
from tollhouse.runtime.call import CallRecord
from tollhouse.runtime.prepare import Planned
from tollhouse.usage.entries import Certainty

LARGEST = 2_000_000
"""Tokens that one call of a model can use of which nobody knows how much it reads and writes."""

BYTES_PER_TOKEN = 4
"""What a token is taken for where nobody counts tokens for us."""

NOTHING = TokenUsage(0, 0)


@record(frozen=True, slots=True)
class Counted:
    """The tokens of one call, and how sure they are. ``problem``: the code of the alarm, if the provider's own were no use."""

    usage: TokenUsage
    certainty: Certainty
    problem: str | None = None


def count(call: CallRecord, *, counts: bool) -> Counted:
    """The tokens of one call. ``counts``: its bounds are tokens that somebody counted, and not bytes.

    An explicit zero is zero. A call that surely never ran used nothing. What a call used that may have run, and whose answer
    did not arrive, nobody knows: the prompt, and all the output that was allowed, unless its backend says that it was less.
    """
    told = call.usage
    if told is not None and _believable(told, call):
        return Counted(told, "exact")
    if not call.may_have_run:
        return Counted(NOTHING, "exact")
    divisor = 1 if counts else BYTES_PER_TOKEN
    sent = -(-call.input_bound // divisor)
    unusable = None if told is None or (told.input is None or told.output is None) else "usage_absurd"
    if call.answered:
        return Counted(TokenUsage(sent, -(-call.output_bound // divisor)), "estimated", unusable or "usage_missing")
    said = None if told is None else told.output
    if said is None or not _possible(said, call.output_bound):
        said = call.output_bound
    return Counted(TokenUsage(sent, said), "unknown", unusable)


def most_of(planned: Planned, granted: int) -> TokenUsage:
    """What a call is taken for of which nothing was heard: its prompt, and all the output that was ``granted``."""
    divisor = 1 if planned.candidate.count is not None else BYTES_PER_TOKEN
    return TokenUsage(-(-planned.prompt_tokens // divisor), min(granted, planned.max_output_tokens))


def _believable(told: TokenUsage, call: CallRecord) -> bool:
    """Whether they are numbers, and the model can have used so many."""
    sent, said = told.input, told.output
    return (
        _possible(sent, LARGEST if call.input_most is None else call.input_most)
        and _possible(said, LARGEST if call.output_most is None else call.output_most)
        and (told.cached is None or _possible(told.cached, sent))
        and (told.reasoning is None or _possible(told.reasoning, said))
    )


def _possible(tokens: object, most: int | None) -> bool:
    return type(tokens) is int and most is not None and 0 <= tokens <= most  # a bool is an int, and no number of tokens
