"""The engine on a real database: every way of asking gives the same answer, and windows need nobody to reset them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from tests.world import Shop, World, add_customer, open_shop
from tollhouse import plugin as th
from tollhouse.agents.models import agents, prompt_versions
from tollhouse.auth.models import users
from tollhouse.billing.models import plan_agents, subscriptions
from tollhouse.billing.terms import LimitTerms, Terms
from tollhouse.host.caller import Caller
from tollhouse.policy.rules import RULES, AccessRequest
from tollhouse.store.ids import new_id
from tollhouse.usage.models import counters, entries, holds
from tollhouse.usage.verify import verify

CALLS_2 = {"metric": "calls", "amount": 2, "window": "day"}


async def customer(world: World, shop: Shop) -> Caller:
    return await world.caller(shop.tenant_id, await add_customer(world.store, shop))


async def turn(world: World, caller: Caller, agent: str = "guide") -> str:
    """``ok``, or the reason of the denial."""
    try:
        await world.container.turns.run(caller, th.TurnRequest(agent, (th.Text("Hi"),), store=False))
    except th.AccessDenied as denied:
        return denied.decision.reason
    return "ok"


async def add_agent(world: World, shop: Shop, slug: str, *, status: str = "published", in_plan: bool = True) -> UUID:
    """Another agent on the shop's model."""
    agent_id, t = new_id(), shop.tenant_id
    async with world.store.transaction(t) as conn:
        await conn.execute(insert(agents).values(tenant_id=t, id=agent_id, slug=slug, name=slug.title(), status=status))
        mine = prompt_versions.c
        spec = (await conn.execute(select(mine.spec).where(mine.id == shop.version_id))).scalar_one()
        version = {"agent_id": agent_id, "number": 1, "status": "active", "weight": 10_000, "spec": spec}
        await conn.execute(insert(prompt_versions).values(tenant_id=t, id=new_id(), **version))
        if in_plan:
            row = {"plan_version_id": shop.plan_version_id, "agent_id": agent_id}
            await conn.execute(insert(plan_agents).values(tenant_id=t, id=new_id(), **row))
    return agent_id


async def most_input(world: World) -> int:
    """What is held for the prompt ``Hi``: learned from a turn in a tenant that limits input tokens."""
    other = await open_shop(world.store, {"metric": "input_tokens", "amount": 10**9, "window": "day"})
    assert await turn(world, await customer(world, other)) == "ok"
    async with world.store.transaction(other.tenant_id) as conn:
        (amount,) = (await conn.execute(select(holds.c.amounts))).scalar_one()
    return int(amount)


# -- Ways of asking ------------------------------------------------------------------------------------------------------------


async def test_a_list_is_filtered_by_the_same_decision_that_a_turn_gets(world: World) -> None:
    shop, other = await open_shop(world.store, {"metric": "calls", "amount": 9, "window": "day"}), await open_shop(world.store)
    t = shop.tenant_id
    busy = await add_agent(world, shop, "busy")
    await add_agent(world, shop, "extra", in_plan=False)
    await add_agent(world, shop, "draft", status="draft")
    await add_agent(world, other, "foreign")
    plans = world.container.plans
    boss = await world.caller(t, await add_customer(world.store, shop))
    limits = (
        LimitTerms("calls", 9, "day"),
        LimitTerms("calls", 1, "minute", agent_id=busy),
        LimitTerms("calls", 0, "day", channel="web"),
    )
    plan = await plans.create(boss, "some", "Some", Terms(agents=frozenset({shop.agent_id, busy}), limits=limits))
    user = await add_customer(world.store, shop)
    async with world.store.transaction(t) as conn:
        mine = subscriptions.c.user_id == user
        await conn.execute(update(subscriptions).where(mine).values(plan_version_id=plan.version.id))
    caller = await world.caller(t, user)
    now = datetime(2026, 3, 10, 12, 0, 10, tzinfo=UTC) + timedelta(days=365)
    world.store.at(now)
    assert await turn(world, caller, "busy") == "ok"
    policy = world.container.policy
    for channel in ("api", "web", "fax"):
        listed = {agent.slug: decision for agent, decision in await policy.check_many(caller.user, channel)}
        assert set(listed) == {"guide", "busy", "extra"}
        for slug, decision in listed.items():
            assert await policy.check(AccessRequest(caller.user, slug, channel)) == decision
        reasons = {slug: decision.reason for slug, decision in listed.items()}
        if channel == "api":
            assert reasons == {"guide": "ok", "busy": "limit_reached", "extra": "agent_not_in_plan"}
            assert (listed["busy"].status, listed["busy"].retry_after) == (429, 51)
            assert listed["busy"].limit is not None
            assert listed["busy"].limit.scope == {"agent": "busy"}
        if channel == "web":
            assert reasons == {"guide": "limit_reached", "busy": "limit_reached", "extra": "agent_not_in_plan"}
        if channel == "fax":
            assert set(reasons.values()) == {"channel_not_installed"}
    for slug, wanted in {"guide": "ok", "busy": "limit_reached", "extra": "agent_not_in_plan"}.items():
        assert await turn(world, caller, slug) == wanted


