"""Migrations beside a running installation: nobody waits behind them for long, and what was there is there afterwards."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command

from tests.conftest import Cluster
from tollhouse.store.ids import new_id
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.roles import provision_embedded
from tollhouse.wiring import database

_numbers = itertools.count()


@pytest.fixture
async def first_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A database with the schema of the first migration."""
    name = f"test_migrated{next(_numbers)}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    await provision_embedded(cluster.superuser_dsn, name)
    before, _, after = cluster.dsn.partition("@/")
    dsn = f"{before}@/{name}?{after.partition('?')[2]}"
    await asyncio.to_thread(command.upgrade, database.alembic_config(dsn), "0001")
    yield dsn
    conn = await asyncpg.connect(cluster.superuser_dsn)
    await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await conn.close()


async def _as(dsn: str, role: str) -> asyncpg.Connection:
    conn = await asyncpg.connect(dsn)
    await conn.execute(f"SET ROLE {role}")
    return conn


async def _migrate(dsn: str) -> int:
    """In a process of its own, as ``serve --prepare`` does it."""
    command = (sys.executable, "-m", "tollhouse.wiring.migrate")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    await process.communicate(dsn.encode())
    assert process.returncode is not None
    return process.returncode


async def test_readers_go_on_while_a_migration_waits_for_a_table(first_dsn: str) -> None:
    slow, reader = await _as(first_dsn, "tollhouse_operator"), await _as(first_dsn, "tollhouse_operator")
    await slow.execute("INSERT INTO tenants (id, slug, name) VALUES ($1, 'kept', 'Kept')", new_id())
    await slow.execute("INSERT INTO watermarks (id, name, xid) VALUES ($1, 'usage_daily', 700)", new_id())
    await slow.execute("BEGIN; SELECT * FROM tenants")  # a long report, say
    upgrading = asyncio.create_task(asyncio.to_thread(database.upgrade, first_dsn))
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tenants'::regclass"
    async with asyncio.timeout(20):
        while not await reader.fetchval(waits):  # noqa: ASYNC110 - a lock wait tells nobody
            await asyncio.sleep(0.02)
    async with asyncio.timeout(4):  # behind the migration, which gives up after two seconds
        assert await reader.fetchval("SELECT slug FROM tenants") == "kept"
    await slow.execute("COMMIT")
    await upgrading
    assert await reader.fetchval("SELECT former_zones FROM tenants") == "[]"
    counted = "SELECT xid, cluster = (SELECT system_identifier::text FROM pg_control_system()) FROM watermarks"
    assert tuple(await reader.fetchrow(counted)) == (700, True), "the daily sums go on where they were"
    assert await reader.fetchval("SELECT version_num FROM alembic_version") == HEAD
    assert await reader.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    await slow.close()
    await reader.close()


async def test_costs_go_on_in_the_currency_in_which_they_were_counted(first_dsn: str) -> None:
    owner = await _as(first_dsn, "tollhouse_owner")
    shops = {name: new_id() for name in ("dollars", "euros", "both", "used", "none")}
    for name, tenant in shops.items():
        await owner.execute("INSERT INTO tenants (id, slug, name) VALUES ($1, $2, $2)", tenant, name)
    prices = [("dollars", "USD"), ("euros", "EUR"), ("both", "EUR"), ("both", "USD"), ("used", "EUR")]
    price = "INSERT INTO prices (tenant_id, id, backend, model, input_per_million, output_per_million, currency, valid_from)"
    for number, (name, currency) in enumerate(prices):
        await owner.execute(f"{price} VALUES ($1, $2, 'x', $3, 1, 1, $4, now())", shops[name], new_id(), f"m{number}", currency)
    used = (
        "INSERT INTO usage_daily (tenant_id, id, user_id, day, cost_currency, cost) VALUES ($1, $2, $2, current_date, $3, $4)"
    )
    for name, currency, cost in (("used", "USD", 5), ("euros", "USD", 0), ("euros", "EUR", 5)):
        await owner.execute(used, shops[name], new_id(), currency, cost)
    assert await _migrate(first_dsn) == 0
    counted = {row["slug"]: row["cost_currency"] for row in await owner.fetch("SELECT slug, cost_currency FROM tenants")}
    assert counted == {"dollars": "USD", "euros": "EUR", "both": "USD", "used": "USD", "none": "USD"}
    await owner.close()


