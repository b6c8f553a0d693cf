"""Rollups that end equal to a full recompute whatever happens in between, and reports that never mix currencies."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import func, select, text

from tests.conftest import Cluster
from tollhouse.agents.models import agents
from tollhouse.auth.models import users
from tollhouse.billing.models import orders, plan_versions, plans
from tollhouse.plugin import InvalidInput
from tollhouse.reports.rollup import rebuild, roll
from tollhouse.reports.service import MarginRow, ReportService, RevenueRow, UsageRow, margins, to_csv
from tollhouse.reports.verify import audit_faults, verify_rollups
from tollhouse.store.audit import SYSTEM
from tollhouse.store.ids import new_id
from tollhouse.store.models import audit
from tollhouse.store.pieces import reading
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.tenants.service import TenantChanges, TenantService
from tollhouse.usage.models import entries, usage_sums

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
SUMMED_UP = text(
    """
    SELECT s.* FROM usage_sums s JOIN watermarks w ON w.name = 'usage_sums' AND w.generation = s.generation
    WHERE s.tenant_id = :tenant AND s.grain = 'full'
    """
)
SUMMED = ("calls", "input_tokens", "output_tokens", "cost", "latency_ms")


def entry(tenant_id: UUID, user_id: UUID, **values: Any) -> dict[str, Any]:
    base = {
        "tenant_id": tenant_id,
        "id": new_id(),
        "kind": "turn",
        "user_id": user_id,
        "agent_id": None,
        "channel": "web",
        "model": "m",
        "outcome": "ok",
        "calls": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "certainty": "exact",
        "cost": 1_000,
        "cost_currency": "USD",
        "latency_ms": 7,
        "occurred_at": NOW,
    }
    return {**base, **values}


async def write(store: Store, tenant_id: UUID, *rows: dict[str, Any]) -> None:
    async with store.transaction(tenant_id) as conn:
        for row in rows:
            await conn.execute(entries.insert().values(**row))


async def projected(store: Store, tenant_id: UUID) -> Counter[tuple[Any, ...]]:
    """The sums by day, user, channel, model and currency, as rolled up."""
    found = Counter[tuple[Any, ...]]()
    async with store.transaction(tenant_id) as conn:
        for row in (await conn.execute(SUMMED_UP, {"tenant": tenant_id})).mappings():
            key = (row["day"], row["user_id"], row["channel"], row["model"], row["cost_currency"])
            for name in SUMMED:
                found[(*key, name)] += row[name]
            found[(*key, "errors")] += row["errors"]
            found[(*key, "unknown")] += row["unknown_cost"]
    return found


def recomputed(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    found = Counter[tuple[Any, ...]]()
    for row in rows:
        key = (row["occurred_at"].date(), row["user_id"], row["channel"], row["model"], row["cost_currency"])
        for name in SUMMED:
            found[(*key, name)] += row[name] or 0
        found[(*key, "errors")] += row["outcome"] != "ok" and row["kind"] == "turn"
        found[(*key, "unknown")] += row["cost"] is None
    return found


async def rebuilt(store: Store) -> None:
    """Rebuild until everything committed so far is in: other databases of the cluster hold the horizon back for a moment."""
    async with store.operator() as conn:
        mine = int((await conn.execute(text("SELECT pg_current_xact_id()::text"))).scalar_one())
    async with asyncio.timeout(30):
        while (await roll(store)).up_to <= mine:  # noqa: ASYNC110 - other databases have no event of ours
            await asyncio.sleep(0.02)


class Writers:
    """Transactions that write entries and end when they please: committed, or rolled back."""

    def __init__(self, store: Store, chance: random.Random, tenant_ids: list[UUID]) -> None:
        self.store, self.chance, self.people = store, chance, [new_id(), new_id()]
        self.committed: dict[UUID, list[dict[str, Any]]] = {tenant_id: [] for tenant_id in tenant_ids}
        self.open: list[tuple[AsyncExitStack, UUID, list[dict[str, Any]]]] = []

    def any_entry(self, tenant_id: UUID) -> dict[str, Any]:
        pick = self.chance.choice
        return entry(
            tenant_id,
            pick(self.people),
            occurred_at=NOW - timedelta(days=pick([0, 1, 2])),
            channel=pick(["web", "api"]),
            cost=pick([None, 0, 123]),
            cost_currency=pick(["USD", "EUR"]),
            outcome=pick(["ok", "model_timeout"]),
        )

    async def begin(self) -> None:
        tenant_id, stack = self.chance.choice(list(self.committed)), AsyncExitStack()
        rows = [self.any_entry(tenant_id) for _ in range(self.chance.randrange(1, 4))]
        conn = await stack.enter_async_context(self.store.transaction(tenant_id))
        await conn.execute(entries.insert(), rows)
        self.open.append((stack, tenant_id, rows))

    async def finish(self) -> None:
        stack, tenant_id, rows = self.open.pop(self.chance.randrange(len(self.open)))
        if self.chance.random() < 0.8:
            await stack.aclose()
            self.committed[tenant_id] += rows
        else:
            gone = RuntimeError("rolled back")
            with suppress(RuntimeError):
                await stack.__aexit__(RuntimeError, gone, None)


@pytest.mark.parametrize("seed", range(12))
async def test_any_interleaving_of_entries_and_rebuilds_ends_like_a_full_recompute(
    store: Store, tenant_id: UUID, other_tenant_id: UUID, seed: int
) -> None:
    chance = random.Random(seed)
    writers = Writers(store, chance, [tenant_id, other_tenant_id])
    for _ in range(16):
        step = chance.choice(["begin", "begin", "finish", "rebuild"])
        if step == "begin" and len(writers.open) < 3:
            await writers.begin()
        elif step == "finish" and writers.open:
            await writers.finish()
        elif step == "rebuild":
            await chance.choice([roll, roll, rebuild])(store)
    while writers.open:
        await writers.finish()
    await rebuilt(store)
    for tenant, rows in writers.committed.items():
        assert +await projected(store, tenant) == +recomputed(rows), f"seed {seed}"


async def test_rebuilding_again_and_at_once_changes_nothing(store: Store, tenant_id: UUID) -> None:
    rows = [entry(tenant_id, new_id()) for _ in range(5)]
    await write(store, tenant_id, *rows)
    await asyncio.gather(*(step(store) for step in (roll, rebuild, roll, rebuild)))
    await rebuilt(store)
    first = await projected(store, tenant_id)
    assert +first == +recomputed(rows)
    await rebuilt(store)
    assert await projected(store, tenant_id) == first
    async with store.operator() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM watermarks WHERE name = 'usage_sums'"))).scalar() == 1


async def test_a_day_is_the_tenants_own(store: Store, tenant_id: UUID) -> None:
    async with store.operator() as conn:
        await conn.execute(tenants.update().where(tenants.c.id == tenant_id).values(timezone="Asia/Kolkata"))
    evening = NOW.replace(hour=20) - timedelta(days=3)
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=evening))
    await rebuilt(store)
    async with store.transaction(tenant_id) as conn:
        days = {row["day"] for row in (await conn.execute(SUMMED_UP, {"tenant": tenant_id})).mappings()}
    assert days == {evening.date() + timedelta(days=1)}


async def test_an_hour_at_a_midnight_that_comes_twice_is_in_a_day(store: Store, tenant_id: UUID) -> None:
    async with store.operator() as conn:
        await conn.execute(tenants.update().where(tenants.c.id == tenant_id).values(timezone="Atlantic/Azores"))
    between = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # after the first midnight, before the clock goes back to it
    store.at(between + timedelta(days=3))
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=between))
    await rebuilt(store)
    async with store.transaction(tenant_id) as conn:
        days = {row["day"] for row in (await conn.execute(SUMMED_UP, {"tenant": tenant_id})).mappings()}
    store.at(None)
    assert days == {between.date()}


async def test_a_tenant_that_moves_twice_keeps_its_days(store: Store, tenant_id: UUID) -> None:
    """An hour before midnight in UTC is another day in Tokyo, and was never one of Honolulu's."""
    service, user = TenantService(store), new_id()
    moments = [NOW.replace(year=NOW.year - 1, month=month, day=15, hour=23) for month in (1, 3, 5)]
    for moment, zone in zip(moments, ("Asia/Tokyo", "Pacific/Honolulu", None), strict=True):
        store.at(moment)
        await write(store, tenant_id, entry(tenant_id, user, occurred_at=moment))
        if zone is not None:
            await service.update(tenant_id, TenantChanges(timezone=zone), actor=SYSTEM)
    await rebuilt(store)
    report = await ReportService(store).usage(tenant_id, "day", moments[0].date(), moments[2].date())
    year = NOW.year - 1
    assert [row.key for row in report] == [f"{year}-01-15", f"{year}-03-16", f"{year}-05-15"]
    assert await verify_rollups(store, tenant_id) == []