async def test_an_explanation_names_the_rules_up_to_the_one_that_decided(world: World) -> None:
    shop = await open_shop(world.store, CALLS_2, {"metric": "total_tokens", "amount": 10_000, "window": "month"})
    caller = await customer(world, shop)
    policy, names = world.container.policy, [rule.__name__ for rule in RULES]
    request = AccessRequest(caller.user, "guide", "api")

    decision, steps = await policy.explain(request)
    assert decision.allowed
    assert [step.rule for step in steps] == [*names, "limit calls/day", "limit total_tokens/month"]
    assert all(step.passed and step.reason == "ok" for step in steps)

    assert [await turn(world, caller) for _ in range(3)] == ["ok", "ok", "limit_reached"]
    decision, steps = await policy.explain(request)
    assert decision == await policy.check(request)
    assert [(step.rule, step.reason) for step in steps if not step.passed] == [("limit calls/day", "limit_reached")]
    assert next(step.detail for step in steps if not step.passed) == "2 of 2 used"

    async with world.store.transaction(shop.tenant_id) as conn:
        await conn.execute(update(users).where(users.c.id == caller.user.user_id).values(status="blocked"))
    decision, steps = await policy.explain(request)
    assert decision == await policy.check(request)
    assert [step.rule for step in steps] == names[: names.index("user_is_active") + 1]
    assert [step.passed for step in steps] == [True, True, False]
    assert (steps[-1].reason, steps[-1].detail != "") == ("user_blocked", True)


async def test_asking_about_another_tenants_agent_is_asking_about_none(world: World) -> None:
    shop, other = await open_shop(world.store), await open_shop(world.store)
    foreign = await add_agent(world, other, "foreign")
    caller = await customer(world, shop)
    for name in ("foreign", str(foreign), str(other.agent_id), "no-such-agent"):
        decision = await world.container.policy.check(AccessRequest(caller.user, name, "api"))
        assert (decision.reason, decision.status) == ("agent_not_found", 404)
        with pytest.raises(th.NotFound):
            await turn(world, caller, name)


async def _spend_all(world: World, *limits: Mapping[str, Any], **tenant: Any) -> Caller:
    shop = await open_shop(world.store, *limits, **tenant)
    caller = await customer(world, shop)
    world.model.answer = lambda request: th.Completion((th.Text("x"),), th.TokenUsage(4_000, 10**6))
    assert await turn(world, caller) == "ok"
    assert await turn(world, caller) != "ok"
    return caller


@pytest.mark.parametrize(
    "metric",
    [
        "calls",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost",
        "tenant",
    ],
)
async def test_asking_says_what_a_turn_would_be_told_when_a_limit_is_used_up(world: World, metric: str) -> None:
    # Room for one turn: the clamped output of the first takes all that is left of it.
    prompt = await most_input(world)
    amount = {"calls": 1, "input_tokens": prompt, "output_tokens": 40}.get(metric, prompt + 40)
    tenant = {"daily_cost_cap": amount} if metric == "tenant" else {}
    limits = [] if metric == "tenant" else [{"metric": metric, "amount": amount, "window": "day"}]
    caller = await _spend_all(world, *limits, **tenant)
    policy, wanted = world.container.policy, "tenant_cap_reached" if metric == "tenant" else "limit_reached"
    assert await turn(world, caller) == wanted
    request = AccessRequest(caller.user, "guide", "api")
    decision = await policy.check(request)
    assert decision.reason == wanted
    assert (await policy.explain(request))[0] == decision
    assert [decision.reason for _, decision in await policy.check_many(caller.user, "api")] == [wanted]


