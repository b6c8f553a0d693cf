"""From what a run did to what it is charged: the entries of the ledger, and the units on the counters. Pure.

The person is charged for the calls that gave the reply, never more than was held. What a provider reports beyond that, and
what calls cost (or may have cost) that led nowhere, is the tenant's cost, in entries of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from tollhouse.plugin.llm import TokenUsage
from tollhouse.records import record
from tollhouse.runtime.call import CallRecord
from tollhouse.turns.admit import Admitted
from tollhouse.turns.counting import NOTHING, Counted, count, most_of
from tollhouse.usage.entries import Certainty, Entry, Kind
from tollhouse.usage.prices import Price, cost_nano

TOKENS = ("input_tokens", "output_tokens", "total_tokens")
"""Metrics that a provider may report more of than it was allowed."""

REFUSED = "model_not_connected"


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


def charge_for(admitted: Admitted, calls: Sequence[CallRecord], outcome: str) -> Charge:
    """What ``calls`` come to. ``outcome`` is ``ok``, or the code of the error that the turn ended with."""
    answered = outcome == "ok"
    last = calls[-1] if calls else None
    counted = [count(call, counts=_counts(admitted, call)) for call in calls]
    # A reply that was repaired took two calls of the same model; both gave the reply, so both are charged.
    paid = [place for place, call in enumerate(calls) if answered and call.outcome == "ok"]
    entries = [_entry(admitted, call, what) for call, what in zip(calls, counted, strict=True)]
    alarms = [_uncounted(call, what.problem) for call, what in zip(calls, counted, strict=True) if what.problem is not None]
    refused = {call.connection_id: f"{call.backend} refused its credentials" for call in calls if call.outcome == REFUSED}
    alarms += connection_alarms({**admitted.broken, **refused})
    alarms += [_unknown_price(entry) for entry in entries if entry.cost is None]
    usage = _sum([counted[place].usage for place in paid])
    if last is None:
        main = _base(admitted, outcome, "exact")
        main.cost = 0
        return Charge(main, (), {}, 0, usage, "", tuple(alarms))
    spent = _spent(usage, sum([entries[place].cost or 0 for place in paid])) if answered else {}
    alarms += _beyond(admitted, spent, any(call.cut for call in calls)) if answered else []
    cost = None if any(entry.cost is None for entry in entries) else sum(entry.cost or 0 for entry in entries)
    main = entries.pop()
    main.outcome, main.calls = outcome, 1 if answered else 0
    for entry in entries:
        entry.kind = _other_kind(admitted)
    return Charge(main, tuple(entries), spent, cost, usage, last.reported_model or last.model, tuple(alarms))


def interrupted(admitted: Admitted, *, asked: bool = True) -> Charge:
    """What a turn comes to that was broken off: nothing for the person, and for the tenant what its call may have cost; unless
    the model was never ``asked``."""
    entry = _base(admitted, "interrupted", "unknown" if asked else "exact")
    if not asked:
        entry.cost = 0
        return Charge(entry, (), {}, 0, NOTHING, "")
    planned = admitted.prepared.estimate.per_candidate[0]
    candidate, usage = planned.candidate, most_of(planned, admitted.max_output_tokens)
    entry.connection_id, entry.backend, entry.model = candidate.connection_id, candidate.backend_name, candidate.model
    _use(entry, usage, admitted.prices.get((candidate.backend_name, candidate.model)))
    alarms = (_unknown_price(entry),) if entry.cost is None else ()
    return Charge(entry, (), {}, entry.cost, TokenUsage(), "", alarms)


def connection_alarms(broken: Mapping[UUID, str]) -> list[Alarm]:
    """What an admin must see of connections that cannot be used, by id: what is wrong with each."""
    return [Alarm("connection_failed", str(key), f"A model's connection cannot be used. {why}") for key, why in broken.items()]


def _spent(usage: TokenUsage, cost: int) -> dict[str, int]:
    sent, said = usage.input or 0, usage.output or 0
    return {"calls": 1, "input_tokens": sent, "output_tokens": said, "total_tokens": sent + said, "cost": cost}


def _counts(admitted: Admitted, call: CallRecord) -> bool:
    """Whether somebody counts the tokens of its model."""
    own = [one for one in admitted.prepared.candidates if (one.connection_id, one.model) == (call.connection_id, call.model)]
    return any(one.count is not None for one in own)


def _uncounted(call: CallRecord, problem: str) -> Alarm:
    told = "token counts that this model cannot have used" if problem == "usage_absurd" else "no usable token counts"
    text = f"{call.backend} reported {told} for {call.model}; they were estimated."
    return Alarm(problem, f"{call.backend}/{call.model}", text)


def _sum(usages: Sequence[TokenUsage]) -> TokenUsage:
    sent = said = cached = thought = 0
    for usage in usages:
        sent += usage.input or 0
        said += usage.output or 0
        cached += usage.cached or 0
        thought += usage.reasoning or 0
    return TokenUsage(sent, said, cached, thought)


def _beyond(admitted: Admitted, spent: Mapping[str, int], cut: bool) -> list[Alarm]:
    model = admitted.prepared.candidates[0].model
    if cut:
        return [Alarm("usage_beyond_hold", model, f"{model} answered more than it was asked for; the rest was left out.")]
    over = [line for line in admitted.hold.lines if line.counter.metric in TOKENS and spent[line.counter.metric] > line.amount]
    if not over and spent["output_tokens"] <= admitted.max_output_tokens * _calls_allowed(admitted):
        return []
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


def _entry(admitted: Admitted, call: CallRecord, counted: Counted) -> Entry:
    entry = _base(admitted, call.outcome, counted.certainty)
    entry.connection_id, entry.backend, entry.model = call.connection_id, call.backend, call.model
    _use(entry, counted.usage, admitted.prices.get((call.backend, call.model)))
    entry.latency_ms = call.latency_ms
    entry.detail = _detail(call)
    return entry


def _use(entry: Entry, usage: TokenUsage, price: Price | None) -> None:
    """Note what was used, and what that costs."""
    entry.input_tokens, entry.output_tokens = usage.input, usage.output
    entry.cached_tokens, entry.reasoning_tokens = usage.cached, usage.reasoning
    entry.cost = _cost(price, usage)
    if price is not None:
        entry.cost_currency, entry.price = price.currency, price.snapshot()


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
    return {name: value for name, value in facts.items() if value is not None and value != call.model}


def _other_kind(admitted: Admitted) -> Kind:
    return "test" if admitted.case.request.test else "retry"


def _unknown_price(entry: Entry) -> Alarm:
    subject = f"{entry.backend}/{entry.model}"
    return Alarm("unknown_price", subject, f"The price of {subject} is not known, so its cost is not counted. Set one.")
