"""What was used, what it cost and what it earned. Different currencies stand beside each other and are never added."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.plugin.errors import InvalidInput
from tollhouse.plugin.money import exponent
from tollhouse.reports import attribution
from tollhouse.reports import repository as rows
from tollhouse.reports.sums import Mark, by_ranges, read_mark
from tollhouse.store.exact import day_within
from tollhouse.store.trouble import Seldom

if TYPE_CHECKING:
    from tollhouse.store.store import Store

log = logging.getLogger(__name__)
_seldom = Seldom(log)

TIMEOUT = "5s"
BEHIND = timedelta(minutes=10)
SLOW = (
    "the daily sums were brought forward %s ago; reports read all since from the ledger, and get slower: is a worker running?"
)
MAX_DAYS = 731
MAX_ROWS = 10_000
NANO = 9
NOT_ATTRIBUTED = "Not attributed"
"""What is called revenue whose subscribers have used nothing of it."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group in one currency of cost. ``cost`` in nano-units; ``unknown_cost``: entries whose price is unknown."""

    key: str
    label: str
    currency: str
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: int
    unknown_cost: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """Paid orders of one group in one currency; ``revenue`` in minor units."""

    key: str
    label: str
    currency: str
    orders: int
    revenue: int


@dataclass(frozen=True, slots=True)
class MarginRow:
    """Revenue minus cost of one group in one currency, all in nano-units of it. ``complete``: no price was unknown."""

    key: str
    label: str
    currency: str
    revenue: int
    cost: int
    margin: int
    complete: bool


class ReportService:
    """Reports of one tenant by its local days, both ends included.

    They come from the daily sums, and from the ledger itself what is newer than those: right to the last entry of any day, and
    no slower when the day or the ledger is long. Only a worker that is away makes them slower, by what it has not added yet.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    async def usage(
        self, tenant_id: UUID, by: str, first: date, last: date, *, limit: int = MAX_ROWS, order: str = "key"
    ) -> Sequence[UsageRow]:
        """Usage by day, user, agent, version, plan, channel or model.

        Raises:
            InvalidInput: an unknown group, or a range that is too long or the wrong way round.
        """
        _check(by, rows.GROUPS, first, last)
        async with _snapshot(self.store.transaction(tenant_id)) as (conn, mark):
            found = await rows.usage(conn, tenant_id, by, first, last, mark, min(limit, MAX_ROWS), order)
        return [UsageRow(**row) for row in found]

    async def top(self, tenant_id: UUID, by: str, first: date, last: date, limit: int = 10) -> Sequence[UsageRow]:
        """The dearest groups first."""
        return await self.usage(tenant_id, by, first, last, limit=limit, order="cost")

    async def revenue(self, tenant_id: UUID, by: str, first: date, last: date) -> Sequence[RevenueRow]:
        """Revenue by day, plan, user or tenant; or by agent, version or channel, to which it is attributed by what subscribers
        used (see ``attribution``). Refunded orders are none.

        Raises:
            InvalidInput: as :meth:`usage`.
        """
        _check(by, {**rows.REVENUE_GROUPS, **dict.fromkeys(attribution.BY)}, first, last)
        if by in attribution.BY:
            return await self._attributed(tenant_id, by, first, last)
        async with self.store.transaction(tenant_id) as conn:
            found = await rows.revenue(conn, tenant_id, by, first, last)
        return [RevenueRow(**row) for row in found]

    async def _attributed(self, tenant_id: UUID, by: str, first: date, last: date) -> Sequence[RevenueRow]:
        async with _snapshot(self.store.transaction(tenant_id)) as (conn, mark):
            found = attribution.attributed(await attribution.read(conn, tenant_id, by, first, last, mark))
            called = await attribution.names(conn, tenant_id, by, sorted({key for key, _ in found} - {attribution.NOBODY}))
        called[attribution.NOBODY] = NOT_ATTRIBUTED
        return [RevenueRow(key, called.get(key, ""), currency, *found[key, currency]) for key, currency in sorted(found)]

    async def margin(self, tenant_id: UUID, by: str, first: date, last: date) -> Sequence[MarginRow]:
        """Revenue minus cost by day, plan, user, agent, version or channel, for each currency.

        Raises:
            InvalidInput: as :meth:`usage`.
        """
        earned = await self.revenue(tenant_id, by, first, last)
        if by == "tenant":
            raise InvalidInput("Margins by tenant are the operator's.", field="by")
        return margins(earned, await self.usage(tenant_id, by, first, last))

    async def margin_by_tenant(self, first: date, last: date) -> Sequence[MarginRow]:
        """The operator's view over all tenants.

        Raises:
            InvalidInput: as :meth:`usage`.
        """
        _check("tenant", rows.REVENUE_GROUPS, first, last)
        async with _snapshot(self.store.operator()) as (conn, mark):
            earned = [RevenueRow(**row) for row in await rows.revenue(conn, None, "tenant", first, last)]
            spent = await rows.cost_by_tenant(conn, first, last, mark)
        return margins(earned, [_cost_only(row) for row in spent])


@asynccontextmanager
async def _snapshot(transaction: AbstractAsyncContextManager[AsyncConnection]) -> AsyncIterator[tuple[AsyncConnection, Mark]]:
    """A transaction that sees one state of sums, watermark and ledger: an entry is in the sums or newer, and never both."""
    async with transaction as conn:
        await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await by_ranges(conn, TIMEOUT)
        mark = await read_mark(conn) or Mark()
        if mark.age > BEHIND:
            _seldom.say(logging.WARNING, SLOW, mark.age)
        yield conn, mark


def _cost_only(row: rows.Row) -> UsageRow:
    return UsageRow(row["key"], row["label"], row["currency"], 0, 0, 0, 0, row["cost"], row["unknown_cost"], 0)


def margins(earned: Iterable[RevenueRow], spent: Iterable[UsageRow]) -> list[MarginRow]:
    """Join both sides by group and currency; a side that has nothing counts as zero in that currency only."""
    found: dict[tuple[str, str], list[Any]] = {}
    for income in earned:
        nano = income.revenue * 10 ** (NANO - exponent(income.currency))
        found.setdefault((income.key, income.currency), [income.label, 0, 0, True])[1] += nano
    for usage in spent:
        side = found.setdefault((usage.key, usage.currency), [usage.label, 0, 0, True])
        side[2] += usage.cost
        side[3] = side[3] and usage.unknown_cost == 0
    return [
        MarginRow(key, label, currency, revenue, cost, revenue - cost, complete)
        for (key, currency), (label, revenue, cost, complete) in sorted(found.items())
    ]


def to_csv(report: Sequence[UsageRow] | Sequence[RevenueRow] | Sequence[MarginRow]) -> str:
    """The rows as CSV. A text that a spreadsheet would take for a formula is made a text by an apostrophe."""
    out = io.StringIO()
    if report:
        table: list[Mapping[str, Any]] = [asdict(row) for row in report]
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(table[0])
        writer.writerows([_cell(value) for value in row.values()] for row in table)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return value


def _check(by: str, groups: Mapping[str, Any], first: date, last: date) -> None:
    if by not in groups:
        raise InvalidInput(f"Group by one of {', '.join(groups)}.", field="by")
    for name, day in (("first", first), ("last", last)):
        try:
            day_within(day)
        except ValueError as error:
            raise InvalidInput(f"{error}.", field=name) from None
    if first > last:
        raise InvalidInput("The range ends before it begins.", field="last")
    if (last - first).days >= MAX_DAYS:
        raise InvalidInput(f"At most {MAX_DAYS} days, please.", field="first")
