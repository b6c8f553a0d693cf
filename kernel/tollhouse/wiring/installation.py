"""The installation as a whole: where the database is, preparing it, and handing its first link over."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store.embedded import EmbeddedError, EmbeddedServer, embedded_available
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.roles import ensure_roles, provision_embedded
from tollhouse.store.scope import LOGIN_ROLE
from tollhouse.store.secrets import open_secrets
from tollhouse.store.store import Store
from tollhouse.wiring.container import Container, build
from tollhouse.wiring.database import check_schema, known_revisions

log = logging.getLogger(__name__)

DATABASE = "tollhouse"
MIN_MAJOR = 15


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """The DSN of the database for as long as the block runs: somebody's server, or our embedded one, started if it must be.

    Raises:
        ConfigError: one line that says what is missing.
    """
    if settings.database_url is not None:
        dsn = plain_dsn(settings.database_url.get_secret_value())
        await _check_server(dsn)
        yield dsn
        return
    problem = embedded_available()
    if problem is not None:
        raise ConfigError(f"{problem}; set DATABASE_URL to a PostgreSQL {MIN_MAJOR} or newer")
    server, watch = EmbeddedServer(settings.data_dir), None
    try:
        address = await server.start()
        await provision_embedded(address.dsn("postgres", "postgres"), DATABASE)
        watch = asyncio.create_task(server.watch(), name="embedded-postgresql")
        yield address.dsn(LOGIN_ROLE, DATABASE)
    except EmbeddedError as error:
        raise ConfigError(str(error)) from None
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await server.stop_if_unused()


def plain_dsn(url: str) -> str:
    """A DATABASE_URL as libpq and asyncpg both read it.

    Raises:
        ConfigError: it is not PostgreSQL's.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ConfigError("DATABASE_URL must begin with postgresql://")
    return f"postgresql://{rest}"


async def _check_server(dsn: str) -> None:
    try:
        conn = await asyncpg.connect(dsn, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        where = urlsplit(dsn).hostname or "its socket"
        raise ConfigError(f"the database at {where} cannot be reached: {type(error).__name__}: {error}") from None
    major = conn.get_server_version().major
    await conn.close()
    if major < MIN_MAJOR:
        raise ConfigError(f"the database is PostgreSQL {major}; Tollhouse needs {MIN_MAJOR} or newer")


async def upgrade_database(settings: Settings, dsn: str) -> None:
    """Migrate, in a process of its own: a server that serves for months need not carry the migration tool in its memory.

    Raises:
        ConfigError: the roles are missing and the login may not make them, or a migration failed.
    """
    if settings.database_url is not None:
        await ensure_roles(dsn)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tollhouse.wiring.migrate"), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await child.communicate(dsn.encode())
    if child.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise ConfigError(f"the migration failed: {lines[-1] if lines else 'no reason given'}")


async def prepare(settings: Settings, dsn: str) -> None:
    """Bring an old or empty schema up to date; a newer one stops here, with its line."""
    store = Store(dsn, pool_size=1, hot_pool_size=1)
    try:
        if await _needs_upgrade(store):
            log.info("preparing the database")
            await upgrade_database(settings, dsn)
        await check_schema(store)
    finally:
        await store.close()


async def _needs_upgrade(store: Store) -> bool:
    found = await store.schema_revision()
    return found is None or (found != HEAD and found in known_revisions())


@asynccontextmanager
async def open_container(settings: Settings, dsn: str) -> AsyncIterator[Container]:
    """The services, for a command that runs once.

    Raises:
        ConfigError: one line.
    """
    store = Store(dsn, pool_size=2, hot_pool_size=2, application="tollhouse command")
    try:
        await check_schema(store)
        container = build(settings, store, await open_secrets(store, settings))
        await container.contexts.clock.refresh(store)
    except BaseException:
        await store.close()
        raise
    try:
        yield container
    finally:
        await container.close()
