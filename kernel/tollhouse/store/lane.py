"""The hot path's transactions: on the driver, in one scope, one after another.

Where another transaction follows at once, the end of one and the begin of the next travel together. That is a message there and
back less for each, and it is such messages that a busy tenant's turns wait for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from tollhouse.store.errors import DatabaseDown, LockedTooLong
from tollhouse.store.pool import HotPool

log = logging.getLogger(__name__)
T = TypeVar("T")

REPEATABLE = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the session in the middle of an exchange
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # no room: connections, memory, disk
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
ATTEMPTS = 5
WAIT_SECONDS = 20.0


def nothing() -> bool:
    """What follows a transaction that is alone."""
    return False


class Lane:
    """Runs transactions; never two at once. Whoever says that another follows closes the lane when none does."""

    def __init__(
        self,
        pool: HotPool,
        begin: Callable[[], str],
        follows: Callable[[], bool] = nothing,
        refused: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """``begin``: BEGIN with its scope. ``follows``: whether another transaction comes right after the one that ends now.
        ``refused``: told of what the database did not take."""
        self._pool = pool
        self._refused = refused
        self._begin = begin
        self._follows = follows
        self._begun: Any = None
        """The connection on which the next transaction has begun already."""

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run ``work(connection)`` in one transaction; ``work`` is repeated as a whole when it must be.

        Repeats on deadlock, serialization failure and stale plans, so ``work`` has no effect outside the database.

        Raises:
            DatabaseDown: the database cannot be reached, or was lost.
        """
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(work)
            except REPEATABLE as error:
                log.info("transaction repeated after %s", type(error).__name__)
                if attempt == ATTEMPTS - 1:
                    raise DatabaseDown() from error
            except asyncpg.LockNotAvailableError as error:
                raise LockedTooLong() from error
            except LOST as error:
                self._refused(error)
                raise DatabaseDown() from error
        raise AssertionError("unreachable")

    async def _once(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """BEGIN, the work, COMMIT; any failure rolls back before the connection goes back to its pool."""
        begun, self._begun = self._begun, None
        conn = await self._pool.acquire(WAIT_SECONDS) if begun is None else begun
        try:
            if begun is None:
                await conn.execute(self._begin())
            result = await work(conn)
            if self._follows() and not self._pool.wanted:
                await conn.execute(f"COMMIT;{self._begin()}")
                self._begun = conn
            else:
                await conn.execute("COMMIT")
        except BaseException:
            await _roll_back(conn)
            raise
        finally:
            if self._begun is None:
                self._pool.release(conn)
        return result

    async def close(self) -> None:
        """Give the connection back, if the transaction that was to follow did not."""
        conn, self._begun = self._begun, None
        if conn is not None:
            await _roll_back(conn)
            self._pool.release(conn)


async def _roll_back(conn: Any) -> None:
    """End a transaction that failed; a connection that cannot roll back (a cancelled statement keeps it busy) is closed."""
    if conn.is_closed():
        return
    try:
        await asyncio.shield(conn.execute("ROLLBACK", timeout=2))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
        conn.terminate()
