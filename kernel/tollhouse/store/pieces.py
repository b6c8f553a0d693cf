"""Reading a tenant's ledger from end to end: piece by piece, in one snapshot, with progress.

However long it is, no statement reads all of it, nothing here remembers its rows, and whoever waits sees how far it is. All
pieces are of one snapshot, so what is compared fits together while turns go on.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.ids import id_floor

if TYPE_CHECKING:
    from tollhouse.store.store import Store

ROWS: Final = 250_000
"""About so many entries are one piece at most: what is sorted or hashed of them fits into the server's memory."""
MARGIN: Final = timedelta(days=1)
"""An entry's id is made before it occurs, and its day is that of its tenant's zone: within this, both are the same time."""
BATCH: Final = 1_000
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)

_ENDS = text(
    """
    SELECT least((SELECT id FROM entries WHERE tenant_id = :tenant ORDER BY id LIMIT 1),
                 (SELECT id FROM holds WHERE tenant_id = :tenant ORDER BY id LIMIT 1),
                 (SELECT id FROM turns WHERE tenant_id = :tenant ORDER BY id LIMIT 1)) AS first,
           greatest((SELECT id FROM entries WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 1),
                    (SELECT id FROM holds WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 1),
                    (SELECT id FROM turns WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 1)) AS last
    """
)
_COUNT = text("SELECT count(*) FROM entries WHERE tenant_id = :tenant AND id >= :low AND id < :high")


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of ledger, holds and turns whose ids are in ``[low, high)``; ``rows``: about so many entries."""

    low: UUID
    high: UUID
    rows: int
    month: str

    def bounds(self) -> dict[str, UUID]:
        """The parameters of a statement on this piece."""
        return {"low": self.low, "high": self.high}


class Tell(Protocol):
    """Hears how far it is: of which ``part``, and how many entries ``of`` all are ``done``. 0 of 0: only a remark."""

    def __call__(self, part: str, done: int = 0, of: int = 0) -> None: ...


def untold(part: str, done: int = 0, of: int = 0) -> None:
    """Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One tenant's ledger in one snapshot. ``since``: only entries of this day and later are read."""

    conn: AsyncConnection
    tenant_id: UUID
    since: date | None = None
    tell: Tell = untold
    pieces: list[Piece] = field(default_factory=list)

    @property
    def since_moment(self) -> datetime | None:
        """The beginning of ``since`` in UTC."""
        return datetime(self.since.year, self.since.month, self.since.day, tzinfo=UTC) if self.since else None

    def months(self, most: int) -> Iterator[Piece]:
        """The pieces of each month as one; of neighbouring months, where there are more than ``most``."""
        names = list(dict.fromkeys(piece.month for piece in self.pieces))
        size = -(-len(names) // most) or 1
        for start in range(0, len(names), size):
            of = [piece for piece in self.pieces if piece.month in names[start : start + size]]
            yield Piece(of[0].low, of[-1].high, sum(piece.rows for piece in of), of[-1].month)

    async def rows(self, query: TextClause, **values: Any) -> AsyncIterator[RowMapping]:
        """The rows of a query on this tenant; only a few of them are here at a time."""
        stream = await self.conn.stream(query, {"tenant": self.tenant_id, **values})
        async for batch in stream.mappings().partitions(BATCH):
            for row in batch:
                yield row

    def walk(self) -> Iterator[Piece]:
        """Each piece in turn; what was done is told."""
        return walk(self.pieces, self.tell)


@asynccontextmanager
async def reading(store: Store, tenant_id: UUID, *, since: date | None = None, tell: Tell = untold) -> AsyncIterator[Reading]:
    """A reading for as long as the block lasts. It writes nothing, so it holds up neither turns nor the daily sums."""
    async with store.transaction(tenant_id) as conn:
        await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await conn.execute(text("SET LOCAL statement_timeout = '10min'"))
        await conn.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10min'"))  # whoever is told may be slow
        found = Reading(conn, tenant_id, since, tell)
        lowest = id_floor(found.since_moment - MARGIN) if found.since_moment else FIRST
        found.pieces.extend(await cut(conn, tenant_id, lowest))
        yield found


async def cut(conn: AsyncConnection, tenant_id: UUID, lowest: UUID = FIRST) -> Sequence[Piece]:
    """Months, and those that are large in equal parts; the first begins at ``lowest`` and the last never ends."""
    ends = (await conn.execute(_ENDS, {"tenant": tenant_id})).one()
    first, last = max(ends[0] or LAST, lowest), ends[1] or FIRST
    pieces = []
    for low, high in months_between(first, last):
        rows = int((await conn.execute(_COUNT, {"tenant": tenant_id, "low": low, "high": high})).scalar_one())
        parts = max(1, -(-rows // ROWS))
        begins, until = time_of(low), min(time_of(high), time_of(last) + timedelta(seconds=1))
        cuts = [low, *(id_floor(begins + (until - begins) * part / parts) for part in range(1, parts)), high]
        for number, (start, end) in enumerate(pairwise(cuts)):
            share = rows * (number + 1) // parts - rows * number // parts
            pieces.append(Piece(start, end, share, f"{begins:%Y-%m}"))
    if pieces:
        pieces[0] = Piece(lowest, pieces[0].high, pieces[0].rows, pieces[0].month)
        pieces[-1] = Piece(pieces[-1].low, LAST, pieces[-1].rows, pieces[-1].month)
    return pieces


def walk(pieces: Sequence[Piece], tell: Tell) -> Iterator[Piece]:
    """Each piece in turn; what was done is told."""
    done, of = 0, sum(piece.rows for piece in pieces)
    for piece in pieces:
        yield piece
        done += piece.rows
        tell(piece.month, done, of)


def months_between(first: UUID, last: UUID) -> Iterator[tuple[UUID, UUID]]:
    """The bounds of each month from one id to another, the first one's from that id on."""
    low = first
    while low <= last:
        following = (time_of(low).replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        high = id_floor(following)
        yield low, high
        low = high


def time_of(made: UUID) -> datetime:
    """When a UUIDv7 was made."""
    return datetime.fromtimestamp((made.int >> 80) / 1000, UTC)


async def aligned(streams: Sequence[AsyncIterator[RowMapping]]) -> AsyncIterator[list[RowMapping]]:
    """The rows of all streams, each of which comes in the order of ids: those of one id together, the first stream's first."""
    first = [(number, await anext(stream, None)) for number, stream in enumerate(streams)]
    heads = [(row["id"], number, row) for number, row in first if row is not None]
    heapq.heapify(heads)
    while heads:
        one, together = heads[0][0], []
        while heads and heads[0][0] == one:
            _, number, row = heads[0]
            together.append(row)
            following = await anext(streams[number], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following["id"], number, following))
        yield together
