"""``tollhouse worker``: one more process that works on jobs and on the outbox, on any machine that reaches the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import asyncpg

from tollhouse.plugin.errors import ConfigError
from tollhouse.settings import Settings
from tollhouse.store.embedded_socket import reachable_address
from tollhouse.store.scope import LOGIN_ROLE
from tollhouse.wiring.inspection import inspect_database, require
from tollhouse.wiring.watchdog import watched

log = logging.getLogger(__name__)

DATABASE = "tollhouse"


class Runs(Protocol):
    """Works until told to stop (``wiring.jobs.Jobs``)."""

    async def run(self, stop: asyncio.Event) -> None: ...


class Runtime(Protocol):
    """What `app` builds: the store, the host and the jobs of this process."""

    @property
    def jobs(self) -> Runs: ...

    async def start(self) -> None:
        """Check the schema, read the keys, start the plugins. Raises ConfigError with one line."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


Build = Callable[[Settings, str], Awaitable[Runtime]]
"""``(settings, dsn)``."""


async def database_dsn(settings: Settings, *, database: str = DATABASE) -> str:
    """Where the database is. A worker never starts one: it would be the server's, and end with the worker.

    Raises:
        ConfigError: there is no DATABASE_URL, and no embedded server runs in this data directory.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    folder = settings.data_dir.expanduser().resolve() / "pg" / "socket"
    problem = f"no embedded database runs in {settings.data_dir}: start `tollhouse serve` first, or set DATABASE_URL"
    if not await asyncio.to_thread(folder.is_dir):
        raise ConfigError(problem)
    dsn = (await asyncio.to_thread(reachable_address, folder)).dsn(LOGIN_ROLE, database)
    try:
        await (await asyncpg.connect(dsn, timeout=5)).close()
    except (OSError, TimeoutError, asyncpg.PostgresError):
        raise ConfigError(problem) from None
    return dsn


async def work(settings: Settings, build: Build) -> None:
    """Run a worker until this task is cancelled; running jobs get a moment, and what is left goes back to the queue.

    Raises:
        ConfigError: the database, the schema, a key or a plugin is not right; one line.
    """
    dsn = await database_dsn(settings)
    require(await inspect_database(dsn))
    runtime = await build(settings, dsn)
    try:
        await runtime.start()
        log.info("the worker is ready")
        with watched(asyncio.get_running_loop()):
            await _until_cancelled(runtime.jobs)
    finally:
        await runtime.close()
    log.info("the worker has stopped")


async def _until_cancelled(jobs: Runs) -> None:
    """Cancelled, jobs would be cut off; told to stop, they end."""
    stop = asyncio.Event()
    running = asyncio.create_task(jobs.run(stop), name="jobs")
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        if running.done():
            raise
        stop.set()
        await running
