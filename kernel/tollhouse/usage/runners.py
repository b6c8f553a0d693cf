"""Runners: a serving process and its lease. Holds name their runner, so one renewed row keeps all of them alive."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, text

from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import id_floor, new_id
from tollhouse.store.store import Store
from tollhouse.usage.models import runners
from tollhouse.usage.sweeper import expire_forgotten

log = logging.getLogger(__name__)
LEASE_SECONDS = 60
RENEW_SECONDS = 15


class Runner:
    """This process, as the ledger knows it. ``busy``: the holds it works on; whoever runs a turn adds and removes its own.

    A hold that names this process and is not among them was forgotten: its admission was committed while the answer was lost
    with the connection, or its settlement outlasted everybody's patience. Such holds are expired when they are old enough.
    """

    def __init__(self, store: Store, *, lease_seconds: int = LEASE_SECONDS, renew_seconds: float = RENEW_SECONDS) -> None:
        self.id: UUID = new_id()
        self.busy: set[UUID] = set()
        self._store = store
        self._lease = lease_seconds
        self._renew_seconds = renew_seconds
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the lease and keep renewing it in the background."""
        await self.renew()
        self._task = asyncio.create_task(self._keep(), name="runner-lease")

    async def stop(self) -> None:
        """Give the lease back. Holds that are still open become the sweeper's at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        try:
            async with self._store.operator() as conn:
                await conn.execute(delete(runners).where(runners.c.id == self.id))
        except DatabaseDown:
            log.warning("the lease could not be given back; it lapses by itself in %d seconds", self._lease)

    async def renew(self) -> None:
        """Prolong the lease by its full length, on the database's clock."""
        statement = text(
            "INSERT INTO runners (id, host, pid, lease_until) VALUES (:id, :host, :pid, now() + make_interval(secs => :lease)) "
            "ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until"
        )
        async with self._store.operator() as conn:
            await conn.execute(
                statement, {"id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "lease": self._lease}
            )

    async def let_go(self, older_than: float = LEASE_SECONDS) -> int:
        """Expire the forgotten holds that are older than so many seconds; how many."""
        before = id_floor(datetime.now(UTC) - timedelta(seconds=older_than))  # the same clock made the ids of these holds
        return await expire_forgotten(self._store, self.id, before, self.busy)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)  # the rhythm of renewal itself, not a wait for anything
            try:
                await self.renew()
                await self.let_go()
            except DatabaseDown:
                log.warning("the lease could not be renewed; trying again in %.0f seconds", self._renew_seconds)
            except Exception:  # whatever it was: a process that stops renewing loses the holds it works on
                log.exception("the lease could not be renewed; trying again in %.0f seconds", self._renew_seconds)
