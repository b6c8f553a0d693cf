"""Daily sums of the ledger, rebuilt by the worker: a projection that can be thrown away and made again.

An entry carries the number of the transaction that wrote it. A run takes the entries from the watermark up to the oldest
transaction that is still running: everything below is committed or gone for every snapshot, so no entry is ever missed, however
late its transaction commits. The days that these entries fall on (local days of their tenant) are summed up again from the
ledger as a whole, so a repeated run changes nothing.

Numbers of transactions belong to a server. Where a dump was restored on another one, the watermark is not of that server, and
everything is summed up once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from tollhouse.reports import repository as rows
from tollhouse.store.pieces import months_between
from tollhouse.tenants.models import tenants

if TYPE_CHECKING:
    from tollhouse.store.store import Store

NAME = "usage_daily"
DAYS = 7
"""Days of one tenant that are summed up in one transaction."""


@dataclass(slots=True)
class Rebuilt:
    """What one run did: how many local days of how many tenants, and up to which transaction."""

    tenants: int = 0
    days: int = 0
    up_to: int = 0


async def rebuild(store: Store) -> Rebuilt:
    """Bring ``usage_daily`` up to the last transaction that all snapshots see. One run at a time; a second one waits its turn.

    The watermark moves only after every tenant's days are written: a run that dies is repeated as a whole.
    """
    async with store.operator() as conn:
        low = await rows.watermark(conn, NAME)
        high = await rows.horizon(conn)
        touched = _by_tenant(await rows.touched_days(conn, low, high)) if low else None
    done = Rebuilt(up_to=high)
    for tenant_id, days in (await _everything(store) if touched is None else touched).items():
        for some in batched(days, DAYS):
            async with store.operator() as conn:
                # Another process may be at the same days: the one that comes second sums up what the first has seen, and more.
                await rows.lock_rollup(conn, tenant_id)
                await rows.rebuild_days(conn, tenant_id, some)
        done.tenants += 1
        done.days += len(days)
    async with store.operator() as conn:
        await rows.advance(conn, NAME, high)
    return done


async def _everything(store: Store) -> dict[UUID, list[date]]:
    """Every day of every tenant, found month by month: no statement reads the whole ledger."""
    async with store.operator() as conn:
        tenant_ids = (await conn.execute(select(tenants.c.id))).scalars().all()
    found: dict[UUID, list[date]] = {}
    for tenant_id in tenant_ids:
        async with store.operator() as conn:
            span = await rows.span(conn, tenant_id)
        days: set[date] = set()
        for low, high in months_between(*span) if span else ():
            async with store.operator() as conn:
                days.update(await rows.days_between(conn, tenant_id, low, high))
        if days:
            found[tenant_id] = sorted(days)
    return found


def _by_tenant(touched: list[tuple[UUID, date]]) -> dict[UUID, list[date]]:
    found: dict[UUID, list[date]] = {}
    for tenant_id, day in touched:
        found.setdefault(tenant_id, []).append(day)
    return found


def batched(days: Sequence[date], size: int) -> Iterator[Sequence[date]]:
    """The same in pieces of at most ``size``."""
    for start in range(0, len(days), size):
        yield days[start : start + size]
