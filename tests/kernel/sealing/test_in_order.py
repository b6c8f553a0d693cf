"""Whatever happens in order, nothing is found; and what was there before there were seals is sealed with them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.kernel.sealing.conftest import Installation, fails
from tests.kernel.sealing.test_chains import NEW, OLD, Dies, Dying, with_keys
from tests.world import add_customer
from tollhouse import plugin as th
from tollhouse.reports import seal_repository
from tollhouse.reports.forgetting import forget_audit
from tollhouse.reports.sealing import NotSealed, Sealer
from tollhouse.store.audit import SYSTEM, Actor, record
from tollhouse.store.ids import new_id
from tollhouse.usage.models import runners
from tollhouse.usage.sweeper import sweep


class Days:
    """What happens in an installation, in any order."""

    def __init__(self, here: Installation, chance: random.Random) -> None:
        self.here, self.chance = here, chance
        self.late: list[AsyncExitStack] = []
        self.keys = [OLD]

    async def turns(self) -> None:
        errors: list[Exception] = [
            th.BackendUnavailable(private="x"),
            th.BackendTimeout(private="x"),
            th.BackendRejected(private="x"),
        ]
        self.here.world.model.answer = fails(*self.chance.sample(errors, self.chance.randrange(3)))
        await asyncio.gather(*(self.here.turn() for _ in range(self.chance.randrange(1, 4))))

    async def overtaken_turn(self) -> None:
        """Its process is taken for dead while its model answers: an expired hold, a late entry, a correction."""
        world = self.here.world
        world.model.answer, world.model.gate = fails(), asyncio.Event()
        turn, asked = asyncio.create_task(self.here.turn()), len(world.model.calls)
        async with asyncio.timeout(20):
            while len(world.model.calls) == asked and not turn.done():  # noqa: ASYNC110 - the model tells nobody
                await asyncio.sleep(0.01)
        async with world.store.operator() as conn:
            lapsed = runners.update().where(runners.c.id == world.container.runner.id)
            await conn.execute(lapsed.values(lease_until=text("now() - interval '1 second'")))
        await sweep(world.store)
        await world.container.runner.renew()
        world.model.gate.set()
        await turn
        world.model.gate = None

    async def acts(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            await self.here.act()

    async def late_begins(self) -> None:
        stack = AsyncExitStack()
        conn = await stack.enter_async_context(self.here.world.store.transaction(self.here.tenant))
        await record(conn, self.here.tenant, SYSTEM, "thing.late")
        self.late.append(stack)

    async def late_ends(self) -> None:
        while self.late:
            stack = self.late.pop()
            if self.chance.random() < 0.7:
                await stack.aclose()
            else:
                with suppress(RuntimeError):
                    await stack.__aexit__(RuntimeError, RuntimeError("rolled back"), None)

    async def seals(self) -> None:
        await self.here.world.container.sealer.run(wait=True)

    async def seals_and_dies(self) -> None:
        sealer = self.here.world.container.sealer
        store = Dying(sealer.store, self.chance.randrange(1, 15), self.chance.choice(["before", "within", "after"]))
        with suppress(Dies):
            await Sealer(store, sealer.signer, sealer.marker, sealer.anchor).run(wait=True)  # type: ignore[arg-type]

    async def key_is_replaced(self) -> None:
        if self.late:
            return  # it would wait for these
        self.keys = [NEW if self.keys == [OLD] else OLD]
        await with_keys(self.here, *self.keys, *({OLD, NEW} - {*self.keys}))
        with suppress(NotSealed):
            await self.here.world.container.sealer.resign()
            await with_keys(self.here, *self.keys)

    async def somebody_is_erased(self) -> None:
        user_id = await add_customer(self.here.world.store, self.here.shop)
        async with self.here.world.store.transaction(self.here.tenant) as conn:
            await record(conn, self.here.tenant, Actor("user", user_id, "192.0.2.1"), "thing.made")
        await self.here.world.container.accounts.erase(self.here.tenant, user_id, by=None, actor=SYSTEM)
        await forget_audit(self.here.world.container.sealer, 0)

    async def old_entries_go(self) -> None:
        moment = datetime.now(UTC)
        self.here.world.store.at(moment.replace(year=moment.year + 1))
        await forget_audit(self.here.world.container.sealer, 30)
        self.here.world.store.at(None)


STEPS = (
    *(
        Days.turns,
        Days.overtaken_turn,
        Days.acts,
        Days.late_begins,
        Days.late_ends,
        Days.seals,
        Days.seals,
        Days.seals_and_dies,
    ),
    *(Days.key_is_replaced, Days.somebody_is_erased, Days.old_entries_go),
)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_in_order_nothing_is_found(
    here: Installation, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal_repository, "PIECE", 3)
    days, chance = Days(here, random.Random(seed)), random.Random(seed + 1000)
    await with_keys(here, OLD)
    done = []
    for _ in range(20):
        step = chance.choice(STEPS)
        done.append(step.__name__)
        await step(days)
        assert await here.verify() == [], done
    await days.late_ends()
    await here.seal()
    assert await here.verify() == [], done
    assert await here.pending() == {"entries": 0, "audit": 0}


# -- before there were seals ---------------------------------------------------------------------------------------------------


async def written_before(here: Installation, count: int) -> list[UUID]:
    """Entries of the audit log as the version before wrote them: each holds the digest of the one before."""
    previous, ids, at = bytes(32), [], datetime.now(UTC)
    for number in range(count):
        row_id, data = new_id(), {"number": number}
        parts = [row_id, None, "system", "thing.made", "", "", "192.0.2.1", at.isoformat(), json.dumps(data)]
        digest = hashlib.sha256(previous + "\x1f".join(str(part) for part in parts).encode()).digest()
        await here.admin.execute(
            "INSERT INTO audit (tenant_id, id, actor_kind, action, data, address, at, previous, digest, xid) "
            "VALUES ($1, $2, 'system', 'thing.made', $3, '192.0.2.1', $4, $5, $6, 0)",
            *(here.tenant, row_id, json.dumps(data), at, previous, digest),
        )
        previous, ids = digest, [*ids, row_id]
    return ids


async def test_what_was_written_before_there_were_seals_is_sealed_with_the_first(here: Installation) -> None:
    ids = await written_before(here, 3)
    await here.turn()
    assert await here.verify() == []
    await here.act()
    assert await here.verify() == []
    await here.seal()
    assert await here.verify() == []
    assert await here.pending() == {"entries": 0, "audit": 0}
    await here.admin.execute("UPDATE audit SET address = '' WHERE id = $1", ids[1])
    assert ("audit_changed", ids[1]) in {(one.check, one.subject) for one in await here.verify()}


async def test_a_process_of_the_version_before_may_write_on_for_a_while(here: Installation) -> None:
    """While an installation is upgraded, one process after the other."""
    await here.act()
    await here.seal()
    ids = await written_before(here, 1)
    await here.admin.execute("UPDATE audit SET xid = (pg_current_xact_id()::text)::bigint, previous = '' WHERE id = $1", ids[0])
    row = await here.admin.fetchrow("SELECT * FROM audit WHERE id = $1", ids[0])
    parts = [ids[0], None, "system", "thing.made", "", "", "192.0.2.1", row["at"].isoformat(), row["data"]]
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    await here.admin.execute("UPDATE audit SET digest = $2 WHERE id = $1", ids[0], digest)
    assert await here.verify() == []
    await here.seal()
    assert await here.verify() == []


OF_OVERTAKEN = {
    "late deleted": ("DELETE FROM entries WHERE kind = 'late'", "entry_correction", "correction"),
    "correction deleted": ("DELETE FROM entries WHERE kind = 'correction'", "", "correction"),
    "correction's cost": ("UPDATE entries SET cost = cost - 1 WHERE kind = 'correction'", "entry_correction", "correction"),
    "correction's amounts": ("UPDATE entries SET amounts[1] = 7 WHERE kind = 'correction'", "entry_correction", "correction"),
    "correction of another": (
        "UPDATE entries SET detail = jsonb_build_object('corrects', gen_random_uuid()) WHERE kind = 'correction'",
        "entry_correction",
        "correction",
    ),
    "correction again": (
        """CREATE TEMP TABLE copied AS SELECT * FROM entries WHERE kind = 'correction';
           UPDATE copied SET id = (left(id::text, 35) || CASE right(id::text, 1) WHEN 'f' THEN '0' ELSE 'f' END)::uuid;
           INSERT INTO entries SELECT * FROM copied""",
        "entry_without_hold",
        "",
    ),
    "late's cost": ("UPDATE entries SET cost = 1 WHERE kind = 'late'", "entry_cost", "late"),
    "what was not known made known": (
        "UPDATE entries SET certainty = 'exact' WHERE kind = 'turn'",
        "entry_correction",
        "correction",
    ),
    "its estimate": (
        "UPDATE entries SET input_tokens = 1, cost = NULL, price = NULL WHERE kind = 'turn'",
        "entry_hold",
        "turn",
    ),
    "its hold": ("UPDATE holds SET facts = jsonb_set(facts, '{output_tokens}', '1')", "entry_hold", "turn"),
    "its hold's state": ("UPDATE holds SET state = 'settled'", "entry_hold", "turn"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_OVERTAKEN)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "not sealed yet"])
async def test_an_edit_of_what_a_dead_process_left_is_named(here: Installation, name: str, sealed: bool) -> None:
    statement, check, kind = OF_OVERTAKEN[name]
    await Days(here, random.Random(0)).overtaken_turn()
    assert dict(await here.admin.fetch("SELECT kind, count(*) FROM entries GROUP BY kind")) == {
        "turn": 1,
        "late": 1,
        "correction": 1,
    }
    ids = dict(await here.admin.fetch("SELECT kind, id FROM entries"))
    if sealed:
        await here.seal()
    assert await here.verify() == []
    await here.admin.execute(statement)
    found = {(one.check, one.subject) for one in await here.verify()}
    if check:
        assert check in {one for one, subject in found if kind in ("", None) or subject == ids[kind]}
    if sealed and "hold" not in name:
        assert {one for one, _ in found} & {"entry_changed", "entry_missing", "entry_added"}
