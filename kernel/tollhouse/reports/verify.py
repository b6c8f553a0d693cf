"""Whether everything that can be recomputed is what it should be: ``ledger verify``, and a job each night."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from tollhouse.reports.chain import Chain, Outside, Sealed
from tollhouse.reports.seal_repository import LOGS
from tollhouse.reports.verify_sums import DailySums
from tollhouse.store.anchor import ChainId
from tollhouse.store.audit import broken_links
from tollhouse.store.pieces import Reading, Tell, reading, untold
from tollhouse.store.store import Store
from tollhouse.usage.verify import Difference, checks, run


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
    chains = [Chain(ChainId(tenant_id, log), outside) for log in LOGS]
    async with reading(store, tenant_id, since=since, tell=tell) as ledger:
        found = await run(ledger, [*checks(), DailySums(), *chains])
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
    async with reading(store, tenant_id) as ledger:
        return await run(ledger, [DailySums()])
