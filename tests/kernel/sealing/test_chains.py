"""Chains and their anchor: what is taken away, put back, made again or restored shows, and what is in order does not."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from tests.conftest import Cluster, make_tenant
from tests.kernel.sealing.conftest import Installation, drop_databases, fresh_name
from tests.world import KEY, open_world
from tollhouse.plugin.errors import InvalidInput
from tollhouse.reports import seal_repository, sealing
from tollhouse.reports.sealing import NotSealed, Sealer
from tollhouse.store.anchor import Anchor
from tollhouse.store.audit import SYSTEM, record
from tollhouse.store.embedded import EmbeddedServer, bin_path
from tollhouse.store.roles import provision_embedded
from tollhouse.store.secrets import SecretBox
from tollhouse.store.signing import Marker, Signer
from tollhouse.wiring.commands import reanchor_ledgers, rotate_keys, seal_ledgers, unsealed

OLD, NEW = bytes(32), bytes([7]) * 32


async def sealed_thrice(here: Installation) -> None:
    for _ in range(3):
        await here.turn()
        await here.act()
        await here.seal()


def anchor_of(here: Installation) -> Path:
    return here.folder / "ledger.anchor"


async def cut_anchor(here: Installation) -> None:
    lines = anchor_of(here).read_text().splitlines(keepends=True)
    anchor_of(here).write_text("".join(lines[:-1]))


async def edit_anchor(here: Installation) -> None:
    """An end put back in the middle of the file."""
    lines = anchor_of(here).read_text().splitlines()
    line = json.loads(lines[1])
    line["ends"][0][2] -= 1
    anchor_of(here).write_text("\n".join([lines[0], json.dumps(line), *lines[2:]]) + "\n")


async def sign_anchor_anew(here: Installation) -> None:
    """A whole file made anew, with another key."""
    anchor_of(here).unlink()
    chain = seal_repository.ChainId(here.tenant, "entries")
    ends = {chain: seal_repository.End(1, 1, "00")}
    Anchor(here.folder, Signer(SecretBox([NEW]))).append(ends, "now", every=ends)


async def no_anchor(here: Installation) -> None:
    anchor_of(here).unlink()


def sql(statement: str) -> Callable[[Installation], Awaitable[Any]]:
    async def edit(here: Installation) -> None:
        await here.admin.execute(statement.format(tenant=here.tenant))

    return edit


TAIL = "DELETE FROM seals WHERE number > 1 AND log = '{log}' AND tenant_id = '{{tenant}}'"
EDITS: dict[str, tuple[Callable[[Installation], Awaitable[Any]], set[str]]] = {
    "tail of the entries' links deleted": (sql(TAIL.format(log="entries")), {"chain_cut", "entry_added"}),
    "tail of the audit's links deleted": (sql(TAIL.format(log="audit")), {"chain_cut", "audit_added"}),
    "all links deleted": (sql("DELETE FROM seals"), {"chain_cut", "entry_added", "audit_added"}),
    "all links and the watermarks deleted": (sql("DELETE FROM seals; DELETE FROM watermarks"), {"chain_cut"}),
    "a link in the middle deleted": (
        sql("DELETE FROM seals WHERE number = 2 AND log = 'entries'"),
        {"chain_broken", "entry_added"},
    ),
    "tail of links deleted with its rows": (
        sql(
            "DELETE FROM audit WHERE id IN (SELECT unnest(ids) FROM seals WHERE log = 'audit' AND number > 1);"
            "DELETE FROM seals WHERE log = 'audit' AND number > 1; UPDATE watermarks SET xid = 1 WHERE name = 'seals'"
        ),
        {"chain_cut"},
    ),
    "all of the audit log and its links deleted": (
        sql("DELETE FROM audit; DELETE FROM seals WHERE log = 'audit'"),
        {"chain_cut"},
    ),
    "a digest made anew": (sql("UPDATE seals SET digest = sha256('x') WHERE number = 3"), {"chain_broken", "chain_cut"}),
    "a signature made anew": (sql("UPDATE seals SET signature = sha512('x') WHERE number = 3"), {"chain_broken"}),
    "another key named": (sql("UPDATE seals SET public_key = sha256('x') WHERE number = 3"), {"chain_broken"}),
    "a link's hashes changed with its row": (
        sql(
            "UPDATE entries SET latency_ms = 9;"
            "UPDATE seals SET leaves[1] = gen_random_uuid() WHERE log = 'entries' AND number = 2"
        ),
        {"chain_broken", "entry_changed"},
    ),
    "a link's count changed": (
        sql("UPDATE seals SET count = 0, total = 0 WHERE log = 'audit' AND number = 1"),
        {"chain_broken"},
    ),
    "a link's watermark changed": (sql("UPDATE seals SET high = high + 1000 WHERE number = 3"), {"chain_broken"}),
    "a link's time changed": (sql("UPDATE seals SET at = now() + interval '1 day' WHERE number = 1"), {"chain_broken"}),
    "a link's note changed": (sql("""UPDATE seals SET note = '{{"unmarked": []}}' WHERE number = 1"""), {"chain_broken"}),
    "a link made a retired one": (sql("UPDATE seals SET kind = 'key' WHERE number = 2"), {"chain_broken"}),
    "links moved to another tenant": (sql("UPDATE seals SET log = 'x' || log"), {"chain_cut"}),
    "the tenant renamed away": (
        sql("ALTER TABLE seals DROP CONSTRAINT fk_seals_tenant_id; DELETE FROM seals; DELETE FROM entries; DELETE FROM holds;"
            "DELETE FROM turns; DELETE FROM audit; SET session_replication_role = replica; DELETE FROM tenants"),
        {"tenant_missing"},
    ),
    "the anchor cut": (cut_anchor, {"anchor"}),
    "the anchor edited": (edit_anchor, {"anchor"}),
    "the anchor deleted": (no_anchor, {"anchor"}),
    "the anchor made anew with another key": (sign_anchor_anew, {"anchor"}),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_of_a_chain_or_its_anchor_is_named(here: Installation, name: str) -> None:
    edit, checks = EDITS[name]
    await sealed_thrice(here)
    assert await here.verify() == []
    await edit(here)
    assert await here.checks() >= checks
    await here.seal()  # going on neither mends nor hides it
    assert await here.checks() >= checks - {"entry_added", "audit_added"}


async def test_a_chain_that_was_cut_is_not_gone_on_with_and_others_are(here: Installation) -> None:
    await sealed_thrice(here)
    await here.admin.execute("DELETE FROM seals WHERE log = 'audit' AND number = 3")
    await here.turn()
    await here.act()
    assert list((await here.seal()).refused.values()) == ["the links after 2 are gone: the anchor has 3"]
    with pytest.raises(NotSealed, match=r"audit of tenant .* the links after 2 are gone: the anchor has 3"):
        await seal_ledgers(here.world.container)
    assert await here.admin.fetch("SELECT log, max(number) FROM seals GROUP BY 1 ORDER BY 1") == [("audit", 2), ("entries", 4)]


async def test_what_is_not_sealed_yet_is_counted(here: Installation) -> None:
    await here.turn()
    sealed: list[Any] = []
    await here.verify(into=sealed)
    assert unsealed(sealed)[0] == (
        "ledger entries: 0 were sealed; 1 are not yet (nothing was sealed yet), so a change of them may not show"
    )
    await here.seal()
    await here.turn()
    await here.act()
    assert await here.pending() == {"entries": 1, "audit": 1}
    await here.decided()
    assert await seal_ledgers(here.world.container) == "2 rows were sealed in 2 links"
    assert await here.pending() == {"entries": 0, "audit": 0}
    assert await seal_ledgers(here.world.container) == "0 rows were sealed in 0 links"
    assert len(anchor_of(here).read_text().splitlines()) == 2, "where nothing is new, nothing is written"


async def test_a_tenants_chain_holds_that_tenants_rows_alone(here: Installation) -> None:
    other = await make_tenant(here.world.store)
    await sealed_thrice(here)
    assert await here.verify(other) == []
    async with here.world.store.transaction(other) as conn:
        assert (await conn.execute(text("SELECT count(*) FROM seals"))).scalar() == 0


# -- no false alarm -----------------------------------------------------------------------------------------------------------


async def test_a_transaction_that_stays_open_over_a_seal_is_sealed_when_it_has_committed(here: Installation) -> None:
    await sealed_thrice(here)
    async with here.world.store.transaction(here.tenant) as late:
        await record(late, here.tenant, SYSTEM, "thing.late")
        await here.turn()
        for _ in range(2):
            await here.world.container.sealer.run(wait=True)
            assert await here.verify() == []
        assert (await here.pending())["entries"] >= 1, "what began later than the open one waits for it"
    await here.seal()
    assert await here.pending() == {"entries": 0, "audit": 0}
    assert await here.verify() == []


async def test_turns_and_admins_go_on_while_it_is_sealed_and_checked(here: Installation) -> None:
    stop = asyncio.Event()

    async def busy() -> None:
        while not stop.is_set():
            await asyncio.gather(here.turn(), here.turn(), here.act())

    async with asyncio.TaskGroup() as group:
        group.create_task(busy())
        for _ in range(6):
            await here.world.container.sealer.run(wait=True)
            assert await here.verify() == []
        stop.set()
    await here.seal()
    assert await here.verify() == []
    assert await here.pending() == {"entries": 0, "audit": 0}


class Dies(Exception):
    pass


class Dying:
    """A store whose process dies at its ``left``-th transaction: before it begins, before it commits, or after that."""

    def __init__(self, store: Any, left: int, when: str) -> None:
        self.store, self.left, self.when, self.dsn = store, left, when, store.dsn

    @asynccontextmanager
    async def operator(self) -> Any:
        self.left -= 1
        if self.left == 0 and self.when == "before":
            raise Dies
        async with self.store.operator() as conn:
            yield conn
            if self.left == 0 and self.when == "within":
                raise Dies
        if self.left == 0 and self.when == "after":
            raise Dies


@pytest.mark.parametrize("when", ["before", "within", "after"])
async def test_a_sealer_that_dies_at_any_step_is_no_fault_and_goes_on(
    here: Installation, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal_repository, "PIECE", 2)
    sealer = here.world.container.sealer
    for step in range(1, 40):
        for _ in range(3):
            await here.turn()
        await here.act()
        dying = Sealer(Dying(sealer.store, step, when), sealer.signer, sealer.marker, sealer.anchor)  # type: ignore[arg-type]
        try:
            await dying.run(wait=True)
        except Dies:
            assert await here.verify() == [], step
        else:
            break
    else:
        pytest.fail("it never came to its end")
    await here.seal()
    assert await here.verify() == []
    assert await here.pending() == {"entries": 0, "audit": 0}


async def test_a_line_of_the_anchor_that_was_half_written_is_none(here: Installation) -> None:
    await here.turn()
    await here.seal()
    with anchor_of(here).open("a") as file:
        file.write('{"sequence": 2, "at')
    assert await here.verify() == []
    await here.turn()
    await here.seal()
    assert await here.verify() == []
    assert len(anchor_of(here).read_text().splitlines()) == 2


async def test_a_database_with_entries_is_sealed_in_pieces(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_repository, "PIECE", 3)
    for _ in range(8):
        await here.turn()
    done = await here.seal()
    assert (done.rows, done.links) == (8, 3)
    assert await here.verify() == []
    assert await here.admin.fetch("SELECT number, count, total, partial FROM seals ORDER BY number") == [
        (1, 3, 3, True),
        (2, 3, 6, True),
        (3, 2, 8, False),
    ]


async def test_a_long_anchor_is_put_aside_and_the_next_one_knows_all_ends(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollhouse.store.anchor.LONG", 600)
    for _ in range(5):
        await sealed_thrice(here)
    assert len(list(here.folder.glob("ledger.anchor.*"))) > 2
    assert await here.verify() == []
    await here.admin.execute("DELETE FROM seals WHERE log = 'audit'")
    assert "chain_cut" in await here.checks()


async def test_only_one_process_seals_at_a_time(here: Installation) -> None:
    sealer = here.world.container.sealer
    async with sealer._elected(True):
        assert await sealer.run() is None
    assert await sealer.run() is not None


# -- keys ---------------------------------------------------------------------------------------------------------------------


async def with_keys(here: Installation, *keys: bytes) -> None:
    """The same installation, in a process that has these keys."""
    box, container = SecretBox(keys), here.world.container
    here.world.store.marker = Marker(box)
    signer = Signer(box)
    container.sealer = Sealer(here.world.store, signer, Marker(box), Anchor(here.folder, signer))


async def test_a_master_key_that_was_replaced_leaves_the_chains_whole(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollhouse.wiring.commands.load_master_key", lambda settings: SecretBox([NEW, KEY]))
    await sealed_thrice(here)
    await here.act()
    await with_keys(here, NEW, KEY)
    assert await here.verify() == []
    await rotate_keys(here.world.container)
    assert await here.verify() == []
    await with_keys(here, NEW)
    assert await here.verify() == []
    await here.turn()
    await here.act()
    await here.seal()
    assert await here.verify() == []
    await here.admin.execute("UPDATE entries SET cost = 0; UPDATE audit SET action = 'x'")
    assert await here.checks() >= {"entry_changed", "audit_changed"}


async def test_a_key_that_never_vouched_for_the_chain_is_not_believed(here: Installation) -> None:
    await sealed_thrice(here)
    await with_keys(here, NEW)
    assert await here.checks() >= {"chain_broken", "anchor"}


# -- restores -----------------------------------------------------------------------------------------------------------------


def dump(here: Installation, into: Path) -> None:
    """By the documented command."""
    command = [bin_path("pg_dump"), here.dsn, "--role=tollhouse_owner", "--enable-row-security", "-Fc", "-f", into]
    subprocess.run(command, check=True, capture_output=True)


async def restore(superuser_dsn: str, database: str, file: Path) -> None:
    admin = await asyncpg.connect(superuser_dsn)
    await admin.execute(f'CREATE DATABASE "{database}" OWNER tollhouse_owner')
    await admin.execute(f'GRANT CONNECT ON DATABASE "{database}" TO tollhouse')
    await admin.close()
    dsn = superuser_dsn.replace("/postgres?", f"/{database}?")
    command = [bin_path("pg_restore"), "-d", dsn, "--no-owner", "--role=tollhouse_owner", "--exit-on-error", file]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)


async def moved(here: Installation, superuser_dsn: str, dsn: str, database: str) -> Installation:
    """The same data directory, beside another database."""
    world = await open_world(dsn, here.folder)
    admin = await asyncpg.connect(superuser_dsn, database=database)
    return Installation(world, here.shop, admin, here.folder, dsn)


async def test_an_older_database_is_named_and_gone_on_with_when_somebody_says_why(
    here: Installation, cluster: Cluster, tmp_path: Path
) -> None:
    await sealed_thrice(here)
    await here.turn()
    await here.act()
    await asyncio.to_thread(dump, here, tmp_path / "dump")
    await sealed_thrice(here)
    last = await here.admin.fetchval("SELECT max(number) FROM seals WHERE log = 'entries'")
    name = fresh_name()
    try:
        await restore(cluster.superuser_dsn, name, tmp_path / "dump")
        dsn = here.dsn.replace(here.dsn.split("@/", 1)[1].split("?")[0], name)
        back = await moved(here, cluster.superuser_dsn, dsn, name)
        assert await back.checks() == {"chain_cut"}
        await back.turn()
        with pytest.raises(NotSealed, match="the links after 3 are gone"):
            await seal_ledgers(back.world.container)
        with pytest.raises(InvalidInput):
            await reanchor_ledgers(back.world.container, " ")
        await reanchor_ledgers(back.world.container, "restored last night's backup")
        await back.seal()
        sealed: list[Any] = []
        assert await back.verify(into=sealed) == []
        assert await back.pending() == {"entries": 0, "audit": 0}
        assert [line for line in unsealed(sealed) if "re-anchored" in line and "restored last night's backup" in line]
        said = await back.admin.fetchrow("SELECT data FROM audit WHERE action = 'ledger.reanchored'")
        assert json.loads(said["data"]) == {"reason": "restored last night's backup"}
        note = json.loads(await back.admin.fetchval("SELECT note FROM seals WHERE kind = 'reanchor' AND log = 'entries'"))
        assert note["anchored"][0] == last, "what had been written down outside stays known"
        await sealed_thrice(back)
        assert await back.verify() == []
        await back.admin.execute("UPDATE entries SET cost = cost + 1")
        assert "entry_changed" in await back.checks()
        await back.admin.close()
        await back.world.container.close()
    finally:
        await drop_databases(cluster, [name])


async def test_another_server_counts_anew_and_nothing_is_sealed_until_somebody_says_so(
    here: Installation, tmp_path: Path
) -> None:
    """The numbers of its transactions are small: those of the rows that came along are greater than any that come."""
    await sealed_thrice(here)
    await here.turn()
    await here.act()
    await asyncio.to_thread(dump, here, tmp_path / "dump")
    server = EmbeddedServer(tmp_path / "pg", settings={"fsync": "off", "synchronous_commit": "off"})
    address = await server.start()
    try:
        admin_dsn = address.dsn("postgres", "postgres")
        await provision_embedded(admin_dsn, "empty")
        await restore(admin_dsn, "elsewhere", tmp_path / "dump")
        there = await moved(here, admin_dsn, address.dsn("tollhouse", "elsewhere"), "elsewhere")
        assert await there.checks() == {"other_server"}
        with pytest.raises(NotSealed, match="tollhouse ledger reanchor --reason"):
            await seal_ledgers(there.world.container)
        await there.turn()
        assert await there.checks() == {"other_server"}
        await reanchor_ledgers(there.world.container, "moved to a new server")
        assert await there.verify() == []
        for _ in range(3):
            await there.turn()
            await there.act()
            await there.seal()
            assert await there.verify() == []
        assert await there.pending() == {"entries": 0, "audit": 0}
        assert await there.admin.fetchval(
            "SELECT count(*) = count(DISTINCT y.row) FROM seals s, unnest(s.ids) AS y (row) WHERE s.kind = 'rows'"
        ), "no row is sealed twice"
        entry = await there.admin.fetchval(
            "DELETE FROM entries WHERE id = (SELECT min(id::text)::uuid FROM entries) RETURNING id"
        )
        assert ("entry_missing", entry) in {(one.check, one.subject) for one in await there.verify()}
        await there.admin.close()
        await there.world.container.close()
    finally:
        await server.stop_if_unused()


def test_every_column_of_a_log_is_in_its_hash() -> None:
    """A column that is added later makes a new form: what it says must not be free to change."""
    from tollhouse.store.models import audit
    from tollhouse.usage.models import entries

    assert {column.name for column in entries.c} == {*seal_repository.ENTRY_COLUMNS, "occurred_at"}
    apart = {"mark", "address_salt", "data_salt", "blanked"}
    assert {column.name for column in audit.c if f"x.{column.name}" in seal_repository.LOGS["audit"]} >= {
        column.name for column in audit.c
    } - apart


def test_it_is_done_every_five_minutes() -> None:
    source = Path(sealing.__file__).parents[1] / "wiring" / "jobs.py"
    assert '"*/5 * * * *", "ledger.seal"' in source.read_text()
