"""Whether the ledger and the audit log still say what they said when they were sealed.

A chain is walked from its first link: each must follow from the one before, hold what its digest says, and be vouched for by a
key of this installation, which is not in the database. Its end must be the one that was written down outside. Then each row is
compared with the hash that its link holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.reports import seal_repository as rows
from tollhouse.reports.links import GENESIS, digest_of
from tollhouse.reports.seal_repository import NAME, NOTHING, Mark, Row
from tollhouse.reports.sealing import ELSEWHERE, Sealer, disagreement
from tollhouse.store.anchor import Anchored, ChainId
from tollhouse.store.audit import BLANKABLE
from tollhouse.store.pieces import FIRST, LAST, Piece, Reading
from tollhouse.store.signing import signed
from tollhouse.usage.verify import Difference

NOUN: Final = {"entries": "entry", "audit": "audit"}
CUT: Final = "links were taken away, or an older database was put in place: after a restore, run tollhouse ledger reanchor"
SAYS: Final = {
    "changed": "was changed after it was sealed",
    "missing": "was sealed and is gone",
    "added": "was put in afterwards: it is in no link, and everything of its time was sealed",
}


@dataclass(slots=True)
class Outside:
    """What is known beside the database, once for all tenants."""

    sealer: Sealer
    anchored: Anchored
    faults: list[str]
    mark: Mark | None
    elsewhere: bool
    tenants: frozenset[UUID]

    def differences(self) -> list[Difference]:
        """What is wrong with the installation as a whole, of no tenant alone."""
        found = [Difference("anchor", NOTHING, NOTHING, fault) for fault in self.faults]
        if self.elsewhere:
            found.append(Difference("other_server", NOTHING, NOTHING, ELSEWHERE))
        gone = sorted({chain.tenant_id for chain in self.anchored.ends} - self.tenants)
        detail = "the anchor has chains of this tenant, and the database does not know it"
        return found + [Difference("tenant_missing", tenant_id, tenant_id, detail) for tenant_id in gone]


async def look_outside(sealer: Sealer) -> Outside:
    """Read the anchor first: the database may then be ahead of it, and never behind."""
    faults: list[str] = []
    anchored = await sealer.anchored(faults)
    async with sealer.store.operator() as conn:
        mark, here = await rows.mark(conn, NAME), await rows.server(conn)
        tenants = frozenset(await rows.every_tenant(conn))
    elsewhere = mark is not None and mark.cluster != here.cluster
    return Outside(sealer, anchored, faults, mark, elsewhere, tenants)


@dataclass(slots=True)
class Sealed:
    """What one chain comes to. ``pending``: rows that no link holds yet, so that nobody could tell if they were changed."""

    chain: ChainId
    differences: list[Difference] = field(default_factory=list)
    rows: int = 0
    pending: int = 0
    until: datetime | None = None
    reanchored: list[tuple[datetime, str]] = field(default_factory=list)
    blanked: int = 0
    retired: int = 0


@dataclass(slots=True)
class _Walk:
    """What the links say."""

    head: Row | None = None
    retired: int = 0
    unmarked: list[UUID] = field(default_factory=list)
    blanked: dict[str, set[UUID]] = field(default_factory=lambda: {name: set() for name in BLANKABLE})


class Chain:
    """Every sign of tampering with one log of one tenant: a check as ``ledger verify`` runs it, over each piece."""

    def __init__(self, chain: ChainId, outside: Outside) -> None:
        self.found = Sealed(chain)
        self._outside = outside
        self._walk: _Walk | None = None
        self._known: Mark | None = None
        self._cut = ""
        self._times: Counter[str] = Counter()
        self._named: set[UUID] = set()
        self._compared = False

    @property
    def retired(self) -> int:
        """The last link whose rows were given up in order."""
        return self._walk.retired if self._walk is not None else 0

    async def look(self, ledger: Reading, piece: Piece) -> list[Difference]:
        """Links first; then the rows of this piece. The audit log is no part of the ledger's pieces."""
        differences = await self._begin(ledger)
        if self.found.chain.log == "entries":
            differences += await self._compare(ledger, piece.low, piece.high)
        return differences

    async def end(self, ledger: Reading) -> list[Difference]:
        """What no piece was for, and how many there are of what was not named."""
        differences = await self._begin(ledger)
        if not self._compared and (ledger.since is None or self.found.chain.log == "audit"):
            differences += await self._compare(ledger, FIRST, LAST)
        self.found.pending = self._times.pop("pending", 0)
        for what, more in self._times.items():
            if more > 0:
                detail = f"{more} {'' if self._cut else 'more '}rows of {self.found.chain.log}: each {SAYS[what]}"
                differences.append(self._difference(what, self.found.chain.tenant_id, detail))
        if self.found.chain.log == "audit":
            differences += await self._marks(ledger)
        return differences

    async def _begin(self, ledger: Reading) -> list[Difference]:
        """Walk the links, once, and compare their end with what was written down outside."""
        if self._walk is not None:
            return []
        chain, differences = self.found.chain, list[Difference]()
        self._walk = walk = await _walk(ledger.conn, self._outside, self.found, differences)
        self._known = _known(walk.head, self._outside)
        end = self._outside.anchored.ends.get(chain)
        self._cut = await disagreement(ledger.conn, chain, walk.head, end) if end is not None else ""
        if self._cut:
            differences.append(Difference("chain_cut", chain.tenant_id, chain.tenant_id, f"{chain.log}: {self._cut}; {CUT}"))
        return differences

    async def _compare(self, ledger: Reading, low: UUID, high: UUID) -> list[Difference]:
        assert self._walk is not None
        differences, self._compared = list[Difference](), True
        for row in await rows.compare(ledger.conn, self.found.chain, low, high, self._known, self._walk.retired):
            self._times[row["what"]] += row["times"]
            # Where links were taken away, all their rows are in none: that is one fault.
            if row["id"] is not None and not (self._cut and row["what"] == "added"):
                where = f" (link {row['number']})" if row["number"] is not None else ""
                noun = NOUN[self.found.chain.log]
                differences.append(self._difference(row["what"], row["id"], f"{noun} {row['id']} {SAYS[row['what']]}{where}"))
                self._times[row["what"]] -= 1
                self._named.add(row["id"])
        return differences

    def _difference(self, what: str, subject: UUID, detail: str) -> Difference:
        return Difference(f"{NOUN[self.found.chain.log]}_{what}", self.found.chain.tenant_id, subject, detail)

    async def _marks(self, ledger: Reading) -> list[Difference]:
        """Entries of the audit log that this installation did not write, or whose fields were blanked by other hands."""
        assert self._walk is not None
        marker, known = self._outside.sealer.marker, self._known
        strange = dict.fromkeys(
            self._walk.unmarked, "bore no mark of this installation when it was sealed: other hands put it in"
        )
        async for row in rows.marks(ledger.conn, ledger.tenant_id):
            sealed = known is None or row["xid"] < known.xid
            if not marker.fits(row["hash"], row["mark"]) and (marker.knows(row["mark"]) or not (sealed or row["old"])):
                strange[row["id"]] = "does not bear the mark of what it says: other hands changed it or put it in"
            if row["refilled"]:
                strange[row["id"]] = "says something where it was blanked: other hands put it there"
            for name in row["blanked"]:
                if row["id"] not in self._walk.blanked[name]:
                    strange[row["id"]] = f"has no {name}, and no link says that it was blanked"
        return [
            self._difference("strange", entry_id, f"audit {entry_id} {fault}")
            for entry_id, fault in strange.items()
            if entry_id not in self._named
        ]