async def test_after_a_restore_on_another_server_sums_go_on(store: Store, tenant_id: UUID) -> None:
    """There the numbers of transactions begin anew, far below the watermark and below those of restored entries; and some of
    those have numbers that are still to come on this server."""
    async with store.operator() as conn:
        now = int((await conn.execute(text("SELECT pg_current_xact_id()::text"))).scalar_one())
    day = NOW - timedelta(days=3)
    old = [entry(tenant_id, new_id(), occurred_at=day, xid=xid) for xid in (3, now - 1, now + 1, now + 40, now + 41, 2**60)]
    await write(store, tenant_id, *old)
    async with store.operator() as conn:
        await conn.execute(text("UPDATE watermarks SET cluster = 'another server', xid = :xid"), {"xid": 2**61})
    fresh = []
    for _ in range(50):  # through all the numbers that restored entries have
        fresh.append(entry(tenant_id, new_id(), occurred_at=day))
        await write(store, tenant_id, fresh[-1])
        if len(fresh) % 10 == 0:
            await roll(store)
            await shown(store, tenant_id, day.date(), [*old, *fresh])
    await rebuilt(store)
    assert (await projected(store, tenant_id)) == recomputed([*old, *fresh])
    await shown(store, tenant_id, day.date(), [*old, *fresh])
    assert await verify_rollups(store, tenant_id) == []


