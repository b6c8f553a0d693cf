"""The daily sums follow what is new: each entry is added once, whoever dies or comes second, and nothing else is read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.conftest import Cluster
from tests.kernel.reports.test_reports import NOW, entry, projected, rebuilt, recomputed, write
from tollhouse.reports import rollup, sums
from tollhouse.reports.repository import usage_statement
from tollhouse.reports.rollup import rebuild, roll
from tollhouse.reports.service import ReportService
from tollhouse.reports.verify import verify_rollups
from tollhouse.store.ids import id_floor, new_id
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants

OLD = NOW - timedelta(days=9)


async def calls(store: Store, tenant_id: UUID, by: str = "day", day: datetime = OLD) -> int:
    """What the report says of one day."""
    return sum(row.calls for row in await ReportService(store).usage(tenant_id, by, day.date(), day.date()))


async def test_an_entry_of_an_old_day_shows_at_once_and_once(store: Store, tenant_id: UUID) -> None:
    user_id = new_id()
    await write(store, tenant_id, entry(tenant_id, user_id, occurred_at=OLD))
    await rebuilt(store)
    await write(store, tenant_id, entry(tenant_id, user_id, occurred_at=OLD, id=id_floor(OLD)))  # of a hold that is as old
    for _ in range(2):
        assert [await calls(store, tenant_id, by) for by in ("day", "user", "agent", "model")] == [2, 2, 2, 2]
        await rebuilt(store)


async def test_a_run_that_dies_before_its_watermark_moves_has_added_nothing(
    store: Store, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rebuilt(store)
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=OLD))
    with monkeypatch.context() as broken:
        broken.setattr(sums, "_ADVANCE", text("UPDATE watermarks SET xid = 1 / 0 WHERE id = :id AND :xid > 0"))
        with pytest.raises(Exception, match="division by zero"):
            await rebuilt(store)
    assert await projected(store, tenant_id) == {}
    assert await calls(store, tenant_id) == 1
    await rebuilt(store)
    assert sum(count for key, count in (await projected(store, tenant_id)).items() if key[-1] == "calls") == 1
    assert await calls(store, tenant_id) == 1


async def test_who_comes_second_leaves_it_to_the_first(store: Store, tenant_id: UUID) -> None:
    await rebuilt(store)
    rows = [entry(tenant_id, new_id(), occurred_at=OLD) for _ in range(3)]
    await write(store, tenant_id, *rows)
    async with store.operator() as conn:
        mark = await sums.lock_mark(conn)
        assert mark is not None
        async with asyncio.timeout(5):
            assert await roll(store) == rollup.Rolled(0, mark.xid)
    await asyncio.gather(*(rebuilt(store) for _ in range(3)))
    assert await projected(store, tenant_id) == recomputed(rows)


async def test_a_worker_that_was_away_catches_up_in_pieces(
    store: Store, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rebuilt(store)
    rows = [entry(tenant_id, new_id(), occurred_at=OLD) for _ in range(20)]
    for row in rows:  # a transaction each
        await write(store, tenant_id, row)
    pieces: list[int] = []
    add = sums.add_new

    async def counted(conn: Any, mark: sums.Mark, upto: int) -> int:
        pieces.append(upto - mark.xid)
        return await add(conn, mark, upto)

    monkeypatch.setattr(sums, "add_new", counted)
    monkeypatch.setattr(rollup, "STEP", 4)
    await rebuilt(store)
    assert len(pieces) > 4
    assert await projected(store, tenant_id) == recomputed(rows)


async def test_sums_that_were_begun_and_not_ended_are_read_by_nobody_and_go(
    store: Store, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [entry(tenant_id, new_id(), occurred_at=OLD) for _ in range(3)]
    await write(store, tenant_id, *rows)
    await rebuilt(store)

    async def killed(*_: Any) -> bool:
        raise ConnectionError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(sums, "switch", killed)
        with pytest.raises(Exception, match="database"):
            await rebuild(store)
    assert await calls(store, tenant_id) == 3
    assert await projected(store, tenant_id) == recomputed(rows)
    await rebuild(store)
    async with store.transaction(tenant_id) as conn:
        generations = text("SELECT count(DISTINCT generation) FROM usage_sums WHERE tenant_id = :tenant")
        assert (await conn.execute(generations, {"tenant": tenant_id})).scalar() == 1
    assert await projected(store, tenant_id) == recomputed(rows)


async def test_without_a_worker_reports_stay_right_and_the_log_says_what_is_wrong(
    store: Store, tenant_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    await rebuilt(store)
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=OLD))
    assert await calls(store, tenant_id) == 1
    assert "is a worker running" not in caplog.text
    async with store.operator() as conn:
        await conn.execute(text("UPDATE watermarks SET at = at - interval '11 minutes' WHERE name = 'usage_sums'"))
    for _ in range(3):
        assert await calls(store, tenant_id) == 1
    assert caplog.text.count("is a worker running") == 1


CHANGES = {
    "cost = cost + 1": "the sums say cost 1001; the ledger 1000",
    "errors = 7, latency_ms = 8": "the sums say errors 7, latency_ms 8; the ledger 0, 7",
    "user_id = gen_random_uuid()": "wrongly divided",
    "day = day + 1": "the sums say calls 0",
}


@pytest.mark.parametrize(("change", "says"), CHANGES.items())
async def test_a_sum_that_was_changed_is_named(store: Store, tenant_id: UUID, change: str, says: str) -> None:
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=OLD))
    await rebuilt(store)
    assert await verify_rollups(store, tenant_id) == []
    changed = f"UPDATE usage_sums SET {change} WHERE tenant_id = :tenant AND grain = 'full'"
    async with store.operator() as conn:
        await conn.execute(text(changed), {"tenant": tenant_id})
    found = await verify_rollups(store, tenant_id)
    assert {one.check for one in found} == {"daily_sums"}
    assert any(says in one.detail for one in found), found
    await rebuild(store)
    assert await verify_rollups(store, tenant_id) == []


@pytest.mark.parametrize("grain", ["user", "offer"])
async def test_the_sums_of_each_grain_are_compared(store: Store, tenant_id: UUID, grain: str) -> None:
    await write(store, tenant_id, entry(tenant_id, new_id(), occurred_at=OLD))
    await rebuilt(store)
    async with store.operator() as conn:
        changed = text("UPDATE usage_totals SET calls = 9 WHERE tenant_id = :tenant AND grain = :grain")
        await conn.execute(changed, {"tenant": tenant_id, "grain": grain})
    assert [one.detail for one in await verify_rollups(store, tenant_id)] == [
        f"{OLD.date()}: the sums by {grain} are not those that all is divided into"
    ]


# -- what it costs -----------------------------------------------------------------------------------------------------------

MANY = text(
    """
    INSERT INTO entries (tenant_id, id, kind, user_id, outcome, calls, certainty, cost)
    SELECT :tenant, made.id, 'turn', :user, 'ok', 1, 'exact', 1
    FROM generate_series(1, 40000) n,
         LATERAL (SELECT (substr(id_floor(now())::text, 1, 13) || '-7' || substr(gen_random_uuid()::text, 16))::uuid AS id
                  WHERE n > 0) made
    """
)


async def many(store: Store, cluster: Cluster, tenant_id: UUID) -> None:
    """As many entries of today as fill some megabytes; the server's housekeeping has been there."""
    async with store.transaction(tenant_id) as conn:
        await conn.execute(MANY, {"tenant": tenant_id, "user": new_id()})
    async with store.operator() as conn:
        database = (await conn.execute(text("SELECT current_database()"))).scalar_one()
    admin = await asyncpg.connect(cluster.superuser_dsn, database=database)
    await admin.execute("VACUUM ANALYZE entries")  # from now on, small rows go where older pages have room
    await admin.close()


