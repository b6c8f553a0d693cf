"""Limits that hold: four processes, one database, everybody at once. ``TOLLHOUSE_ROUNDS=50`` gives the full count."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from tests.conftest import Cluster
from tests.fleet import Fleet
from tests.world import add_customer, open_shop
from tollhouse.store.store import Store
from tollhouse.usage.models import counters, entries, holds
from tollhouse.usage.verify import verify

ROUNDS = int(os.environ.get("TOLLHOUSE_ROUNDS", "1"))

pytestmark = pytest.mark.xdist_group("fleet")


@pytest.fixture
def fleet(cluster: Cluster) -> Iterator[Fleet]:
    with Fleet(cluster.dsn) as fleet:
        yield fleet


async def test_a_thousand_requests_against_room_for_a_hundred(fleet: Fleet, store: Store) -> None:
    for _ in range(ROUNDS):
        shop = await open_shop(
            store,
            {"metric": "calls", "amount": 100, "window": "day"},
            {"metric": "calls", "amount": 100_000, "window": "month"},
            {"metric": "total_tokens", "amount": 10_000_000, "window": "hour"},
        )
        user = await add_customer(store, shop)
        outcomes = await fleet.storm(shop.tenant_id, [user], 1000)
        assert outcomes == {"ok": 100, "limit_reached": 900}
        assert await verify(store, shop.tenant_id) == []


async def test_a_token_limit_is_used_to_the_last_token_that_fits_and_never_passed(fleet: Fleet, store: Store) -> None:
    budget = 10_007
    for _ in range(ROUNDS):
        shop = await open_shop(store, {"metric": "total_tokens", "amount": budget, "window": "day"})
        user = await add_customer(store, shop)
        outcomes = await fleet.storm(shop.tenant_id, [user], 1000, reply="greedy")
        assert outcomes["ok"] > 0
        async with store.transaction(shop.tenant_id) as conn:
            used, held = (await conn.execute(select(counters.c.used, counters.c.held))).one()
            charged = (await conn.execute(select(func.sum(entries.c.amounts[1])))).scalar_one()
        assert used == charged <= budget
        assert held == 0
        assert await verify(store, shop.tenant_id) == []


async def test_the_first_requests_of_a_new_user_race_for_the_same_counters(fleet: Fleet, store: Store) -> None:
    shop = await open_shop(
        store, {"metric": "calls", "amount": 3, "window": "day"}, {"metric": "concurrent", "amount": 100, "window": "now"}
    )
    for _ in range(ROUNDS * 5):
        user = await add_customer(store, shop)
        outcomes = await fleet.storm(shop.tenant_id, [user], 8)
        assert outcomes == {"ok": 3, "limit_reached": 5}
        async with store.transaction(shop.tenant_id) as conn:
            rows = select(func.count()).select_from(counters).where(counters.c.user_id == user)
            assert (await conn.execute(rows)).scalar() == 2
    assert await verify(store, shop.tenant_id) == []


async def test_demand_that_fits_exactly_is_never_refused(fleet: Fleet, store: Store) -> None:
    shop = await open_shop(store, {"metric": "calls", "amount": 24, "window": "day"})
    users = [await add_customer(store, shop) for _ in range(4)]
    outcomes = await fleet.storm(shop.tenant_id, users, 96)
    assert outcomes == {"ok": 96}
    async with store.transaction(shop.tenant_id) as conn:
        assert (await conn.execute(select(func.count()).select_from(holds).where(holds.c.state == "open"))).scalar() == 0
