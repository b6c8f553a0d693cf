"""The one webhook intake, ``/hooks/{tenant}/{connection}``: verify, store, then answer."""

from __future__ import annotations

from uuid import UUID

from tollhouse.border.calls import ask
from tollhouse.border.errors import PluginFault
from tollhouse.delivery.alarms import Alarms
from tollhouse.delivery.connected import Connect, FindTenant
from tollhouse.delivery.media import blobs_in, forget_bytes, keep_bytes
from tollhouse.host.errors import ConnectionDisabled
from tollhouse.plugin.channels import RawRequest, RawResponse, Received, Receives
from tollhouse.plugin.errors import NotFound
from tollhouse.plugin.events import InboundEvent
from tollhouse.store import inbox
from tollhouse.store.blobs import Blobs
from tollhouse.store.errors import DatabaseDown
from tollhouse.store.ids import parse_id
from tollhouse.store.store import Store


class Intake:
    """Webhooks of all plugins."""

    def __init__(self, store: Store, blobs: Blobs, find_tenant: FindTenant, connect: Connect) -> None:
        self._store = store
        self._alarms = Alarms(store)
        self._blobs = blobs
        self._find_tenant = find_tenant
        self._connect = connect

    async def accept(self, tenant: str, connection: str, request: RawRequest) -> RawResponse:
        """Store what a webhook says and give the answer for it. ``tenant`` is a slug or an id.

        Raises:
            NotFound: unknown, foreign or disabled; or nothing that receives.
            Unauthenticated, InvalidInput: the plugin refuses it; nothing is stored.
            PluginFault: the plugin failed; nothing is stored, and the vendor sends it again.
            Unavailable: it could not be stored; the vendor sends it again.
        """
        tenant_id = (await self._find_tenant(tenant)).id
        connection_id = parse_id(connection)
        if connection_id is None:
            raise NotFound()
        try:
            connected = await self._connect(tenant_id, connection_id)
        except ConnectionDisabled:
            raise NotFound() from None  # a stranger is not told that there is something
        if not isinstance(connected.subject, Receives):
            raise NotFound()
        try:
            received: Received = await ask(connected.plugin, "receive", connected.subject, connected.ctx, request)
        except PluginFault as fault:
            await self._alarms.plugin_failed(tenant_id, connection_id, fault)
            raise
        if received.events:
            await self._keep(tenant_id, connection_id, list(received.events))
        return received.response or RawResponse()

    async def _keep(self, tenant_id: UUID, connection_id: UUID, events: list[InboundEvent]) -> None:
        kept = [await keep_bytes(self._blobs, tenant_id, event) for event in events]
        brought = {blob for _, blobs in kept for blob in blobs}
        try:
            async with self._store.transaction(tenant_id) as conn:
                new = await inbox.put(conn, tenant_id, connection_id, [event for event, _ in kept])
                stored = {blob for payload in await inbox.payloads(conn, tenant_id, new) for blob in blobs_in(payload)}
        except DatabaseDown:
            raise  # nobody knows whether it was committed: rather an orphan blob than a message without its picture
        except BaseException:
            await forget_bytes(self._blobs, tenant_id, brought)
            raise
        # A webhook that came twice brought its bytes twice: only those of the stored row stay.
        await forget_bytes(self._blobs, tenant_id, brought - stored)
