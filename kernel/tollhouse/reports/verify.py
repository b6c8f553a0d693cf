"""Whether everything that can be recomputed is what it should be: ``ledger verify``, and a job each night."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text

from tollhouse.reports import repository as rows
from tollhouse.reports.chain import Chain, Outside, Sealed
from tollhouse.reports.rollup import NAME
from tollhouse.reports.seal_repository import LOGS
from tollhouse.store.anchor import ChainId
from tollhouse.store.audit import broken_links
from tollhouse.store.pieces import Piece, Reading, Tell, reading, untold
from tollhouse.store.store import Store
from tollhouse.usage.verify import Check, Difference, checks, run

SUMMED: Final = ("calls", "tokens", "cost")

_OF_PIECE = text(
    f"""
    SELECT {rows.DAY} AS day,
           coalesce(sum(e.calls) FILTER (WHERE e.kind <> 'test'), 0) AS calls,
           coalesce(sum(e.input_tokens), 0) + coalesce(sum(e.output_tokens), 0) AS tokens, coalesce(sum(e.cost), 0) AS cost,
           bool_or(e.xid >= :mark AND e.id >= id_floor(CAST(:seen AS timestamptz) - {rows.LAG})) AS waiting
    FROM entries e JOIN tenants t ON t.id = e.tenant_id WHERE e.tenant_id = :tenant AND e.id >= :low AND e.id < :high GROUP BY 1
    """
)
_ROLLED = text(
    """
    SELECT day, sum(calls) AS calls, sum(input_tokens + output_tokens) AS tokens, sum(cost) AS cost
    FROM usage_daily WHERE tenant_id = :tenant GROUP BY 1
    """
)


class DailySums:
    """Each day's sums are those of its entries: of days that are over, and of which no entry still waits for the worker."""

    def __init__(self, mark: int, seen: datetime | None) -> None:
        self.mark, self.seen = mark, seen
        self.should: Counter[tuple[date, str]] = Counter()
        self.waiting: set[date] = set()

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Nothing yet: a day of the tenant's may lie in two pieces."""
        values = {"tenant": ledger.tenant_id, "mark": self.mark, "seen": self.seen, **piece.bounds()}
        for row in (await ledger.conn.execute(_OF_PIECE, values)).mappings():
            self.waiting |= {row["day"]} if row["waiting"] else set()
            for name in SUMMED:
                self.should[row["day"], name] += int(row[name])
        return []

    async def end(self, ledger: Reading) -> list[Difference]:
        """Each day that differs."""
        found: Counter[tuple[date, str]] = Counter()
        for row in (await ledger.conn.execute(_ROLLED, {"tenant": ledger.tenant_id})).mappings():
            for name in SUMMED:
                found[row["day"], name] = int(row[name])
        today = await rows.today(ledger.conn, ledger.tenant_id)
        days = {day for day, _ in {*found, *self.should}} - self.waiting
        compared = sorted(day for day in days if day < today and (ledger.since is None or day >= ledger.since))
        return [fault for day in compared if (fault := self._compare(ledger.tenant_id, day, found)) is not None]

    def _compare(self, tenant_id: UUID, day: date, found: Counter[tuple[date, str]]) -> Difference | None:
        calls, tokens, cost = (found[day, name] for name in SUMMED)
        should = tuple(self.should[day, name] for name in SUMMED)
        if (calls, tokens, cost) == should:
            return None
        detail = (
            f"{day}: {calls} calls, {tokens} tokens and cost {cost}; the ledger says {should[0]}, {should[1]} and {should[2]}"
        )
        return Difference("daily_sums", tenant_id, tenant_id, detail)


async def verify_all(
    store: Store,
    tenant_id: UUID,
    outside: Outside,
    *,
    since: date | None = None,
    tell: Tell = untold,
    into: list[Sealed] | None = None,
) -> list[Difference]:
    """Every difference: of the ledger's own projections, of the daily sums, and of the chains over the ledger and the audit
    log; in one snapshot. ``into`` is told what the chains hold, and how much is in none yet.

    ``since``: of the entries of that day and later. What only all of them can show is left out, and ``tell`` hears what.
    """
    sums = await _daily_sums(store)
    chains = [Chain(ChainId(tenant_id, log), outside) for log in LOGS]
    async with reading(store, tenant_id, since=since, tell=tell) as ledger:
        found = await run(ledger, [*checks(), *sums, *chains])
        retired = max(chain.retired for chain in chains if chain.found.chain.log == "audit")
        found += await audit_faults(ledger, cut=retired > 0)
    if into is not None:
        into += [chain.found for chain in chains]
    return found


async def audit_faults(ledger: Reading, *, cut: bool = False) -> list[Difference]:
    """Each old entry of the audit log that does not follow from the one before; the whole of it, whatever ``since`` says.

    ``cut``: its beginning was given up in order.
    """
    detail = "an entry of the audit log does not follow from the one before: one was changed, added or taken away"
    broken = broken_links(ledger.conn, ledger.tenant_id, cut=cut)
    return [Difference("audit_broken", ledger.tenant_id, entry, detail) async for entry in broken]


async def verify_rollups(store: Store, tenant_id: UUID) -> list[Difference]:
    """Each day whose sums differ from its entries."""
    sums = await _daily_sums(store)
    async with reading(store, tenant_id) as ledger:
        return await run(ledger, sums)


async def _daily_sums(store: Store) -> list[Check]:
    async with store.operator() as conn:
        mark, seen = await rows.watermark(conn, NAME), await rows.moved_at(conn, NAME)
    return [DailySums(mark, seen)] if mark else []  # else nothing was summed up on this server yet
