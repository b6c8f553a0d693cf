"""Tells one plugin of one event, after commit. Each plugin has rows of its own: one that fails holds up no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from tollhouse.plugin.events import Event
from tollhouse.store.outbox import OutboxRow, occurred_at

Notify = Callable[[str, Event], Awaitable[None]]
"""``(plugin, event)``; raises if the plugin failed (``Host.notify``)."""


class TellPlugin:
    """The outbox handler of kind ``event``."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    async def __call__(self, row: OutboxRow) -> None:
        event = Event(
            id=UUID(row.payload["id"]),
            name=row.payload["name"],
            tenant_id=row.tenant_id,
            occurred_at=occurred_at(row.payload),
            data=row.payload["data"],
        )
        await self._notify(row.subscriber, event)
