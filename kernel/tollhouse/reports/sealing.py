"""Sealing: the rows that committed since the last time become a link of their tenant's chain, and the ends of all chains go
into the anchor.

An entry names the transaction that wrote it. A round takes the rows from the watermark up to the oldest transaction that is
still running: everything below is committed or gone for every snapshot, so none is missed, however late its transaction commits
and whatever hour its id is of. A link is one short transaction; a round that dies goes on where it was. A turn knows nothing of
this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import text

from tollhouse.plugin.errors import ConfigError
from tollhouse.reports import seal_repository as rows
from tollhouse.reports.links import next_link
from tollhouse.reports.seal_repository import ANCHOR, LOGS, NAME, NOTHING, Mark, Row, Server
from tollhouse.store.anchor import Anchor, Anchored, ChainId, End
from tollhouse.store.audit import CLI, record
from tollhouse.store.signing import Marker, Signer
from tollhouse.store.store import Store

LOCK: Final = 7_403_221_022
UNBOUNDED: Final = 2**63 - 1
UPGRADING: Final = timedelta(days=1)
"""So long after the first link, processes of the version before may still be writing."""
PATIENCE: Final = 60.0
"""Seconds that a replacement of the key waits for transactions that are open."""


class NotSealed(ConfigError):
    """Nothing can be sealed before somebody has looked: what is here does not fit what was written down outside."""

    code = "ledger_not_sealed"
    title = "The ledger cannot be sealed"


@dataclass(slots=True)
class Round:
    """What one round did. ``refused``: chains that are not gone on with, and why."""

    rows: int = 0
    links: int = 0
    up_to: int = 0
    refused: dict[ChainId, str] = field(default_factory=dict)
    anchor_faults: list[str] = field(default_factory=list)


class Sealer:
    """Makes the links. One at a time on all machines."""

    def __init__(self, store: Store, signer: Signer, marker: Marker, anchor: Anchor) -> None:
        self.store = store
        self.signer = signer
        self.marker = marker
        self.anchor = anchor

    # -- rounds -----------------------------------------------------------------------------------------------------------

    async def run(self, *, wait: bool = False) -> Round | None:
        """Seal what is new; None if another process is at it (unless told to ``wait`` for that one).

        Raises:
            NotSealed: this database was restored on another server; `tollhouse ledger reanchor` is the way on.
        """
        async with self._elected(wait) as mine:
            if not mine:
                return None
            async with self.store.operator() as conn:
                here, mark, heads = await rows.server(conn), await rows.mark(conn, NAME), await rows.heads(conn)
            if mark is not None and mark.cluster != here.cluster:
                raise NotSealed(ELSEWHERE)
            done = Round(up_to=here.horizon)
            anchored = await self.anchored(done.anchor_faults)
            async with self.store.operator() as conn:
                for chain, end in anchored.ends.items():
                    if why := await disagreement(conn, chain, heads.get(chain), end):
                        done.refused[chain] = why
            for name in LOGS:
                begun = [chain for chain, head in heads.items() if head["partial"] or head["kind"] == "reanchor"]
                await self._seal_log(name, here, mark.xid if mark is not None else 0, begun, done)
            async with self.store.operator() as conn:
                await rows.move(conn, NAME, Mark(here.horizon, here.cluster))
            await self._write_anchor(anchored, done)
            return done

    async def anchored(self, faults: list[str]) -> Anchored:
        """What the anchor says; what is wrong with it is added to ``faults``."""
        async with self.store.operator() as conn:
            known = await rows.mark(conn, ANCHOR)
        found = await asyncio.to_thread(self.anchor.read)
        faults += found.faults
        if known is not None and found.sequence < known.xid:
            what = f"ends at line {found.sequence} and had {known.xid}" if found.sequence else "is gone"
            faults.append(f"{self.anchor.path.name} {what}: it was cut, emptied, or put back")
        return found

    async def _seal_log(self, name: str, here: Server, low: int, begun: list[ChainId], done: Round) -> None:
        async with self.store.operator() as conn:
            touched = await rows.touched(conn, name, low, here.horizon)
        touched |= {chain.tenant_id: NOTHING for chain in begun if chain.log == name}
        for tenant_id, first in touched.items():
            chain = ChainId(tenant_id, name)
            if chain not in done.refused:
                while await self._seal_piece(chain, here, first, done):
                    pass

    async def _seal_piece(self, chain: ChainId, here: Server, first: UUID, done: Round) -> bool:
        """Make one link; whether there is more."""
        async with self.store.operator() as conn:
            head = await rows.lock_chain(conn, chain)
            low, high, after = _position(head, here, first)
            if low >= high:
                return False
            again = head is not None and await rows.was_reanchored(conn, chain)
            # What a restore brought may bear any number; what of it is in no link yet is taken at once, and once.
            below = UNBOUNDED if again and low == 0 else high
            found, more = await rows.piece(conn, chain, low, below, after, again=again)
            if not found and (head is None or not head["partial"]):
                return False
            link = self._link(chain, head, here, found, low=low, high=high, partial=more)
            await rows.insert_link(conn, chain.tenant_id, link)
        done.rows += len(found)
        done.links += 1
        return more or high < here.horizon  # what an earlier round had begun is ended; its own time comes next

    def _link(self, chain: ChainId, head: Row | None, here: Server, found: list[Row], **position: Any) -> dict[str, Any]:
        """``position``: see :data:`~tollhouse.reports.links.CARRIED`."""
        ids, leaves = [row["id"] for row in found], [row["leaf"] for row in found]
        position |= {"cluster": here.cluster, "last_id": ids[-1] if ids else head and head["last_id"]}
        strange = self._strange(chain, head, here, found)
        note = {"unmarked": strange} if strange else {}
        return next_link(chain, head, self.signer, "rows", here.now, ids=ids, leaves=leaves, note=note, **position)

    def _strange(self, chain: ChainId, head: Row | None, here: Server, found: list[Row]) -> list[str]:
        """Entries of the audit log that do not bear our mark when they are sealed: they never will. The first link takes what
        was there before there were marks."""
        if chain.log != "audit" or head is None:
            return []
        upgrading = here.now - head["began"] < UPGRADING
        unmarked = [row for row in found if not self.marker.fits(row["hash"], row["mark"])]
        return [str(row["id"]) for row in unmarked if not (row["old"] and upgrading)]

    async def _write_anchor(self, anchored: Anchored, done: Round, *, reason: str = "") -> None:
        """Write down the ends that have moved: after they are committed, so that the anchor is never ahead of the database."""
        if done.anchor_faults and not reason:
            return  # nobody mends what somebody may have to look at
        async with self.store.operator() as conn:
            heads, now = await rows.heads(conn), (await rows.server(conn)).now.isoformat()
        every = {chain: rows.end_of(head) for chain, head in heads.items()}
        refused = {chain: anchored.ends[chain] for chain in done.refused}
        moved = {chain: end for chain, end in every.items() if chain not in refused and anchored.ends.get(chain) != end}
        sequence = anchored.sequence
        if moved or reason:
            write = self.anchor.append
            sequence = await asyncio.to_thread(write, moved, now, every={**every, **refused}, reason=reason)
        async with self.store.operator() as conn:
            await rows.move(conn, ANCHOR, Mark(sequence))

    @asynccontextmanager
    async def _elected(self, wait: bool) -> AsyncIterator[bool]:
        """Whether this process is the one; a connection of its own holds the lock, and a process that dies gives it back."""
        conn = await asyncpg.connect(self.store.dsn)
        try:
            take = "SELECT pg_advisory_lock($1)" if wait else "SELECT pg_try_advisory_lock($1)"
            yield await conn.fetchval(take, LOCK) is not False
        finally:
            await conn.close()

    # -- what is said about a chain ---------------------------------------------------------------------------------------

    async def resign(self) -> int:
        """Let the key of today vouch for every chain whose last link another one has signed, before that one goes; how many.

        Raises:
            NotSealed: a transaction stays open, so not everything can be sealed yet.
        """
        async with self.store.operator() as conn:
            mine = int((await conn.execute(text("SELECT pg_current_xact_id()::text"))).scalar_one())
        done, patient = await self.run(wait=True), time.monotonic() + PATIENCE
        while done is None or done.up_to <= mine:  # what bears a mark of the old key must be sealed while that can be checked
            if time.monotonic() > patient:
                raise NotSealed(
                    "a transaction has been open for a minute; end it, and repeat this: until then not all can be sealed"
                )
            await asyncio.sleep(0.1)
            done = await self.run(wait=True)
        async with self._elected(True):
            async with self.store.operator() as conn:
                heads = await rows.heads(conn)
            old = [chain for chain, head in heads.items() if head["public_key"] != self.signer.public]
            for chain in old:
                async with self.store.operator() as conn:
                    await self.say(conn, chain, "key", {})
            faults: list[str] = []
            anchored = await self.anchored(faults)
            if not faults:
                await self._write_anchor(anchored, done, reason="another key")
        return len(old)

    async def say(
        self, conn: Any, chain: ChainId, kind: str, note: Mapping[str, Any], *, ids: Sequence[UUID] = (), **position: Any
    ) -> None:
        """A link that holds no rows, in the caller's transaction."""
        head, here = await rows.lock_chain(conn, chain), await rows.server(conn)
        link = next_link(chain, head, self.signer, kind, here.now, ids=ids, note=note, **position)
        await rows.insert_link(conn, chain.tenant_id, link)

    async def reanchor(self, reason: str) -> int:
        """Go on after a restore: from what is here, with a signed link in each chain that says what was written down outside
        and why it is no longer so. For how many tenants."""
        async with self._elected(True):
            faults: list[str] = []
            anchored = await self.anchored(faults)
            async with self.store.operator() as conn:
                here, heads, tenants = await rows.server(conn), await rows.heads(conn), await rows.every_tenant(conn)
            for tenant_id in tenants:
                for chain in (ChainId(tenant_id, name) for name in LOGS):
                    head, outside = heads.get(chain), anchored.ends.get(chain)
                    note = {
                        "reason": reason,
                        "anchored": list(outside) if outside is not None else None,
                        "server": head["cluster"] if head is not None else "",
                        "faults": faults,
                    }
                    async with self.store.operator() as conn:
                        again: dict[str, Any] = {"cluster": here.cluster, "low": 0, "high": 0, "partial": False}
                        await self.say(conn, chain, "reanchor", note, **again)
                async with self.store.transaction(tenant_id) as conn:
                    await record(conn, tenant_id, CLI, "ledger.reanchored", data={"reason": reason})
            async with self.store.operator() as conn:
                await rows.move(conn, NAME, Mark(0, here.cluster))
            await self._write_anchor(Anchored(), Round(), reason=reason)
        await self.run(wait=True)
        return len(tenants)


ELSEWHERE: Final = (
    "this database counts the transactions of another server than the one on which its ledger was sealed; if it was restored "
    'from a backup, run: tollhouse ledger reanchor --reason "restored from the backup of ..."'
)


def _position(head: Row | None, here: Server, first: UUID) -> tuple[int, int, UUID]:
    """Which transactions the next link is of, and after which id."""
    before = UUID(int=max(first.int - 1, 0))
    if head is None:
        return 0, here.horizon, NOTHING
    if head["partial"]:
        return head["low"], head["high"], head["last_id"]
    if head["high"] == 0:  # it begins anew: everything that is in no link yet
        return 0, here.horizon, NOTHING
    return head["high"], here.horizon, before


async def disagreement(conn: Any, chain: ChainId, head: Row | None, end: End) -> str:
    """How a chain differs from what was written down of it outside; empty if it goes on from there."""
    if head is None:
        return f"all {end.number} links are gone, and the anchor has them"
    if head["number"] < end.number:
        return f"the links after {head['number']} are gone: the anchor has {end.number}"
    if head["number"] == end.number and head["digest"].hex() == end.digest:
        return ""
    if await rows.digest_at(conn, chain, end.number) != end.digest:
        return f"link {end.number} is not the one that the anchor has"
    return ""