async def test_who_had_a_private_model_keeps_it(first_dsn: str) -> None:
    owner = await _as(first_dsn, "tollhouse_owner")
    addresses: dict[str, dict[str, object]] = {
        "ollama": {"base_url": "http://127.0.0.1:11434/v1"},
        "name": {"base_url": "https://models.internal/v1"},
        "nested": {"endpoints": [{"url": "https://10.1.2.3"}]},
        "port": {"base_url": "https://llm.example.com:8443/v1"},
        "litellm": {"provider": "openai", "api_base": "https://api.example.com"},
        "public": {"base_url": "https://api.example.com/v1"},
        "text": {"instructions": "see http://10.0.0.1", "payee": "10.0.0.1"},
        "broken": {"base_url": "https://[::"},
        "default": {},
    }
    for name, config in addresses.items():
        tenant = new_id()
        await owner.execute("INSERT INTO tenants (id, slug, name) VALUES ($1, $2, $2)", tenant, name)
        kept = "INSERT INTO connections (tenant_id, id, kind, plugin, name, config) VALUES ($1, $2, 'llm', 'x', 'X', $3)"
        await owner.execute(kept, tenant, new_id(), json.dumps(config))
    assert await _migrate(first_dsn) == 0
    rows = await owner.fetch("SELECT slug FROM tenants WHERE private_addresses")
    assert {row["slug"] for row in rows} == {"ollama", "name", "nested", "port", "litellm"}
    await owner.close()


async def test_the_only_tenant_is_the_operators_own(first_dsn: str) -> None:
    owner = await _as(first_dsn, "tollhouse_owner")
    await owner.execute("INSERT INTO tenants (id, slug, name) VALUES ($1, 'mine', 'Mine')", new_id())
    assert await _migrate(first_dsn) == 0
    assert await owner.fetchval("SELECT private_addresses FROM tenants")
    await owner.close()


async def test_the_version_before_finds_tenants_for_an_hour_and_no_longer(first_dsn: str) -> None:
    owner, app = await _as(first_dsn, "tollhouse_owner"), await _as(first_dsn, "tollhouse_app")
    for name in ("one", "two"):
        await owner.execute("INSERT INTO tenants (id, slug, name) VALUES ($1, $2, $2)", new_id(), name)
    assert await _migrate(first_dsn) == 0
    await app.execute("SET app.tenant = '00000000-0000-0000-0000-000000000000'")
    assert await app.fetchval("SELECT count(*) FROM tenants WHERE slug = 'two'") == 1
    await app.execute(f"SET app.tenant = '{await owner.fetchval('SELECT id FROM tenants LIMIT 1')}'")
    assert await app.fetchval("SELECT count(*) FROM tenants") == 1
    until = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'version_before'"
    assert "now() < '" in await owner.fetchval(until)
    await owner.execute("ALTER POLICY version_before ON tenants USING (now() < now() - interval '1 s')")
    await app.execute("SET app.tenant = '00000000-0000-0000-0000-000000000000'")
    assert await app.fetchval("SELECT count(*) FROM tenants") == 0
    for conn in (owner, app):
        await conn.close()


async def test_an_index_that_was_begun_and_not_ended_is_made_again(first_dsn: str) -> None:
    owner = await _as(first_dsn, "tollhouse_owner")
    await owner.execute("CREATE INDEX ix_inbox_kept ON inbox (id)")
    assert await asyncio.gather(*(_migrate(first_dsn) for _ in range(3))) == [0, 0, 0]
    made = await owner.fetchval("SELECT pg_get_indexdef('ix_inbox_kept'::regclass)")
    assert "(tenant_id, handled_at)" in made
    await owner.close()
