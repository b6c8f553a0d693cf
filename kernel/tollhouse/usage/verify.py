"""``ledger verify``: recompute every projection from entries and holds, and name each difference.

Everything is read piece by piece in one snapshot (``store/pieces.py``). A check of single rows is a line of ``ROW_CHECKS``;
one that needs several rows is a :class:`Check`, which sees every piece and then says what only the whole shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import TextClause, text

from tollhouse.store.ids import id_floor
from tollhouse.store.pieces import FIRST, LAST, Piece, Reading, Tell, reading, time_of, untold
from tollhouse.store.store import Store
from tollhouse.usage.entry_checks import ALONE, EXPIRED, LATE, MARGIN, MOST, ROW_CHECKS, ROWS
from tollhouse.usage.recount import recount


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that does not add up. ``subject`` is the id of the row; ``expected`` is what the ledger says."""

    check: str
    tenant_id: UUID
    subject: UUID
    detail: str
    expected: Any = None
    found: Any = None


class Check(Protocol):
    """Looks at each piece in turn, in the order of ids; ``end`` follows the last one."""

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]: ...

    async def end(self, ledger: Reading) -> list[Difference]: ...


_OF_PIECE = "tenant_id = :tenant AND id >= :low AND id < :high"
_CHARGED = "e.turn_id IS NOT NULL AND e.calls > 0 AND cardinality(e.counter_ids) > 0"
# Set operations, not NOT EXISTS: whatever the statistics say, these read each row once. A turn whose entry is not there
# may have it in the next piece, and goes on with that.
_UNANSWERED = text(
    f"""
    (SELECT id FROM turns WHERE {_OF_PIECE} AND state = 'done' UNION SELECT unnest(CAST(:waiting AS uuid[])))
    EXCEPT SELECT turn_id FROM entries WHERE {_OF_PIECE} AND outcome = 'ok'
    """
)
_ANSWERED = text("SELECT turn_id AS id FROM entries WHERE tenant_id = :tenant AND outcome = 'ok' AND turn_id = ANY(:waiting)")
_TWICE = text(
    f"""
    SELECT e.turn_id AS id FROM entries e WHERE e.{_OF_PIECE.replace("AND ", "AND e.")} AND {_CHARGED} GROUP BY e.turn_id
    HAVING count(*) > 1 OR e.turn_id < :low AND EXISTS (
        SELECT 1 FROM entries b WHERE b.tenant_id = :tenant AND b.id >= e.turn_id AND b.id < :low AND b.turn_id = e.turn_id
          AND {_CHARGED.replace("e.", "b.")})
    """
)
_FORGOTTEN = text(
    """
    SELECT h.id FROM holds h WHERE h.tenant_id = :tenant AND h.state = 'open' AND h.created_at < now() - interval '5 minutes'
      AND NOT EXISTS (SELECT 1 FROM runners r WHERE r.id = h.runner_id AND r.lease_until > now() - interval '2 minutes')
    """
)


AFTER_HOLD = {"late": 1, "correction": 2}
"""How far from a hold's id those of entries are that were written after it had expired."""


