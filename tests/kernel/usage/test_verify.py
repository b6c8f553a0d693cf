"""The check of the ledger reads piece by piece, and finds the same as if it had read everything at once."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, text

from tests.conftest import make_tenant
from tests.world import add_customer, open_shop, open_world, say
from tollhouse.store import pieces
from tollhouse.store.ids import id_floor, new_id
from tollhouse.store.pieces import reading, time_of
from tollhouse.store.store import Store
from tollhouse.turns.models import turns
from tollhouse.usage.models import counters, entries, holds
from tollhouse.usage.verify import Difference, checks, run, verify
from tollhouse.wiring.progress import Progress

NOW = datetime.now(UTC)
THIS_MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def id_at(moment: datetime) -> UUID:
    """An id as it is made at that moment."""
    return UUID(int=id_floor(moment).int | new_id().int & (1 << 62) - 1)


class Books:
    """Rows of a tenant's ledger, written as a turn writes them, at any time."""

    def __init__(self, store: Store, tenant_id: UUID) -> None:
        self.store, self.tenant_id, self.user_id = store, tenant_id, new_id()

    async def write(self, table: Any, **values: Any) -> None:
        async with self.store.transaction(self.tenant_id) as conn:
            await conn.execute(insert(table).values(tenant_id=self.tenant_id, **values))

    async def counter(self, used: int, start: datetime) -> UUID:
        counter_id = new_id()
        span = {"window": "lifetime", "window_start": start, "window_end": NOW + timedelta(days=999)}
        await self.write(counters, id=counter_id, metric="calls", used=used, **span)
        return counter_id

    async def entry(self, at: datetime, turn_id: UUID | None, *charged: UUID, **values: Any) -> UUID:
        entry_id, amounts = values.pop("id", None) or id_at(at), [1] * len(charged)
        row = {"id": entry_id, "kind": "turn", "turn_id": turn_id, "user_id": self.user_id, "outcome": "ok", "calls": 1}
        row |= {"certainty": "exact", "counter_ids": list(charged), "amounts": amounts, "occurred_at": at, **values}
        await self.write(entries, **row)
        return entry_id

    async def turn(self, at: datetime, state: str = "done") -> UUID:
        turn_id = id_at(at)
        row = {"source_id": self.user_id, "body_hash": b"", "user_id": self.user_id, "agent_id": self.user_id}
        await self.write(turns, id=turn_id, channel="api", state=state, runner_id=self.user_id, **row)
        return turn_id

    async def hold(self, hold_id: UUID, turn_id: UUID, state: str) -> None:
        row = {"turn_id": turn_id, "attempt": 1, "user_id": self.user_id, "runner_id": self.user_id}
        await self.write(holds, id=hold_id, state=state, **row)


