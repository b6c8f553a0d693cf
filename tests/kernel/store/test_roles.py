"""The login of somebody else's server: set up by an administrator's few lines, and without any right of its own after them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import Cluster
from tollhouse.plugin import ConfigError
from tollhouse.store.ids import new_id
from tollhouse.store.roles import ensure_roles


@pytest.fixture
async def ours(cluster: Cluster) -> AsyncIterator[tuple[str, str]]:
    """A fresh database with a login as anybody would make it: the superuser's address of it, and the login's."""
    name = f"own_{new_id().hex}"
    admin = await asyncpg.connect(cluster.superuser_dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN")
    await admin.execute(f"CREATE DATABASE {name}")
    where = cluster.superuser_dsn.split("@", 1)[1].split("?", 1)[1]
    yield f"postgresql://postgres@/{name}?{where}", f"postgresql://{name}@/{name}?{where}"
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.execute(f"DROP ROLE {name}")
    await admin.close()


async def test_the_login_may_become_a_role_and_has_no_rights_before(ours: tuple[str, str]) -> None:
    superuser, login = ours
    with pytest.raises(ConfigError, match="let an administrator run once") as refused:
        await ensure_roles(login)
    admin = await asyncpg.connect(superuser)
    for statement in str(refused.value).split(": ", 1)[1].split("; "):
        await admin.execute(statement)
    await admin.close()
    await ensure_roles(login)
    conn = await asyncpg.connect(login)
    async with conn.transaction():
        await conn.execute("SET LOCAL ROLE tollhouse_owner")
        await conn.execute("CREATE TABLE secrets AS SELECT 1 AS n")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.fetch("SELECT * FROM secrets")
    await conn.close()


async def test_a_login_that_does_not_own_the_database_is_told_and_nothing_is_half_made(ours: tuple[str, str]) -> None:
    superuser, login = ours
    admin = await asyncpg.connect(superuser)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER ROLE {name} CREATEROLE")  # it may make roles, and GRANT on somebody else's database only warns
    await admin.execute(
        f"GRANT tollhouse_owner, tollhouse_app, tollhouse_operator TO {name} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    )
    with pytest.raises(ConfigError, match="does not own the database"):
        await ensure_roles(login)
    assert not await admin.fetchval("SELECT has_schema_privilege('tollhouse_owner', 'public', 'CREATE')")
    await admin.close()