class Rows:
    """What a single entry, or a hold and its entry, shows."""

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Each row that breaks one of ``ROW_CHECKS``, and calls that stand beside nothing."""
        found: Sequence[Any] = ()
        alone: Sequence[UUID] = ()
        for margin in MARGIN:
            bounds = {"tenant": ledger.tenant_id, **piece.bounds(), "about": _moved(piece.low, -margin)}
            beyond, before = {"beyond": _moved(piece.high, margin)}, {"before": _moved(piece.low, -margin)}
            found = (await ledger.conn.execute(ROWS, bounds | beyond)).all()
            alone = (await ledger.conn.execute(ALONE, bounds | before)).scalars().all()
            if not found and not alone:
                break
        more = f"{piece.month}: {MOST} rows are wrong, and there may be more"
        many = [Difference("entry_more", ledger.tenant_id, ledger.tenant_id, more)] if len(found) == MOST else []
        alone = [*alone, *await self._late(ledger, piece)]
        detail = "a call beside others of its turn, of which nothing was written with it: nobody made it"
        many += [Difference("entry_without_hold", ledger.tenant_id, entry_id, detail) for entry_id in alone]
        return many + [
            Difference(check.name, ledger.tenant_id, row.id, check.detail)
            for row in found
            for check, wrong in zip(ROW_CHECKS, row.wrong, strict=True)
            if wrong
        ]

    async def _late(self, ledger: Reading, piece: Piece) -> list[UUID]:
        late = (await ledger.conn.execute(LATE, {"tenant": ledger.tenant_id, **piece.bounds()})).all()
        ids = {row.id: UUID(int=row.id.int - AFTER_HOLD[row.kind]) for row in late}
        holds = await ledger.conn.execute(EXPIRED, {"tenant": ledger.tenant_id, "ids": list(ids.values())})
        known = {tuple(row) for row in holds}
        return [row.id for row in late if (ids[row.id], *row[1:4]) not in known]

    async def end(self, ledger: Reading) -> list[Difference]:
        """Holds that nobody will resolve."""
        return await _named(ledger, _FORGOTTEN, "forgotten_hold", "its process is gone and nobody expired it")


class Turns:
    """Each finished turn is charged, and no turn twice."""

    def __init__(self) -> None:
        self.waiting: list[UUID] = []

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Turns with two charges."""
        values = {"tenant": ledger.tenant_id, "waiting": self.waiting, **piece.bounds()}
        self.waiting = list((await ledger.conn.execute(_UNANSWERED, values)).scalars())
        return await _named(ledger, _TWICE, "charged_twice", "a turn was charged more than once", **piece.bounds())

    async def end(self, ledger: Reading) -> list[Difference]:
        """Turns without one."""
        if self.waiting:  # an entry's id is later than its turn's, unless a clock was set back in between
            values = {"tenant": ledger.tenant_id, "waiting": self.waiting}
            self.waiting = sorted({*self.waiting} - {*(await ledger.conn.execute(_ANSWERED, values)).scalars()})
        detail = "a finished turn has no entry"
        return [Difference("turn_without_entry", ledger.tenant_id, turn_id, detail) for turn_id in self.waiting]


class Counters:
    """Each counter is the sum of what the entries and the open holds say of it."""

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Nothing: a counter may be charged in any piece."""
        return []

    async def end(self, ledger: Reading) -> list[Difference]:
        """Counters that say something else, and those that are not there."""
        return [Difference(fault.check, ledger.tenant_id, *fault.says) async for fault in recount(ledger)]


def checks() -> list[Check]:
    """What is checked of the ledger itself."""
    return [Rows(), Turns(), Counters()]


async def verify(store: Store, tenant_id: UUID, *, since: date | None = None, tell: Tell = untold) -> list[Difference]:
    """Every difference in one tenant's ledger, in one consistent snapshot; an empty list means that all adds up."""
    async with reading(store, tenant_id, since=since, tell=tell) as ledger:
        return await run(ledger, checks())


async def run(ledger: Reading, chosen: Sequence[Check]) -> list[Difference]:
    """What these checks find."""
    found: list[Difference] = []
    for piece in ledger.walk():
        for check in chosen:
            found += await check.look(ledger, piece)
    for check in chosen:
        found += await check.end(ledger)
    return found


async def _named(ledger: Reading, query: TextClause, check: str, detail: str, **values: Any) -> list[Difference]:
    rows = (await ledger.conn.execute(query, {"tenant": ledger.tenant_id, **values})).scalars()
    return [Difference(check, ledger.tenant_id, row, detail) for row in rows]


def _moved(bound: UUID, by: timedelta) -> UUID:
    """An id so much earlier or later; what has no end stays so."""
    return bound if bound in (FIRST, LAST) else id_floor(time_of(bound) + by)
