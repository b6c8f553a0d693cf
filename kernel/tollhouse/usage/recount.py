"""Counting anew what was charged: month by month in the order of the counters' ids, laid beside the counters themselves.

Each month's sums come from the database sorted, and here only one row of each is looked at at a time, so that neither side
ever has to remember all counters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, text

from tollhouse.store.pieces import Reading, aligned

STREAMS: Final = 24
"""So many sorted sums are open at once at most: then several months are one."""

_COUNTERS = text(
    """
    SELECT c.id, c.metric || '/' || c.window AS name, c.used, c.held, coalesce(s.held, 0) AS set_aside,
           CAST(:since AS timestamptz) IS NULL OR c.window_start >= :since AS recounted
    FROM counters c LEFT JOIN (
        SELECT x.id, sum(x.amount) AS held FROM holds h, unnest(h.counter_ids, h.amounts) AS x(id, amount)
        WHERE h.tenant_id = :tenant AND h.state = 'open' GROUP BY x.id) s USING (id)
    WHERE c.tenant_id = :tenant ORDER BY c.id
    """
)
_SUMS = text(
    """
    SELECT x.id, coalesce(sum(x.amount), 0) AS used, min(e.occurred_at) AS first, max(e.occurred_at) AS last
    FROM entries e, unnest(e.counter_ids, e.amounts) AS x(id, amount)
    WHERE e.tenant_id = :tenant AND e.id >= :low AND e.id < :high AND x.id IS NOT NULL GROUP BY x.id ORDER BY x.id
    """
)


class Fault(NamedTuple):
    """``says``: the counter's id, what is wrong, what it should be and what it is."""

    check: str
    says: tuple[Any, ...]


async def recount(ledger: Reading) -> AsyncIterator[Fault]:
    """Each counter that is not what it should be."""
    now, skipped = (await ledger.conn.execute(text("SELECT now()"))).scalar_one(), 0
    streams = [ledger.rows(_COUNTERS, since=ledger.since_moment)]
    streams += [ledger.rows(_SUMS, **month.bounds()) for month in ledger.months(STREAMS)]
    async for rows in aligned(streams):
        sums = [row for row in rows if "name" not in row]
        counter = rows[0] if len(sums) < len(rows) else None
        if counter is None:
            if _must_be_there(sums, now):
                yield Fault("counter_missing", (sums[0]["id"], "a counter that was charged is not there"))
            continue
        skipped += not counter["recounted"]
        used = sum(int(row["used"]) for row in sums) if counter["recounted"] else counter["used"]
        for name, should in (("used", used), ("held", int(counter["set_aside"]))):
            if counter[name] != should:
                detail = f"counter {counter['name']} says {counter[name]} {name}, the ledger {should}"
                yield Fault(f"counter_{name}", (counter["id"], detail, should, counter[name]))
    if skipped:
        ledger.tell(f"left out: what was used of {skipped:,} counters whose window began before {ledger.since}")


def _must_be_there(sums: list[RowMapping], now: datetime) -> bool:
    """A short window's counter is pruned two days after it; any other, and one that was charged a moment ago, is kept."""
    first, last = min(row["first"] for row in sums), max(row["last"] for row in sums)
    return bool(last > now - timedelta(days=1) or last - first > timedelta(hours=6))