def named(found: list[Difference]) -> set[tuple[str, UUID]]:
    """Without what single entries contradict: the rows of these stories are bare (see tests/kernel/sealing/test_edits.py)."""
    return {(one.check, one.subject) for one in found if not one.check.startswith("entry_")}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few entries are a piece."""
    monkeypatch.setattr(pieces, "ROWS", 2)


@pytest.fixture
async def books(store: Store, tenant_id: UUID) -> Books:
    """Fifty days of a tenant that are in order: a turn each fifth day, all charged to one counter."""
    books = Books(store, tenant_id)
    days = [THIS_MONTH - timedelta(days=20) + timedelta(days=5 * step) for step in range(10)]
    books.lifetime = await books.counter(len(days), days[0])  # type: ignore[attr-defined]
    for day in days:
        turn_id = await books.turn(day)
        entry_id = await books.entry(day + timedelta(seconds=1), turn_id, books.lifetime)  # type: ignore[attr-defined]
        await books.hold(entry_id, turn_id, "settled")
    return books


@pytest.mark.usefixtures("small")
async def test_what_lies_in_several_pieces_adds_up_and_each_entry_is_read_once(store: Store, books: Books) -> None:
    told: list[tuple[str, int, int]] = []
    async with reading(store, books.tenant_id, tell=lambda *how: told.append(how)) as ledger:
        assert len(ledger.pieces) > 4
        assert [one.high for one in ledger.pieces[:-1]] == [one.low for one in ledger.pieces[1:]]
        assert {one.month for one in ledger.pieces} == {f"{THIS_MONTH - timedelta(days=9):%Y-%m}", f"{THIS_MONTH:%Y-%m}"}
        assert named(await run(ledger, checks())) == set()
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1:] == (10, 10)


@pytest.mark.usefixtures("small")
async def test_a_turn_that_ends_in_a_later_piece_is_charged_and_one_that_is_charged_in_two_shows(
    store: Store, books: Books
) -> None:
    async with reading(store, books.tenant_id) as ledger:
        border = time_of(ledger.pieces[2].low)
    slow, twice, never = [await books.turn(border - timedelta(seconds=2)) for _ in range(3)]
    await books.entry(border + timedelta(days=9), slow)
    for moment in (border - timedelta(seconds=1), border + timedelta(seconds=1)):
        await books.entry(moment, twice, await books.counter(1, border))
    assert named(await verify(store, books.tenant_id)) == {("charged_twice", twice), ("turn_without_entry", never)}


@pytest.mark.usefixtures("small")
async def test_a_clock_that_was_set_back_makes_no_difference(store: Store, books: Books) -> None:
    """The entry's id is before its turn's, and in an earlier piece."""
    async with reading(store, books.tenant_id) as ledger:
        border = time_of(ledger.pieces[2].low)
    await books.entry(border - timedelta(seconds=1), await books.turn(border + timedelta(seconds=1)))
    assert named(await verify(store, books.tenant_id)) == set()


@pytest.mark.usefixtures("small")
async def test_each_fault_is_named_wherever_it_lies(store: Store, books: Books, other_tenant_id: UUID) -> None:
    day = THIS_MONTH - timedelta(days=3)
    wrong, gone = await books.counter(7, day), new_id()
    await books.entry(day, None, gone, wrong, calls=0)
    await books.entry(NOW, None, gone, calls=0)
    turn_id, unposted, still_open = await books.turn(day, "failed"), id_at(day), id_at(day)
    await books.hold(unposted, turn_id, "expired")
    await books.hold(still_open, turn_id, "open")
    await books.entry(day, turn_id, id=still_open, calls=0)
    unpaired = await books.entry(day, None, amounts=[5])
    assert named(await verify(store, books.tenant_id)) == {
        ("counter_used", wrong),
        ("counter_missing", gone),
        ("hold_without_entry", unposted),
        ("hold_open", still_open),
        ("charges_unpaired", unpaired),
    }
    assert await verify(store, other_tenant_id) == []


@pytest.mark.usefixtures("small")
async def test_since_a_day_only_that_is_read_and_what_needs_all_is_said_to_be_left_out(store: Store, books: Books) -> None:
    old, new = THIS_MONTH - timedelta(days=19), THIS_MONTH + timedelta(days=1)
    lost = [await books.turn(moment) for moment in (old, new)]
    wrong = [await books.counter(9, moment) for moment in (old, new)]
    told: list[str] = []
    found = await verify(
        store, books.tenant_id, since=THIS_MONTH.date(), tell=lambda part, *how: told.append(part) if not how else None
    )
    assert named(found) == {("turn_without_entry", lost[1]), ("counter_used", wrong[1])}
    assert told == [f"left out: what was used of 2 counters whose window began before {THIS_MONTH:%Y-%m-%d}"]
    assert len(named(await verify(store, books.tenant_id))) == 4


async def test_turns_that_go_on_meanwhile_are_no_difference(store: Store, cluster: Any, tmp_path: Any) -> None:
    """Counters and entries are of one snapshot, however long it takes to read them."""
    world = await open_world(cluster.dsn, tmp_path)
    try:
        shop = await open_shop(store, {"metric": "calls", "window": "lifetime", "amount": 99})
        caller = await world.caller(shop.tenant_id, await add_customer(store, shop))
        await world.container.turns.run(caller, say())
        async with reading(store, shop.tenant_id) as ledger:
            of_pieces, *rest = checks()
            for piece in ledger.walk():
                await of_pieces.look(ledger, piece)
                await world.container.turns.run(caller, say())
                for check in rest:
                    await check.look(ledger, piece)
            assert [fault for check in (of_pieces, *rest) for fault in await check.end(ledger)] == []
            used = text("SELECT max(used) FROM counters WHERE tenant_id = :tenant")
            assert (await ledger.conn.execute(used, {"tenant": shop.tenant_id})).scalar() == 1
        assert await verify(store, shop.tenant_id) == []
    finally:
        await world.container.close()


async def test_a_check_writes_nothing(store: Store) -> None:
    async with reading(store, await make_tenant(store)) as ledger:
        assert (await ledger.conn.execute(text("SHOW transaction_read_only"))).scalar() == "on"
        assert ledger.pieces == []


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("out", "shown"), [(io.StringIO(), 4), (Terminal(), 5)])
def test_progress_is_a_line_for_each_month_and_on_a_terminal_one_line_that_changes(out: io.StringIO, shown: int) -> None:
    with Progress(out) as progress:
        tell = progress.of("acme")
        for done in (1, 2):
            tell("2026-10", done, 4_000)
        for done in (3, 4_000):
            tell("2026-11", done, 4_000)
        tell("left out: something")
    lines = out.getvalue().replace("\r\x1b[K", "\n" if out.isatty() else "?").split("\n")
    assert [line for line in lines if line][-2:] == ["acme 2026-11: 4,000 of 4,000 entries", "acme: left out: something"]
    assert len([line for line in lines if line]) == shown
    assert out.getvalue().endswith("left out: something\n")
