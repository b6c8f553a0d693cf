"""A database of one's own, for stories that begin with an empty installation, and a browser to look at it."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Browser

from tests.conftest import Cluster, _fingerprint
from tests.flows.browser import chromium
from tests.flows.first import Installation, installation

_numbers = itertools.count()


@pytest.fixture
async def empty_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A migrated database in which nobody has ever been."""
    name = f"test_empty{next(_numbers)}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    conn = await asyncpg.connect(cluster.superuser_dsn)
    try:
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "template_{_fingerprint()}" OWNER tollhouse_owner')
        await conn.execute(f'GRANT CONNECT, CREATE ON DATABASE "{name}" TO tollhouse_owner, tollhouse')
        before, _, after = cluster.dsn.partition("@/")
        yield f"{before}@/{name}?{after.partition('?')[2]}"
        await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await conn.close()


@pytest.fixture
async def one_wall_dsn(empty_dsn: str, cluster: Cluster) -> str:
    """The same without row-level security: only what each statement says itself keeps tenants apart."""
    conn = await asyncpg.connect(empty_dsn.replace("tollhouse@", "postgres@"))
    try:
        for row in await conn.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relrowsecurity"):
            await conn.execute(f"ALTER TABLE {row['name']} DISABLE ROW LEVEL SECURITY")
    finally:
        await conn.close()
    return empty_dsn


@pytest.fixture
async def first(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation in its first hour, listening."""
    async with installation(empty_dsn, tmp_path) as found:
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The browser, for stories that are marked ``needs_chromium``."""
    async with chromium() as found:
        yield found
