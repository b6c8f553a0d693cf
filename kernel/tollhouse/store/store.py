"""The only way into the database: explicit, short, scoped transactions.

``transaction(scope)`` gives a SQLAlchemy connection and serves everything that is not hot. ``run(scope, work)`` runs a callable
on the driver itself and repeats it when the database asks for that; a turn's two transactions go this way. Both send the role
and the tenant with BEGIN. See ``docs/decisions/0003-two-pools.md`` for why there are two pools.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tollhouse.store.connection import ScopedConnection
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.lane import LOST, REPEATABLE, Lane, nothing
from tollhouse.store.pool import HotPool
from tollhouse.store.scope import OPERATOR, Scope, tenant_scope

if TYPE_CHECKING:
    from tollhouse.store.signing import Marker

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long a statement of the hot path may stay without an answer. A server that is well ends it long before that: this is for
one that is cut off or frozen, and would keep everybody waiting."""


class Store:
    """Connections, scopes and time. One per process."""

    def __init__(self, dsn: str, *, pool_size: int = 5, hot_pool_size: int = 10, application: str = "tollhouse") -> None:
        """``dsn`` logs in as the role without rights; ``pool_size`` is for ordinary work, ``hot_pool_size`` for turns."""
        self.dsn = dsn
        self._server_settings = {
            "application_name": application,
            "statement_timeout": "5000",
            "lock_timeout": "4000",
            "idle_in_transaction_session_timeout": "10000",
            "timezone": "UTC",
            "jit": "off",
        }
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=15,
            pool_pre_ping=False,
            hide_parameters=True,  # an error's text ends in logs, and parameters are people's data
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._hot = HotPool(self._connect_hot, hot_pool_size)
        self._clock_sql = ""
        self.refused: Callable[[BaseException], None] = lambda error: None
        """Told of each transaction that the database did not take."""
        self.marker: Marker | None = None
        """Marks what is written to the audit log; a process has it as soon as it has the master key."""

    async def _connect(self, answer_seconds: float | None = None, **more: str) -> Any:
        settings = {**self._server_settings, **more}
        try:
            return await asyncpg.connect(
                self.dsn,
                connection_class=ScopedConnection,
                server_settings=settings,
                timeout=5,
                command_timeout=answer_seconds,
            )
        except asyncpg.PostgresError as error:  # it answers, and lets nobody in: starting, stopping, full
            raise DatabaseDown() from error

    async def _connect_hot(self) -> Any:
        # The hot path's statements are few, prepared, and find rows by keys: planning each execution anew would cost more than
        # running it. (The planner would, because it takes a short array for cheaper than one of unknown length.) And because
        # they find by keys, no plan that reads a whole table is ever right, however small it was when last looked at.
        return await self._connect(ANSWER_SECONDS, plan_cache_mode="force_generic_plan", enable_seqscan="off")

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()
        await self._hot.close()

    def at(self, moment: datetime | None) -> None:
        """Override the database's clock for every transaction of this store (for tests); None takes it back."""
        self._clock_sql = f";SET LOCAL app.now='{moment.isoformat()}'" if moment is not None else ""

    # -- ordinary work ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self, scope: Scope | UUID) -> AsyncIterator[AsyncConnection]:
        """One transaction in the name of a tenant (or the operator): committed at the end of the block, else rolled back.

        Raises:
            DatabaseDown: the database cannot be reached, or was lost; a failed commit is this too, never a success.
        """
        scope = tenant_scope(scope) if isinstance(scope, UUID) else scope
        try:
            async with self._engine.connect() as conn:
                driver = (await conn.get_raw_connection()).driver_connection
                assert driver is not None
                driver.scope_sql = scope.sql + self._clock_sql
                try:
                    conn.info["marker"] = self.marker
                    async with conn.begin():
                        yield conn
                finally:
                    driver.scope_sql = None
        except (OperationalError, InterfaceError, PoolTimeout, TimeoutError, OSError) as error:
            self.refused(error)
            raise DatabaseDown() from error
        except DBAPIError as error:
            if error.connection_invalidated or isinstance(error.orig.__cause__ if error.orig else None, (*LOST, *REPEATABLE)):
                self.refused(error)
                raise DatabaseDown() from error
            raise

    def operator(self) -> Any:
        """``transaction`` in the operator's scope."""
        return self.transaction(OPERATOR)

    # -- the hot path --------------------------------------------------------------------------------------------------

    async def run(self, scope: Scope, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run ``work(connection)`` in one transaction on the driver; ``work`` is repeated as a whole when it must be.

        Raises:
            DatabaseDown: the database cannot be reached, or was lost.
        """
        return await self.lane(scope).run(work)

    def lane(self, scope: Scope | UUID, follows: Callable[[], bool] = nothing) -> Lane:
        """For one such transaction after another; see :class:`Lane`."""
        scope = tenant_scope(scope) if isinstance(scope, UUID) else scope
        return Lane(self._hot, lambda: f"BEGIN;{scope.sql}{self._clock_sql}", follows, self.refused)

    async def schema_revision(self) -> str | None:
        """The migration that the database stands at; None for an empty database."""
        async with self.operator() as conn:
            if not (await conn.execute(text("SELECT to_regclass('public.alembic_version') IS NOT NULL"))).scalar():
                return None
            found: str | None = (await conn.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            return found


def _refuse_closed(connection: Any, record: Any, proxy: Any) -> None:
    """A connection that the server has closed meanwhile is replaced before anybody gets it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
