"""Sends one message of the outbox by its messenger. Never runs a turn."""

from __future__ import annotations

from uuid import UUID

from tollhouse.border.calls import ask
from tollhouse.delivery.connected import Connect
from tollhouse.plugin.channels import Messenger, Outgoing
from tollhouse.plugin.events import DeliveryFailed
from tollhouse.store.outbox import OutboxRow


class Deliver:
    """The outbox handler of kind ``delivery``."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def __call__(self, row: OutboxRow) -> None:
        """Send it.

        Raises:
            DeliveryFailed: with what the messenger said of it.
            PluginFault: its plugin failed.
            NotFound: the connection is gone, or switched off; it may come back.
        """
        connected = await self._connect(row.tenant_id, UUID(row.payload["connection_id"]))
        if not isinstance(connected.subject, Messenger):
            raise DeliveryFailed("This connection is no messenger.", permanent=True)
        outgoing = Outgoing(row.payload["recipient"], row.payload["payload"])
        await ask(connected.plugin, "deliver", connected.subject, connected.ctx, outgoing)
