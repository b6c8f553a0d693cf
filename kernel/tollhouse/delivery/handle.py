"""The job ``inbox.handle``: the rows of one key, one after the other, each handled once in effect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tollhouse.border.errors import PluginFault
from tollhouse.delivery.alarms import Alarms
from tollhouse.delivery.connected import reason_of
from tollhouse.delivery.media import blobs_in, forget_bytes
from tollhouse.store import inbox
from tollhouse.store.blobs import Blobs
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.inbox import MAX_ATTEMPTS, InboxRow
from tollhouse.store.jobs import TryAgain
from tollhouse.store.store import Store

log = logging.getLogger(__name__)

Effect = Callable[[AsyncConnection], Awaitable[None]]
"""What handling leads to, written in the transaction that marks the row done."""

PAUSES: Mapping[str, tuple[float, float]] = {"message": (2, 64), "payment": (4, 600)}
"""For each kind: the base of the growing pause, and the longest pause. People wait for an answer; payment providers do not."""


class Handler(Protocol):
    """Handles the rows of one kind."""

    async def prepare(self, row: InboxRow) -> Effect:
        """Do what needs the network, outside any transaction and so that doing it again is harmless; give what to write."""
        ...

    async def give_up(self, row: InboxRow) -> Effect:
        """What to write when the row is quarantined."""
        ...


class ApplyOnly:
    """A handler whose whole work is one transaction: ``apply(conn, row)``."""

    def __init__(self, apply: Callable[[AsyncConnection, InboxRow], Awaitable[None]]) -> None:
        self._apply = apply

    async def prepare(self, row: InboxRow) -> Effect:
        return lambda conn: self._apply(conn, row)

    async def give_up(self, row: InboxRow) -> Effect:
        return nothing


class InboxJob:
    """Handles rows until none of the key waits. Called under the queue's lock for the key."""

    def __init__(self, store: Store, blobs: Blobs, kinds: Mapping[str, Handler], wrote: Callable[[], None]) -> None:
        """``kinds``: the handler of each kind. ``wrote``: told when outbox rows may have been written (wakes the relay)."""
        self._store = store
        self._alarms = Alarms(store)
        self._blobs = blobs
        self._kinds = kinds
        self._wrote = wrote

    async def __call__(self, tenant_id: UUID, connection_id: UUID, key: str) -> None:
        """Handle what waits.

        Raises:
            TryAgain: an attempt failed; the rows behind it wait with it.
        """
        while True:
            async with self._store.transaction(tenant_id) as conn:
                row = await inbox.take_oldest(conn, tenant_id, connection_id, key)
            if row is None:
                return
            await self._attempt(row)

    async def _attempt(self, row: InboxRow) -> None:
        try:
            if row.attempt > MAX_ATTEMPTS:
                await self._quarantine(row, row_error="its worker died each time")
                return
            effect = await self._kinds[row.kind].prepare(row)
            async with self._store.transaction(row.tenant_id) as conn:
                if await inbox.lock_unhandled(conn, row):
                    await effect(conn)
                    await inbox.done(conn, row)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(row))
            raise
        except DatabaseDown:
            raise
        except (Exception, SystemExit) as error:  # nothing in a row ends the worker
            await self._failed(row, error)
        else:
            await self._cleared(row)

    async def _failed(self, row: InboxRow, error: BaseException) -> None:
        log.warning("inbox row %s failed (attempt %s)", row.id, row.attempt, exc_info=error)
        if isinstance(error, PluginFault):
            await self._alarms.plugin_failed(row.tenant_id, row.connection_id, error)
        if row.attempt >= MAX_ATTEMPTS:
            await self._quarantine(row, reason_of(error))
            return
        async with self._store.transaction(row.tenant_id) as conn:
            await inbox.failed(conn, row, reason_of(error))
        raise TryAgain(pause(row.kind, row.attempt)) from error

    async def _quarantine(self, row: InboxRow, row_error: str) -> None:
        """The row stays, visible and with its bytes, for a replay. Whatever prevents that somebody is told, the row is put
        aside: those behind it have waited long enough."""
        log.error("inbox row %s is quarantined: %s", row.id, row_error)
        try:
            await self._put_aside(row, row_error, await self._kinds[row.kind].give_up(row))
        except DatabaseDown:
            raise
        except (Exception, SystemExit):
            log.exception("nobody could be told that inbox row %s was given up", row.id)
            await self._put_aside(row, row_error, nothing)
        await self._alarms.stuck(row, row_error)
        self._wrote()

    async def _put_aside(self, row: InboxRow, row_error: str, effect: Effect) -> None:
        async with self._store.transaction(row.tenant_id) as conn:
            if await inbox.lock_unhandled(conn, row):
                await effect(conn)
                await inbox.quarantine(conn, row, row_error)

    async def _give_back(self, row: InboxRow) -> None:
        async with self._store.transaction(row.tenant_id) as conn:
            await inbox.give_back(conn, row)

    async def _cleared(self, row: InboxRow) -> None:
        self._wrote()
        await forget_bytes(self._blobs, row.tenant_id, blobs_in(row.payload))


async def nothing(conn: AsyncConnection) -> None:
    """No effect."""


def pause(kind: str, attempt: int) -> float:
    """Seconds until the next attempt."""
    base, longest = PAUSES.get(kind, (2, 64))
    return min(base ** (attempt - 1), longest)