# -- Windows -----------------------------------------------------------------------------------------------------------------


async def test_a_daily_limit_follows_the_tenants_own_day_over_the_change_of_the_clock(world: World) -> None:
    """Berlin, 25 October 2026: a local day of 25 hours, from 22:00 UTC to 23:00 UTC."""
    midnight = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    second, hour = timedelta(seconds=1), timedelta(hours=1)
    world.store.at(midnight - hour)
    berlin, utc = await open_shop(world.store, CALLS_2, timezone="Europe/Berlin"), await open_shop(world.store, CALLS_2)
    ada, bob = await customer(world, berlin), await customer(world, utc)
    assert [await turn(world, bob) for _ in range(3)] == ["ok", "ok", "limit_reached"]
    assert await turn(world, ada) == "ok"

    # A turn that begins before midnight and ends after it belongs to the day in which it was admitted.
    world.store.at(midnight - second)
    world.model.gate, before = asyncio.Event(), len(world.model.calls)
    over_midnight = asyncio.create_task(turn(world, ada))
    async with asyncio.timeout(10):
        while len(world.model.calls) == before:  # noqa: ASYNC110 - the model is scripted, it tells nobody
            await asyncio.sleep(0.005)
    assert await turn(world, ada) == "limit_reached", "held is not free"
    world.store.at(midnight + second)
    world.model.gate.set()
    assert await over_midnight == "ok"
    (limit,) = await world.container.policy.limits(ada.user)
    assert (limit.used, limit.held, limit.resets_at) == (0, 0, midnight + 25 * hour)

    assert [await turn(world, ada) for _ in range(3)] == ["ok", "ok", "limit_reached"]
    assert await turn(world, bob) == "limit_reached", "where it is still the 24th"
    world.store.at(midnight + 25 * hour - second)
    assert await turn(world, ada) == "limit_reached", "the day has 25 hours"
    assert await turn(world, bob) == "ok"
    world.store.at(midnight + 25 * hour)
    assert await turn(world, ada) == "ok", "nobody had to reset anything"
    async with world.store.transaction(berlin.tenant_id) as conn:
        found = (await conn.execute(select(counters.c.used, counters.c.window_end).order_by(counters.c.window_start))).all()
    assert [used for used, _ in found] == [2, 2, 1]
    assert [end for _, end in found] == [midnight, midnight + 25 * hour, midnight + 49 * hour]
    assert await verify(world.store, berlin.tenant_id) == []


async def test_minutes_and_hours_come_back_when_they_said(world: World) -> None:
    world.store.at(start := datetime(2026, 6, 1, 10, 59, 40, 500_000, tzinfo=UTC))
    shop = await open_shop(
        world.store, {"metric": "calls", "amount": 1, "window": "minute"}, {"metric": "calls", "amount": 2, "window": "hour"}
    )
    caller = await customer(world, shop)
    assert await turn(world, caller) == "ok"
    request = AccessRequest(caller.user, "guide", "api")
    denied = await world.container.policy.check(request)
    assert (denied.status, denied.retry_after, denied.limit and denied.limit.window) == (429, 20, "minute")
    world.store.at(start + timedelta(seconds=denied.retry_after or 0))
    assert [await turn(world, caller), await turn(world, caller)] == ["ok", "limit_reached"]
    world.store.at(start + timedelta(seconds=90))
    assert [await turn(world, caller), await turn(world, caller)] == ["ok", "limit_reached"]
    world.store.at(start + timedelta(minutes=10))
    denied = await world.container.policy.check(request)
    assert (denied.status, denied.limit and denied.limit.window) == (429, "hour")
    assert denied.retry_after == 50 * 60 + 20


