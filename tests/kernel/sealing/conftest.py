"""A database of its own for each story: the chains of an installation, its watermark and its anchor belong together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from tests.conftest import Cluster, _as_superuser, _fingerprint
from tests.world import Shop, World, add_customer, open_shop, open_world, say
from tollhouse import plugin as th
from tollhouse.plugin.errors import TollhouseError
from tollhouse.reports.chain import Sealed, look_outside
from tollhouse.reports.seal_repository import server
from tollhouse.reports.sealing import Round
from tollhouse.reports.verify import verify_all
from tollhouse.store.audit import SYSTEM, Actor, record
from tollhouse.store.ids import new_id
from tollhouse.usage.verify import Difference

LIMITS = (
    {"metric": "calls", "window": "month", "amount": 1_000},
    {"metric": "total_tokens", "window": "month", "amount": 1_000_000},
)


@dataclass
class Installation:
    """One process on a database of its own, a tenant that sells, and the superuser who works beside the product."""

    world: World
    shop: Shop
    admin: asyncpg.Connection[Any]
    folder: Path
    dsn: str

    @property
    def tenant(self) -> UUID:
        return self.shop.tenant_id

    async def turn(self, **values: Any) -> None:
        """Somebody asks; a model that fails is a turn too."""
        caller = await self.world.caller(self.tenant, await add_customer(self.world.store, self.shop))
        with suppress(TollhouseError):
            await self.world.container.turns.run(caller, say(**values))

    async def act(self, action: str = "thing.made", **data: Any) -> None:
        """An admin does something."""
        async with self.world.store.transaction(self.tenant) as conn:
            actor = Actor("user", new_id(), "192.0.2.7")
            await record(conn, self.tenant, actor, action, target=("thing", new_id()), data=data)

    async def decided(self) -> None:
        """Wait until what is committed now is below the horizon: other databases of the cluster hold it back for a moment."""
        async with self.world.store.operator() as conn:
            mine = int((await conn.execute(text("SELECT pg_current_xact_id()::text"))).scalar_one())
        async with asyncio.timeout(30), self.world.store.operator() as conn:
            while (await server(conn)).horizon <= mine:  # noqa: ASYNC110 - other databases have no event of ours
                await asyncio.sleep(0.02)

    async def seal(self) -> Round:
        """Seal all that is committed now."""
        await self.decided()
        done = await self.world.container.sealer.run(wait=True)
        assert done is not None
        return done

    async def verify(self, tenant_id: UUID | None = None, into: list[Sealed] | None = None) -> list[Difference]:
        outside = await look_outside(self.world.container.sealer)
        found = await verify_all(self.world.store, tenant_id or self.tenant, outside, into=into)
        return [*outside.differences(), *found]

    async def checks(self, tenant_id: UUID | None = None) -> set[str]:
        return {one.check for one in await self.verify(tenant_id)}

    async def pending(self) -> dict[str, int]:
        sealed: list[Sealed] = []
        await self.verify(into=sealed)
        return {one.chain.log: one.pending for one in sealed}


def fails(*errors: Exception) -> Any:
    """A model that fails so often before it answers."""
    left = list(errors)

    def answer(request: th.CompletionRequest) -> th.Completion:
        if left:
            raise left.pop(0)
        return th.Completion((th.Text("Hello."),), th.TokenUsage(10, 5, cached=2), model=request.model)

    return answer


async def make_database(cluster: Cluster, name: str) -> str:
    """A database from the migrated template."""
    template = f"template_{_fingerprint()}"

    async def make(conn: asyncpg.Connection[Any]) -> None:
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER tollhouse_owner')
        await conn.execute(f'GRANT CONNECT, CREATE ON DATABASE "{name}" TO tollhouse_owner, tollhouse')

    await _as_superuser(cluster.superuser_dsn, make)
    before, _, after = cluster.dsn.partition("@/")
    return f"{before}@/{name}?{after.partition('?')[2]}"


async def drop_databases(cluster: Cluster, names: Sequence[str]) -> None:
    async def drop(conn: asyncpg.Connection[Any]) -> None:
        for name in names:
            await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    await _as_superuser(cluster.superuser_dsn, drop)


def fresh_name() -> str:
    """As tests/conftest.py names databases: by the process, so that those of one that was killed are dropped."""
    return f"test_{new_id().hex[-8:]}_{os.getpid()}"


async def install(cluster: Cluster, name: str, folder: Path) -> Installation:
    dsn = await make_database(cluster, name)
    world = await open_world(dsn, folder)
    world.container.turns._runtime.sleep = no_pause
    shop = await open_shop(world.store, *LIMITS, daily_cost_cap=10**12)
    admin = await asyncpg.connect(cluster.superuser_dsn, database=name)
    return Installation(world, shop, admin, folder, dsn)


@pytest.fixture
async def here(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation that has sealed nothing yet."""
    name = fresh_name()
    found = await install(cluster, name, tmp_path / "data")
    yield found
    await found.admin.close()
    await found.world.container.close()
    await drop_databases(cluster, [name])


async def no_pause(seconds: float) -> None:
    """The runtime tries again at once."""


__all__ = ["SYSTEM", "Installation", "drop_databases", "fails", "here", "install", "make_database"]