async def shown(store: Store, tenant_id: UUID, day: date, rows: list[dict[str, Any]]) -> None:
    """The report says what all these entries say, whatever of it is in the sums."""
    report = await ReportService(store).usage(tenant_id, "day", day, day)
    assert sum(row.calls for row in report) == len(rows)


async def test_a_changed_entry_of_the_audit_log_shows(store: Store, cluster: Cluster, tenant_id: UUID) -> None:
    """Those of before 0.2 were chained to one another when they were written."""
    await write_as_before(store, tenant_id, "first", "second", "third")
    assert await audit_broken(store, tenant_id) == []
    async with store.operator() as conn:
        database = (await conn.execute(text("SELECT current_database()"))).scalar_one()
    admin = await asyncpg.connect(cluster.superuser_dsn, database=database)
    changed = """UPDATE audit SET data = '{"slug": "other"}' WHERE tenant_id = $1 AND data->>'slug' = 'second'"""
    await admin.execute(changed, tenant_id)
    await admin.close()
    assert await audit_broken(store, tenant_id) == ["audit_broken"]


async def write_as_before(store: Store, tenant_id: UUID, *slugs: str) -> None:
    previous = b"\0" * 32
    for slug in slugs:
        row = {"tenant_id": tenant_id, "id": new_id(), "actor_id": None, "actor_kind": "system", "action": "thing.made"}
        row |= {"target_kind": "", "target_id": "", "data": {"slug": slug}, "address": "", "at": NOW, "previous": previous}
        parts = [row["id"], None, "system", "thing.made", "", "", "", NOW.isoformat(), json.dumps(row["data"])]
        previous = hashlib.sha256(previous + "\x1f".join(str(part) for part in parts).encode()).digest()
        async with store.transaction(tenant_id) as conn:
            await conn.execute(audit.insert().values(**row, digest=previous))


