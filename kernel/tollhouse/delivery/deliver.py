"""Sends one message of the outbox by its messenger. Never runs a turn."""

from __future__ import annotations

import asyncio
from uuid import UUID

from tollhouse.delivery.connected import Connect
from tollhouse.plugin.channels import Messenger, Outgoing
from tollhouse.plugin.events import DeliveryFailed
from tollhouse.store.outbox import OutboxRow

DELIVER_SECONDS = 60.0


class Deliver:
    """The outbox handler of kind ``delivery``."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def __call__(self, row: OutboxRow) -> None:
        """Send it.

        Raises:
            DeliveryFailed: with what the messenger said of it.
            NotFound: the connection is gone, or switched off; it may come back.
        """
        connected = await self._connect(row.tenant_id, UUID(row.payload["connection_id"]))
        if not isinstance(connected.subject, Messenger):
            raise DeliveryFailed("This connection is no messenger.", permanent=True)
        outgoing = Outgoing(row.payload["recipient"], row.payload["payload"])
        try:
            async with asyncio.timeout(DELIVER_SECONDS):
                await connected.subject.deliver(connected.ctx, outgoing)
        except TimeoutError as error:
            raise DeliveryFailed("The messenger took too long.") from error
