"""The installation as a whole: where the database is, preparing it, and handing its first link over."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tollhouse.plugin.errors import ConfigError
from tollhouse.reports.rollup import roll
from tollhouse.settings import Settings
from tollhouse.store.embedded import EmbeddedError, EmbeddedServer, embedded_available
from tollhouse.store.migrations.head import HEAD
from tollhouse.store.roles import ensure_roles, provision_embedded
from tollhouse.store.scope import LOGIN_ROLE
from tollhouse.store.secrets import open_secrets
from tollhouse.store.store import Store
from tollhouse.wiring.container import Container, build
from tollhouse.wiring.database import check_schema
from tollhouse.wiring.inspection import MIN_MAJOR, inspect_database, require

log = logging.getLogger(__name__)

DATABASE = "tollhouse"


@asynccontextmanager
async def open_database(settings: Settings, *, prepares: bool = False) -> AsyncIterator[str]:
    """The DSN of the database for as long as the block runs: somebody's server, or our embedded one, started if it must be.

    ``prepares``: the block will upgrade an empty or older schema; only then a new embedded database is made, too.

    Raises:
        ConfigError: one line that says what is missing, or that the schema is not this version's.
    """
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        require(await inspect_database(dsn), upgradable=prepares)
        yield dsn
        return
    if not prepares and not await asyncio.to_thread((settings.data_dir.expanduser() / "pg").exists):
        raise ConfigError(
            f"there is no installation in {settings.data_dir}: DATA_DIR or DATABASE_URL must name one; "
            "to make a new one, run: tollhouse serve --prepare"
        )
    try:
        async with _embedded(settings) as dsn:
            require(await inspect_database(dsn), upgradable=prepares)
            yield dsn
    except EmbeddedError as error:
        raise ConfigError(str(error)) from None


@asynccontextmanager
async def _embedded(settings: Settings) -> AsyncIterator[str]:
    problem = embedded_available()
    if problem is not None:
        raise ConfigError(f"{problem}; set DATABASE_URL to a PostgreSQL {MIN_MAJOR} or newer")
    server, watch = EmbeddedServer(settings.data_dir), None
    try:
        address = await server.start()
        await provision_embedded(address.dsn("postgres", "postgres"), DATABASE)
        watch = asyncio.create_task(server.watch(), name="embedded-postgresql")
        yield address.dsn(LOGIN_ROLE, DATABASE)
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await server.stop_if_unused()


async def upgrade_database(settings: Settings, dsn: str) -> None:
    """Migrate, in a process of its own: a server that serves for months need not carry the migration tool in its memory.

    Raises:
        ConfigError: the roles are missing and the login may not make them, or a migration failed.
    """
    if settings.database_url is not None:
        await ensure_roles(dsn)
        require(await inspect_database(dsn), upgradable=True)  # the login could not read it before
    # In a session of its own, the terminal's Ctrl-C does not reach it: it ends when we end it.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tollhouse.wiring.migrate"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = await child.communicate(dsn.encode())
    except asyncio.CancelledError:
        child.kill()  # each migration is one transaction
        await child.wait()
        raise
    if child.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise ConfigError(f"the migration failed: {lines[-1] if lines else 'no reason given'}")
    # Where a version brings new daily sums, they are there before its first report is asked for.
    store = Store(dsn, pool_size=1, hot_pool_size=1)
    try:
        await roll(store)
    finally:
        await store.close()


async def prepare(settings: Settings, dsn: str) -> None:
    """Bring an old or empty schema up to date; a newer one stops here, with its line."""
    found = await inspect_database(dsn)
    if found.revision != HEAD:
        require(found, upgradable=True)
        log.info("preparing the database")
        await upgrade_database(settings, dsn)
    require(await inspect_database(dsn))


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