async def audit_broken(store: Store, tenant_id: UUID) -> list[str]:
    async with reading(store, tenant_id) as ledger:
        return [one.check for one in await audit_faults(ledger)]


async def test_a_report_joins_daily_sums_with_what_is_not_rolled_up_yet(
    store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    user_id, agent_id = new_id(), new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, email="a@example.test"))
        await conn.execute(agents.insert().values(tenant_id=tenant_id, id=agent_id, slug="guide", name="Guide"))
    store.at(NOW)
    old = entry(tenant_id, user_id, agent_id=agent_id, occurred_at=NOW - timedelta(days=5), cost=None, outcome="model_failed")
    await write(store, tenant_id, old)
    await write(store, other_tenant_id, entry(other_tenant_id, new_id(), cost=999_999))
    await rebuilt(store)
    await write(store, tenant_id, entry(tenant_id, user_id, agent_id=agent_id), entry(tenant_id, user_id, cost_currency="EUR"))
    reports, first, today = ReportService(store), NOW.date() - timedelta(days=6), NOW.date()
    days = await reports.usage(tenant_id, "day", first, today)
    assert [(row.key, row.currency, row.calls, row.cost, row.errors, row.unknown_cost) for row in days] == [
        ((today - timedelta(days=5)).isoformat(), "USD", 1, 0, 1, 1),
        (today.isoformat(), "EUR", 1, 1_000, 0, 0),
        (today.isoformat(), "USD", 1, 1_000, 0, 0),
    ]
    await rebuilt(store)  # nothing is counted twice once it is rolled up
    assert await reports.usage(tenant_id, "day", first, today) == days
    assert {(row.label, row.currency, row.calls) for row in await reports.usage(tenant_id, "user", first, today)} == {
        ("a@example.test", "USD", 2),
        ("a@example.test", "EUR", 1),
    }
    assert {(row.label, row.calls) for row in await reports.usage(tenant_id, "agent", first, today)} == {("guide", 2), ("", 1)}
    for by in ("version", "plan", "channel", "model"):
        assert sum(row.calls for row in await reports.usage(tenant_id, by, first, today)) == 3
    assert len(await reports.top(tenant_id, "day", first, today, limit=1)) == 1
    assert [row.cost for row in await reports.usage(other_tenant_id, "day", first, today)] == [999_999]


async def test_what_staff_try_out_costs_but_is_no_use(store: Store, tenant_id: UUID, other_tenant_id: UUID) -> None:
    user_id, day = new_id(), NOW - timedelta(days=3)
    store.at(NOW)
    tried = {"kind": "test", "cost": 50, "latency_ms": 900, "outcome": "model_failed"}
    for owner in (tenant_id, other_tenant_id):
        for when in (day, NOW):
            await write(store, owner, entry(owner, user_id, occurred_at=when, **tried))
    await write(store, tenant_id, entry(tenant_id, user_id, occurred_at=day), entry(tenant_id, user_id))
    reports, first, last = ReportService(store), day.date(), NOW.date()
    await rebuilt(store)
    for _ in range(2):  # from the daily sums before yesterday, from the ledger since
        rows = await reports.usage(tenant_id, "day", first, last)
        assert [(row.calls, row.errors, row.latency_ms, row.cost, row.input_tokens) for row in rows] == [
            (1, 0, 7, 1_050, 20)
        ] * 2
        others = await reports.usage(other_tenant_id, "day", first, last)
        assert [(row.calls, row.errors, row.cost) for row in others] == [(0, 0, 50)] * 2
        await rebuilt(store)
    for owner in (tenant_id, other_tenant_id):
        assert await verify_rollups(store, owner) == []


