"""What models cost is the seller's business: customers meet a limit of it as a share, wherever they do; staff see money."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.world import World, add_customer, open_shop, say
from tollhouse import plugin as th
from tollhouse.plugin.access import Decision, LimitStatus, Principal
from tollhouse.store.ids import new_id
from tollhouse.turns.ports import TurnsPort, UsagePort
from tollhouse.turns.shares import limits_for, shown_to
from tollhouse.usage.models import denials

LIMIT = {"metric": "cost", "amount": 777_777, "window": "month"}


async def test_a_customer_reads_shares_and_staff_read_money(world: World) -> None:
    shop = await open_shop(world.store, LIMIT, cost_currency="EUR", currency="EUR")
    await world.container.prices.set_price(
        replace(await world.caller(shop.tenant_id, new_id()), principal=None),
        "scripted",
        "m",
        input_per_million=1_000_000_000,
        output_per_million=2_000_000_000,
    )
    user = await add_customer(world.store, shop)
    customer = await world.caller(shop.tenant_id, user)
    staff = await world.caller(shop.tenant_id, user, role="analyst")
    world.model.answer = lambda _: th.Completion((th.Text("x"),), th.TokenUsage(50, 100))
    await world.container.turns.run(customer, say())
    [share] = await UsagePort(world.container.policy, customer).limits()
    assert (share.amount, share.used, share.held, share.remaining, share.unit) == (100, 32, 0, 68, "percent")
    [money] = await UsagePort(world.container.policy, staff).limits()
    assert (money.amount, money.used, money.unit) == (777_777, 250_000, "EUR")
    world.model.answer = lambda _: th.Completion((th.Text("x"),), th.TokenUsage(100, 200))
    await world.container.turns.run(customer, say())
    await world.container.turns.run(customer, say())
    with pytest.raises(th.AccessDenied) as denied:
        await world.container.turns.run(customer, say())
    checked = await TurnsPort(world.container.turns, customer).check("guide")
    for decision in (denied.value.decision, checked):
        seen = json.dumps([decision.problem_members(), decision.message, *(vars_of(one) for one in decision.limits)])
        assert "777" not in seen, seen
        assert "EUR" not in seen, seen
        assert decision.limit is not None
        assert (decision.limit.amount, decision.limit.unit) == (100, "percent")
    assert "model allowance" in denied.value.decision.message
    async with world.store.transaction(shop.tenant_id) as conn:
        kept = (await conn.execute(select(denials.c.decision))).scalars().all()
    assert [(one["limit"], one["unit"]) for one in kept] == [(777_777, "EUR")], "staff are shown what it was"
    [plan] = await world.container.plans.public_plans(customer.tenant, customer.user)
    assert "777" not in f"{plan.limits}"
    assert "EUR" not in f"{plan.limits}"


def vars_of(limit: LimitStatus) -> dict[str, Any]:
    return {name: str(getattr(limit, name)) for name in LimitStatus.__dataclass_fields__}


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_share_is_a_share(amount: int, used: int, held: int) -> None:
    left = max(0, amount - used - held)
    limit = LimitStatus("cost", "month", amount, used, held, left, unit="USD")
    person = Principal(new_id(), new_id(), "password", "web")
    [share] = limits_for(person, (limit,))
    assert share.amount == 100 == share.used + share.held + share.remaining
    assert min(share.used, share.held, share.remaining) >= 0
    assert (share.remaining == 0) == (left == 0)
    assert limits_for(replace(person, role="owner"), (limit,)) == (limit,)
    calls = LimitStatus("calls", "day", 5, 1, 0, 4)
    decision = Decision(False, "limit_reached", limit=calls, limits=(calls,))
    assert shown_to(person, decision) is decision
