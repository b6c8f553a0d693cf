"""Daily sums of the ledger, brought forward by what is new: a projection that can be thrown away and made again.

An entry carries the number of the transaction that wrote it. A run takes the entries from the watermark up to the oldest
transaction that is still running: everything below is committed or gone for every snapshot, so no entry is ever missed, however
late its transaction commits. What they add and the watermark's move are one transaction: whatever dies, no entry is added
twice. What a run costs follows what is new, however long the day or the ledger is.

Where the watermark is of another server (a dump was restored) or there is none, everything is summed up anew, in pieces, beside
what is read meanwhile, and then read from one moment to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from tollhouse.reports import sums
from tollhouse.store.pieces import Tell, cut, untold, walk
from tollhouse.tenants.models import tenants

if TYPE_CHECKING:
    from tollhouse.store.store import Store

STEP: Final = 20_000
"""Transactions whose entries are added in one: a worker that was away for long catches up in pieces."""
TIMEOUT: Final = "1h"


@dataclass(frozen=True, slots=True)
class Rolled:
    """What one run did: how many sums it changed, and up to which transaction all is in."""

    sums: int
    up_to: int


async def roll(store: Store) -> Rolled:
    """Add what is new. While another process does, there is nothing to do."""
    changed = 0
    while True:
        async with store.operator() as conn:
            await sums.by_ranges(conn, TIMEOUT)
            mark = await sums.lock_mark(conn)
            if mark is None:
                known = await sums.read_mark(conn)
                if known is not None:
                    return Rolled(changed, known.xid)
            if mark is not None and mark.here:
                high = await sums.horizon(conn)
                upto = min(high, mark.xid + STEP)
                added = await sums.add_new(conn, mark, upto)
                if not added and upto < high:
                    await sums.add_new(conn, mark, await sums.following(conn, upto, high))
                changed += added
                if upto == high:
                    return Rolled(changed, high)
                continue
        return await rebuild(store)


async def rebuild(store: Store, tell: Callable[[str], Tell] = lambda tenant: untold) -> Rolled:
    """Sum up everything anew. A run that dies leaves sums that nobody reads, and the next one removes them."""
    async with store.operator() as conn:
        generation = await sums.new_generation(conn)
        mark = await sums.horizon(conn)
        slugs = {row.id: row.slug for row in await conn.execute(select(tenants.c.id, tenants.c.slug).order_by(tenants.c.slug))}
    ceiling = 0
    for tenant_id, slug in slugs.items():
        async with store.operator() as conn:
            await sums.by_ranges(conn, TIMEOUT)
            pieces = await cut(conn, tenant_id)
        for piece in walk(pieces, tell(slug)):
            async with store.operator() as conn:
                await sums.by_ranges(conn, TIMEOUT)
                ceiling = max(ceiling, await sums.add_piece(conn, tenant_id, piece, generation, mark))
    async with store.operator() as conn:
        newest = await sums.switch(conn, sums.Mark(mark, generation, ceiling))
    for tenant_id in slugs:
        await _forget(store, tenant_id, generation if newest else generation + 1)
    return Rolled(0, mark)


async def _forget(store: Store, tenant_id: UUID, generation: int) -> None:
    more = True
    while more:
        async with store.operator() as conn:
            more = await sums.forget(conn, tenant_id, generation)