async def test_revenue_and_margin_stand_beside_each_other_by_currency(
    store: Store, tenant_id: UUID, other_tenant_id: UUID
) -> None:
    store.at(NOW)
    user_id, plan_id, version_id = new_id(), new_id(), new_id()
    async with store.transaction(tenant_id) as conn:
        await conn.execute(users.insert().values(tenant_id=tenant_id, id=user_id, email="a@example.test"))
        await conn.execute(plans.insert().values(tenant_id=tenant_id, id=plan_id, slug="pro", name="Pro"))
        values = {
            "tenant_id": tenant_id,
            "id": version_id,
            "plan_id": plan_id,
            "number": 1,
            "price_minor": 1900,
            "currency": "USD",
        }
        await conn.execute(plan_versions.insert().values(**values))
        for currency, state, amount in (
            ("USD", "paid", 1900),
            ("EUR", "paid", 500),
            ("USD", "refunded", 77),
            ("USD", "pending", 88),
        ):
            own = {
                "tenant_id": tenant_id,
                "id": new_id(),
                "user_id": user_id,
                "plan_version_id": version_id,
                "provider": "manual",
            }
            paid = {"amount_minor": amount, "currency": currency, "state": state, "paid_at": NOW}
            await conn.execute(orders.insert().values(**own, **paid))
    await write(store, tenant_id, entry(tenant_id, user_id, plan_version_id=version_id, cost=400_000_000))
    await rebuilt(store)
    reports, today = ReportService(store), NOW.date()
    assert [
        (row.label, row.currency, row.orders, row.revenue) for row in await reports.revenue(tenant_id, "plan", today, today)
    ] == [
        ("pro", "EUR", 1, 500),
        ("pro", "USD", 1, 1900),
    ]
    for by, label in (("plan", "pro"), ("day", today.isoformat()), ("user", "a@example.test")):
        assert [(row.label, row.currency, row.margin) for row in await reports.margin(tenant_id, by, today, today)] == [
            (label, "EUR", 5_000_000_000),
            (label, "USD", 18_600_000_000),
        ]
    assert await reports.revenue(other_tenant_id, "day", today, today) == []
    assert await reports.margin(other_tenant_id, "day", today, today) == []
    everywhere = {(row.key, row.currency): row.margin for row in await reports.margin_by_tenant(today, today)}
    assert everywhere[(str(tenant_id), "USD")] == 18_600_000_000
    assert everywhere[(str(tenant_id), "EUR")] == 5_000_000_000


def test_a_margin_with_an_unknown_price_says_so_and_yen_have_no_decimals() -> None:
    earned = [RevenueRow("d", "d", "JPY", 1, 300)]
    spent = [UsageRow("d", "d", "JPY", 1, 0, 0, 0, 100_000_000_000, 1, 0)]
    assert margins(earned, spent) == [MarginRow("d", "d", "JPY", 300 * 10**9, 100 * 10**9, 200 * 10**9, False)]


@pytest.mark.parametrize("label", ['=HYPERLINK("http://evil")', "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_is_a_formula(label: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv([RevenueRow("k", label, "EUR", 1, -5)]), newline="")))
    assert rows[0] == ["key", "label", "currency", "orders", "revenue"]
    assert rows[1] == ["k", "'" + label, "EUR", "1", "-5"]
    assert to_csv([]) == ""


async def test_what_cannot_be_asked_is_refused(store: Store, tenant_id: UUID) -> None:
    reports, day = ReportService(store), date(2026, 1, 1)
    for by, first, last in (
        ("password", day, day),
        ("day", day, day - timedelta(days=1)),
        ("day", day, day + timedelta(days=800)),
    ):
        with pytest.raises(InvalidInput):
            await reports.usage(tenant_id, by, first, last)
    async with store.transaction(tenant_id) as conn:
        assert (await conn.execute(select(func.count()).select_from(usage_sums))).scalar() == 0
