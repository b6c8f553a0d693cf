"""Revenue by agent, version and channel: what was paid is shared out by what it was used for, to the last unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.billing.models import orders, plan_versions, plans
from tollhouse.reports.attribution import share_out
from tollhouse.reports.rollup import rebuild
from tollhouse.reports.service import NOT_ATTRIBUTED, ReportService
from tollhouse.store.ids import new_id
from tollhouse.store.store import Store
from tollhouse.usage.models import entries

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any))
def test_no_unit_is_lost_or_made(amount: int, weights: list[int]) -> None:
    parts = share_out(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert amount * weight // sum(weights) <= part <= amount * weight // sum(weights) + 1
        assert weight or not part, "who was not used gets nothing"
    assert share_out(amount, weights) == parts


class Business:
    """A tenant with two agents, and people who pay for a plan and use it."""

    def __init__(self, store: Store, tenant_id: UUID) -> None:
        self.store, self.tenant_id = store, tenant_id
        self.agents = {name: new_id() for name in ("guide", "poet")}
        self.plans = {interval: new_id() for interval in ("month", "week", "once")}

    async def open(self) -> None:
        t, plan = self.tenant_id, new_id()
        async with self.store.transaction(t) as conn:
            for slug, key in self.agents.items():
                await conn.execute(agents.insert().values(tenant_id=t, id=key, slug=slug, name=slug, status="published"))
            await conn.execute(plans.insert().values(tenant_id=t, id=plan, slug="pro", name="Pro"))
            for number, (interval, key) in enumerate(self.plans.items()):
                row = {"tenant_id": t, "id": key, "plan_id": plan, "number": number + 1, "interval": interval}
                await conn.execute(plan_versions.insert().values(**row, price_minor=1000, currency="USD"))

    async def person(self) -> UUID:
        user_id = new_id()
        async with self.store.transaction(self.tenant_id) as conn:
            row = {"tenant_id": self.tenant_id, "id": user_id, "email": f"{user_id}@example.test"}
            await conn.execute(users.insert().values(**row))
        return user_id

    async def paid(self, user_id: UUID, amount: int, *, days_ago: int = 5, interval: str = "month", **values: Any) -> None:
        row = {"tenant_id": self.tenant_id, "id": new_id(), "user_id": user_id, "plan_version_id": self.plans[interval]}
        row |= {"amount_minor": amount, "currency": "USD", "provider": "manual", "state": "paid", **values}
        async with self.store.transaction(self.tenant_id) as conn:
            await conn.execute(orders.insert().values(**row, paid_at=NOW - timedelta(days=days_ago)))

    async def used(self, user_id: UUID, agent: str, calls: int, *, days_ago: int = 1, **values: Any) -> None:
        row = {"tenant_id": self.tenant_id, "id": new_id(), "kind": "turn", "user_id": user_id, "outcome": "ok"}
        row |= {"agent_id": self.agents[agent], "channel": "web", "calls": calls, "certainty": "exact", "cost": 7_000_000}
        row |= {"occurred_at": NOW - timedelta(days=days_ago), "model": "m", "cost_currency": "USD", **values}
        async with self.store.transaction(self.tenant_id) as conn:
            await conn.execute(entries.insert().values(**row))

    async def revenue(self, by: str, days: int = 30) -> dict[str, int]:
        """Label -> revenue, whichever part of the ledger is in the sums already."""
        last = NOW.date()
        found = await ReportService(self.store).revenue(self.tenant_id, by, last - timedelta(days=days), last)
        return {row.label: row.revenue for row in found}


@pytest.fixture
async def business(store: Store, tenant_id: UUID) -> Business:
    made = Business(store, tenant_id)
    await made.open()
    return made


async def test_what_was_paid_follows_what_it_was_used_for(business: Business) -> None:
    ann, bob, eve = [await business.person() for _ in range(3)]
    await business.paid(ann, 1000)
    await business.paid(bob, 500)
    await business.paid(eve, 300)
    await business.used(ann, "guide", 2)
    await business.used(ann, "poet", 1, channel="api")
    await business.used(bob, "poet", 9, channel="api")
    for summed in (False, True):
        if summed:
            await rebuild(business.store)
        assert await business.revenue("agent") == {"guide": 667, "poet": 833, NOT_ATTRIBUTED: 300}
        assert await business.revenue("channel") == {"web": 667, "api": 833, NOT_ATTRIBUTED: 300}
        total = sum((await business.revenue("plan")).values())
        assert {sum((await business.revenue(by)).values()) for by in ("agent", "version", "channel", "day", "user")} == {total}
    last = NOW.date()
    margins = await ReportService(business.store).margin(business.tenant_id, "agent", last - timedelta(days=30), last)
    assert {row.label: (row.revenue, row.cost, row.margin) for row in margins} == {
        "guide": (6_670_000_000, 7_000_000, 6_663_000_000),
        "poet": (8_330_000_000, 14_000_000, 8_316_000_000),
        NOT_ATTRIBUTED: (3_000_000_000, 0, 3_000_000_000),
    }


async def test_only_the_time_that_was_paid_for_counts(business: Business) -> None:
    ann = await business.person()
    await business.paid(ann, 700, days_ago=20, interval="week")
    await business.used(ann, "guide", 5, days_ago=21)  # before
    await business.used(ann, "guide", 1, days_ago=20)  # on the day
    await business.used(ann, "poet", 1, days_ago=14)  # on its last
    await business.used(ann, "poet", 50, days_ago=13)  # after
    assert await business.revenue("agent") == {"guide": 350, "poet": 350}
    await business.paid(ann, 100, days_ago=13, interval="once")
    assert await business.revenue("agent") == {"guide": 350, "poet": 450}
    assert await business.revenue("agent", days=15) == {"poet": 100}, "only what was paid in the range"


async def test_tryouts_failures_refunds_and_open_orders_attribute_nothing(business: Business) -> None:
    ann = await business.person()
    await business.paid(ann, 1000)
    await business.paid(ann, 9000, state="refunded")
    await business.paid(ann, 9000, state="pending")
    await business.used(ann, "guide", 3, kind="test")
    await business.used(ann, "guide", 0, outcome="model_timeout")
    assert await business.revenue("agent") == {NOT_ATTRIBUTED: 1000}
    await business.used(ann, "poet", 1)
    assert await business.revenue("agent") == {"poet": 1000}


async def test_currencies_are_never_added_and_tenants_never_mixed(business: Business, other_tenant_id: UUID) -> None:
    ann = await business.person()
    await business.paid(ann, 1000)
    await business.paid(ann, 77, currency="EUR")
    await business.used(ann, "guide", 1)
    last = NOW.date()
    found = await ReportService(business.store).revenue(business.tenant_id, "agent", last - timedelta(days=9), last)
    assert [(row.label, row.currency, row.revenue) for row in found] == [("guide", "EUR", 77), ("guide", "USD", 1000)]
    other = Business(business.store, other_tenant_id)
    assert await other.revenue("agent") == {}
