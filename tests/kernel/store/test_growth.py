"""What looks for a few rows in a table that only grows finds them by an index.

With sequential scans discouraged, a plan reads a whole table only where there is no other way: however small the test's tables
are, the plan is then the one of large ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tollhouse.delivery import forget
from tollhouse.reports import repository as reports
from tollhouse.store.models import inbox, outbox
from tollhouse.store.store import Store
from tollhouse.wiring import retention

DAY = datetime(2026, 1, 1, tzinfo=UTC).date()
CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "counters that are past": (text(retention._OF_INSTALLATION[0]), {"batch": 10}, "ix_counters_short"),
    "what was handed over": (text(retention._OF_INSTALLATION[1]), {"batch": 10}, "ix_outbox_done"),
    "what a person was sent": (forget._BLANK_SENT, {"connections": ["c"], "keys": ["k"]}, "ix_outbox_sent"),
    "what is stuck of what came": (inbox.select().where(inbox.c.state == "quarantined").limit(9), {}, "ix_inbox_stuck"),
    "what is stuck of what goes": (outbox.select().where(outbox.c.state == "quarantined").limit(9), {}, "ix_outbox_stuck"),
}
OF_ALL = ("counters that are past", "what was handed over")


def scans(plan: Any) -> list[tuple[str, str]]:
    """Each table or index that a plan reads, and how."""
    if isinstance(plan, list):
        return [one for part in plan for one in scans(part)]
    if "Plan" in plan:
        return scans(plan["Plan"])
    own = [(str(plan.get("Index Name") or plan.get("Relation Name")), plan["Node Type"])] if "Scan" in plan["Node Type"] else []
    return own + scans(plan.get("Plans", []))


async def plan_of(conn: Any, statement: Any, values: dict[str, Any]) -> list[tuple[str, str]]:
    settings = "set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"
    await conn.execute(text(f"SELECT {settings}"))
    compiled = statement if isinstance(statement, str) else str(statement.compile(compile_kwargs={"literal_binds": not values}))
    return scans((await conn.execute(text(f"EXPLAIN (FORMAT JSON) {compiled}"), values)).scalar_one())


@pytest.mark.parametrize("name", CASES)
async def test_a_few_rows_are_found_by_an_index(store: Store, tenant_id: UUID, name: str) -> None:
    statement, values, wanted = CASES[name]
    of_tenant = {"tenant": tenant_id} if ":tenant" in str(statement) else {}
    async with store.operator() if name in OF_ALL else store.transaction(tenant_id) as conn:
        found = await plan_of(conn, statement, values | of_tenant)
    assert wanted in {index for index, _ in found}, found
    assert [one for one in found if one[1] == "Seq Scan"] == []


async def test_revenue_of_a_span_reads_the_orders_of_that_span(store: Store, tenant_id: UUID) -> None:
    async with store.transaction(tenant_id) as conn:
        values = {"tenant_id": tenant_id, "first": DAY, "last": DAY + timedelta(days=3)}
        found = await plan_of(conn, reports.revenue_statement("day"), values)
    assert "ix_orders_paid" in {index for index, _ in found}, found
