"""What is found at DATABASE_URL, before anything is read, written or greeted: reachable, ours, and of this version's schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import asyncpg

from tollhouse.plugin.errors import ConfigError
from tollhouse.store.errors import SchemaMismatch
from tollhouse.store.roles import ROLES
from tollhouse.store.scope import OPERATOR_ROLE, OWNER_ROLE
from tollhouse.wiring.database import known_revisions, schema_fault

MIN_MAJOR: Final = 15
CONNECT_SECONDS: Final = 10
NAMED: Final = 3
VERSION_TABLE: Final = "alembic_version"
OURS: Final = frozenset({VERSION_TABLE, "installation", "tenants"})

# Read from the catalogue alone: the login has no right to anything else. What an extension brought is nobody's table.
LOOK = """
    SELECT current_user::text AS login, current_database()::text AS database,
           (SELECT count(*) FROM pg_roles
            WHERE rolname = any($1::text[]) AND pg_has_role(current_user, oid, 'MEMBER')) AS roles,
           ARRAY(SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                   AND NOT EXISTS (SELECT FROM pg_depend d
                                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
                 ORDER BY 1) AS tables,
           EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'public' AND c.relname = $2 AND pg_get_userbyid(c.relowner) = $3) AS begun
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A database as it is. ``revision`` is None where there is no schema of ours, or its roles are not the login's yet."""

    major: int
    login: str
    database: str
    has_roles: bool
    tables: tuple[str, ...] = ()
    begun: bool = False
    revision: str | None = None

    @property
    def ours(self) -> bool:
        """Whether our schema is there."""
        return set(self.tables) >= OURS

    @property
    def foreign(self) -> bool:
        """Whether it holds tables, and not ours. A first migration that was cut short leaves its own table at most."""
        return bool(self.tables) and not self.ours and not (self.begun and self.tables == (VERSION_TABLE,))


async def inspect_database(dsn: str) -> Found:
    """Look, and change nothing.

    Raises:
        ConfigError: it cannot be reached, or refuses the login; one line.
    """
    conn = await _connected(dsn)
    try:
        row = await conn.fetchrow(LOOK, list(ROLES), VERSION_TABLE, OWNER_ROLE)
        found = Found(
            conn.get_server_version().major,
            row["login"],
            row["database"],
            row["roles"] == len(ROLES),
            tuple(row["tables"]),
            row["begun"],
        )
        if not (found.ours and found.has_roles):
            return found
        async with conn.transaction():
            await conn.execute(f"SET LOCAL ROLE {OPERATOR_ROLE}")
            revision = await conn.fetchval(f"SELECT version_num FROM public.{VERSION_TABLE}")
        return Found(found.major, found.login, found.database, found.has_roles, found.tables, found.begun, revision)
    except asyncpg.PostgresError as error:
        raise ConfigError(f"the database at {_where(dsn)} cannot be looked at: {_line(error)}") from None
    finally:
        await conn.close()


def require(found: Found, *, upgradable: bool = False) -> None:
    """Refuse what this version cannot work with. ``upgradable``: an empty or older schema is welcome, for it is upgraded next.

    Raises:
        ConfigError: one line that says what to do.
    """
    if found.major < MIN_MAJOR:
        raise ConfigError(f"the database is PostgreSQL {found.major}; Tollhouse needs {MIN_MAJOR} or newer")
    if found.foreign:
        raise SchemaMismatch(
            f"the database {found.database!r} holds tables of another program ({_some(found.tables)}): "
            "make a database for Tollhouse alone and name it in DATABASE_URL"
        )
    if upgradable and (found.revision is None or found.revision in known_revisions()):
        return
    if found.ours and not found.has_roles:
        raise ConfigError(
            f"the login {found.login!r} may not act as {', '.join(ROLES)}; run: tollhouse db upgrade "
            "(it gives the login these roles, or prints the SQL with which an administrator does)"
        )
    if fault := schema_fault(found.revision):
        raise SchemaMismatch(fault)


async def _connected(dsn: str) -> asyncpg.Connection:
    where = _where(dsn)
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except TimeoutError:
        fault = f"the database at {where} does not answer within {CONNECT_SECONDS} seconds"
    except OSError as error:
        fault = f"the database at {where} cannot be reached: {_line(error)}"
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        fault = f"the database at {where} does not let us in: {_line(error)}"
    except asyncpg.PostgresError as error:
        fault = f"the database at {where} refuses the connection: {_line(error)}"
    except (ValueError, asyncpg.InterfaceError) as error:
        # Its text may repeat the URL, with the password in it.
        fault = (
            f"cannot be understood ({type(error).__name__}); it must look like postgresql://user:password@host:5432/database"
        )
        raise ConfigError(f"setting database_url: {fault}") from None
    raise ConfigError(f"{fault}; see DATABASE_URL")


def _where(dsn: str) -> str:
    host = dsn.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    return unquote(host) or "its socket"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
