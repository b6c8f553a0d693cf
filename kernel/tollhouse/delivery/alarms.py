"""What an admin has to hear of: a plugin that failed, and what was put aside because of it."""

from __future__ import annotations

import logging
from functools import partial
from uuid import UUID

from tollhouse.border.errors import PluginFault
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.inbox import InboxRow
from tollhouse.store.outbox import OutboxRow
from tollhouse.store.scope import tenant_scope
from tollhouse.store.store import Store
from tollhouse.usage.alarms import raise_alarm

log = logging.getLogger(__name__)


class Alarms:
    """Alarms of the queues. Each in a transaction of its own, after what it tells of: an alarm must not be what fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def plugin_failed(self, tenant_id: UUID, connection_id: UUID, fault: PluginFault) -> None:
        """A connection's plugin did what its contract does not know."""
        where = {"connection_id": str(connection_id), "plugin": fault.plugin, "method": fault.method}
        message = f"A connection does not work as it should: {fault.detail}."
        await self._raise(tenant_id, "plugin_failed", f"{connection_id}:{fault.method}", message, where)

    async def stuck(self, row: InboxRow | OutboxRow, why: str) -> None:
        """A row was put aside. Those after it go on; this one waits for somebody to look at it."""
        if isinstance(row, InboxRow):
            subject, what = str(row.connection_id), "What came in by this connection could not be handled"
        elif row.kind == "event":
            subject, what = row.subscriber, f"Plugin {row.subscriber!r} did not take a note"
        else:
            subject, what = row.subscriber, "A message could not be sent by this connection"
        queue = "inbox" if isinstance(row, InboxRow) else "outbox"
        message = f"{what}, and was put aside: {why}. Deliveries show it, and try it again."
        await self._raise(row.tenant_id, f"{queue}_stuck", subject, message, {"queue": queue, "row": str(row.id)})

    async def _raise(self, tenant_id: UUID, code: str, subject: str, message: str, data: dict[str, str]) -> None:
        tell = partial(raise_alarm, tenant_id=tenant_id, code=code, subject=subject, message=message, data=data)
        try:
            await self._store.run(tenant_scope(tenant_id), tell)
        except DatabaseDown:
            log.error("the alarm %s of tenant %s could not be stored: %s", code, tenant_id, message)
