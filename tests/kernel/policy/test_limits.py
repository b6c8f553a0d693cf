"""Limits as pure functions: what is set aside always fits, the output is clamped exactly, soft limits never deny."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse.billing.plans import PlanLimit
from tollhouse.plugin.access import METRICS, LimitStatus
from tollhouse.policy.limits import CAP_ID, Applied, Needs, fit, status_of
from tollhouse.policy.words import limit_sentence
from tollhouse.usage.counters import Standing, counter_key

MILLION = 1_000_000
START, END = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)

amounts = st.one_of(st.integers(0, 60), st.integers(0, 5_000), st.integers(0, 10**18))
prices = st.one_of(st.just(0), st.integers(1, 5 * MILLION), st.integers(1, 10**12))
needs = st.builds(
    Needs,
    input_tokens=st.one_of(st.integers(1, 40), st.integers(1, 100_000)),
    max_output_tokens=st.one_of(st.integers(1, 40), st.integers(1, 100_000)),
    input_price=prices,
    output_price=prices,
    priced=st.booleans(),
)


@st.composite
def applied(draw: st.DrawFn) -> Applied:
    number = draw(st.integers(1, 10**6))
    metric = draw(st.sampled_from(METRICS))
    agent = UUID(int=number)  # so that every limit has a counter of its own
    key = counter_key(UUID(int=3), metric, "day", START, END, agent, None)
    limit = PlanLimit(UUID(int=number), metric, draw(amounts), "day", agent, None, draw(st.booleans()))
    return Applied(limit, key, Standing(draw(st.integers(0, 100)), draw(st.integers(0, 100))))


limits = st.lists(applied(), max_size=6, unique_by=lambda one: one.key.id)


def worst_case(metric: str, needs: Needs, output: int) -> int:
    """The same as the code says, said another way: exact fractions, rounded up at the end."""
    cost = needs.input_tokens * needs.input_price + output * needs.output_price
    return {
        "calls": 1,
        "concurrent": 1,
        "input_tokens": needs.input_tokens,
        "output_tokens": output,
        "total_tokens": needs.input_tokens + output,
        "cost": cost // MILLION + (cost % MILLION > 0),
    }[metric]


def fits(one: Applied, needs: Needs, output: int) -> bool:
    left = one.limit.amount - one.standing.used - one.standing.held
    return worst_case(one.limit.metric, needs, output) <= left


@settings(max_examples=600, deadline=None)
@given(limits, needs)
def test_what_is_set_aside_fits_and_the_output_is_what_is_left_and_not_a_token_less(given: list[Applied], needs: Needs) -> None:
    hard = [one for one in given if one.limit.hard]
    result = fit(given, needs)
    unknown = not needs.priced and any(one.limit.metric == "cost" for one in hard)
    possible = not unknown and all(fits(one, needs, 1) for one in hard)
    assert (result.reason is None) == possible
    if result.reason is not None:
        assert (result.lines, result.max_output_tokens) == ((), 0), "who is refused sets nothing aside"
        assert result.blocking in hard
        return
    output = result.max_output_tokens
    assert 1 <= output <= needs.max_output_tokens
    assert all(fits(one, needs, output) for one in hard)
    assert output == needs.max_output_tokens or not all(fits(one, needs, output + 1) for one in hard)
    held = {line.counter.id: line.amount for line in result.lines}
    assert held == {one.key.id: worst_case(one.limit.metric, needs, output) for one in given}, "soft limits are counted too"


@settings(max_examples=200, deadline=None)
@given(limits, needs)
def test_soft_limits_warn_and_change_nothing(given: list[Applied], needs: Needs) -> None:
    result, without = fit(given, needs), fit([one for one in given if one.limit.hard], needs)
    assert (result.reason, result.blocking, result.max_output_tokens) == (
        without.reason,
        without.blocking,
        without.max_output_tokens,
    )
    if result.reason is None:
        over = [one for one in given if not one.limit.hard and not fits(one, needs, 1)]
        assert list(result.soft) == over
    assert without.soft == ()


@settings(max_examples=200, deadline=None)
@given(limits, needs, st.randoms(use_true_random=False))
def test_the_order_of_limits_does_not_change_what_is_held(given: list[Applied], needs: Needs, random: Any) -> None:
    shuffled = list(given)
    random.shuffle(shuffled)
    one, other = fit(given, needs), fit(shuffled, needs)
    assert (one.reason is None, one.max_output_tokens) == (other.reason is None, other.max_output_tokens)
    amounts = [sorted((line.counter.id, line.amount) for line in result.lines) for result in (one, other)]
    assert amounts[0] == amounts[1]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(0, 400), needs)
def test_turns_one_after_the_other_never_pass_a_limit(price: int, amount: int, needs: Needs) -> None:
    """Admission after admission, none of which is settled: the sum of what is held stays within every limit."""
    standing = dict.fromkeys(METRICS, 0)
    while True:
        given = [
            Applied(
                PlanLimit(UUID(int=number + 1), metric, amount * price, "day"),
                counter_key(UUID(int=3), metric, "day", START, END),
                Standing(0, standing[metric]),
            )
            for number, metric in enumerate(METRICS)
        ]
        result = fit(given, needs)
        if result.reason is not None:
            break
        for line in result.lines:
            standing[line.counter.metric] += line.amount
        assert max(standing.values()) <= amount * price


def test_two_limits_on_one_counter_hold_it_once_and_the_lower_one_rules() -> None:
    key = counter_key(UUID(int=3), "total_tokens", "day", START, END)
    low, high = (
        Applied(PlanLimit(UUID(int=number), "total_tokens", number, "day"), key, Standing(10, 5)) for number in (100, 1000)
    )
    for both in ((low, high), (high, low)):
        result = fit(both, Needs(20, 500))
        assert result.max_output_tokens == 65
        assert [(line.counter.id, line.amount) for line in result.lines] == [(key.id, 85)]


def test_a_soft_limit_is_shown_with_its_numbers_and_never_below_zero() -> None:
    key = counter_key(UUID(int=3), "calls", "lifetime", START, END)
    over = Applied(PlanLimit(UUID(int=9), "calls", 3, "lifetime", None, "web", False), key, Standing(5, 1))
    assert status_of(over, {}) == LimitStatus("calls", "lifetime", 3, 5, 1, 0, None, {"channel": "web"}, False)


def test_a_time_in_a_denial_names_its_zone() -> None:
    used_up = Applied(
        PlanLimit(UUID(int=9), "calls", 3, "day"), counter_key(UUID(int=3), "calls", "day", START, END), Standing(3)
    )
    told = "You have used all of your 3 messages a day. The allowance comes back at"
    assert limit_sentence(used_up, "Europe/Berlin", "USD") == f"{told} 01:00 CET on 11 March."
    assert limit_sentence(used_up, "America/Sao_Paulo", "USD") == f"{told} 21:00 America/Sao_Paulo on 10 March."


def test_a_denial_names_a_cost_in_the_currency_in_which_it_is_counted() -> None:
    limit = PlanLimit(UUID(int=9), "cost", 1_500_000_000, "lifetime")
    used_up = Applied(limit, counter_key(UUID(int=3), "cost", "lifetime", START, END), Standing(limit.amount))
    told = "You have used all of your 1.50 EUR of model cost in total. This allowance does not come back by itself."
    assert limit_sentence(used_up, "UTC", "EUR") == told


def test_the_tenants_cap_is_told_from_a_plans_limit() -> None:
    key = counter_key(None, "cost", "day", START, END)
    cap = Applied(PlanLimit(CAP_ID, "cost", 0, "day"), key, Standing())
    result = fit([cap], Needs(1, 1, MILLION, MILLION))
    assert result.reason is not None
    assert result.reason.code == "tenant_cap_reached"
