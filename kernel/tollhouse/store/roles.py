"""The roles of the database, and the login that has no rights of its own.

*owner* migrates and backs up, *app* sees the rows of one tenant, *operator* works on listed tables across tenants. The login
may become each of them for one transaction, and can do nothing as itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tollhouse.plugin.errors import ConfigError
from tollhouse.store.scope import APP_ROLE, LOGIN_ROLE, OPERATOR_ROLE, OWNER_ROLE

ROLES = (OWNER_ROLE, APP_ROLE, OPERATOR_ROLE)
LOCK: Final = 7_403_221_020
_READY: Final = """
    SELECT (SELECT count(*) FROM pg_roles WHERE rolname = any($1::text[]) AND pg_has_role(oid, 'MEMBER')) = cardinality($1)
       AND (SELECT bool_and(has_schema_privilege(oid, 'public', right_of_it)) FROM pg_roles
            JOIN (VALUES ($2, 'CREATE'), ($2, 'USAGE'), ($3, 'USAGE'), ($4, 'USAGE')) needs(role, right_of_it)
              ON rolname = needs.role)
"""


def role_statements(login: str, database: str, *, have: Collection[str] = (), major: int = 18) -> list[str]:
    """The SQL that sets up roles and rights; what exists already is left out. One transaction: all of it or nothing.

    The login inherits nothing: it may become a role, and has no rights before it does. PostgreSQL says that of each grant since
    16, and of the login before that. There it comes last: a login that does not inherit has no rights on the schema of its own
    database, for these come by a membership too. The three roles are members of nothing, and inherit: else the owner of a
    restored database could not use its schema.
    """
    me = f'"{login}"'
    made = [f"CREATE ROLE {role} NOLOGIN" for role in ROLES if role not in have]
    if major >= 16:
        first, membership, last = [], " WITH INHERIT FALSE, SET TRUE", []
    else:
        first = [f"ALTER ROLE {role} INHERIT" for role in (me, *(role for role in ROLES if role in have))]
        membership, last = "", [f"ALTER ROLE {me} NOINHERIT"]
    return [
        *first,
        *made,
        *(f"GRANT {role} TO {me}{membership}" for role in ROLES),
        f'GRANT CREATE, CONNECT, TEMPORARY ON DATABASE "{database}" TO {OWNER_ROLE}',
        f"GRANT CREATE, USAGE ON SCHEMA public TO {OWNER_ROLE}",
        f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {OPERATOR_ROLE}",
        *last,
    ]


@asynccontextmanager
async def _alone(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose block runs in one process at a time: of two that make the same role or grant, one would fail."""
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute("SELECT pg_advisory_lock($1)", LOCK)
        yield conn
    finally:
        await conn.close()  # and with it the lock


async def provision_embedded(superuser_dsn: str, database: str) -> None:
    """On a server of our own: make the roles, the login and the database, if they are missing."""
    async with _alone(superuser_dsn) as conn:
        have = {row["rolname"] for row in await conn.fetch("SELECT rolname FROM pg_roles")}
        if LOGIN_ROLE not in have:
            await conn.execute(f"CREATE ROLE {LOGIN_ROLE} LOGIN NOINHERIT")
        for role in ROLES:
            if role not in have:
                await conn.execute(f"CREATE ROLE {role} NOLOGIN")
        if not await conn.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await conn.execute(f'CREATE DATABASE "{database}" OWNER {OWNER_ROLE}')
            await conn.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
            await conn.execute(f'GRANT CONNECT ON DATABASE "{database}" TO {LOGIN_ROLE}')
        inside = await asyncpg.connect(superuser_dsn, database=database)
        try:
            for statement in role_statements(LOGIN_ROLE, database, have=set(ROLES)):
                await inside.execute(statement)
        finally:
            await inside.close()


async def ensure_roles(dsn: str) -> None:
    """On somebody else's server: make what is missing if the login may, else say which SQL an administrator has to run.

    Raises:
        ConfigError: rights are missing; its text holds the statements.
    """
    async with _alone(dsn) as conn:
        if await _ready(conn):
            return
        login, database = await conn.fetchrow("SELECT current_user::text, current_database()::text")
        have = {row["rolname"] for row in await conn.fetch("SELECT rolname FROM pg_roles")}
        statements = role_statements(login, database, have=have, major=conn.get_server_version().major)
        try:
            async with conn.transaction():
                for statement in statements:
                    await conn.execute(statement)
                if not await _ready(conn):  # a GRANT by somebody who has only some of the rights is a warning and no error
                    raise asyncpg.InsufficientPrivilegeError
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigError(
                "the database login may not create roles, or does not own the database; "
                "let an administrator run once, in this database: " + "; ".join(statements)
            ) from None


async def _ready(conn: asyncpg.Connection) -> bool:
    """Whether the login may become each role, and each role has what it needs of this database."""
    return bool(await conn.fetchval(_READY, list(ROLES), OWNER_ROLE, APP_ROLE, OPERATOR_ROLE))
