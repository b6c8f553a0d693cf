"""What every test of the kernel stands on: a real PostgreSQL built by the migrations, one database for each worker.

The cluster is the embedded server in a folder of its own; the schema is migrated once into a template and copied. Each test
gets its own tenants, so tests never clean up after each other and may run in any order.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from tollhouse.store.embedded import EmbeddedServer
from tollhouse.store.embedded_socket import EmbeddedAddress
from tollhouse.store.ids import new_id
from tollhouse.store.roles import provision_embedded
from tollhouse.store.store import Store
from tollhouse.tenants.models import tenants
from tollhouse.wiring import database

UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Cluster:
    """The test cluster and this worker's database in it."""

    superuser_dsn: str
    dsn: str


def _fingerprint() -> str:
    """Changes when a migration changes, so that a stale template is never used."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted((Path(database.__file__).parent.parent / "store" / "migrations").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


async def _as_superuser(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
    """One worker at a time, whichever run it belongs to."""
    with (Path(tempfile.gettempdir()) / f"tollhouse-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        conn = await asyncpg.connect(dsn)
        try:
            await work(conn)
        finally:
            await conn.close()


async def _prepare(conn: asyncpg.Connection, address: EmbeddedAddress, name: str) -> None:
    admin, template = address.dsn("postgres", "postgres"), f"template_{_fingerprint()}"
    if not await conn.fetchval("SELECT true FROM pg_database WHERE datname = $1", template):
        building = f"{template}_building"
        await conn.execute(f'DROP DATABASE IF EXISTS "{building}" WITH (FORCE)')
        await provision_embedded(admin, building)
        await asyncio.to_thread(database.upgrade, address.dsn("tollhouse", building))
        await conn.execute(f'ALTER DATABASE "{building}" RENAME TO "{template}"')
    for row in await conn.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'"):
        pid = int(row["datname"].rsplit("_", 1)[-1])
        if not os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC240 - it waits for no disk
            await conn.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
    await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER tollhouse_owner')
    await conn.execute(f'GRANT CONNECT, CREATE ON DATABASE "{name}" TO tollhouse_owner, tollhouse')


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """This worker's own database, freshly copied from the migrated template; the last worker stops the server."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    server = EmbeddedServer(Path(tempfile.gettempdir()) / f"tollhouse-tests-{os.getuid()}", settings=UNSAFE_BUT_FAST)
    with asyncio.Runner() as runner:
        address = runner.run(server.start())
        admin = address.dsn("postgres", "postgres")
        runner.run(_as_superuser(admin, lambda conn: _prepare(conn, address, name)))
        yield Cluster(admin, address.dsn("tollhouse", name))
        runner.run(_as_superuser(admin, lambda conn: conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')))
        runner.run(server.stop_if_unused())


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[Store]:
    """A store on this worker's database, with connections of this test's event loop."""
    store = Store(cluster.dsn, pool_size=5, hot_pool_size=5)
    yield store
    await store.close()


async def make_tenant(store: Store, **values: object) -> UUID:
    """A tenant of this test's own."""
    tenant_id = new_id()
    async with store.operator() as conn:
        await conn.execute(
            tenants.insert().values({"id": tenant_id, "slug": f"t{tenant_id.hex[-12:]}", "name": "Test tenant", **values})
        )
    return tenant_id


@pytest.fixture
async def tenant_id(store: Store) -> UUID:
    """One tenant."""
    return await make_tenant(store)


@pytest.fixture
async def other_tenant_id(store: Store) -> UUID:
    """Another one: every story about tenants has two."""
    return await make_tenant(store)