def _known(head: Row | None, outside: Outside) -> Mark | None:
    """Up to which transaction every row must be in a link; None if nobody can say."""
    if outside.elsewhere or (outside.mark is None and head is None):
        return None
    mark = outside.mark or Mark()
    sealed = head["high"] if head is not None and not head["partial"] and head["cluster"] == mark.cluster else 0
    return Mark(max(mark.xid, sealed), mark.cluster)


async def _walk(conn: AsyncConnection, outside: Outside, found: Sealed, differences: list[Difference]) -> _Walk:
    walk, previous, strangers = _Walk(), GENESIS, list[Row]()
    before: Row = {"number": 0, "total": 0}
    async for link in rows.links(conn, found.chain):
        differences += [_broken(found.chain, link, fault) for fault in _faults(found.chain, link, previous, before)]
        # A key of this installation vouches for all links under the one that it signed.
        strangers = [] if outside.sealer.signer.trusts(link["public_key"]) else [*strangers, link]
        _note(walk, link, found)
        previous, before, walk.head = link["digest"], link, link
        found.until, found.rows = link["at"], link["total"]
    foreign = "is signed by a key that is not this installation's"
    differences += [_broken(found.chain, link, foreign) for link in strangers[: rows.FEW]]
    return walk


def _faults(chain: ChainId, link: Row, previous: bytes, before: Mapping[Any, Any]) -> Iterator[str]:
    if link["number"] != before["number"] + 1:
        yield f"follows {before['number']}: those between are gone"
    elif link["previous"] != previous:
        yield "does not follow from the one before"
    if digest_of(chain, link, link["body"]) != link["digest"] or link["total"] != before["total"] + link["count"]:
        yield "does not say what its digest says: it was changed"
    elif not signed(link["public_key"], link["digest"], link["signature"]):
        yield "bears a signature that does not fit"


def _broken(chain: ChainId, link: Row, fault: str) -> Difference:
    return Difference("chain_broken", chain.tenant_id, link["id"], f"{chain.log}: link {link['number']} {fault}")


def _note(walk: _Walk, link: Row, found: Sealed) -> None:
    note = link["note"]
    walk.unmarked += [UUID(one) for one in note.get("unmarked", ())]
    match link["kind"]:
        case "retired":
            walk.retired = max(walk.retired, note["to"])
            found.retired += note["rows"]
        case "blanked":
            walk.blanked[note["field"]].update(link["ids"])
            found.blanked += len(link["ids"])
        case "reanchor":
            found.reanchored.append((link["at"], note["reason"]))
