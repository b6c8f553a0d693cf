"""Daily sums of the ledger, rebuilt by the worker: a projection that can be thrown away and made again.

An entry carries the number of the transaction that wrote it. A run takes the entries from the watermark up to the oldest
transaction that is still running: everything below is committed or gone for every snapshot, so no entry is ever missed, however
late its transaction commits. The days that these entries fall on (local days of their tenant) are summed up again from the
ledger as a whole, so a repeated run changes nothing.

Numbers of transactions belong to a server. Where a dump was restored on another one, the watermark is not of that server, and
everything is summed up once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from tollhouse.reports import repository as rows

if TYPE_CHECKING:
    from tollhouse.store.store import Store

NAME = "usage_daily"


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
        touched = await rows.touched_days(conn, low, high)
    done = Rebuilt(up_to=high)
    for tenant_id, days in _by_tenant(touched).items():
        async with store.operator() as conn:
            # Another process may be at the same days: the one that comes second sums up what the first has seen, and more.
            await rows.lock_rollup(conn, tenant_id)
            await rows.rebuild_days(conn, tenant_id, days)
        done.tenants += 1
        done.days += len(days)
    async with store.operator() as conn:
        await rows.advance(conn, NAME, high)
    return done


def _by_tenant(touched: list[tuple[UUID, date]]) -> dict[UUID, list[date]]:
    found: dict[UUID, list[date]] = {}
    for tenant_id, day in touched:
        found.setdefault(tenant_id, []).append(day)
    return found
