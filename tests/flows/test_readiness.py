"""A process says that it cannot work when its database takes no writes, and why: to probes, in the log, in the console, and in
the metrics; and it says when that is over."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import Cluster
from tests.flows.asking import TURNS, hello, problem
from tests.flows.driver import Body, Client
from tests.flows.furnished import Furnished, House, furnish, open_house
from tests.operations.disks import fill, small_disk
from tollhouse.store.blobs import BlobStore
from tollhouse.store.embedded import EmbeddedServer
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.roles import provision_embedded
from tollhouse.usage.verify import verify
from tollhouse.wiring import database, readiness

FRESH = 0.05


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that a test can wait for."""
    monkeypatch.setattr(readiness, "FRESH_SECONDS", FRESH)
    monkeypatch.setattr(readiness, "AGAIN_SECONDS", FRESH)
    monkeypatch.setattr(readiness, "PROBE_SECONDS", 1.0)


@asynccontextmanager
async def administrator(cluster: Cluster, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    name, where = dsn.split("@/", 1)[1].split("?")
    conn = await asyncpg.connect(f"postgresql://postgres@/{name}?{where}")
    try:
        yield conn
    finally:
        await conn.close()


async def ready(client: Client) -> tuple[int, list[str]]:
    await asyncio.sleep(FRESH)  # what was found a moment ago is not asked again
    answer = await client.get("/readyz")
    assert (await client.get("/healthz")).status == 200
    return answer.status, answer.json.get("codes", [])


async def becomes(client: Client, status: int) -> list[str]:
    """Wait until it is so; the codes."""
    async with asyncio.timeout(40):
        while (found := await ready(client))[0] != status:  # asked as a probe would
            pass
    return found[1]


READ_ONLY = "ALTER DATABASE {name} SET default_transaction_read_only = on"
CAUSES = {
    "read-only": (READ_ONLY, "ALTER DATABASE {name} RESET default_transaction_read_only", "database_read_only"),
    "no right to write": (
        "REVOKE INSERT, UPDATE ON runners FROM tollhouse_operator",
        "GRANT INSERT, UPDATE ON runners TO tollhouse_operator",
        "database_no_rights",
    ),
    "a newer schema": (
        "UPDATE alembic_version SET version_num = '9999'",
        f"UPDATE alembic_version SET version_num = '{HEAD}'",
        "schema_mismatch",
    ),
    "nobody is let in": (
        "ALTER DATABASE {name} CONNECTION LIMIT 0",
        "ALTER DATABASE {name} CONNECTION LIMIT -1",
        "database_busy",
    ),
}


@pytest.mark.parametrize("cause", CAUSES, ids=str)
async def test_a_database_that_takes_no_writes(
    cause: str, empty_dsn: str, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    breaks, mends, code = CAUSES[cause]
    async with open_house(empty_dsn, tmp_path, metrics_public=True) as house, administrator(cluster, empty_dsn) as admin:
        shop = await furnish(house, "ready")
        probe, owner = _clients(house, shop)
        assert await ready(probe) == (200, [])
        name = await admin.fetchval("SELECT quote_ident(current_database())")
        with caplog.at_level(logging.WARNING):
            await admin.execute(breaks.format(name=name))
            await _cut(admin)
            assert await becomes(probe, 503) == [code]
            for _ in range(20):
                assert (await ready(probe))[0] == 503
            await _shown(probe, owner, code)
            await admin.execute(mends.format(name=name))
            await _cut(admin)
            await becomes(probe, 200)
        assert caplog.text.count("not ready: ") == 1, "it is said once, and not at each look"
        assert caplog.text.count("ready again: ") == 1
        assert "tollhouse_trouble{" not in (await probe.get("/metrics")).text
        assert (await probe.post(TURNS, hello(shop))).status == 200


async def _shown(probe: Client, owner: Client, code: str) -> None:
    if code != "database_busy":  # then nobody can even be asked who asks
        assert f'tollhouse_trouble{{code="{code}"}} 1.0' in (await probe.get("/metrics")).text
    if code == "database_read_only":
        page = await owner.get("/console")
        assert (page.status, "This installation is in trouble" in page.text) == (200, True)


def _clients(house: House, shop: Furnished) -> tuple[Client, Client]:
    return (
        Client.program(house.app, shop.slug, shop.tokens["plain_key"]),
        Client.browser(house.app, shop.slug, shop.tokens["owner"]),
    )


async def _cut(admin: asyncpg.Connection) -> None:
    """What is set for a database is seen by those who connect."""
    mine = "datname = current_database() AND pid <> pg_backend_pid()"
    await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")


async def test_a_write_that_is_held_up(empty_dsn: str, cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(empty_dsn, tmp_path) as house, administrator(cluster, empty_dsn) as admin:
        shop = await furnish(house, "held")
        probe, _ = _clients(house, shop)
        async with admin.transaction():
            await admin.execute("LOCK TABLE runners IN ACCESS EXCLUSIVE MODE")
            assert await becomes(probe, 503) == ["database_silent"]
        await becomes(probe, 200)


async def test_a_month_without_its_partition_is_made_or_told(empty_dsn: str, cluster: Cluster, tmp_path: Path) -> None:
    async with open_house(empty_dsn, tmp_path) as house, administrator(cluster, empty_dsn) as admin:
        shop = await furnish(house, "month")
        probe, _ = _clients(house, shop)
        month = await admin.fetchval("SELECT 'entries_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
        await admin.execute(f"DROP TABLE {month}")
        assert await ready(probe) == (200, []), "it was made"
        assert await admin.fetchval(f"SELECT to_regclass('{month}') IS NOT NULL")
        await admin.execute(f"DROP TABLE {month}")
        body = "CREATE OR REPLACE FUNCTION ensure_entry_partitions(ahead int) RETURNS int LANGUAGE sql AS $$ SELECT 0 $$"
        await admin.execute(body)
        assert await becomes(probe, 503) == ["partition_missing"]


# -- a disk without room -----------------------------------------------------------------------------------------------


async def test_a_full_disk_is_a_503_until_there_is_room_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(200) as disk:
        server = EmbeddedServer(disk / "db", settings={"fsync": "off", "max_wal_size": "48MB", "min_wal_size": "32MB"})
        address = await server.start()
        watch = asyncio.create_task(server.watch(every=0.2))
        try:
            await provision_embedded(address.dsn("postgres", "postgres"), "own")
            dsn = address.dsn("tollhouse", "own")
            await asyncio.to_thread(database.upgrade, dsn)
            async with open_house(dsn, tmp_path) as house:
                shop = await furnish(house, "full")
                probe, _ = _clients(house, shop)
                assert (await probe.post(TURNS, hello(shop))).status == 200
                before = await verify(house.store, shop.tenant_id)
                ballast = fill(disk)
                with caplog.at_level(logging.INFO):
                    refused = await _refused(probe, shop)
                    assert problem(refused)[0] == 503
                    assert refused.headers["retry-after"]
                    codes = await becomes(probe, 503)
                    for _ in range(20):
                        status, codes = await ready(probe)
                        assert status == 503
                    assert set(codes) <= {"database_full", "database_unreachable", "database_busy", "database_silent"}
                    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
                    assert len(lines) < 60, "the log does not fill the disk"
                ballast.unlink()
                await becomes(probe, 200)
                async with asyncio.timeout(30):
                    while (await probe.post(TURNS, hello(shop))).status != 200:  # noqa: ASYNC110 - asked as a client would
                        await asyncio.sleep(0.1)
                assert await verify(house.store, shop.tenant_id) == before, "nothing was charged by half"
        finally:
            watch.cancel()
            await server.stop_if_unused()


async def _refused(probe: Client, shop: Furnished) -> Any:
    """The first answer that is none: what has room in a page that is there goes on for a while."""
    for _ in range(400):
        body = hello(shop)
        body["parts"][0]["text"] = os.urandom(3000).hex()
        answer = await probe.post(TURNS, body)
        if answer.status != 200:
            return answer
    pytest.fail("the disk is not full")


async def test_uploads_without_room_are_refused_whole_and_everything_else_goes_on(empty_dsn: str, tmp_path: Path) -> None:
    with small_disk(4) as disk:
        async with open_house(empty_dsn, disk, metrics_public=True) as house:
            shop = await furnish(house, "blobs")
            probe, owner = _clients(house, shop)
            ballast = fill(disk)
            before = sorted(disk.rglob("*"))
            refused = await probe.send("POST", "/api/v1/uploads", Body.upload(b"x" * 100_000, "a.txt"))
            assert problem(refused)[:2] == (507, "storage_full"), refused.text
            assert sorted(path for path in disk.rglob("*") if path.is_file()) == [path for path in before if path.is_file()]
            assert await ready(probe) == (200, [])
            assert (await probe.post(TURNS, hello(shop))).status == 200
            assert 'tollhouse_trouble{code="storage_full"} 1.0' in (await probe.get("/metrics")).text
            assert "uploads are refused" in (await owner.get("/console")).text.lower()
            ballast.unlink()
            assert (await probe.send("POST", "/api/v1/uploads", Body.upload(b"x" * 100_000, "a.txt"))).status == 201
            assert "uploads are refused" not in (await owner.get("/console")).text.lower()


def test_a_disk_that_fails_is_no_bug_of_ours(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "file" / "blobs")
    (tmp_path / "file").write_text("no folder")
    from tollhouse.store.errors import StorageDown

    with pytest.raises(StorageDown):
        asyncio.run(blobs.put("0" * 8 + "-0000-7000-8000-" + "0" * 12 + "/00/" + "0" * 8 + "-0000-7000-8000-" + "0" * 12, b"x"))
