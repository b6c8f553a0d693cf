"""From what a run did to what it is charged: the entries of the ledger, and the units on the counters. Pure.

The person is charged for the calls that gave the reply, never more than was held. What a provider reports beyond that, and
what calls cost that led nowhere, is the tenant's cost, in entries of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tollhouse.plugin.llm import TokenUsage
from tollhouse.records import record
from tollhouse.runtime.call import CallRecord
from tollhouse.store.json_text import clean
from tollhouse.turns.admit import Admitted
from tollhouse.usage.entries import Certainty, Entry, Kind
from tollhouse.usage.prices import Price, cost_nano

ABSURD = 100_000_000
"""Tokens of one call that no model can have used: such a number is not believed, and flagged."""

BYTES_PER_TOKEN = 4
"""What a token is taken for where nobody counts tokens for us."""

TOKENS = ("input_tokens", "output_tokens", "total_tokens")
"""Metrics that a provider may report more of than it was allowed."""

REFUSED = "model_not_connected"
NOTHING_USED = ("model_rejected", "model_busy", "model_unavailable", REFUSED, "context_too_long")
"""Failures in which a provider is known to charge nothing."""


@record(frozen=True, slots=True)
class Alarm:
    """Something an admin must see."""

    code: str
    subject: str
    message: str


@record(frozen=True, slots=True)
class Charge:
    """What one attempt comes to. ``main`` goes with the hold; ``others`` are calls beside it.

    ``spent``, by metric, is the person's; ``cost`` is what all calls cost the tenant, None if nobody knows.
    """

    main: Entry
    others: tuple[Entry, ...]
    spent: Mapping[str, int]
    cost: int | None
    usage: TokenUsage
    model: str
    alarms: tuple[Alarm, ...] = ()


@record(frozen=True, slots=True)
class _Counted:
    usage: TokenUsage
    certainty: Certainty
    alarms: tuple[Alarm, ...] = ()


def charge_for(admitted: Admitted, calls: Sequence[CallRecord], outcome: str) -> Charge:
    """What ``calls`` come to. ``outcome`` is ``ok``, or the code of the error that the turn ended with."""
    answered = outcome == "ok"
    last = calls[-1] if calls else None
    counted = [_count(admitted, call) for call in calls]
    # A reply that was repaired took two calls of the same model; both gave the reply, so both are charged.
    paid = [place for place, call in enumerate(calls) if answered and call.outcome == "ok"]
    entries = [_entry(admitted, call, what) for call, what in zip(calls, counted, strict=True)]
    alarms = [alarm for what in counted for alarm in what.alarms]
    refused = {call.connection_id: f"{call.backend} refused its credentials" for call in calls if call.outcome == REFUSED}
    alarms += connection_alarms({**admitted.broken, **refused})
    alarms += [_unknown_price(entry) for entry in entries if entry.cost is None and entry.certainty != "unknown"]
    usage = _sum([counted[place].usage for place in paid])
    if last is None:
        main = _base(admitted, outcome, "exact")
        main.cost = 0
        return Charge(main, (), {}, 0, usage, "", tuple(alarms))
    spent = _spent(usage, sum([entries[place].cost or 0 for place in paid])) if answered else {}
    alarms += _beyond(admitted, spent) if answered else []
    cost = None if any(entry.cost is None for entry in entries) else sum(entry.cost or 0 for entry in entries)
    main = entries.pop()
    main.outcome, main.calls = outcome, 1 if answered else 0
    for entry in entries:
        entry.kind = _other_kind(admitted)
    return Charge(main, tuple(entries), spent, cost, usage, clean(last.reported_model or last.model), tuple(alarms))


def interrupted(admitted: Admitted, *, asked: bool = True) -> Charge:
    """What a turn comes to that was broken off: nothing for the person, and for the tenant nobody knows what; unless the model
    was never ``asked``."""
    usage = TokenUsage()
    return Charge(_base(admitted, "interrupted", "unknown"), (), {}, None if asked else 0, usage, "")


def connection_alarms(broken: Mapping[UUID, str]) -> list[Alarm]:
    """What an admin must see of connections that cannot be used, by id: what is wrong with each."""
    return [Alarm("connection_failed", str(key), f"A model's connection cannot be used. {why}") for key, why in broken.items()]


def _spent(usage: TokenUsage, cost: int) -> dict[str, int]:
    sent, said = usage.input or 0, usage.output or 0
    return {"calls": 1, "input_tokens": sent, "output_tokens": said, "total_tokens": sent + said, "cost": cost}


def _count(admitted: Admitted, call: CallRecord) -> _Counted:
    """The tokens of one call: as reported, else estimated; an explicit zero is zero."""
    reported = call.usage
    if reported is not None and _believable(reported):
        return _Counted(reported, "exact")
    if call.outcome in NOTHING_USED:
        return _Counted(TokenUsage(0, 0), "exact")
    if not call.answered:
        return _Counted(TokenUsage(), "unknown")
    estimate = _estimate(admitted, call)
    code = "usage_missing" if reported is None or reported.total is None else "usage_absurd"
    text = f"{call.backend} reported no usable token counts for {call.model}; they were estimated."
    return _Counted(estimate, "estimated", (Alarm(code, f"{call.backend}/{call.model}", text),))


def _believable(usage: TokenUsage) -> bool:
    sent, said, cached, thought = usage.input, usage.output, usage.cached or 0, usage.reasoning or 0
    if sent is None or said is None:
        return False
    return min(sent, said, cached, thought) >= 0 and max(sent, said, cached, thought) <= ABSURD


def _estimate(admitted: Admitted, call: CallRecord) -> TokenUsage:
    counts = any(one.model == call.model and one.count is not None for one in admitted.prepared.candidates)
    divisor = 1 if counts else BYTES_PER_TOKEN
    return TokenUsage(-(-call.input_bound // divisor), -(-call.output_bound // divisor))


def _sum(usages: Sequence[TokenUsage]) -> TokenUsage:
    sent = said = cached = thought = 0
    for usage in usages:
        sent += usage.input or 0
        said += usage.output or 0
        cached += usage.cached or 0
        thought += usage.reasoning or 0
    return TokenUsage(sent, said, cached, thought)


def _beyond(admitted: Admitted, spent: Mapping[str, int]) -> list[Alarm]:
    over = [line for line in admitted.hold.lines if line.counter.metric in TOKENS and spent[line.counter.metric] > line.amount]
    if not over and spent["output_tokens"] <= admitted.max_output_tokens * _calls_allowed(admitted):
        return []
    model = admitted.prepared.candidates[0].model
    return [Alarm("usage_beyond_hold", model, f"{model} reported more tokens than it was asked for; the rest is your cost.")]


def _calls_allowed(admitted: Admitted) -> int:
    return 2 if admitted.prepared.version.schema is not None else 1


def _base(admitted: Admitted, outcome: str, certainty: Certainty) -> Entry:
    """An entry without a call."""
    case, version = admitted.case, admitted.prepared.version
    subscription = case.facts.subscription
    return Entry(
        user_id=case.facts.user.id,
        outcome=outcome,
        certainty=certainty,
        kind="test" if case.request.test else "turn",
        turn_id=admitted.hold.turn_id,
        attempt=admitted.hold.attempt,
        agent_id=version.agent_id,
        version_id=version.id,
        plan_version_id=subscription.plan_version_id if subscription else None,
        subscription_id=subscription.id if subscription else None,
        channel=case.request.channel,
    )


def _entry(admitted: Admitted, call: CallRecord, counted: _Counted) -> Entry:
    price = admitted.prices.get((call.backend, call.model))
    usage = counted.usage
    entry = _base(admitted, call.outcome, counted.certainty)
    entry.connection_id, entry.backend, entry.model = call.connection_id, call.backend, call.model
    entry.input_tokens, entry.output_tokens = usage.input, usage.output
    entry.cached_tokens, entry.reasoning_tokens = usage.cached, usage.reasoning
    entry.cost = _cost(price, usage)
    if price is not None:
        entry.cost_currency, entry.price = price.currency, price.snapshot()
    entry.latency_ms = call.latency_ms
    entry.detail = _detail(call)
    return entry


def _cost(price: Price | None, usage: TokenUsage) -> int | None:
    if usage.input == 0 and usage.output == 0:
        return 0
    if price is not None and price.free:
        return 0  # however many they were
    if price is None or usage.total is None:
        return None
    return cost_nano(price, usage)


def _detail(call: CallRecord) -> dict[str, Any]:
    facts = {"reported_model": call.reported_model, "request_id": call.request_id, "repair": call.repair or None}
    return {name: clean(value) for name, value in facts.items() if value is not None and value != call.model}


def _other_kind(admitted: Admitted) -> Kind:
    return "test" if admitted.case.request.test else "retry"


def _unknown_price(entry: Entry) -> Alarm:
    subject = f"{entry.backend}/{entry.model}"
    return Alarm("unknown_price", subject, f"The price of {subject} is not known, so its cost is not counted. Set one.")
