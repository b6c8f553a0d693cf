"""The database's time without asking the database each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.store.store import Store


class Clock:
    """This machine's clock, corrected by what the database said last. For plugins; a decision never rests on it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The database's time, as good as it was last observed."""
        return datetime.now(UTC) + self._ahead

    async def observe(self, conn: AsyncConnection) -> datetime:
        """Ask the database in the present transaction, and go by its answer from now on."""
        moment: datetime = (await conn.execute(select(func.app_now()))).scalar_one()
        self._ahead = moment - datetime.now(UTC)
        return moment

    async def refresh(self, store: Store) -> None:
        """The same in a transaction of its own: at start, and now and then."""
        async with store.operator() as conn:
            await self.observe(conn)
