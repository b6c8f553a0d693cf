"""The relay: drains the outbox for as long as its process works. Any number of them may run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from tollhouse.border.errors import PluginFault
from tollhouse.delivery.alarms import Alarms
from tollhouse.delivery.connected import reason_of
from tollhouse.plugin.errors import TollhouseError
from tollhouse.plugin.events import DeliveryFailed
from tollhouse.store import outbox
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.outbox import OutboxRow
from tollhouse.store.store import Store
from tollhouse.store.trouble import Seldom

log = logging.getLogger(__name__)

Send = Callable[[OutboxRow], Awaitable[None]]
"""Sends one row, in less time than a lease; raises if it is not sent."""

TICK_SECONDS = 1.0
STOP_SECONDS = 10.0


class Relay:
    """Claims what is due and sends it, several rows at a time."""

    def __init__(self, store: Store, kinds: Mapping[str, Send], *, concurrency: int = 20, tick: float = TICK_SECONDS) -> None:
        self._store = store
        self._alarms = Alarms(store)
        self._kinds = kinds
        self._concurrency = concurrency
        self._tick = tick
        self._seldom = Seldom(log)
        self._woken = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be new rows: look now instead of at the next tick."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Drain until ``stop`` is set; what is being sent then gets a moment to end."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._woken.clear()
                try:
                    claimed = await self._claim()
                    self._seldom.over()
                except DatabaseDown:
                    self._seldom.say(logging.WARNING, "the relay cannot reach the database, or not write to it; it tries again")
                    claimed = 0
                except Exception as error:
                    self._seldom.say(logging.ERROR, "the relay could not look for messages; it tries again: %r", error)
                    claimed = 0
                if claimed == 0:
                    await self._rest(stopped)
        finally:
            stopped.cancel()
            await self._end()

    async def drain(self) -> None:
        """Send everything that is due, and return (for commands and tests)."""
        while True:
            self._woken.clear()
            claimed = await self._claim()
            if self._sending:
                await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            elif not claimed and not self._woken.is_set():  # else one was sent while we looked: the next of its chat is due
                return

    async def _claim(self) -> int:
        free = self._concurrency - len(self._sending)
        if free <= 0:
            return 0
        async with self._store.operator() as conn:
            rows = await outbox.claim_due(conn, free)
        for row in rows:
            task = asyncio.create_task(self._send(row))
            self._sending.add(task)
            task.add_done_callback(self._sent)
        return len(rows)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._woken.set()  # a place is free, and the next message of this chat may be due
        if not task.cancelled() and (error := task.exception()) is not None:
            self._seldom.say(logging.ERROR, "an outbox row could not be closed; it is due again after its lease: %r", error)

    async def _rest(self, stopped: asyncio.Task[bool]) -> None:
        """Until there is something to do: woken, stopped, or a tick."""
        woken = asyncio.create_task(self._woken.wait())
        await asyncio.wait({woken, stopped}, timeout=self._tick, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()

    async def _send(self, row: OutboxRow) -> None:
        try:
            await self._kinds[row.kind](row)
        except asyncio.CancelledError:
            async with self._store.transaction(row.tenant_id) as conn:
                await outbox.give_back(conn, row)
            raise
        except (Exception, SystemExit) as error:  # whatever a plugin raises, its row alone is held up
            await self._failed(row, error)
        else:
            async with self._store.transaction(row.tenant_id) as conn:
                await outbox.done(conn, row)

    async def _failed(self, row: OutboxRow, error: BaseException) -> None:
        async with self._store.transaction(row.tenant_id) as conn:
            if isinstance(error, DeliveryFailed) and error.permanent:
                await outbox.done(conn, row, f"permanent: {reason_of(error)}")
                log.warning("outbox row %s can never be delivered: %s", row.id, reason_of(error))
                return
            retry_after = error.retry_after if isinstance(error, TollhouseError) else None
            last = isinstance(error, PluginFault) and error.returned  # it was sent: once more would be twice
            quarantined = await outbox.failed(conn, row, reason_of(error), retry_after=retry_after, last=last)
        if isinstance(error, PluginFault) and row.kind == "delivery":
            await self._alarms.plugin_failed(row.tenant_id, UUID(row.subscriber), error)
        if quarantined:
            await self._alarms.stuck(row, reason_of(error))
        log.log(logging.ERROR if quarantined else logging.INFO, "outbox row %s failed", row.id, exc_info=error)

    async def _end(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=STOP_SECONDS)
        for task in (left := list(self._sending)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