@pytest.mark.parametrize("intervals", [("week", "year"), ("year", "week")])
async def test_a_period_that_begins_at_the_same_moment_and_ends_at_another_goes_on(
    world: World, intervals: tuple[str, str]
) -> None:
    """Changing between free plans renews nothing, so both count the same period's start; then the shorter one is over."""
    world.store.at(start := datetime(2026, 6, 1, 12, 0, tzinfo=UTC))
    limit = {"metric": "calls", "amount": 3, "window": "period"}
    shop = await open_shop(world.store, limit)
    caller = await customer(world, shop)
    boss = await customer(world, shop)
    found = [
        await world.container.plans.create(
            boss, interval, interval, Terms(interval=interval, all_agents=True, limits=(LimitTerms("calls", 3, "period"),))
        )
        for interval in intervals
    ]
    subscribe = world.container.subscriptions.subscribe
    await subscribe(caller, found[0].slug)
    assert await turn(world, caller) == "ok"
    world.store.at(start + timedelta(days=1))
    await subscribe(caller, found[1].slug)
    assert await turn(world, caller) == "ok"
    world.store.at(start + timedelta(days=20))
    used = {"week": 0, "year": 2}[intervals[1]]
    assert [await turn(world, caller) for _ in range(4 - used)] == ["ok"] * (3 - used) + ["limit_reached"]
    (standing,) = await world.container.policy.limits(caller.user)
    assert (standing.used, standing.held) == (3, 0)


# -- Overrides and the tenant's cap --------------------------------------------------------------------------------------------


async def test_an_override_takes_a_limits_place_for_this_subscriber_only(world: World) -> None:
    shop = await open_shop(world.store, CALLS_2, {"metric": "concurrent", "amount": 3, "window": "now"})
    lucky, other, boss = [await customer(world, shop) for _ in range(3)]
    assert [await turn(world, lucky) for _ in range(3)] == ["ok", "ok", "limit_reached"]
    async with world.store.transaction(shop.tenant_id) as conn:
        mine = subscriptions.c.user_id == lucky.user.user_id
        subscription_id = (await conn.execute(select(subscriptions.c.id).where(mine))).scalar_one()
    admin = world.container.subscription_admin
    await admin.set_overrides(boss, subscription_id, [LimitTerms("calls", 3, "day"), LimitTerms("calls", 9, "month")], "a gift")
    limits = {(one.metric, one.window): (one.amount, one.used) for one in await world.container.policy.limits(lucky.user)}
    assert limits == {("calls", "day"): (3, 2), ("concurrent", "now"): (3, 0), ("calls", "month"): (9, 0)}
    assert [await turn(world, lucky) for _ in range(2)] == ["ok", "limit_reached"], "what was used stays used"
    assert [await turn(world, other) for _ in range(3)] == ["ok", "ok", "limit_reached"]
    await admin.set_overrides(boss, subscription_id, [LimitTerms("calls", 1, "day")], "taken back")
    denied = await world.container.policy.check(AccessRequest(lucky.user, "guide", "api"))
    assert denied.limit is not None
    assert (denied.limit.amount, denied.limit.used, denied.limit.remaining) == (1, 3, 0)
    assert await verify(world.store, shop.tenant_id) == []


async def test_the_tenants_daily_cap_is_exact_under_parallel_turns_of_two_users(world: World) -> None:
    room, requests = 11, 30
    prompt = await most_input(world)
    cost = prompt + 2  # one output token at the scripted price of two nano-units
    shop = await open_shop(world.store, spec={"max_output_tokens": 1}, daily_cost_cap=room * cost + cost - 1)
    calm = await open_shop(world.store, spec={"max_output_tokens": 1})
    world.model.answer = lambda request: th.Completion((th.Text("x"),), th.TokenUsage(prompt, 1))
    world.model.delay = lambda: 0.005
    ada, bob, cid = await customer(world, shop), await customer(world, shop), await customer(world, calm)
    people = [ada, bob] * (requests // 2) + [cid] * 5
    outcomes = await asyncio.gather(*(turn(world, person) for person in people))
    assert Counter(outcomes[:requests]) == {"ok": room, "tenant_cap_reached": requests - room}
    assert set(outcomes[requests:]) == {"ok"}, "another tenant's cap is its own"
    async with world.store.transaction(shop.tenant_id) as conn:
        spent = (await conn.execute(select(entries.c.cost))).scalars().all()
        (counter,) = (await conn.execute(select(counters.c.user_id, counters.c.used, counters.c.held))).all()
    assert tuple(counter) == (None, sum(spent), 0)
    assert sum(spent) == room * cost
    assert await verify(world.store, shop.tenant_id) == []