def blocks_of_entries(plan: Any) -> int:
    """Blocks that all nodes read which look into the ledger itself or its indexes."""
    if isinstance(plan, list):
        return sum(blocks_of_entries(one) for one in plan)
    ours = str(plan.get("Relation Name", "")).startswith("entries_")
    own = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0) if ours else 0
    return own or blocks_of_entries(plan.get("Plans", [plan["Plan"]] if "Plan" in plan else []))


async def test_what_is_read_follows_what_is_new_and_not_the_day(store: Store, cluster: Cluster, tenant_id: UUID) -> None:
    """However many entries of the same day are before them, ten new ones cost the same: a report, and to add them."""
    costs: list[list[int]] = []
    for _ in range(3):
        await many(store, cluster, tenant_id)
        await rebuilt(store)
        await write(store, tenant_id, *(entry(tenant_id, new_id()) for _ in range(10)))
        span = {"first": NOW.date(), "last": NOW.date(), "limit": 10, "grain": "offer", "tenant_id": tenant_id}
        found = []
        for transaction, statement, values in (
            (store.transaction(tenant_id), usage_statement("day", "key"), span),
            (store.operator(), sums.ADD_NEW.text, {"upto": 2**62}),
        ):
            async with transaction as conn:
                await sums.by_ranges(conn, "5s")
                mark = await sums.read_mark(conn)
                assert mark is not None
                values |= {**mark.values(), "generation": mark.generation}
                explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
                found.append(blocks_of_entries((await conn.execute(explain, values)).scalar()))
                await conn.rollback()
        costs.append(found)
        await rebuilt(store)
    assert all(0 < blocks < 100 for found in costs for blocks in found), costs
    assert all(abs(now - before) < 50 for before, now in zip(costs[0], costs[2], strict=True)), costs


# -- days ---------------------------------------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
NAMES = st.sampled_from(["UTC", "Asia/Tokyo", "Pacific/Honolulu", "America/St_Johns", "Atlantic/Azores"])


async def test_the_ranges_of_zones_are_those_of_each_moment(store: Store, tenant_id: UUID) -> None:
    """``ZONES`` and ``zone_at`` say the same of every moment, at each change too."""
    asked = text(
        f"""
        WITH zones AS (SELECT * FROM ({sums.ZONES}) x WHERE tenant_id = :tenant)
        SELECT m, zone_at(t, m) AS alone, array_agg(z.zone) AS ranges FROM tenants t, unnest(CAST(:moments AS timestamptz[])) m
        LEFT JOIN zones z ON m >= z.since AND m < z.until WHERE t.id = :tenant GROUP BY m, alone
        """
    )

    async def compare(
        former: list[tuple[datetime, str]], following: tuple[datetime, str] | None, moments: list[datetime]
    ) -> None:
        changes = {"former_zones": [{"until": until.isoformat(), "timezone": zone} for until, zone in former]}
        changes |= {"next_timezone_from": following and following[0], "next_timezone": following and following[1]}
        async with store.operator() as conn:
            await conn.execute(tenants.update().where(tenants.c.id == tenant_id).values(changes))
            edges = [until for until, _ in former] + ([following[0]] if following else [])
            for row in await conn.execute(asked, {"tenant": tenant_id, "moments": sorted({*moments, *edges})}):
                assert row.ranges == [row.alone], row

    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(st.tuples(MOMENTS, NAMES), max_size=4), st.none() | st.tuples(MOMENTS, NAMES), st.lists(MOMENTS, min_size=3)
    )
    def cases(former: Any, following: Any, moments: Any) -> None:
        asyncio.run_coroutine_threadsafe(compare(former, following, moments), loop).result(20)

    await asyncio.to_thread(cases)
